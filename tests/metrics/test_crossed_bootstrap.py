"""Crossed intervals against a double loop over judgments, and their coverage where the truth is known."""

import math

import numpy as np
import pytest

from trl_dprm.metrics import (
    crossed_interval,
    crossed_paired_difference,
    mean_interval,
    paired_difference,
    two_way_interval,
)

RNG = np.random.default_rng(8)
ITEMS = np.array([f"item {i}" for i in RNG.integers(0, 12, 60)])
ANNOTATORS = RNG.integers(100, 106, 60)
SCORES, BASELINE = RNG.uniform(size=(3, 60)), RNG.uniform(size=(3, 60))
WEIGHT = RNG.integers(1, 4, 60).astype(float)
CLUSTERS = np.array([f"conversation {int(name.split()[1]) // 3}" for name in ITEMS])


def loop_over_judgments(scores, units, num_resamples, seed):
    """Means of resamples, judgment by judgment, on the draws that the seed gives."""
    names, people = sorted(set(units)), sorted(set(ANNOTATORS))
    of_units, of_annotators = np.random.default_rng(seed).spawn(2)
    drawn_units = of_units.integers(len(names), size=(num_resamples, len(names)))
    drawn_people = of_annotators.integers(len(people), size=(num_resamples, len(people)))
    means = []
    for here, who in zip(drawn_units, drawn_people, strict=True):
        total = mass = 0.0
        for unit in here:
            for person in who:
                for j in range(len(scores)):
                    if units[j] == names[unit] and ANNOTATORS[j] == people[person]:
                        total += WEIGHT[j] * scores[j]
                        mass += WEIGHT[j]
        means.append(total / mass)
    return np.array(means)


@pytest.mark.parametrize("cluster_ids", [None, CLUSTERS], ids=["items", "clusters"])
def test_intervals_equal_a_loop_over_judgments(cluster_ids):
    units = ITEMS if cluster_ids is None else cluster_ids
    ours = loop_over_judgments(SCORES[0], units, 25, seed=3)
    theirs = loop_over_judgments(BASELINE[0], units, 25, seed=3)
    arguments = {"weight": WEIGHT, "cluster_ids": cluster_ids, "num_resamples": 25, "level": 0.8, "seed": 3}
    interval = crossed_interval(SCORES[0], ITEMS, ANNOTATORS, **arguments)
    np.testing.assert_allclose(interval[1:], np.quantile(ours, [0.1, 0.9]), rtol=1e-10)
    result = crossed_paired_difference(SCORES[0], BASELINE[0], ITEMS, ANNOTATORS, **arguments)
    np.testing.assert_allclose((result.low, result.high), np.quantile(ours - theirs, [0.1, 0.9]), rtol=1e-10)
    np.testing.assert_allclose(
        (result.relative_low, result.relative_high), np.quantile(ours / theirs - 1, [0.1, 0.9]), rtol=1e-10
    )


def test_point_estimates_and_seeds_are_those_of_the_item_bootstrap():
    crossed = crossed_paired_difference(SCORES, BASELINE, ITEMS, ANNOTATORS, WEIGHT, num_resamples=10)
    single = paired_difference(SCORES, BASELINE, WEIGHT, num_resamples=10)
    assert (crossed.difference, crossed.relative) == pytest.approx((single.difference, single.relative), rel=1e-10)
    np.testing.assert_allclose(crossed.per_seed, single.per_seed, rtol=1e-12)
    assert crossed.seed_std == pytest.approx(single.seed_std, rel=1e-12)
    averaged = crossed_paired_difference(SCORES.mean(0), BASELINE.mean(0), ITEMS, ANNOTATORS, WEIGHT, num_resamples=10)
    assert crossed[:6] == pytest.approx(averaged[:6], rel=1e-10)
    assert math.isnan(averaged.seed_std)


def test_memory_blocks_do_not_change_the_draws(monkeypatch):
    whole = crossed_interval(SCORES[0], ITEMS, ANNOTATORS, num_resamples=101)
    monkeypatch.setattr("trl_dprm.metrics.crossed_bootstrap._DRAWS_AT_ONCE", 40)
    assert crossed_interval(SCORES[0], ITEMS, ANNOTATORS, num_resamples=101) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("interval", [crossed_interval, two_way_interval])
def test_judgments_without_weight_are_not_there(interval):
    padded = interval(
        np.append(SCORES[0], [9.0, -9.0]),
        np.append(ITEMS, ["nobody's", "item 1"]),
        np.append(ANNOTATORS, [100, 999]),
        np.append(WEIGHT, [0.0, 0.0]),
    )
    assert padded == interval(SCORES[0], ITEMS, ANNOTATORS, WEIGHT)


def test_draws_without_a_judgment_are_left_out():
    # Of two items and two annotators, each pair apart: of 16 draws 2 hold no judgment.
    interval = crossed_interval([1.0, 3.0], ["a", "b"], ["x", "y"], num_resamples=500)
    assert interval == (2.0, 1.0, 3.0)


