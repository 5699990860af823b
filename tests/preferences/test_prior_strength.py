import math

import numpy as np
import pytest
from scipy import optimize, stats

from trl_dprm.preferences.prior_strength import estimate_prior_strength


def simulated_votes(rng, prior_probs, strength, num_items, num_votes):
    shares = rng.dirichlet(strength * np.asarray(prior_probs), num_items)
    return np.array([rng.multinomial(n, p) for n, p in zip(num_votes, shares, strict=True)])


def scipy_log_likelihood(strength, counts, probs):
    """Up to the multinomial coefficient, row by row."""
    total = 0.0
    for row, prior in zip(counts, np.broadcast_to(probs, counts.shape), strict=True):
        orderings = math.lgamma(row.sum() + 1) - sum(math.lgamma(c + 1) for c in row)
        total += stats.dirichlet_multinomial.logpmf(row, strength * prior, row.sum()) - orderings
    return total


@pytest.mark.parametrize("per_item", [False, True])
def test_equals_a_maximum_found_with_scipy(per_item):
    rng = np.random.default_rng(3)
    probs = rng.dirichlet([3.0, 2.0, 1.0], 60) if per_item else np.array([0.5, 0.3, 0.2])
    votes = rng.integers(1, 9, 60)
    shares = [rng.dirichlet(5 * p) for p in np.broadcast_to(probs, (60, 3))]
    counts = np.array([rng.multinomial(n, p) for n, p in zip(votes, shares, strict=True)])
    estimate = estimate_prior_strength(counts, probs)
    found = optimize.minimize_scalar(
        lambda x: -scipy_log_likelihood(math.exp(x), counts, probs), bounds=(-2, 6), method="bounded"
    )
    several = counts.sum(1) > 1
    used = scipy_log_likelihood(estimate.prior_strength, counts[several], probs[several] if per_item else probs)
    np.testing.assert_allclose(estimate.log_likelihood, used, rtol=1e-10)
    np.testing.assert_allclose(estimate.prior_strength, math.exp(found.x), rtol=1e-4)
    assert estimate.boundary is None and estimate.num_items == several.sum()


def test_two_votes_per_item_have_a_closed_form():
    """With two votes and two equal categories, P(agree) = (n0/2 + 1) / (n0 + 1): solve for the observed share."""
    agreeing, split = 70, 30
    counts = [[2, 0]] * 35 + [[0, 2]] * 35 + [[1, 1]] * split
    share = agreeing / (agreeing + split)
    estimate = estimate_prior_strength(counts, [0.5, 0.5])
    np.testing.assert_allclose(estimate.prior_strength, (1 - share) / (share - 0.5), rtol=1e-6)


@pytest.mark.parametrize("strength", [0.5, 4.0, 30.0])
def test_a_known_strength_is_recovered(strength):
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    for seed in range(3):
        rng = np.random.default_rng(seed)
        counts = simulated_votes(rng, prior, strength, 4000, rng.integers(1, 12, 4000))
        assert abs(math.log(estimate_prior_strength(counts, prior).prior_strength / strength)) < 0.1
        assert abs(math.log(estimate_prior_strength(counts).prior_strength / strength)) < 0.1


def test_effective_votes_of_weighted_annotators_give_nearly_the_same_strength():
    rng = np.random.default_rng(0)
    counts = []
    for shares in rng.dirichlet(8.0 * np.array([0.4, 0.3, 0.2, 0.1]), 4000):
        weights = rng.choice([0.5, 1.0, 2.0], 8)
        weighted = np.bincount(rng.choice(4, 8, p=shares), weights, minlength=4)
        counts.append(weighted * weights.sum() / (weights**2).sum())  # Kish: (Σw)² / Σw² votes in all
    assert abs(math.log(estimate_prior_strength(counts).prior_strength / 8.0)) < 0.1


def test_default_prior_is_the_pooled_shares():
    counts = np.array([[3, 0], [1, 1], [0, 2]])
    assert estimate_prior_strength(counts).prior_probs.tolist() == [4 / 7, 3 / 7]


def test_items_with_one_vote_change_nothing():
    counts = np.array([[3, 1], [0, 4], [2, 2]])
    more = np.concatenate([counts, [[1, 0], [0, 1], [0, 0]]])
    assert (
        estimate_prior_strength(more, [0.5, 0.5]).prior_strength
        == estimate_prior_strength(counts, [0.5, 0.5]).prior_strength
    )


class TestBoundaries:
    def test_items_without_disagreement(self):
        estimate = estimate_prior_strength([[3, 0], [0, 2], [4, 0]], [0.6, 0.4])
        assert (estimate.prior_strength, estimate.boundary) == (0.0, "zero")
        np.testing.assert_allclose(estimate.log_likelihood, math.log(0.6 * 0.4 * 0.6))

    def test_items_that_differ_less_than_chance(self):
        estimate = estimate_prior_strength([[2, 2]] * 50, [0.5, 0.5])
        assert (estimate.prior_strength, estimate.boundary) == (np.inf, "infinity")
        np.testing.assert_allclose(estimate.log_likelihood, 200 * math.log(0.5))

    def test_the_sign_of_overdispersion_decides(self):
        """Expanding in 1/n0: infinite exactly when Σ c(c-1)/π <= Σ n(n-1)."""
        outcomes = set()
        for seed in range(40):
            counts = np.random.default_rng(seed).multinomial(4, [0.5, 0.3, 0.2], size=30)
            excess = (counts * (counts - 1) / [0.5, 0.3, 0.2]).sum() - 30 * 4 * 3
            outcomes.add(excess > 0)
            assert (estimate_prior_strength(counts, [0.5, 0.3, 0.2]).boundary is None) == (excess > 0)
        assert outcomes == {True, False}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([[1, 0], [0, 1], [0, 0]],),
            "each of the 3 items has at most one vote.*two or more votes, or set it by hand",
        ),
        (([[0.5, 0.5], [0.3, 0.7]],), "at most one vote"),
        (([[3, 0], [2, 0]],), "every vote lies in a category with prior probability 1"),
        (([[3, 1], [2, 0]], [1.0, 0.0]), "row 0 has 1 votes in column 1, where prior_probs is 0"),
        (([[3, 1], [2, 0]], [0.5, 0.6]), "prior_probs sums to 1.1"),
        (([[3, 1], [2, 0]], [0.5, 0.3, 0.2]), r"prior_probs has shape \(3,\) but target_counts has \(2, 2\)"),
        (([[3, 1], [2, 0]], [[0.5, 0.5]]), r"prior_probs has shape \(1, 2\)"),
        (([[3, -1], [2, 0]],), "target_counts is -1.0 at row 0, column 1"),
        (([[3, np.nan], [2, 0]],), "target_counts is nan at row 0, column 1"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimate_prior_strength(*arguments)
