"""Pairs: the numbers of training, winners by the votes, ties, links fitted on validation pairs alone, intervals."""

import math

import numpy as np
import pytest

from trl_dprm.evaluation.intervals import Resampling
from trl_dprm.evaluation.judged_pairs import JudgedPairs
from trl_dprm.evaluation.pair_report import OTHER_PAIRS, PairPredictions, pair_report
from trl_dprm.metrics import (
    davidson_probs,
    fit_bradley_terry_scale,
    fit_davidson,
    mean_interval,
    pair_metrics,
    pair_vote_metrics,
    paired_difference,
)

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
        expected = pair_metrics(*rewards.T, SHARE, WEIGHT, scale)
        assert {name: model.metrics[name] for name in expected} == expected and not model.refitted
        calibration = ["pair_expected_calibration_error_equal_mass", "pair_debiased_calibration_error"]
        assert list(model.metrics) == ["majority_accuracy", "majority_accuracy_ties_half", *expected, *calibration]


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
    metrics = pair_metrics(*REWARDS.T, SHARE, WEIGHT, expected)
    assert {name: fitted.metrics[name] for name in metrics} == metrics
    assert fitted.metrics["accuracy"] == raw.metrics["accuracy"]


def test_a_scale_at_a_boundary_is_said_and_not_used():
    validation = JudgedPairs([1.0, 1.0], [5, 5])
    report = pair_report({"a": PairPredictions(REWARDS, 1.0, [[1, 0], [2, 0]])}, PAIRS, validation, FEW)
    assert len(report.models) == 1 and "κ at infinity" in report.notes[1]


# --- who won by the votes ---


def test_equal_rewards_have_no_scale_and_do_not_end_the_report():
    validation = JudgedPairs([1.0, 0.6], [5, 5])
    report = pair_report({"a": PairPredictions(REWARDS, 1.0, [[2, 2], [1, 1]])}, PAIRS, validation, FEW)
    assert len(report.models) == 1 and "a: equal rewards in every validation pair" in report.notes[1]


def test_equal_rewards_where_ties_are_known_have_no_davidson_link():
    validation = JudgedPairs([0.5, 1.0, 0.8], [5, 5, 5], tie_vote_share=[0.4, np.nan, np.nan])
    report = pair_report({"a": PairPredictions(REWARDS, 1.0, [[1, 1], [1, 0], [0, 1]])}, PAIRS, validation, FEW)
    assert report.models[1].refitted and report.models[1].davidson is None


def test_majorities_are_oriented_by_the_votes_and_count_alike():
    rewards = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [3.0, 0.0], [5.0, 0.0]]
    pairs = JudgedPairs([0.8, 0.2, 0.4, 1.0, 0.5, 0.0], [5, 5, 5, 1, 4, 0])
    (model,) = pair_report({"a": PairPredictions(rewards)}, pairs, resampling=FEW).models
    # won, lost, won, equal; the even pair has no winner and the last one no votes
    assert model.metrics["majority_accuracy"] == 2 / 4
    assert model.metrics["majority_accuracy_ties_half"] == 2.5 / 4
    ends = mean_interval([1, 0, 1, 0.5, 9, 9], [1, 1, 1, 1, 0, 0], None, 200, 0.95, 5)[1:]
    assert model.intervals["majority_accuracy_ties_half"] == (*ends, OTHER_PAIRS)


def test_exchanging_chosen_and_rejected_where_votes_do_leaves_majorities_alone(report):
    turned = np.arange(30) % 3 == 0
    pairs = JudgedPairs(np.where(turned, 1 - SHARE, SHARE), WEIGHT, PAIRS.clusters)
    rewards = np.where(turned[:, None], REWARDS[:, ::-1], REWARDS)
    (model,) = pair_report({"a": PairPredictions(rewards, 1.3)}, pairs, resampling=FEW).models
    same = ("majority_accuracy", "majority_accuracy_ties_half", "vote_agreement")
    assert {name: model.metrics[name] for name in same} == pytest.approx(
        {name: report.models[0].metrics[name] for name in same}, rel=1e-12
    )
    assert model.metrics["accuracy"] != report.models[0].metrics["accuracy"]


