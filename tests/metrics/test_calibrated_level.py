"""The error of calibrated predictions against its exact distribution over all votes, and against redrawn votes."""

import itertools

import numpy as np
import pytest
from scipy.stats import betabinom, binom, multinomial

from trl_dprm.metrics import (
    calibration_error_if_calibrated,
    category_calibration_errors,
    category_calibration_errors_if_calibrated,
    expected_calibration_error,
)

PREDICTED, VOTES = np.array([0.12, 0.15, 0.55, 0.7, 0.72]), np.array([2, 3, 1, 4, 2])
RNG = np.random.default_rng(15)


def exact(binning, both_orders, prior_strength):
    """Errors and probabilities of every outcome of the votes."""
    if np.isinf(prior_strength):
        laws = [binom(n, q) for n, q in zip(VOTES, PREDICTED, strict=True)]
    else:
        concentration = prior_strength * PREDICTED
        laws = [betabinom(n, a, prior_strength - a) for n, a in zip(VOTES, concentration, strict=True)]
    tables = [law.pmf(np.arange(n + 1)) for law, n in zip(laws, VOTES, strict=True)]
    errors, probabilities = [], []
    for yes in itertools.product(*(range(n + 1) for n in VOTES)):
        errors.append(expected_calibration_error(PREDICTED, yes / VOTES, VOTES, 4, binning, both_orders))
        probabilities.append(np.prod([table[k] for table, k in zip(tables, yes, strict=True)]))
    return np.array(errors), np.array(probabilities)


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
@pytest.mark.parametrize("both_orders", [False, True])
@pytest.mark.parametrize("prior_strength", [np.inf, 1.5])
def test_against_every_outcome_of_the_votes(binning, both_orders, prior_strength):
    errors, probability = exact(binning, both_orders, prior_strength)
    assert probability.sum() == pytest.approx(1, rel=1e-9)
    level = calibration_error_if_calibrated(
        PREDICTED, VOTES, 4, binning, both_orders, prior_strength, num_simulations=4000
    )
    mean = probability @ errors
    deviation = np.sqrt(probability @ (errors - mean) ** 2)
    assert abs(level.mean - mean) < 4 * deviation / np.sqrt(4000)
    above = probability[errors > level.high + 1e-12].sum(), probability[errors >= level.high - 0.005].sum()
    assert above[0] < 0.06 and above[1] > 0.04  # the quantile of a discrete distribution


def test_categories_against_every_outcome_of_the_votes():
    probs, votes = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]]), np.array([2, 1, 3])
    outcomes = [[c for c in itertools.product(range(n + 1), repeat=3) if sum(c) == n] for n in votes]
    errors, probability = [], []
    for counts in itertools.product(*outcomes):
        errors.append(category_calibration_errors(probs, np.array(counts) / votes[:, None], votes, num_bins=2))
        probability.append(np.prod([multinomial(n, q).pmf(c) for n, q, c in zip(votes, probs, counts, strict=True)]))
    errors, probability = np.array(errors), np.array(probability)
    levels = category_calibration_errors_if_calibrated(probs, votes, num_bins=2, num_simulations=4000)
    np.testing.assert_allclose([level.mean for level in levels.categories], probability @ errors, atol=0.01)
    overall = errors.mean(axis=1)
    assert levels.mean_over_categories.mean == pytest.approx(probability @ overall, abs=0.01)
    assert probability[overall > levels.mean_over_categories.high + 1e-12].sum() < 0.06


def test_more_votes_and_more_items_lower_the_level():
    def level(num_items, votes):
        predicted = np.random.default_rng(0).uniform(size=num_items)
        return calibration_error_if_calibrated(predicted, np.full(num_items, votes), num_simulations=200).mean

    assert level(100, 8) == pytest.approx(level(100, 2) / 2, rel=0.1)
    assert level(1600, 2) == pytest.approx(level(100, 2) / 4, rel=0.1)