def simulated(generator, item_spread, annotator_spread, noise, num_items=60, num_annotators=12, votes=5):
    """Judgments with mean 0: every item is judged by some of the annotators."""
    items = np.repeat(np.arange(num_items), votes)
    annotators = np.concatenate([generator.choice(num_annotators, votes, replace=False) for _ in range(num_items)])
    scores = item_spread * generator.normal(size=num_items)[items]
    scores += annotator_spread * generator.normal(size=num_annotators)[annotators]
    return scores + noise * generator.normal(size=len(items)), items, annotators


def test_crossed_intervals_cover_and_item_intervals_do_not():
    generator, covered = np.random.default_rng(0), {"crossed": 0, "two ways": 0, "items": 0}
    for trial in range(200):
        scores, items, annotators = simulated(generator, 1.0, 0.7, 1.0)
        intervals = {
            "crossed": crossed_interval(scores, items, annotators, num_resamples=200, seed=trial),
            "two ways": two_way_interval(scores, items, annotators),
            "items": mean_interval(scores, cluster_ids=items, num_resamples=200, seed=trial),
        }
        for name, interval in intervals.items():
            covered[name] += interval.low <= 0 <= interval.high
    assert covered["crossed"] >= 178 and covered["two ways"] >= 178  # of 200, nominal 190, four standard errors: 12
    assert covered["items"] < 150


def test_pure_noise_makes_the_bootstrap_and_not_the_closed_form_too_wide():
    generator = np.random.default_rng(1)
    items, annotators = (table.ravel() for table in np.indices((60, 40)))
    widths = []
    for trial in range(10):
        scores = generator.normal(size=2400)
        crossed = crossed_interval(scores, items, annotators, num_resamples=400, seed=trial)
        closed = two_way_interval(scores, items, annotators)
        widths.append([crossed.high - crossed.low, closed.high - closed.low])
    true_width = 2 * 1.96 / math.sqrt(2400)
    crossed, closed = np.mean(widths, axis=0) / true_width
    assert crossed == pytest.approx(math.sqrt(3), rel=0.06)  # as the module says
    assert 0.95 < closed < 1.2


def test_the_closed_form_equals_a_loop():
    weight = WEIGHT / WEIGHT.sum()
    mean = sum(weight * SCORES[0])

    def variance(keys):
        sums = {}
        for key, w, s in zip(keys, weight, SCORES[0], strict=True):
            sums[key] = sums.get(key, 0.0) + w * (s - mean)
        return len(sums) / (len(sums) - 1) * sum(value**2 for value in sums.values())

    pairs = list(zip(CLUSTERS, ANNOTATORS, strict=True))
    sides = variance(list(CLUSTERS)), variance(list(ANNOTATORS))
    half = 3.182446305 * math.sqrt(max(*sides, sum(sides) - variance(pairs)))  # 4 conversations: 3 degrees of freedom
    interval = two_way_interval(SCORES[0], ITEMS, ANNOTATORS, WEIGHT, CLUSTERS)
    assert interval == pytest.approx((mean, mean - half, mean + half), rel=1e-8)


@pytest.mark.parametrize("interval", [crossed_interval, two_way_interval])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"judgment_scores": [0.1, np.nan, 0.2, 0.3]}, r"judgment_scores of item 1 \(seed 0\) is nan; give finite"),
        ({"item_ids": [1, 1, 2]}, r"item_ids has shape \(3,\) for 4 judgments; give one id per judgment"),
        ({"item_ids": [1, 1, 1, 1]}, r"item_ids has 1 unit with weight; a crossed interval needs at least 2 items"),
        ({"annotator_ids": list("aaaa")}, r"annotator_ids has 1 unit with weight; .*use mean_interval"),
        ({"cluster_ids": [1, 2, 2, 2]}, r"item_ids\[1\] is 1, which lies in cluster 2 here and in another before"),
        ({"cluster_ids": [1, 1, 1, 1]}, r"cluster_ids has 1 unit with weight"),
        ({"weight": [1, 1, 1]}, r"weight has 3 entries where 4 are needed"),
        ({"level": 95}, r"level is 95; give a coverage between 0 and 1, such as 0.95"),
    ],
)
def test_bad_input_is_refused(interval, arguments, message):
    good = {"judgment_scores": [0.1, 0.2, 0.3, 0.1], "item_ids": [1, 1, 2, 2], "annotator_ids": list("abab")}
    with pytest.raises(ValueError, match=message):
        interval(**{**good, **arguments})


def test_no_resamples_are_refused():
    with pytest.raises(ValueError, match=r"num_resamples is 0; give at least 1"):
        crossed_interval([0.1, 0.2], [1, 2], [1, 2], num_resamples=0)
