"""Coverage against scipy's beta-binomial distribution, and against votes drawn from the model itself."""

import numpy as np
import pytest
from scipy.stats import betabinom

from trl_dprm.metrics import vote_share_coverage

RNG = np.random.default_rng(11)
PROBS = np.append(RNG.dirichlet(np.ones(3), 25), [[0.0, 0.25, 0.75]], axis=0)
VOTES = RNG.integers(1, 12, 26)
STRENGTH = 7.0


def drawn_votes(generator, probs, votes, strength):
    shares = np.array([generator.dirichlet(np.maximum(strength * q, 1e-9)) for q in probs])
    return generator.multinomial(votes, shares)


COUNTS = drawn_votes(RNG, PROBS, VOTES, STRENGTH)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_every_interval_is_the_beta_binomial_one(level):
    coverage = vote_share_coverage(PROBS, COUNTS, STRENGTH, level)
    for i, k in np.ndindex(PROBS.shape):
        if PROBS[i, k] == 0:
            assert coverage.covered[i, k] and (coverage.probability[i, k], coverage.width[i, k]) == (1, 0)
            continue
        model = betabinom(VOTES[i], STRENGTH * PROBS[i, k], STRENGTH * (1 - PROBS[i, k]))
        low, high = model.ppf((1 - level) / 2), model.ppf((1 + level) / 2)
        assert coverage.covered[i, k] == (low <= COUNTS[i, k] <= high)
        probability = sum(model.pmf(count) for count in range(int(low), int(high) + 1))
        assert coverage.probability[i, k] == pytest.approx(probability, rel=1e-9)
        assert coverage.width[i, k] == pytest.approx((high - low) / VOTES[i], abs=1e-12)
    assert (coverage.probability >= level - 1e-9).all() and coverage.level == level


def test_summaries_are_means_over_items():
    coverage = vote_share_coverage(PROBS, COUNTS, STRENGTH)
    for table, by_category, overall in (
        (coverage.covered, coverage.observed, coverage.overall_observed),
        (coverage.probability, coverage.expected, coverage.overall_expected),
        (coverage.width, coverage.mean_width, coverage.overall_mean_width),
    ):
        np.testing.assert_allclose(by_category, [sum(column) / 26 for column in table.T], rtol=1e-12)
        assert overall == pytest.approx(sum(by_category) / 3, rel=1e-12)


def test_a_true_model_is_covered_as_expected_and_an_overconfident_one_is_not():
    generator = np.random.default_rng(0)
    probs, votes = np.tile(PROBS[:25], (80, 1)), np.tile(VOTES[:25], 80)
    counts = drawn_votes(generator, probs, votes, STRENGTH)
    right = vote_share_coverage(probs, counts, STRENGTH)
    assert (np.abs(right.observed - right.expected) < 4 * right.expected_std).all()
    assert right.expected_std.max() < 0.01
    too_sure = vote_share_coverage(probs, counts, 50 * STRENGTH)
    assert (too_sure.observed < too_sure.expected - 10 * too_sure.expected_std).all()
    assert too_sure.overall_mean_width < right.overall_mean_width


def test_the_expected_spread_is_that_of_repeated_votes():
    probs, votes = np.tile(PROBS[:25], (400, 1)), np.tile(VOTES[:25], 400)
    runs = vote_share_coverage(probs, drawn_votes(np.random.default_rng(1), probs, votes, STRENGTH), STRENGTH)
    observed = runs.covered.reshape(400, 25, 3).mean(axis=1)
    expected_std = vote_share_coverage(PROBS[:25], COUNTS[:25], STRENGTH).expected_std
    np.testing.assert_allclose(observed.std(axis=0) / expected_std, 1, atol=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_counts": [[1, 1]]}, r"category_probs has shape \(2, 2\) but target_counts has \(1, 2\)"),
        ({"target_counts": [[1, 1], [0, 0]]}, r"target_counts row 1 has no votes"),
        ({"target_counts": [[1, 1], [0.5, 0.5]]}, r"row 1, category 0 is 0.5; give whole votes \(not weighted"),
        ({"prior_strength": 0}, r"prior_strength"),
        ({"level": 90}, r"level is 90; it is an interval's coverage"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    good = {"category_probs": [[0.5, 0.5], [0.1, 0.9]], "target_counts": [[1, 1], [0, 1]], "prior_strength": 3.0}
    with pytest.raises(ValueError, match=message):
        vote_share_coverage(**{**good, **arguments})
