"""The cluster bootstrap against a naive loop over resampled items, and its coverage where the truth is known."""

import math

import numpy as np
import pytest

from trl_dprm.metrics import mean_interval, paired_difference

RNG = np.random.default_rng(4)
SCORES, BASELINE = RNG.uniform(size=(3, 25)), RNG.uniform(size=(3, 25))
WEIGHT = RNG.integers(1, 6, 25).astype(float)
CLUSTERS = np.array([f"conversation {i}" for i in RNG.integers(0, 8, 25)])


def naive_resamples(scores, baseline, weight, clusters, num_resamples, seed):
    """Resamples as lists of items: the same clusters drawn, everything else by plain loops."""
    names = sorted(set(clusters))
    members = [[i for i, name in enumerate(clusters) if name == wanted] for wanted in names]
    generator = np.random.default_rng(seed)
    differences, relative = [], []
    for _ in range(num_resamples):
        items = [i for c in generator.integers(len(names), size=len(names)) for i in members[c]]
        total = sum(weight[i] for i in items)
        ours = sum(weight[i] * scores[i] for i in items) / total
        theirs = sum(weight[i] * baseline[i] for i in items) / total
        differences.append(ours - theirs)
        relative.append((ours - theirs) / theirs)
    return differences, relative


def test_intervals_equal_a_naive_loop():
    result = paired_difference(SCORES[0], BASELINE[0], WEIGHT, CLUSTERS, num_resamples=300, level=0.9, seed=7)
    differences, relative = naive_resamples(SCORES[0], BASELINE[0], WEIGHT, CLUSTERS, 300, seed=7)
    np.testing.assert_allclose((result.low, result.high), np.quantile(differences, [0.05, 0.95]), rtol=1e-10)
    np.testing.assert_allclose(
        (result.relative_low, result.relative_high), np.quantile(relative, [0.05, 0.95]), rtol=1e-10
    )


def test_point_estimates_equal_loops():
    result = paired_difference(SCORES[0], BASELINE[0], WEIGHT, CLUSTERS, num_resamples=10)
    ours, theirs = (sum(w * v for w, v in zip(WEIGHT, row, strict=True)) for row in (SCORES[0], BASELINE[0]))
    assert result.difference == pytest.approx((ours - theirs) / sum(WEIGHT), rel=1e-10)
    assert result.relative == pytest.approx((ours - theirs) / theirs, rel=1e-10)
    assert result.per_seed == pytest.approx([result.difference], rel=1e-10)
    assert math.isnan(result.seed_std)


def test_memory_blocks_do_not_change_the_draws(monkeypatch):
    whole = paired_difference(SCORES[0], BASELINE[0], WEIGHT, CLUSTERS, num_resamples=101)
    monkeypatch.setattr("trl_dprm.metrics.bootstrap._DRAWS_AT_ONCE", 20)
    cut = paired_difference(SCORES[0], BASELINE[0], WEIGHT, CLUSTERS, num_resamples=101)
    assert whole[:6] == cut[:6]


def test_seeds_of_training_are_averaged_item_by_item():
    result = paired_difference(SCORES, BASELINE, WEIGHT, CLUSTERS, num_resamples=200)
    averaged = paired_difference(SCORES.mean(0), BASELINE.mean(0), WEIGHT, CLUSTERS, num_resamples=200)
    assert result[:6] == pytest.approx(averaged[:6], rel=1e-10)
    single = [paired_difference(a, b, WEIGHT, num_resamples=1) for a, b in zip(SCORES, BASELINE, strict=True)]
    assert result.per_seed == pytest.approx([one.difference for one in single], rel=1e-10)
    spread = math.sqrt(sum((one.difference - result.difference) ** 2 for one in single) / 2)
    assert result.seed_std == pytest.approx(spread, rel=1e-10)


def test_a_baseline_without_seeds_meets_every_seed():
    result = paired_difference(SCORES, BASELINE[0], WEIGHT, CLUSTERS, num_resamples=50)
    repeated = paired_difference(SCORES, np.tile(BASELINE[0], (3, 1)), WEIGHT, CLUSTERS, num_resamples=50)
    assert result[:6] == pytest.approx(repeated[:6], rel=1e-10)
    assert result.per_seed == pytest.approx(repeated.per_seed, rel=1e-10)


