"""Is one model better than another, or were these conversations kind to it? Cluster bootstrap of weighted means.

Items of one conversation resemble each other, and votes by the same text do too: resampling single items would make
intervals too narrow. So whole clusters are drawn with replacement. The models are compared on the *same* draws, and
what is easy or hard for both cancels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import weight_vector

_DRAWS_AT_ONCE = 2**21  # bounds the memory of resampling (48 MiB)


class MeanInterval(NamedTuple):
    """A weighted mean with its bootstrap interval.

    Attributes:
        mean (`float`): over all items.
        low, high (`float`): ends of the interval.
    """

    mean: float
    low: float
    high: float


class PairedDifference(NamedTuple):
    """Scores of a model minus scores of a baseline: below 0 the model is better where lower scores are.

    Attributes:
        difference (`float`): of the weighted means, over all items and averaged over seeds.
        low, high (`float`): ends of its interval; the difference is not explained by the choice of clusters if 0 is
            outside.
        relative (`float`): difference / mean of the baseline (-0.1 is ten percent less); NaN for a baseline of 0.
        relative_low, relative_high (`float`): ends of its interval.
        per_seed (`np.ndarray` of shape `(num_seeds,)`): the difference for each training seed.
        seed_std (`float`): their standard deviation (n - 1), the spread over trainings; NaN for one seed.
    """

    difference: float
    low: float
    high: float
    relative: float
    relative_low: float
    relative_high: float
    per_seed: np.ndarray
    seed_std: float


def paired_difference(
    scores: ArrayLike,
    baseline_scores: ArrayLike,
    weight: ArrayLike | None = None,
    cluster_ids: ArrayLike | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Difference of two weighted mean scores on the same items, with an interval over resampled clusters.

    Several trainings with different seeds are averaged item by item first, so the interval is about *items*: would
    other conversations tell the same story of these trainings? Whether other trainings would is what `per_seed` and
    `seed_std` show; look at both.

    Args:
        scores (array of shape `(num_items,)` or `(num_seeds, num_items)`): per-item scores of the model
            (`item_scores`), finite.
        baseline_scores (array of shape `(num_items,)` or `(num_seeds, num_items)`): of the baseline on the same items
            in the same order. Row `i` of both is compared with each other; one side may have a single row.
        weight (array of shape `(num_items,)`, *optional*): votes of each item; equal if not given.
        cluster_ids (array of shape `(num_items,)`, *optional*): which items belong together (conversation ids,
            numbers or strings); if not given, every item stands for itself.
        num_resamples (`int`, at least 1): draws of the bootstrap.
        level (`float`, between 0 and 1): coverage of the percentile interval.
        seed (`int`): the same seed gives the same interval.

    Returns:
        [`PairedDifference`].

    Raises:
        ValueError: scores that are not finite or of different lengths, numbers of seeds that do not pair, fewer than
            two clusters, or `num_resamples` or `level` out of range.

    Source: Efron & Tibshirani, *An Introduction to the Bootstrap* (1993), chapters 8 and 13; clusters as units as in
        Field & Welsh (2007). Averaging over seeds first: [ours].

    Example:

    >>> result = paired_difference([0.1, 0.2, 0.3, 0.2], [0.3, 0.3, 0.4, 0.4], cluster_ids=["a", "a", "b", "c"])
    >>> round(result.difference, 3), round(result.low, 3), round(result.high, 3)
    (-0.15, -0.2, -0.1)
    """
    scores, baseline = score_rows("scores", scores), score_rows("baseline_scores", baseline_scores)
    check_pairing(scores, baseline)
    weight = weight_vector("weight", weight, scores.shape[1])
    per_seed = np.average(scores - baseline, axis=1, weights=weight)
    sums = _cluster_sums([scores.mean(axis=0), baseline.mean(axis=0)], weight, cluster_ids)
    means, baseline_means = _resampled_means(sums, num_resamples, seed)
    differences, relative = means - baseline_means, ratio(means - baseline_means, baseline_means)
    total, baseline_total = sums[:, 1:].sum(axis=0) / sums[:, 0].sum()
    return PairedDifference(
        float(total - baseline_total),
        *percentile_interval(differences, level),
        float(ratio(total - baseline_total, baseline_total)),
        *percentile_interval(relative, level),
        per_seed,
        float(per_seed.std(ddof=1)) if len(per_seed) > 1 else float("nan"),
    )


