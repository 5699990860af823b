"""Pairs: the numbers of training, κ fitted on validation pairs alone, and intervals over pairs."""

import math

import numpy as np
import pytest

from trl_dprm.evaluation.intervals import Resampling
from trl_dprm.evaluation.pair_report import JudgedPairs, PairPredictions, pair_report
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
    assert report.models[0].log_loss_interval == pytest.approx(mean_interval(losses[0], *drawn), rel=1e-9)
    got, expected = report.models[1].differences["pair_log_loss"], paired_difference(losses[1], losses[0], *drawn)
    assert (got.difference, got.low, got.high) == pytest.approx(
        (expected.difference, expected.low, expected.high), rel=1e-9
    )
    assert report.models[0].differences == {}


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
