"""Resampled vote tables against a loop over judgments; intervals of statistics against intervals of means."""

import numpy as np
import pytest

from trl_dprm.metrics import (
    crossed_interval,
    crossed_resamples,
    crossed_statistic_interval,
    expected_calibration_error,
    mean_interval,
    statistic_interval,
)

RNG = np.random.default_rng(9)
ITEMS, ANNOTATORS, CATEGORIES = RNG.integers(0, 10, 50), RNG.integers(0, 6, 50), RNG.integers(0, 3, 50)
JUDGMENTS = ITEMS, ANNOTATORS.astype(str), CATEGORIES
SIZE = {"num_items": 11, "num_categories": 3}  # nobody judged the last item
CLUSTERS = ITEMS // 3


@pytest.mark.parametrize("cluster_ids", [None, CLUSTERS], ids=["items", "clusters"])
def test_vote_tables_equal_a_loop_over_judgments(cluster_ids):
    tables = list(crossed_resamples(*JUDGMENTS, **SIZE, cluster_ids=cluster_ids, num_resamples=20, seed=2))
    units = ITEMS if cluster_ids is None else cluster_ids
    names, people = sorted(set(units)), sorted(set(ANNOTATORS))
    of_units, of_annotators = np.random.default_rng(2).spawn(2)
    assert len(tables) == 20
    for rows, counts in tables:
        here = [names[i] for i in of_units.integers(len(names), size=len(names))]
        who = [people[i] for i in of_annotators.integers(len(people), size=len(people))]
        expected = []
        for item in sorted(set(ITEMS)):
            votes = [0, 0, 0]
            for person in who:
                for j in np.flatnonzero((item == ITEMS) & (person == ANNOTATORS)):
                    votes[CATEGORIES[j]] += 1
            unit = units[item == ITEMS][0]
            expected += [(item, *votes)] * (here.count(unit) if sum(votes) else 0)
        assert expected == [(row, *votes) for row, votes in zip(rows.tolist(), counts.tolist(), strict=True)]


def test_a_mean_over_judgments_has_the_crossed_interval_moved_to_its_value():
    values = np.array([0.0, 1.0, 5.0])
    interval = crossed_statistic_interval(
        lambda rows, counts: (counts @ values).sum() / counts.sum(), *JUDGMENTS, **SIZE, num_resamples=1000
    )
    crossed = crossed_interval(values[CATEGORIES], ITEMS, ANNOTATORS, num_resamples=4000)
    assert interval.value == pytest.approx(values[CATEGORIES].mean(), rel=1e-12)
    assert interval.high - interval.low == pytest.approx(crossed.high - crossed.low, rel=0.08)
    assert interval.num_resamples == 1000


def test_a_mean_over_items_has_the_item_interval_moved_to_its_value():
    scores, clusters = RNG.normal(size=40), RNG.integers(0, 12, 40)
    interval = statistic_interval(lambda rows: scores[rows].mean(), 40, clusters, num_resamples=300, seed=4)
    generator, names, means = np.random.default_rng(4), sorted(set(clusters)), []
    for _ in range(300):
        drawn = generator.integers(len(names), size=len(names))
        means.append(np.concatenate([scores[clusters == names[c]] for c in drawn]).mean())
    shift = scores.mean() - np.mean(means)
    np.testing.assert_allclose(interval[1:3], np.quantile(means, [0.025, 0.975]) + shift, rtol=1e-10)
    plain = mean_interval(scores, cluster_ids=clusters, num_resamples=4000)
    assert interval.high - interval.low == pytest.approx(plain.high - plain.low, rel=0.1)


def test_a_statistic_that_resampling_inflates_is_covered_by_the_moved_interval_only():
    # Calibration error of the truth in fine bins: every repetition of an item adds to it.
    generator, covered = np.random.default_rng(0), {"moved": 0, "percentile": 0}
    predicted = np.linspace(0.1, 0.9, 100)
    draws = generator.binomial(3, predicted, size=(200, 100)) / 3

    def error(shares, rows):
        return expected_calibration_error(predicted[rows], shares[rows], num_bins=50)

    expected = np.mean([error(shares, np.arange(100)) for shares in draws])
    for trial, shares in enumerate(draws[:40]):
        interval = statistic_interval(
            lambda rows, shares=shares: error(shares, rows), 100, num_resamples=100, seed=trial
        )
        resampled = np.random.default_rng(trial)
        shift = np.mean([error(shares, resampled.integers(100, size=100)) for _ in range(100)]) - interval.value
        covered["moved"] += interval.low <= expected <= interval.high
        covered["percentile"] += interval.low + shift <= expected <= interval.high + shift
    assert covered["moved"] >= 34 and covered["percentile"] < 30


def test_resamples_on_which_the_statistic_does_not_exist_are_left_out():
    values = np.array([1.0, 2.0, 4.0])
    interval = statistic_interval(lambda rows: values[rows].mean() if 2 in rows else np.nan, 3, num_resamples=50)
    generator = np.random.default_rng(0)
    drawn = [rows for rows in (generator.integers(3, size=3) for _ in range(50)) if 2 in rows]
    assert interval.num_resamples == len(drawn) < 50
    means = np.array([values[rows].mean() for rows in drawn])
    assert interval.high == pytest.approx(np.quantile(means - means.mean(), 0.975) + 7 / 3, rel=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistic_interval(len, 3, [1, 2]), r"cluster_ids has shape \(2,\) for 3 items"),
        (lambda: statistic_interval(len, 3, [1, 1, 1]), r"cluster_ids has 1 cluster; an interval needs at least 2"),
        (lambda: statistic_interval(len, 3, num_resamples=0), r"num_resamples is 0; give at least 1"),
        (lambda: statistic_interval(lambda rows: np.nan, 3), r"the statistic is nan on all data"),
        (
            lambda: crossed_resamples([0, 1], ["a", "b"], [0, 3], num_items=2, num_categories=3),
            r"judged_categories\[1\] is 3; give whole numbers from 0 to 2",
        ),
        (
            lambda: crossed_resamples([0, 1], ["a", "a"], [0, 1], num_items=2, num_categories=3),
            r"annotator_ids has 1 unit",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