def mean_interval(
    scores: ArrayLike,
    weight: ArrayLike | None = None,
    cluster_ids: ArrayLike | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> MeanInterval:
    """A weighted mean score with an interval over resampled clusters.

    Do not compare two models by the overlap of their intervals: `paired_difference` is far sharper.

    Args:
        scores (array of shape `(num_items,)` or `(num_seeds, num_items)`): finite; averaged over seeds first.
        weight, cluster_ids, num_resamples, level, seed: as [`paired_difference`].

    Returns:
        [`MeanInterval`].

    Raises:
        ValueError: as [`paired_difference`].

    Source: as [`paired_difference`].

    Example:

    >>> interval = mean_interval([0.0, 1.0, 1.0, 0.0], weight=[1, 1, 2, 2])
    >>> interval.mean, interval.low, interval.high
    (0.5, 0.0, 1.0)
    """
    rows = score_rows("scores", scores)
    return mean_intervals(rows.mean(axis=0)[None], weight, cluster_ids, num_resamples, level, seed)[0]


def mean_intervals(
    columns: ArrayLike,
    weight: ArrayLike | None = None,
    cluster_ids: ArrayLike | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> list[MeanInterval]:
    """[`mean_interval`] of many scores of the same items, on the same draws: at hardly more than the cost of one.

    Args:
        columns (array of shape `(num_scores, num_items)`): finite; a row for each score, each with its own interval.
        weight, cluster_ids, num_resamples, level, seed: as [`paired_difference`].

    Returns:
        `list` of [`MeanInterval`], of length `num_scores`.

    Raises:
        ValueError: as [`paired_difference`].

    Source: as [`paired_difference`].

    Example:

    >>> [interval.mean for interval in mean_intervals([[0.0, 1.0], [2.0, 4.0]])]
    [0.5, 3.0]
    """
    columns = score_rows("columns", columns)
    weight = weight_vector("weight", weight, columns.shape[1])
    sums = _cluster_sums(list(columns), weight, cluster_ids)
    means = sums[:, 1:].sum(axis=0) / sums[:, 0].sum()
    drawn = _resampled_means(sums, num_resamples, seed)
    return [
        MeanInterval(float(mean), *percentile_interval(draws, level)) for mean, draws in zip(means, drawn, strict=True)
    ]


def score_rows(name: str, scores: ArrayLike) -> np.ndarray:
    """Scores as `(num_seeds, num_items)`, all finite."""
    rows = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name} has shape {rows.shape}; give (num_items,) or (num_seeds, num_items)")
    if not np.isfinite(rows).all():
        seed, item = np.argwhere(~np.isfinite(rows))[0]
        raise ValueError(
            f"{name} of item {item} (seed {seed}) is {rows[seed, item]}; give finite scores (nats are infinite where "
            "a category that got votes was given probability 0: smooth that prediction)"
        )
    return rows


def check_pairing(scores: np.ndarray, baseline: np.ndarray) -> None:
    """Refuse scores of other items, and numbers of seeds that do not pair (`(num_seeds, num_items)` each)."""
    if scores.shape[1] != baseline.shape[1]:
        raise ValueError(
            f"scores has {scores.shape[1]} items but baseline_scores has {baseline.shape[1]}; give the scores of the "
            "same items in the same order"
        )
    if len(scores) != len(baseline) and 1 not in (len(scores), len(baseline)):
        raise ValueError(
            f"scores has {len(scores)} seeds but baseline_scores has {len(baseline)}; give the same number, or one row"
        )


def _cluster_sums(values: list[np.ndarray], weight: np.ndarray, cluster_ids: ArrayLike | None) -> np.ndarray:
    """Per cluster the weight and the weighted sum of each array, `(num_clusters, 1 + len(values))`.

    Items of weight 0 are no items: a cluster of nothing else is not drawn.
    """
    ids = np.arange(len(weight)) if cluster_ids is None else np.asarray(cluster_ids)
    if ids.shape != weight.shape:
        raise ValueError(f"cluster_ids has shape {ids.shape} for {len(weight)} items; give one id per item")
    names, cluster = np.unique(ids[weight > 0], return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"cluster_ids has {len(names)} cluster with weight; an interval needs at least 2")
    columns = [weight, *(weight * array for array in values)]
    return np.stack([np.bincount(cluster, column[weight > 0]) for column in columns], axis=1)


def _resampled_means(sums: np.ndarray, num_resamples: int, seed: int) -> np.ndarray:
    """Weighted means under resampling of clusters, `(number of arrays, num_resamples)`."""
    if num_resamples < 1:
        raise ValueError(f"num_resamples is {num_resamples}; give at least 1 (10,000 for an interval)")
    totals = np.concatenate([counts @ sums for counts in _resample_counts(len(sums), num_resamples, seed)])
    return (totals[:, 1:] / totals[:, :1]).T


def _resample_counts(num_clusters: int, num_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each cluster is in each resample (multinomial): arrays of shape `(some resamples, num_clusters)`."""
    generator = np.random.default_rng(seed)
    rows = max(1, _DRAWS_AT_ONCE // num_clusters)
    for start in range(0, num_resamples, rows):
        yield multiplicities(generator, num_clusters, min(rows, num_resamples - start))


def multiplicities(generator: np.random.Generator, num_units: int, num_resamples: int) -> np.ndarray:
    """How often each of `num_units` is drawn with replacement: float64 of shape `(num_resamples, num_units)`."""
    drawn = generator.integers(num_units, size=(num_resamples, num_units))
    drawn += np.arange(num_resamples)[:, None] * num_units  # one range of numbers per resample
    return np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)


def percentile_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Equal-tailed quantiles of resampled values that hold a share `level` of them."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; give a coverage between 0 and 1, such as 0.95")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """`numerator / denominator`, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator != 0)