def test_items_that_differ_from_their_predictions_raise_the_level_unless_each_has_one_vote():
    predicted = RNG.uniform(size=300)
    single, several = np.ones(300), np.full(300, 5)
    levels = [
        calibration_error_if_calibrated(predicted, votes, prior_strength=strength).mean
        for votes in (single, several)
        for strength in (np.inf, 2.0)
    ]
    assert levels[1] == pytest.approx(levels[0], rel=0.1)
    assert levels[3] == pytest.approx(levels[2] * np.sqrt((5 + 2) / (1 + 2)), rel=0.1)  # beta-binomial variance


def test_a_tiny_prior_strength_makes_every_item_unanimous():
    level = calibration_error_if_calibrated([0.5] * 50, [10] * 50, prior_strength=1e-9)
    assert level.mean == pytest.approx(calibration_error_if_calibrated([0.5] * 50, [1] * 50).mean, rel=0.1)
    probs = np.tile([0.5, 0.5, 0.0], (50, 1))
    levels = category_calibration_errors_if_calibrated(probs, [10] * 50, prior_strength=1e-9, num_simulations=20)
    assert levels.categories[2] == (0.0, 0.0)


def test_a_calibrated_model_is_found_innocent_and_a_sharpened_one_guilty():
    generator = np.random.default_rng(16)
    truth = generator.dirichlet(np.ones(3), 800)
    votes = generator.integers(1, 5, 800)
    shares = generator.multinomial(votes, truth) / votes[:, None]
    sharpened = truth**2 / (truth**2).sum(axis=1, keepdims=True)
    for binning in ("equal_width", "equal_mass"):
        for probs, innocent in ((truth, True), (sharpened, False)):
            error = category_calibration_errors(probs, shares, votes, binning=binning).mean()
            level = category_calibration_errors_if_calibrated(probs, votes, binning=binning, num_simulations=200)
            assert (error < level.mean_over_categories.high) == innocent


def test_half_votes_for_ties_only_lower_the_error():
    generator = np.random.default_rng(17)
    predicted = generator.uniform(0.3, 0.7, 300)
    tie = 0.4
    outcomes = np.stack([predicted - tie / 2, np.full(300, tie), 1 - predicted - tie / 2], axis=1)
    errors = []
    for _ in range(200):
        observed = generator.multinomial(3, outcomes) @ [1, 0.5, 0] / 3
        errors.append(expected_calibration_error(predicted, observed, both_orders=True))
    level = calibration_error_if_calibrated(predicted, [3] * 300, both_orders=True)
    assert np.mean(errors) < level.mean


def test_items_without_votes_do_not_count_and_effective_votes_are_rounded():
    level = calibration_error_if_calibrated([0.2, 0.9, 0.4], [2, 0, 3])
    assert level == calibration_error_if_calibrated([0.2, 0.4], [2, 3])
    probs = [[0.2, 0.8], [0.9, 0.1], [0.4, 0.6]]
    levels = category_calibration_errors_if_calibrated(probs, [2, 0, 3])
    assert levels == category_calibration_errors_if_calibrated([probs[0], probs[2]], [2, 3])
    assert calibration_error_if_calibrated([0.2], [0.3]) == calibration_error_if_calibrated([0.2], [1])


def test_the_seed_decides():
    def level(seed):
        return calibration_error_if_calibrated(PREDICTED, VOTES, num_simulations=20, seed=seed)

    assert level(0) == level(0) != level(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predicted": [0.5, 1.5]}, r"predicted\[1\] is 1.5; give a share between 0 and 1"),
        ({"num_votes": [1]}, r"num_votes has 1 entries where 2 are needed"),
        ({"num_votes": [1, -1]}, r"num_votes\[1\] is -1; give a finite weight of at least 0"),
        ({"num_bins": 0}, r"num_bins is 0; give at least 1"),
        ({"binning": "quantile"}, r'binning is "quantile"; choose one of equal_width, equal_mass'),
        ({"prior_strength": 0.0}, r"prior_strength is 0.0; give a number of votes above 0"),
        ({"prior_strength": np.nan}, r"prior_strength is nan; give a number of votes above 0"),
        ({"num_simulations": 0}, r"num_simulations is 0; give at least 1"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        calibration_error_if_calibrated(**{"predicted": [0.2, 0.8], "num_votes": [2, 1], **arguments})
