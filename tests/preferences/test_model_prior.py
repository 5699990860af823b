import math

import numpy as np
import pytest
from scipy import stats

from trl_dprm.preferences.model_prior import fit_model_prior_strength, model_as_prior


def model_and_votes(seed, strength, num_items, num_votes):
    """A model's distributions, true shares around them, and votes."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet([2.0, 1.5, 1.0, 0.8], num_items)
    shares = np.array([rng.dirichlet(strength * p) for p in probs])
    return probs, shares, rng.multinomial(num_votes, shares)


@pytest.mark.parametrize("strength", [2.0, 8.0, 25.0])
def test_a_known_strength_is_recovered(strength):
    for seed in range(3):
        probs, _, counts = model_and_votes(seed, strength, 3000, 6)
        estimate = fit_model_prior_strength(probs, counts)
        assert estimate.boundary is None
        assert abs(math.log(estimate.prior_strength / strength)) < 0.1


def test_float32_probabilities_are_accepted():
    probs, _, counts = model_and_votes(0, 8.0, 500, 6)
    double, single = (fit_model_prior_strength(p, counts).prior_strength for p in (probs, probs.astype(np.float32)))
    np.testing.assert_allclose(single, double, rtol=1e-5)


def test_updated_distributions_and_expected_rewards():
    rewards = np.array([-1.0, 0.0, 0.5, 1.0])
    probs, _, counts = model_and_votes(1, 8.0, 5, 6)
    counts[2] = 0
    posterior = model_as_prior(probs, 8.0).updated(counts)
    for row in range(5):
        mean = [(8.0 * probs[row, k] + counts[row, k]) / (8.0 + counts[row].sum()) for k in range(4)]
        np.testing.assert_allclose(posterior.mean()[row], mean, rtol=1e-10)
        np.testing.assert_allclose(posterior.expected_reward(rewards)[row], np.dot(mean, rewards), rtol=1e-10)
    np.testing.assert_allclose(posterior.mean()[2], probs[2], rtol=1e-10)


def test_votes_bring_the_updated_model_closer_to_the_truth_than_model_or_votes_alone():
    for seed in range(3):
        probs, shares, counts = model_and_votes(seed, 8.0, 2000, 6)
        strength = fit_model_prior_strength(probs, counts).prior_strength
        posterior = model_as_prior(probs, strength).updated(counts).mean()
        errors = [((mean - shares) ** 2).sum(-1).mean() for mean in (posterior, probs, counts / 6)]
        assert errors[0] < 0.8 * min(errors[1:])


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_vote_share_intervals_cover_as_promised(level):
    """Against the exact coverage of these discrete intervals, computed with scipy, within four standard errors."""
    probs, shares, validation = model_and_votes(7, 6.0, 3000, 10)
    strength = fit_model_prior_strength(probs, validation).prior_strength
    observed = np.random.default_rng(8).multinomial(60, shares)
    lower, upper = model_as_prior(probs, strength).vote_share_interval(60, level)
    covered = (lower * 60 - 1e-9 <= observed) & (observed <= upper * 60 + 1e-9)
    marginals = stats.betabinom(60, 6.0 * probs, 6.0 * (1 - probs))
    exact = marginals.cdf(np.rint(upper * 60)) - marginals.cdf(np.rint(lower * 60) - 1)
    for k in range(4):
        error = math.sqrt(exact[:, k].mean() * (1 - exact[:, k].mean()) / 3000)
        assert abs(covered[:, k].mean() - exact[:, k].mean()) < 4 * error
        assert covered[:, k].mean() > level - 3 * error
    assert covered[:, 0].mean() < level + 0.1


def test_a_bare_multinomial_interval_would_not_cover():
    """The control: ignoring that shares differ from the prediction (an infinite strength) covers far too little."""
    probs, shares, _ = model_and_votes(7, 6.0, 3000, 10)
    observed = np.random.default_rng(8).multinomial(60, shares)
    lower, upper = model_as_prior(probs, 1e6).vote_share_interval(60, level=0.9)
    covered = (lower * 60 - 1e-9 <= observed) & (observed <= upper * 60 + 1e-9)
    assert covered.mean() < 0.75


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: model_as_prior([[0.5, 0.6]], 2.0), "category_probs in row 0 sums to 1.1"),
        (lambda: model_as_prior([0.5, 0.5], 2.0), r"category_probs has shape \(2,\); give one row per item"),
        (lambda: model_as_prior([[0.5, 0.5]], np.inf), "prior_strength is inf; .*finite number above 0"),
        (lambda: model_as_prior([[0.5, 0.5]], 0.0), "prior_strength is 0.0"),
        (
            lambda: fit_model_prior_strength([[0.5, 0.5]], [[1, 1, 1]]),
            "target_counts has 3 columns but the prior has 2",
        ),
        (
            lambda: fit_model_prior_strength([[0.5, 0.5]], [[2, 1], [1, 1]]),
            "target_counts has 2 rows for 1 predictions",
        ),
        (
            lambda: fit_model_prior_strength([[1.0, 0.0]], [[2, 1]]),
            "row 0 has 1 votes in column 1, where category_probs is 0",
        ),
        (lambda: fit_model_prior_strength([[0.5, 0.5]], [[1, 0]]), "at most one vote"),
        (lambda: fit_model_prior_strength([[0.5, np.nan]], [[1, 1]]), "category_probs is nan at row 0, column 1"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
