"""Groups against loops over their judgments, and a population in which the model is wrong for one group."""

import math
from functools import partial

import numpy as np
import pytest

from trl_dprm.metrics import (
    category_calibration_errors,
    category_debiased_calibration_errors,
    crossed_interval,
    crossed_statistic_interval,
    group_report,
    judgment_nats,
    mean_interval,
    squared_calibration_error,
    statistic_interval,
    vote_shares,
)

RNG = np.random.default_rng(13)
PROBS = RNG.dirichlet(np.ones(3), 30)
REWARDS = [-1.0, 0.5, 2.0]
ITEMS, CATEGORIES = RNG.integers(0, 30, 200), RNG.integers(0, 3, 200)
GROUPS = np.array(["women", "men", "other", None], dtype=object)[RNG.choice(4, 200, p=[0.5, 0.35, 0.1, 0.05])]
ANNOTATORS = np.array([f"{group} {i}" for group, i in zip(GROUPS, RNG.integers(0, 5, 200), strict=True)])
CLUSTERS = np.arange(30) // 2
JUDGMENTS = ITEMS, GROUPS.tolist(), CATEGORIES


def test_every_number_equals_a_loop_over_the_groups_judgments():
    report = group_report(PROBS, *JUDGMENTS, REWARDS, cluster_ids=CLUSTERS, num_resamples=50)
    assert [row.group for row in report.groups] == ["men", "other", "women"]
    assert report.num_without_group == sum(group is None for group in GROUPS)
    for row in report.groups:
        votes = [(i, k) for i, k, group in zip(ITEMS, CATEGORIES, GROUPS, strict=True) if group == row.group]
        size = len(votes)
        assert (row.num_votes, row.num_items) == (size, len({i for i, _ in votes}))
        assert row.nats_per_vote.mean == pytest.approx(-sum(math.log(PROBS[i, k]) for i, k in votes) / size, rel=1e-10)
        shares = [sum(k == category for _, k in votes) / size for category in range(3)]
        assert row.constant_nats_per_vote == pytest.approx(-sum(p * math.log(p) for p in shares), rel=1e-10)
        assert row.predicted_reward == pytest.approx(sum(PROBS[i] @ REWARDS for i, _ in votes) / size, rel=1e-10)
        assert row.mean_reward == pytest.approx(sum(REWARDS[k] for _, k in votes) / size, rel=1e-10)
        assert row.reward_gap.mean == pytest.approx(row.predicted_reward - row.mean_reward, rel=1e-10)
        assert row.expected_calibration_error.mean == pytest.approx(calibration_loop(votes), rel=1e-10)


def test_a_weight_counts_like_as_many_judgments():
    """Weights of 1 and 2, halved, against the table in which the doubled judgments stand twice."""
    times = RNG.integers(0, 3, 200)
    twice = np.repeat(np.arange(200), times)
    given = {"cluster_ids": CLUSTERS, "num_resamples": 60, "min_votes": 1}
    repeated = group_report(
        PROBS,
        *(np.array(column, dtype=object)[twice].tolist() for column in JUDGMENTS),
        REWARDS,
        ANNOTATORS[twice],
        **given,
    )
    weighted = group_report(PROBS, *JUDGMENTS, REWARDS, ANNOTATORS, **given, weight=times / 2)
    assert weighted.num_without_group == repeated.num_without_group / 2
    assert weighted[2:] == repeated[2:]
    for row, other in zip(weighted.groups, repeated.groups, strict=True):
        assert (row.num_votes, *row[2:4]) == (other.num_votes / 2, *other[2:4])
        for mine, theirs in zip(row[4:], other[4:], strict=True):
            assert mine == pytest.approx(theirs, rel=1e-9, nan_ok=True)
    over_items = group_report(PROBS, *JUDGMENTS, REWARDS, cluster_ids=CLUSTERS, num_resamples=60, weight=times / 2)
    for row in over_items.groups:
        here = row.group == GROUPS
        nats, units = judgment_nats(PROBS, ITEMS, CATEGORIES)[here], CLUSTERS[ITEMS][here]
        assert row.nats_per_vote == pytest.approx(mean_interval(nats, times[here], units, 60), rel=1e-10)


def calibration_loop(votes):
    """Mean over categories and weighted mean over ten bins, vote by vote."""
    total = 0.0
    for category in range(3):
        for start in range(10):
            inside = [(i, k) for i, k in votes if start / 10 <= PROBS[i, category] < (start + 1) / 10]
            gap = sum((k == category) - PROBS[i, category] for i, k in inside)
            total += abs(gap) / len(votes) / 3
    return total


