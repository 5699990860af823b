"""The standard report: every vote counts once, whichever way the votes are cut into items."""

import math

import numpy as np
import pytest

from trl_dprm.metrics import (
    DISTRIBUTION_METRICS,
    category_calibration_errors,
    category_debiased_calibration_errors,
    distribution_metrics,
    item_scores,
    markdown_table,
    vote_shares,
)

RNG = np.random.default_rng(1)
LINE = [-1.0, 0.0, 0.5, 2.0]
COST = np.abs(np.subtract.outer(LINE, LINE)).tolist()
GEOMETRY = LINE, LINE, COST
PREDICTIONS = RNG.dirichlet(np.ones(4), 30)
COUNTS = np.array([RNG.multinomial(n, q) for n, q in zip(RNG.integers(1, 6, 30), PREDICTIONS, strict=True)])
TARGETS, VOTES = vote_shares(COUNTS)


def report(predictions=PREDICTIONS, targets=TARGETS, votes=VOTES, geometry=GEOMETRY):
    return distribution_metrics(predictions, targets, votes, *geometry)


def test_keys_are_the_documented_ones_and_values_lie_in_their_range():
    metrics = report()
    assert set(metrics) == set(DISTRIBUTION_METRICS)
    for name, value in metrics.items():
        about = DISTRIBUTION_METRICS[name]
        assert isinstance(value, float) and about.low <= value <= about.high, name
        assert about.low <= about.best <= about.high


def test_without_positions_only_rps_is_missing():
    metrics = report(geometry=(LINE, None, COST))
    assert set(DISTRIBUTION_METRICS) - set(metrics) == {"ranked_probability_score"}
    assert metrics["wasserstein_distance"] == pytest.approx(report()["wasserstein_distance"], rel=1e-10)


def test_nats_are_the_negative_log_likelihood_per_vote():
    total, votes = 0.0, 0
    for i in range(30):
        for k in range(4):
            total -= COUNTS[i, k] * math.log(PREDICTIONS[i, k])
            votes += COUNTS[i, k]
    assert report()["nats_per_vote"] == pytest.approx(total / votes, rel=1e-10)


def test_means_are_weighted_by_votes():
    metrics = report()
    for name, values in item_scores(PREDICTIONS, TARGETS, *GEOMETRY).items():
        by_hand = sum(v * n for v, n in zip(values, VOTES, strict=True)) / sum(VOTES)
        assert metrics[name] == pytest.approx(by_hand, rel=1e-10)


def test_an_item_of_weight_two_is_two_items():
    repeated = np.repeat(np.arange(30), VOTES.astype(int))
    metrics, copied = report(), report(PREDICTIONS[repeated], TARGETS[repeated], None)
    ask_who_voted_together = {
        name for name in metrics if name.startswith(("unbiased", "debiased")) or "ceiling" in name
    }
    for name in set(metrics) - ask_who_voted_together:
        assert metrics[name] == pytest.approx(copied[name], rel=1e-10), name


def test_correlation_equals_numpy_on_repeated_items():
    repeated = np.repeat(np.arange(30), VOTES.astype(int))
    expected = np.corrcoef(PREDICTIONS[repeated] @ LINE, TARGETS[repeated] @ LINE)[0, 1]
    assert report()["expected_reward_correlation"] == pytest.approx(expected, rel=1e-10)


def test_calibration_is_the_mean_over_categories():
    metrics = report()
    equal_width = category_calibration_errors(PREDICTIONS, TARGETS, VOTES)
    equal_mass = category_calibration_errors(PREDICTIONS, TARGETS, VOTES, binning="equal_mass")
    assert metrics["expected_calibration_error"] == pytest.approx(equal_width.mean(), rel=1e-12)
    assert metrics["expected_calibration_error_equal_mass"] == pytest.approx(equal_mass.mean(), rel=1e-12)