def test_lost_columns_are_said_and_only_then(report):
    assert report.notes == [
        f"In {(SHARE < 0.5).sum()} of 30 pairs the votes are against the response in the column of chosen ones: "
        "`accuracy` goes by the columns, `majority_accuracy` and `vote_agreement` by the votes."
    ]
    assert pair_report({"a": PairPredictions([[1, 0], [0, 1]])}, JudgedPairs([1.0, 0.6], [5, 5])).notes == []


def test_without_a_majority_there_is_no_number():
    even = JudgedPairs([0.5, 0.5], [2, 2])
    (model,) = pair_report({"a": PairPredictions([[1, 0], [0, 1]])}, even, resampling=FEW).models
    assert math.isnan(model.metrics["majority_accuracy"]) and "majority_accuracy" not in model.intervals


def test_few_clusters_are_said():
    few = JudgedPairs(SHARE, WEIGHT, [row % 4 for row in range(30)])
    assert pair_report({"a": PairPredictions(REWARDS)}, few, resampling=FEW).notes[0].startswith("The rows are in 4 c")


# --- votes of three kinds ---

COUNTS = np.random.default_rng(8).multinomial(6, [0.45, 0.2, 0.35], 30).astype(float)
VALIDATION = np.random.default_rng(9).multinomial(6, [0.5, 0.2, 0.3], 40).astype(float)
VALIDATION_REWARDS = np.random.default_rng(10).normal(size=(40, 2)) + (VALIDATION[:, :1] - 2) * [0.3, 0.0]
THREE_WAYS = np.random.default_rng(11).dirichlet([2, 1, 2], 30)
KNOWN = np.arange(30) % 5 > 0


def judged_three_ways(counts, known=True, clusters=None):
    votes = counts.sum(1)
    ties = np.where(known, counts[:, 1] / votes, np.nan)
    return JudgedPairs((counts[:, 0] + counts[:, 1] / 2) / votes, votes, clusters, ties)


@pytest.fixture(scope="module")
def with_ties():
    return pair_report(
        {"a": PairPredictions(REWARDS, 1.3, VALIDATION_REWARDS, THREE_WAYS)},
        judged_three_ways(COUNTS, KNOWN, PAIRS.clusters),
        judged_three_ways(VALIDATION),
        FEW,
    )


def test_three_ways_are_those_of_the_pairs_with_known_ties(with_ties):
    raw, fitted = with_ties.models
    link = fit_davidson(*VALIDATION_REWARDS.T, VALIDATION)
    by_link = davidson_probs(*REWARDS.T, link.scale, link.tie_propensity)
    assert link.boundaries == fitted.davidson.boundaries == () and raw.davidson is None
    assert fitted.davidson[:2] == pytest.approx(link[:2], rel=1e-9)
    for model, probs in ((raw, THREE_WAYS), (fitted, by_link)):
        expected = pair_vote_metrics(probs[KNOWN], COUNTS[KNOWN])
        for name in ("three_way_nats", "decisive_nats"):
            assert model.metrics[name] == pytest.approx(expected[name], rel=1e-9)
        error = pair_vote_metrics(probs, COUNTS)["win_calibration_error"]  # needs no ties: of all pairs
        assert model.metrics["win_calibration_error"] == pytest.approx(error, rel=1e-9)
        assert set(model.intervals) == set(model.metrics)
    assert f"known for {KNOWN.sum()} pairs" in with_ties.notes[1]


