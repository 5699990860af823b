"""Pairs: accuracy by both conventions for ties, and calibration that does not depend on which side is named first."""

import math

import numpy as np
import pytest

from trl_dprm.metrics import PAIR_METRICS, pair_metrics

RNG = np.random.default_rng(2)


def test_counts_by_hand():
    metrics = pair_metrics([2.0, 0.0, 1.0, -1.0], [1.0, 0.0, 3.0, -2.0])
    assert metrics["accuracy"] == 0.5
    assert metrics["accuracy_ties_half"] == metrics["vote_agreement"] == 0.625
    assert metrics["margin"] == 0.0
    expected = (2 * math.log1p(math.exp(-1)) + math.log(2) + math.log1p(math.exp(2))) / 4
    assert metrics["pair_log_loss"] == pytest.approx(expected, rel=1e-12)


def test_keys_are_the_documented_ones_and_values_lie_in_their_range():
    metrics = pair_metrics(RNG.normal(size=50), RNG.normal(size=50), RNG.uniform(size=50), RNG.uniform(size=50))
    assert list(metrics) == list(PAIR_METRICS)
    for name, value in metrics.items():
        assert isinstance(value, float) and PAIR_METRICS[name].low <= value <= PAIR_METRICS[name].high, name


def test_vote_agreement_counts_annotators():
    # Five annotators per pair; the rewards prefer first, second, neither: 4 + 2 agree, and half of the last five.
    metrics = pair_metrics([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], chosen_vote_share=[0.8, 0.6, 1.0])
    assert metrics["vote_agreement"] == pytest.approx((4 + 2 + 2.5) / 15, rel=1e-12)


def test_swapping_the_sides_changes_nothing_but_the_names():
    chosen, rejected, share = RNG.normal(size=40), RNG.normal(size=40), RNG.uniform(size=40)
    metrics = pair_metrics(chosen, rejected, share, bradley_terry_scale=1.7)
    swapped = pair_metrics(rejected, chosen, 1 - share, bradley_terry_scale=1.7)
    for name in ("vote_agreement", "pair_log_loss", "pair_expected_calibration_error"):
        assert swapped[name] == pytest.approx(metrics[name], rel=1e-10)
    assert swapped["margin"] == pytest.approx(-metrics["margin"], rel=1e-10)


def test_calibration_equals_a_loop_over_bins_and_orders():
    chosen, rejected, share, weight = (RNG.uniform(size=60) for _ in range(4))
    scale = 3.0
    points = []
    for c, r, s, w in zip(chosen, rejected, share, weight, strict=True):
        probability = 1 / (1 + math.exp(-scale * (c - r)))
        points += [(probability, s, w), (1 - probability, 1 - s, w)]
    error = 0.0
    for b in range(10):
        inside = [point for point in points if b / 10 <= point[0] < (b + 1) / 10]
        error += abs(sum(w * (s - p) for p, s, w in inside)) / sum(w for *_, w in points)
    metrics = pair_metrics(chosen, rejected, share, weight, scale)
    assert metrics["pair_expected_calibration_error"] == pytest.approx(error, rel=1e-10)


def test_an_honest_model_is_calibrated_although_chosen_always_comes_first():
    generator = np.random.default_rng(0)
    reward = generator.normal(size=(2, 40_000))
    first_wins = generator.uniform(size=40_000) < 1 / (1 + np.exp(reward[1] - reward[0]))
    chosen, rejected = np.where(first_wins, reward, reward[::-1])
    assert pair_metrics(chosen, rejected)["pair_expected_calibration_error"] < 0.01
    assert pair_metrics(chosen, rejected, bradley_terry_scale=3.0)["pair_expected_calibration_error"] > 0.05


def test_a_pair_of_weight_two_is_two_pairs():
    chosen, rejected, share, weight = RNG.normal(size=9), RNG.normal(size=9), RNG.uniform(size=9), [1, 2, 3] * 3
    repeated = np.repeat(np.arange(9), weight)
    weighted = pair_metrics(chosen, rejected, share, weight)
    assert weighted == pytest.approx(pair_metrics(chosen[repeated], rejected[repeated], share[repeated]), rel=1e-10)


@pytest.mark.filterwarnings("error")
def test_extreme_rewards_do_not_overflow():
    metrics = pair_metrics([1e6, 0.0], [0.0, 1e6], bradley_terry_scale=10.0)
    assert metrics["pair_log_loss"] == 5e6
    assert metrics["pair_expected_calibration_error"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chosen_rewards": []}, r"chosen_rewards has shape \(0,\); give one dimension with at least one entry"),
        ({"rejected_rewards": [1.0]}, r"rejected_rewards has 1 entries where 2 are needed; give one for each"),
        ({"chosen_rewards": [0.0, np.inf]}, r"chosen_rewards\[1\] is inf; give finite numbers"),
        ({"chosen_vote_share": [0.5, 3.0]}, r"chosen_vote_share\[1\] is 3; give a share between 0 and 1"),
        ({"pair_weight": [1.0, -1.0]}, r"pair_weight\[1\] is -1; give a finite weight of at least 0"),
        ({"bradley_terry_scale": 0.0}, r"bradley_terry_scale is 0.0; give a positive, finite number"),
        ({"bradley_terry_scale": math.nan}, r"bradley_terry_scale is nan; give a positive, finite number"),
    ],
)
def test_bad_input_is_refused_with_its_place(arguments, message):
    with pytest.raises(ValueError, match=message):
        pair_metrics(**{"chosen_rewards": [0.0, 1.0], "rejected_rewards": [1.0, 0.0], **arguments})