def test_intervals_are_those_of_the_groups_judgments():
    items_only = group_report(PROBS, *JUDGMENTS, REWARDS, cluster_ids=CLUSTERS, num_resamples=60, seed=5)
    crossed = group_report(PROBS, *JUDGMENTS, REWARDS, ANNOTATORS, CLUSTERS, num_resamples=60, seed=5)
    for row, other in zip(items_only.groups, crossed.groups, strict=True):
        here = row.group == GROUPS
        nats = judgment_nats(PROBS, ITEMS, CATEGORIES)[here]
        gaps = (PROBS[ITEMS] @ REWARDS - np.asarray(REWARDS)[CATEGORIES])[here]
        draws = {"cluster_ids": CLUSTERS[ITEMS][here], "num_resamples": 60, "seed": 5}
        assert row.nats_per_vote == pytest.approx(mean_interval(nats, **draws), rel=1e-10)
        assert row.reward_gap == pytest.approx(mean_interval(gaps, **draws), rel=1e-10)
        units = ITEMS[here], ANNOTATORS[here]
        assert other.nats_per_vote == pytest.approx(crossed_interval(nats, *units, **draws), rel=1e-10)
        assert other.reward_gap == pytest.approx(crossed_interval(gaps, *units, **draws), rel=1e-10)
        assert (row.num_annotators, other.num_annotators) == (None, len(set(ANNOTATORS[here])))


def errors_of_rows(kind, rows, counts):
    """The mean over categories on repeated rows; a row and its repetition are one conversation."""
    shares, votes = vote_shares(counts)
    if kind == "debiased_calibration_error":
        columns = zip(PROBS[rows].T, shares.T, strict=True)
        squares = np.array([squared_calibration_error(*pair, votes, cluster_ids=CLUSTERS[rows]) for pair in columns])
        return (np.sign(squares) * np.abs(squares) ** 0.5).mean()
    return category_calibration_errors(PROBS[rows], shares, votes).mean()


def within(interval, value):
    return max(min(interval.low, value), 0), max(interval.high, value)


@pytest.mark.parametrize("kind", ["expected_calibration_error", "debiased_calibration_error"])
def test_calibration_errors_have_the_intervals_of_tables_drawn_one_by_one(kind):
    """All draws at once against one vote table after the other, from the same seed."""
    crossed = group_report(PROBS, *JUDGMENTS, REWARDS, ANNOTATORS, CLUSTERS, num_resamples=150, seed=5)
    panel = group_report(PROBS, *JUDGMENTS, REWARDS, None, CLUSTERS, num_resamples=150, seed=5)
    for place, name in ((0, "men"), (2, "women")):
        here = name == GROUPS
        ids = ITEMS[here], ANNOTATORS[here], CATEGORIES[here], 30, 3, CLUSTERS[ITEMS][here], 150, 0.95, 5
        expected = crossed_statistic_interval(partial(errors_of_rows, kind), *ids)
        got = getattr(crossed.groups[place], kind)
        assert got[1:] == pytest.approx(within(expected, got.mean), rel=1e-9, abs=1e-12)
        judged = np.unique(ITEMS[here])
        counts = np.zeros((30, 3))
        np.add.at(counts, (ITEMS[here], CATEGORIES[here]), 1)
        over_items = statistic_interval(
            lambda rows, judged=judged, counts=counts: errors_of_rows(kind, judged[rows], counts[judged[rows]]),
            len(judged),
            CLUSTERS[judged],
            150,
            0.95,
            5,
        )
        got = getattr(panel.groups[place], kind)
        assert got[1:] == pytest.approx(within(over_items, got.mean), rel=1e-9, abs=1e-12)


def test_calibration_intervals_hold_what_endless_votes_of_the_group_would_show():
    """New items and annotators each time; one bin, where the group's share is one half and the prediction is not."""
    draw, held = np.random.default_rng(4), 0
    probs = np.tile([0.35, 0.65], (60, 1))
    for _ in range(40):
        item, who = np.repeat(np.arange(60), 4), np.concatenate([draw.permutation(15)[:4] for _ in range(60)])
        lean = draw.normal(0, 1, 60)[item] + draw.normal(0, 0.5, 15)[who]
        chosen = (draw.logistic(size=240) < lean).astype(int)
        report = group_report(probs, item, ["all"] * 240, chosen, [0.0, 1.0], who, num_resamples=200)
        interval = report.groups[0].debiased_calibration_error
        held += interval.low <= 0.15 <= interval.high
    assert held >= 36


def test_debiased_error_counts_the_votes_of_one_item_together():
    report = group_report(PROBS, *JUDGMENTS, REWARDS, num_resamples=1)
    for row in report.groups:
        counts = np.zeros((30, 3))
        for i, k, group in zip(ITEMS, CATEGORIES, GROUPS, strict=True):
            counts[i, k] += group == row.group
        judged = counts.sum(axis=1) > 0
        votes = counts[judged].sum(axis=1)
        expected = category_debiased_calibration_errors(PROBS[judged], counts[judged] / votes[:, None], votes).mean()
        assert row.debiased_calibration_error.mean == pytest.approx(expected, rel=1e-10, nan_ok=True)