def test_strict_majorities_are_those_of_three_ways_where_ties_are_known():
    pairs = judged_three_ways(COUNTS)
    lead = np.where(REWARDS[:, :1] > REWARDS[:, 1:], [0.6, 0.2, 0.2], [0.2, 0.2, 0.6])
    expected = pair_vote_metrics(lead, COUNTS)
    (model,) = pair_report({"a": PairPredictions(REWARDS)}, pairs, resampling=FEW).models
    assert expected["majority_pairs"] == pairs.with_majority.sum() < (COUNTS[:, 0] != COUNTS[:, 2]).sum()
    assert model.metrics["majority_accuracy"] == pytest.approx(expected["majority_accuracy"], rel=1e-12)


def test_intervals_and_differences_of_three_ways_draw_clusters_by_their_votes(with_ties):
    raw, fitted = with_ties.models
    link = fitted.davidson
    nats = [
        -(COUNTS[:, ::2] * np.log(probs[:, ::2] / probs[:, ::2].sum(1, keepdims=True))).sum(1)
        / np.maximum(COUNTS[:, ::2].sum(1), 1)
        for probs in (THREE_WAYS, davidson_probs(*REWARDS.T, link.scale, link.tie_propensity))
    ]
    drawn = np.where(KNOWN, COUNTS[:, ::2].sum(1), 0), PAIRS.clusters, 200, 0.95, 5
    got, expected = raw.intervals["decisive_nats"], mean_interval(nats[0], *drawn)
    assert (got.low, got.high) == pytest.approx(expected[1:], rel=1e-9)
    got, expected = fitted.differences["decisive_nats"], paired_difference(nats[1], nats[0], *drawn)
    assert (got.difference, got.low, got.high) == pytest.approx(expected[:3], rel=1e-9)


def test_a_link_at_a_boundary_is_said_and_left_out():
    no_ties = JudgedPairs([0.8, 0.4, 1.0, 0.2], [5, 5, 5, 5], tie_vote_share=np.zeros(4))
    rewards = np.array([[1.0, 0.0], [0.2, 0.0], [2.0, 1.0], [0.5, 0.0]])
    report = pair_report(
        {"a": PairPredictions(REWARDS, 1.0, rewards)}, judged_three_ways(COUNTS), no_ties, resampling=FEW
    )
    assert report.models[1].davidson is None and "three_way_nats" not in report.models[1].metrics
    assert any("at a boundary (no ties)" in note for note in report.notes)


def test_impossible_outcomes_that_got_votes_have_infinite_nats_and_no_interval():
    sure = np.tile([0.5, 0.0, 0.5], (30, 1))
    report = pair_report(
        {"a": PairPredictions(REWARDS, three_way_probs=sure)}, judged_three_ways(COUNTS), resampling=FEW
    )
    (model,) = report.models
    assert model.metrics["three_way_nats"] == math.inf and "three_way_nats" not in model.intervals
    assert model.metrics["decisive_nats"] == pytest.approx(math.log(2), rel=1e-9)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"tie_vote_share\[1\] is 0.5 beside a chosen_vote_share of 0.9"):
        JudgedPairs([0.5, 0.9], [1, 1], tie_vote_share=[math.nan, 0.5])
    with pytest.raises(ValueError, match="tie_vote_share has shape"):
        JudgedPairs([0.5, 0.9], [1, 1], tie_vote_share=[0.1])
    with pytest.raises(ValueError, match="three_way_probs has shape"):
        pair_report({"a": PairPredictions(REWARDS, three_way_probs=[[1.0, 0, 0]])}, judged_three_ways(COUNTS))
    with pytest.raises(ValueError, match="models is empty"):
        pair_report({}, PAIRS)
    with pytest.raises(ValueError, match="clusters has 1 entries for 2 pairs"):
        JudgedPairs([1.0, 0.5], [1, 1], ["a"])
    with pytest.raises(ValueError, match=r"rewards\[0\] is nan"):
        pair_report({"a": PairPredictions([[math.nan, 0.0]] * 30)}, PAIRS)