@pytest.mark.filterwarnings("error")
def test_perfect_predictions_reach_the_best_values():
    metrics = report(predictions=TARGETS)
    of_the_votes = {"nats_per_vote", "expected_reward_correlation_ceiling"}
    below_zero = {"unbiased_brier_score", "unbiased_energy_distance"}  # no truth fits its own votes so well
    for name in set(metrics) - of_the_votes - below_zero:
        assert metrics[name] == pytest.approx(DISTRIBUTION_METRICS[name].best, abs=1e-12), name
    assert all(metrics[name] < 0 for name in below_zero)


def test_unbiased_scores_and_the_line_of_rewards_by_a_double_loop():
    brier = energy = votes = 0.0
    for prediction, counts in zip(PREDICTIONS, COUNTS, strict=True):
        answers = np.repeat(np.arange(4), counts)
        if len(answers) < 2:
            continue
        pairs = [(a, b) for i, a in enumerate(answers) for j, b in enumerate(answers) if i != j]
        share = counts / len(answers)
        agreement, cost = np.mean([a == b for a, b in pairs]), np.mean([COST[a][b] for a, b in pairs])
        brier += len(answers) * (prediction @ prediction - 2 * prediction @ share + agreement)
        energy += len(answers) * (
            2 * prediction @ np.array(COST) @ share - prediction @ np.array(COST) @ prediction - cost
        )
        votes += len(answers)
    metrics = report()
    assert metrics["unbiased_brier_score"] == pytest.approx(brier / votes, rel=1e-10)
    assert metrics["unbiased_energy_distance"] == pytest.approx(energy / votes, rel=1e-10)
    slope, intercept = np.polyfit(PREDICTIONS @ LINE, TARGETS @ LINE, 1, w=np.sqrt(VOTES))
    assert metrics["expected_reward_slope"] == pytest.approx(slope, rel=1e-8)
    assert metrics["expected_reward_intercept"] == pytest.approx(intercept, rel=1e-8)


def test_debiased_calibration_is_the_mean_over_categories():
    errors = category_debiased_calibration_errors(PREDICTIONS, TARGETS, VOTES)
    assert report()["debiased_calibration_error"] == pytest.approx(errors.mean(), rel=1e-12)


@pytest.mark.filterwarnings("error")
def test_degenerate_sets_give_nan_for_what_does_not_exist_and_no_warning():
    line = {"expected_reward_correlation", "expected_reward_slope", "expected_reward_intercept"}
    ceiling = {"expected_reward_correlation", "expected_reward_correlation_ceiling"}
    unbiased = {"unbiased_brier_score", "unbiased_energy_distance", "expected_reward_correlation_ceiling"}
    unanimous = np.tile([0.0, 1.0, 0.0, 0.0], (30, 1))
    for metrics, undefined in (
        (report(PREDICTIONS[:1], TARGETS[:1], [3.0]), line | ceiling | {"debiased_calibration_error"}),
        (report(np.full_like(PREDICTIONS, 0.1) + 0.6 * np.eye(4)[0]), line),
        (report(targets=unanimous), ceiling),
        (report(votes=None), unbiased),  # one vote each
    ):
        assert {name for name, value in metrics.items() if math.isnan(value)} == undefined


@pytest.mark.filterwarnings("error")
def test_an_impossible_vote_makes_nats_infinite_but_not_at_weight_zero():
    predictions, targets = [[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]], [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    assert report(predictions, targets, [1, 1])["nats_per_vote"] == math.inf
    assert report(predictions, targets, [0, 1])["nats_per_vote"] == pytest.approx(math.log(2), rel=1e-12)


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ([1.0] * 29, r"vote_weight has 29 entries where 30 are needed; give one for each"),
        ([1.0] * 29 + [-2.0], r"vote_weight\[29\] is -2; give a finite weight of at least 0"),
        ([1.0] * 29 + [np.nan], r"vote_weight\[29\] is nan; give finite numbers"),
        ([0.0] * 30, r"vote_weight is zero everywhere; at least one item must count"),
    ],
)
def test_bad_weights_are_refused(votes, message):
    with pytest.raises(ValueError, match=message):
        report(votes=votes)


def test_the_table_has_one_row_per_metric():
    table = markdown_table(DISTRIBUTION_METRICS).splitlines()
    assert len(table) == 2 + len(DISTRIBUTION_METRICS)
    assert all(row.count("|") == 5 for row in table)