def test_items_without_weight_and_their_clusters_are_not_there():
    clusters = np.append(CLUSTERS, ["empty conversation"] * 2)
    padded = [np.append(values, [9.0, -9.0]) for values in (SCORES[0], BASELINE[0])]
    result = paired_difference(*padded, np.append(WEIGHT, [0.0, 0.0]), clusters, num_resamples=50)
    assert result[:6] == paired_difference(SCORES[0], BASELINE[0], WEIGHT, CLUSTERS, num_resamples=50)[:6]


def test_a_constant_shift_is_certain_although_items_differ():
    result = paired_difference(BASELINE[0] - 0.1, BASELINE[0], WEIGHT, CLUSTERS, num_resamples=100)
    assert (result.difference, result.low, result.high) == pytest.approx((-0.1, -0.1, -0.1), rel=1e-10)
    alone = mean_interval(BASELINE[0], WEIGHT, CLUSTERS, num_resamples=100)
    assert alone.high - alone.low > 0.05


def test_swapping_the_models_mirrors_the_interval():
    forth = paired_difference(SCORES, BASELINE, WEIGHT, CLUSTERS, num_resamples=100)
    back = paired_difference(BASELINE, SCORES, WEIGHT, CLUSTERS, num_resamples=100)
    assert (back.difference, back.low, back.high) == pytest.approx((-forth.difference, -forth.high, -forth.low))


def test_mean_interval_is_the_difference_from_zero():
    interval = mean_interval(SCORES, WEIGHT, CLUSTERS, num_resamples=100, seed=3)
    with_zero = paired_difference(SCORES, np.zeros(25), WEIGHT, CLUSTERS, num_resamples=100, seed=3)
    assert tuple(interval) == pytest.approx(with_zero[:3], rel=1e-10)
    assert math.isnan(with_zero.relative) and math.isnan(with_zero.relative_low)


def test_clustered_intervals_cover_and_item_intervals_do_not():
    generator, covered = np.random.default_rng(0), {"clusters": 0, "items": 0}
    clusters = np.repeat(np.arange(40), 10)
    for trial in range(200):
        scores = generator.normal(size=40)[clusters] + 0.3 * generator.normal(size=400)  # truth: 0
        for name, ids in (("clusters", clusters), ("items", None)):
            interval = mean_interval(scores, cluster_ids=ids, num_resamples=200, seed=trial)
            covered[name] += interval.low <= 0 <= interval.high
    assert covered["clusters"] >= 176  # 95 % nominal; binomial, so 176 of 200 is four standard errors below
    assert covered["items"] < 140


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": [0.1, np.inf, 0.2]}, r"scores of item 1 \(seed 0\) is inf; give finite scores"),
        ({"scores": np.zeros((1, 1, 3))}, r"scores has shape \(1, 1, 3\); give \(num_items,\) or"),
        ({"scores": [0.1, 0.2]}, r"scores has 2 items but baseline_scores has 3; give the scores of the same items"),
        ({"scores": np.zeros((2, 3)), "baseline_scores": np.zeros((3, 3))}, r"scores has 2 seeds but .* has 3"),
        ({"weight": [1.0, 1.0]}, r"weight has 2 entries where 3 are needed; give one for each"),
        ({"cluster_ids": ["a", "b"]}, r"cluster_ids has shape \(2,\) for 3 items; give one id per item"),
        ({"cluster_ids": ["a", "a", "a"]}, r"cluster_ids has 1 cluster with weight; an interval needs at least 2"),
        ({"num_resamples": 0}, r"num_resamples is 0; give at least 1"),
        ({"level": 95}, r"level is 95; give a coverage between 0 and 1, such as 0.95"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    good = {"scores": [0.1, 0.2, 0.3], "baseline_scores": [0.2, 0.2, 0.2]}
    with pytest.raises(ValueError, match=message):
        paired_difference(**{**good, **arguments})