def test_the_group_that_the_model_is_wrong_for_is_found():
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.ones(2) * 2, 400)
    shifted = probs[:, ::-1]  # what the second group thinks
    items = np.tile(np.arange(400), 3)
    groups = [*np.repeat(["right", "wrong", "right"], 400).tolist(), "few"]
    chosen = (generator.uniform(size=1200) < np.concatenate([probs, shifted, probs])[:, 1]).astype(int)
    report = group_report(probs, np.append(items, 0), groups, np.append(chosen, 1), [0.0, 1.0], num_resamples=200)
    few, right, wrong = report.groups
    assert (few.num_votes, report.worst_by_nats, report.worst_by_calibration) == (1, "wrong", "wrong")
    assert wrong.nats_per_vote.low > right.nats_per_vote.high
    assert wrong.nats_per_vote.mean > wrong.constant_nats_per_vote > right.nats_per_vote.mean
    assert right.debiased_calibration_error.mean < 0.05 < wrong.debiased_calibration_error.mean
    assert right.debiased_calibration_error.high < wrong.debiased_calibration_error.low
    assert math.isnan(few.nats_per_vote.low) and few.nats_per_vote.mean == pytest.approx(-math.log(probs[0, 1]))


def test_the_worst_reward_gap_may_have_either_sign():
    probs, items = [[0.5, 0.5]] * 40, np.tile(np.arange(40), 2)
    chosen = np.concatenate([np.arange(40) % 2, np.ones(40, int)])
    report = group_report(probs, items, ["a"] * 40 + ["b"] * 40, chosen, [0.0, 1.0], num_resamples=10)
    assert report.worst_by_reward_gap == "b" and report.groups[1].reward_gap.mean == -0.5
    mirrored = group_report(probs, items, ["a"] * 40 + ["b"] * 40, 1 - chosen, [0.0, 1.0], num_resamples=10)
    assert mirrored.worst_by_reward_gap == "b" and mirrored.groups[1].reward_gap.mean == 0.5


def test_too_few_votes_name_no_worst_group_and_one_annotator_has_no_interval():
    report = group_report(PROBS, *JUDGMENTS, REWARDS, min_votes=1000, num_resamples=1)
    assert report[2:] == (None, None, None)
    alone = group_report(PROBS, *JUDGMENTS, REWARDS, np.where(GROUPS == "men", "he", ANNOTATORS), num_resamples=5)
    men, _, women = alone.groups
    assert men.num_annotators == 1 and math.isnan(men.reward_gap.high) and not math.isnan(women.reward_gap.high)
    assert math.isnan(men.expected_calibration_error.low) and not math.isnan(women.debiased_calibration_error.low)


def test_an_impossible_choice_has_infinite_nats_without_interval():
    probs = [[1.0, 0.0], [0.5, 0.5]]
    report = group_report(probs, [0, 1], ["a", "a"], [1, 1], [0.0, 1.0], min_votes=1, num_resamples=5)
    assert report.groups[0].nats_per_vote.mean == math.inf and math.isnan(report.groups[0].nats_per_vote.low)
    assert report.worst_by_nats == "a"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"judged_groups": None}, r'judged_groups is None; per-group numbers need .* report "not available"'),
        ({"judged_groups": [None, None]}, r"judged_groups is None everywhere"),
        ({"judged_groups": ["a"]}, r"judged_groups has 1 entries for 2 judgments"),
        ({"judged_groups": ["a", 3]}, r"judged_groups\[1\] is 3 \(int\); give names of groups as text"),
        ({"judged_items": [0, 2]}, r"judged_items\[1\] is 2; give whole numbers from 0 to 1"),
        ({"category_rewards": [0.0]}, r"category_rewards has 1 entries where 2 are needed"),
        ({"cluster_ids": [0]}, r"cluster_ids has shape \(1,\) where 2 ids are needed"),
        ({"weight": [1.0]}, r"weight has 1 entries where 2 are needed"),
        ({"weight": [1.0, -1.0]}, r"weight\[1\] is -1; give a finite weight"),
        ({"annotator_ids": [0]}, r"annotator_ids has shape \(1,\) where 2 ids are needed"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    good = {
        "category_probs": [[0.5, 0.5], [0.5, 0.5]],
        "judged_items": [0, 1],
        "judged_groups": ["a", "a"],
        "judged_categories": [0, 1],
        "category_rewards": [0.0, 1.0],
    }
    with pytest.raises(ValueError, match=message):
        group_report(**{**good, **arguments})
