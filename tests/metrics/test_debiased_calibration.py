"""The debiased calibration error by enumeration of all votes, against loops over pairs of items and in simulation."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import norm

from trl_dprm.metrics import (
    calibration_error_if_calibrated,
    category_debiased_calibration_errors,
    debiased_calibration_error,
    expected_calibration_error,
    reliability_curve,
    squared_calibration_error,
)
from trl_dprm.models.distributions import win_probability

RNG = np.random.default_rng(6)
PREDICTED, OBSERVED, WEIGHT = RNG.uniform(size=60), RNG.uniform(size=60), RNG.integers(0, 5, 60).astype(float)
CLUSTERS = RNG.integers(0, 25, 60).astype(str)


def loop_over_pairs(entries, num_bins):
    """`entries` are (cluster, predicted, observed, weight): products of entries of different clusters, bin by bin."""
    values, weights = [], []
    for number in range(num_bins):
        inside = [e for e in entries if min(int(e[1] * num_bins), num_bins - 1) == number and e[3] > 0]
        pairs = [(a, b) for a in inside for b in inside if a[0] != b[0]]
        if pairs:
            gaps = sum(a[3] * (a[2] - a[1]) * b[3] * (b[2] - b[1]) for a, b in pairs)
            values.append(gaps / sum(a[3] * b[3] for a, b in pairs))
            weights.append(sum(e[3] for e in inside))
    return np.average(values, weights=weights)


@pytest.mark.parametrize("both_orders", [False, True])
@pytest.mark.parametrize("clusters", [None, CLUSTERS])
def test_against_a_loop_over_pairs_of_items(both_orders, clusters):
    names = np.arange(60) if clusters is None else clusters
    entries = list(zip(names, PREDICTED, OBSERVED, WEIGHT, strict=True))
    if both_orders:
        entries += [(name, 1 - q, 1 - s, w) for name, q, s, w in entries]
    square = squared_calibration_error(
        PREDICTED, OBSERVED, WEIGHT, num_bins=7, both_orders=both_orders, cluster_ids=clusters
    )
    assert square == pytest.approx(loop_over_pairs(entries, 7), rel=1e-10)


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
def test_single_votes_and_a_binned_prediction_give_the_estimator_of_kumar_and_others(binning):
    predicted = RNG.choice([0.15, 0.42, 0.88], 300)
    observed = (RNG.uniform(size=300) < 0.1 + 0.7 * predicted).astype(float)
    expected = 0.0
    for value in (0.15, 0.42, 0.88):
        votes = observed[predicted == value]
        variance = votes.mean() * (1 - votes.mean()) / (len(votes) - 1)
        expected += len(votes) / 300 * ((votes.mean() - value) ** 2 - variance)
    square = squared_calibration_error(predicted, observed, num_bins=3, binning=binning)
    assert square == pytest.approx(expected, rel=1e-10)


def test_equal_weights_take_away_the_variance_of_the_mean():
    square = squared_calibration_error(PREDICTED, OBSERVED, num_bins=1)
    gaps = OBSERVED - PREDICTED
    assert square == pytest.approx(gaps.mean() ** 2 - gaps.var(ddof=1) / 60, rel=1e-10)


@pytest.mark.parametrize("both_orders", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.15])
def test_the_expectation_over_all_votes_is_the_squared_shift(shift, both_orders):
    """Four items in one bin (two with their mirror images), each `shift` likelier than predicted."""
    predicted, votes = np.array([0.52, 0.6, 0.61, 0.7]), [1, 2, 3, 1]
    truth = predicted + shift
    total = 0.0
    for yes in itertools.product(*(range(n + 1) for n in votes)):
        outcomes = zip(truth, votes, yes, strict=True)
        probability = np.prod(
            [len(list(itertools.combinations(range(n), k))) * p**k * (1 - p) ** (n - k) for p, n, k in outcomes]
        )
        square = squared_calibration_error(predicted, np.array(yes) / votes, votes, 2, both_orders=both_orders)
        total += probability * square
    assert total == pytest.approx(shift**2, abs=1e-12)


def overdispersed(num_items, votes, sharpening, generator):
    """A calibrated model that does not know all (items are drawn around its predictions), then sharpened."""
    calibrated = generator.beta(1.0, 1.5, num_items)
    truth = generator.beta(4 * calibrated, 4 * (1 - calibrated))
    observed = generator.binomial(votes, truth) / votes
    logit = np.log(calibrated / (1 - calibrated))
    return calibrated, expit(sharpening * logit), observed


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
@pytest.mark.parametrize("sharpening", [1.0, 2.5])
def test_few_items_tell_on_average_what_many_tell(binning, sharpening):
    generator = np.random.default_rng(11)
    calibrated, predicted, _ = overdispersed(200_000, 3, sharpening, generator)
    truth = reliability_curve(predicted, calibrated, binning=binning)
    expected = np.average((truth.observed - truth.predicted) ** 2, weights=truth.weight)
    squares, plain = [], []
    for _ in range(300):
        _, predicted, observed = overdispersed(100, 3, sharpening, generator)
        squares.append(squared_calibration_error(predicted, observed, binning=binning))
        curve = reliability_curve(predicted, observed, binning=binning)
        plain.append(np.average((curve.observed - curve.predicted) ** 2, weights=curve.weight))
    assert np.mean(squares) == pytest.approx(expected, abs=0.002)
    assert np.mean(plain) > expected + 0.005


def test_clusters_that_share_their_luck_are_not_taken_for_evidence():
    generator = np.random.default_rng(12)
    with_clusters, without = [], []
    for _ in range(300):
        truth = np.repeat(generator.uniform(size=20), 10)  # twenty conversations of ten items, all predicted one half
        observed = (generator.uniform(size=200) < truth).astype(float)
        predicted, conversation = np.full(200, 0.5), np.repeat(np.arange(20), 10)
        with_clusters.append(squared_calibration_error(predicted, observed, cluster_ids=conversation))
        without.append(squared_calibration_error(predicted, observed))
    assert np.mean(with_clusters) == pytest.approx(0, abs=0.001)
    assert np.mean(without) > 0.002


def test_pairs_whose_probability_is_a_link_of_the_margin():
    """σ(κΔ): near 0 at the true κ and clearly above it at another, whichever response is named first."""
    generator = np.random.default_rng(13)
    margin = generator.normal(0, 1.5, 3000)
    wins = generator.binomial(3, expit(1.2 * margin)) / 3
    first = margin > 0
    margin, wins = np.where(first, margin, -margin), np.where(first, wins, 1 - wins)
    honest, exaggerated = (debiased_calibration_error(expit(k * margin), wins, both_orders=True) for k in (1.2, 2.4))
    assert honest < 0.015
    assert exaggerated > 0.05
    assert exaggerated < expected_calibration_error(expit(2.4 * margin), wins, both_orders=True) + 0.03


def test_pairs_judged_by_two_independent_annotators():
    """`win_probability` of the true distributions, ties as half a vote, and of sharpened ones."""
    generator = np.random.default_rng(18)
    rewards = np.array([-1.0, 0.0, 1.0])
    chosen, rejected = generator.dirichlet([0.5, 0.5, 0.5], (2, 4000))
    ratings = [[generator.multinomial(1, side) @ rewards for side in (chosen, rejected)] for _ in range(3)]
    shares = np.mean([np.heaviside(one - other, 0.5) for one, other in ratings], axis=0)
    errors = []
    for power in (1.0, 2.0):
        sides = [
            torch.from_numpy(side**power / (side**power).sum(axis=1, keepdims=True)) for side in (chosen, rejected)
        ]
        predicted = win_probability(*sides, rewards.tolist()).numpy()
        errors.append(debiased_calibration_error(predicted, shares, both_orders=True))
        level = calibration_error_if_calibrated(predicted, [3] * 4000, both_orders=True, num_simulations=50)
        plain = expected_calibration_error(predicted, shares, both_orders=True)
        assert (plain < level.high) == (power == 1.0)
    assert errors[0] < 0.012
    assert errors[1] > 0.05


def test_pairs_in_both_orders_do_not_depend_on_the_order_given():
    swap = RNG.uniform(size=60) < 0.5
    predicted, observed = np.where(swap, 1 - PREDICTED, PREDICTED), np.where(swap, 1 - OBSERVED, OBSERVED)
    for binning in ("equal_width", "equal_mass"):
        square = squared_calibration_error(predicted, observed, WEIGHT, binning=binning, both_orders=True)
        expected = squared_calibration_error(PREDICTED, OBSERVED, WEIGHT, binning=binning, both_orders=True)
        assert square == pytest.approx(expected, rel=1e-9)


def test_the_root_is_cut_at_zero_and_a_lonely_item_says_nothing():
    assert debiased_calibration_error([0.5, 0.5], [0.0, 1.0]) == 0.0
    assert debiased_calibration_error([0.1, 0.1], [0.5, 0.5]) == pytest.approx(0.4, rel=1e-12)
    assert np.isnan(debiased_calibration_error([0.1, 0.9], [0.5, 0.5]))
    assert debiased_calibration_error([0.1, 0.1, 0.9], [0.5, 0.5, 0.0]) == pytest.approx(0.4, rel=1e-12)
    assert np.isnan(debiased_calibration_error([0.1, 0.1], [0.5, 0.5], cluster_ids=["a", "a"]))


def test_each_category_is_judged_by_its_own_column():
    probs, votes = RNG.dirichlet(np.ones(3), 60), RNG.dirichlet(np.ones(3), 60)
    errors = category_debiased_calibration_errors(probs, votes, WEIGHT, 4, "equal_mass", CLUSTERS)
    expected = [
        debiased_calibration_error(probs[:, k], votes[:, k], WEIGHT, 4, "equal_mass", cluster_ids=CLUSTERS)
        for k in range(3)
    ]
    np.testing.assert_allclose(errors, expected, rtol=1e-12)


def test_what_is_taken_away_has_the_size_of_a_normal_deviation():
    """What debiasing takes away: the plain error of a perfect model is the mean of |N(0, p(1 - p) / n)|."""
    generator = np.random.default_rng(14)
    observed = (generator.uniform(size=(400, 500)) < 0.3).astype(float)
    plain = np.mean([expected_calibration_error(np.full(500, 0.3), row) for row in observed])
    debiased = np.mean([squared_calibration_error(np.full(500, 0.3), row) for row in observed])
    level = np.sqrt(0.3 * 0.7 / 500) * 2 * norm.pdf(0)
    assert plain == pytest.approx(level, rel=0.1)
    assert abs(debiased) < level**2 / 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predicted": [0.5, 1.5]}, r"predicted\[1\] is 1.5; give a share between 0 and 1"),
        ({"cluster_ids": ["a"]}, r"cluster_ids has shape \(1,\) for 2 items; give one id per item"),
        ({"weight": [0.0, 0.0]}, r"weight is zero everywhere; at least one item must count"),
        ({"weight": [1.0]}, r"weight has 1 entries where 2 are needed"),
        ({"num_bins": 0}, r"num_bins is 0; give at least 1"),
        ({"binning": "quantile"}, r'binning is "quantile"; choose one of equal_width, equal_mass'),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        squared_calibration_error(**{"predicted": [0.2, 0.8], "observed": [0.0, 1.0], **arguments})
