"""Intervals of the curve in votes against one mean, or one paired difference, after the other."""

import math

import numpy as np
import pytest

from trl_dprm.metrics import mean_interval, paired_difference
from trl_dprm.metrics.bootstrap import mean_intervals
from trl_dprm.metrics.held_out_votes import (
    HELD_OUT_METRICS,
    held_out_scores,
    held_out_votes_curve,
    votes_only_curve,
    votes_only_scores,
)
from trl_dprm.metrics.votes_curve_intervals import ahead_of_votes, curve_with_intervals

RNG = np.random.default_rng(12)
COST = np.abs(np.subtract.outer([0.0, 1.0, 3.0], [0.0, 1.0, 3.0]))
TRUTH = RNG.dirichlet(np.ones(3), 30)
COUNTS = np.array([RNG.multinomial(n, p) for n, p in zip(RNG.integers(3, 7, 30), TRUTH, strict=True)])
STEPS, TALKS = [0, 1, 2], np.arange(30) // 2
MODEL = held_out_scores(TRUTH, COUNTS, 4.0, COST, STEPS)
ALONE = votes_only_scores(COUNTS, COUNTS, COST, STEPS)


@pytest.mark.parametrize("clusters", [None, TALKS])
def test_every_cell_has_the_interval_of_its_items_scores(clusters):
    curve = curve_with_intervals(MODEL, clusters, num_resamples=100, seed=7)
    assert curve.scores == held_out_votes_curve(TRUTH, COUNTS, 4.0, COST, STEPS).scores
    for name in HELD_OUT_METRICS:
        for step in STEPS:
            one = held_out_scores(TRUTH, COUNTS, 4.0, COST, [step]).scores[name][0]
            expected = mean_interval(one, COUNTS.sum(axis=1), clusters, 100, seed=7)
            assert curve.intervals[name][step] == pytest.approx(expected[1:], rel=1e-10)
            assert curve.scores[name][step] == pytest.approx(expected.mean, rel=1e-10)


@pytest.mark.parametrize("clusters", [None, TALKS])
def test_ahead_of_votes_is_the_paired_difference_on_the_same_items(clusters):
    ahead = ahead_of_votes(MODEL, ALONE, clusters, num_resamples=100, seed=7)
    assert ahead.num_votes == STEPS and list(ahead.differences) == list(HELD_OUT_METRICS)
    alone = votes_only_curve(COUNTS, COUNTS, COST, STEPS)
    for name in HELD_OUT_METRICS:
        for step, got in enumerate(ahead.differences[name]):
            expected = paired_difference(
                MODEL.scores[name][0], ALONE.scores[name][step], COUNTS.sum(axis=1), clusters, 100, seed=7
            )
            assert got == pytest.approx((expected.difference, expected.low, expected.high), rel=1e-9)
            unaided = held_out_votes_curve(TRUTH, COUNTS, 4.0, COST, [0]).scores[name][0]
            assert got.mean == pytest.approx(unaided - alone.scores[name][step], rel=1e-9)


def test_intervals_of_the_difference_hold_what_endless_items_would_show():
    """The truth as the model: its squared distance is 0. One vote alone leaves the variance of Beta(1, 1), 1/12, less
    that of its posterior means, 1/36, in either category.
    """
    held, draw, one = 0, np.random.default_rng(1), 1 - np.eye(2)
    for _ in range(200):
        truth = draw.dirichlet([1, 1], 80)
        counts = np.array([draw.multinomial(4, p) for p in truth])
        model, alone = (held_out_scores(q, counts, 2.0, one, [0, 1]) for q in (truth, np.full((80, 2), 0.5)))
        (_, step) = ahead_of_votes(model, alone, num_resamples=200).differences["unbiased_brier_score"]
        held += step.low <= -1 / 9 <= step.high
    assert 176 <= held <= 198


def test_infinite_scores_and_a_single_cluster_have_no_interval():
    certain = np.tile([1.0, 0.0, 0.0], (30, 1))
    scores = held_out_scores(certain, COUNTS, 4.0, COST, STEPS)
    curve, ahead = curve_with_intervals(scores, num_resamples=20), ahead_of_votes(scores, ALONE, num_resamples=20)
    assert curve.scores["nats_per_vote"][0] == math.inf and np.isnan(curve.intervals["nats_per_vote"]).all()
    assert ahead.differences["nats_per_vote"][0].mean == math.inf
    assert math.isnan(ahead.differences["nats_per_vote"][0].low)
    assert np.isfinite(curve.intervals["unbiased_brier_score"]).all()
    alone = curve_with_intervals(MODEL, ["one talk"] * 30)
    assert np.isnan([*alone.intervals.values()]).all()
    assert alone.scores == held_out_votes_curve(TRUTH, COUNTS, 4.0, COST, STEPS).scores


@pytest.mark.filterwarnings("error")
def test_what_is_impossible_for_both_has_no_difference():
    certain = held_out_scores(np.tile([1.0, 0.0, 0.0], (30, 1)), COUNTS, math.inf, COST, STEPS)
    difference = ahead_of_votes(certain, certain, num_resamples=20).differences["nats_per_vote"][1]
    assert np.isnan(difference).all()


def test_many_means_at_once_are_those_one_by_one():
    scores, weight = RNG.normal(size=(4, 30)), COUNTS.sum(axis=1)
    many = mean_intervals(scores, weight, TALKS, 100, 0.9, 3)
    assert many == [pytest.approx(mean_interval(row, weight, TALKS, 100, 0.9, 3), rel=1e-12) for row in scores]


def test_scores_of_other_items_are_refused():
    with pytest.raises(ValueError, match="of 29 items with .* votes and votes_only of 30"):
        ahead_of_votes(held_out_scores(TRUTH[1:], COUNTS[1:], 4.0, COST, [0]), ALONE)
    with pytest.raises(ValueError, match="unaided begins at 1 votes"):
        ahead_of_votes(held_out_scores(TRUTH, COUNTS, 4.0, COST, [1]), ALONE)
