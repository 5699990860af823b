"""Pairs: the numbers of training, κ fitted on validation pairs alone, and intervals over pairs."""

import math

import numpy as np
import pytest

from trl_dprm.evaluation.intervals import Resampling
from trl_dprm.evaluation.pair_report import OTHER_PAIRS, JudgedPairs, PairPredictions, pair_report
from trl_dprm.metrics import fit_bradley_terry_scale, mean_interval, pair_metrics, paired_difference

DRAW = np.random.default_rng(4)
REWARDS = DRAW.normal(size=(30, 2))
OTHER = DRAW.normal(size=(30, 2))
SHARE, WEIGHT = DRAW.integers(0, 6, 30) / 5, np.full(30, 5.0)
PAIRS = JudgedPairs(SHARE, WEIGHT, [f"prompt {row // 3}" for row in range(30)])
FEW = Resampling(num_resamples=200, seed=5)


@pytest.fixture(scope="module")
def report():
    return pair_report({"a": PairPredictions(REWARDS, 1.3), "b": PairPredictions(OTHER, 0.7)}, PAIRS, resampling=FEW)


def test_metrics_are_those_of_training(report):
    for model, rewards, scale in zip(report.models, (REWARDS, OTHER), (1.3, 0.7), strict=True):
        assert model.metrics == pair_metrics(*rewards.T, SHARE, WEIGHT, scale) and not model.refitted


def test_intervals_draw_whole_clusters_of_pairs(report):
    losses = []
    for rewards, scale in ((REWARDS, 1.3), (OTHER, 0.7)):
        won = 1 / (1 + np.exp(-scale * (rewards[:, 0] - rewards[:, 1])))
        losses.append(-SHARE * np.log(won) - (1 - SHARE) * np.log(1 - won))
    drawn = WEIGHT, PAIRS.clusters, 200, 0.95, 5
    got = report.models[0].intervals["pair_log_loss"]
    assert (got.low, got.high) == pytest.approx(mean_interval(losses[0], *drawn)[1:], rel=1e-9)
    got, expected = report.models[1].differences["pair_log_loss"], paired_difference(losses[1], losses[0], *drawn)
    assert (got.difference, got.low, got.high) == pytest.approx(
        (expected.difference, expected.low, expected.high), rel=1e-9
    )
    assert report.models[0].differences == {}


def test_every_number_has_an_interval_and_its_difference(report):
    won = (REWARDS[:, 0] > REWARDS[:, 1]).astype(float)
    (_, low, high) = mean_interval(won, WEIGHT, PAIRS.clusters, 200, 0.95, 5)
    assert report.models[0].intervals["accuracy"] == (low, high, OTHER_PAIRS)
    for model in report.models:
        assert set(model.intervals) == set(model.metrics)
        assert all(
            model.intervals[name].low < value < model.intervals[name].high for name, value in model.metrics.items()
        )
    accuracy = report.models[1].metrics["accuracy"] - report.models[0].metrics["accuracy"]
    assert report.models[1].differences["accuracy"].difference == pytest.approx(accuracy, rel=1e-9)
    assert "margin" not in report.models[1].differences


def test_the_interval_of_the_calibration_error_is_that_of_repeated_pairs(report):
    def error(rows):
        metrics = pair_metrics(*REWARDS[rows].T, SHARE[rows], WEIGHT[rows], 1.3)
        return metrics["pair_expected_calibration_error"]

    draw, drawn = np.random.default_rng(5), []
    for _ in range(200):
        groups = np.repeat(np.arange(10), np.bincount(draw.integers(10, size=10), minlength=10))
        drawn.append(error((3 * groups[:, None] + np.arange(3)).ravel()))
    shift = error(np.arange(30)) - np.mean(drawn)
    got = report.models[0].intervals["pair_expected_calibration_error"]
    expected = np.quantile(drawn, [0.025, 0.975]) + shift
    assert (got.low, got.high) == pytest.approx((max(expected[0], 0.0), expected[1]), rel=1e-9)


def test_pairs_without_votes_are_none():
    weight = np.where(np.arange(30) < 6, 5.0, 0.0)
    few = pair_report({"a": PairPredictions(REWARDS)}, JudgedPairs(SHARE, weight), resampling=FEW).models[0]
    alone = pair_report(
        {"a": PairPredictions(REWARDS[:6])}, JudgedPairs(SHARE[:6], weight[:6]), resampling=FEW
    ).models[0]
    assert few.intervals == alone.intervals
    single = JudgedPairs(SHARE, np.where(np.arange(30) < 1, 5.0, 0.0))
    assert pair_report({"a": PairPredictions(REWARDS)}, single, resampling=FEW).models[0].intervals == {}


def test_a_scale_is_fitted_on_validation_pairs_alone():
    validation = JudgedPairs([0.8, 0.4, 1.0, 0.2], [5, 5, 5, 5])
    rewards = np.array([[1.0, 0.0], [0.2, 0.0], [2.0, 1.0], [0.5, 0.0]])
    raw, fitted = pair_report({"a": PairPredictions(REWARDS, 1.0, rewards)}, PAIRS, validation, FEW).models
    expected = fit_bradley_terry_scale(*rewards.T, validation.chosen_vote_share, validation.pair_weight).scale
    assert fitted.refitted and fitted.scale == expected and raw.scale == 1.0
    assert fitted.metrics == pair_metrics(*REWARDS.T, SHARE, WEIGHT, expected)
    assert fitted.metrics["accuracy"] == raw.metrics["accuracy"]


def test_a_scale_at_a_boundary_is_said_and_not_used():
    validation = JudgedPairs([1.0, 1.0], [5, 5])
    report = pair_report({"a": PairPredictions(REWARDS, 1.0, [[1, 0], [2, 0]])}, PAIRS, validation, FEW)
    assert len(report.models) == 1 and "κ at infinity" in report.notes[0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="models is empty"):
        pair_report({}, PAIRS)
    with pytest.raises(ValueError, match="clusters has 1 entries for 2 pairs"):
        JudgedPairs([1.0, 0.5], [1, 1], ["a"])
    with pytest.raises(ValueError, match=r"rewards\[0\] is nan"):
        pair_report({"a": PairPredictions([[math.nan, 0.0]] * 30)}, PAIRS)
