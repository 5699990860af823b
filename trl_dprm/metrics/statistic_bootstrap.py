"""Intervals for what is no mean over judgments: correlations, calibration errors, distances of vote shares.

A resample repeats items, and repeats annotators within an item: both make a statistic that is not linear look other
than it is (a calibration error grows, an item whose one annotator was drawn twice looks more agreed than it is). Plain
percentiles would carry that shift into the interval. So the resamples are moved to where their mean is the value on
all data: only their spread is used.

Not for statistics that need two *distinct* annotators (`pairwise_disagreement` and other unbiased estimates): a
repeated annotator agrees with itself. For these draw items only (`statistic_interval`), "for this panel of
annotators", or take the draws of `vote_draws`, which know the pairs of distinct annotators.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .bootstrap import multiplicities, percentile_interval
from .crossed_bootstrap import crossed_units
from .judgment_scores import judgment_indices


class StatisticInterval(NamedTuple):
    """A statistic with its bootstrap interval.

    Attributes:
        value (`float`): on all data.
        low, high (`float`): ends of the interval; for a bounded statistic they may lie beyond its bounds.
        num_resamples (`int`): draws behind it: those on which the statistic was a finite number.
    """

    value: float
    low: float
    high: float
    num_resamples: int


def statistic_interval(
    statistic: Callable[[np.ndarray], float],
    num_items: int,
    cluster_ids: ArrayLike | None = None,
    num_resamples: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
) -> StatisticInterval:
    """Any function of a set of items, with an interval for other items judged by this panel of annotators.

    Args:
        statistic (callable): takes row numbers, an array of `int` that may repeat rows, and returns a number:
            `lambda rows: expected_calibration_error(predicted[rows], observed[rows], votes[rows])`.
        num_items (`int`, at least 2): rows are 0 to `num_items - 1`.
        cluster_ids (array of shape `(num_items,)`, *optional*): which items belong together; if not given, every item
            stands for itself.
        num_resamples (`int`, at least 1): calls of `statistic`.
        level (`float`, between 0 and 1): coverage of the interval.
        seed (`int`): the same seed gives the same interval.

    Returns:
        [`StatisticInterval`].

    Raises:
        ValueError: another number of cluster ids, fewer than two clusters, a statistic that is not finite on all data
            or on every resample, or `num_resamples` or `level` out of range.

    Source: as [`mean_interval`]; resamples moved to the value [ours].

    Example:

    >>> values = np.array([0.0, 1.0, 1.0, 0.0, 3.0])
    >>> interval = statistic_interval(lambda rows: values[rows].std(), num_items=5)
    >>> round(interval.value, 4), interval.low < interval.value < interval.high
    (1.0954, True)
    """
    ids = np.arange(num_items) if cluster_ids is None else np.asarray(cluster_ids)
    if ids.shape != (num_items,):
        raise ValueError(f"cluster_ids has shape {ids.shape} for {num_items} items; give one id per item")
    names, cluster = np.unique(ids, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"cluster_ids has {len(names)} cluster; an interval needs at least 2")
    _check_draws(num_resamples)
    generator = np.random.default_rng(seed)
    drawn = (multiplicities(generator, len(names), 1)[0][cluster].astype(int) for _ in range(num_resamples))
    values = [statistic(np.repeat(np.arange(num_items), times)) for times in drawn]
    return _recentred(float(statistic(np.arange(num_items))), np.array(values, dtype=np.float64), level)


def crossed_resamples(
    judged_items: ArrayLike,
    annotator_ids: ArrayLike,
    judged_categories: ArrayLike,
    num_items: int,
    num_categories: int,
    cluster_ids: ArrayLike | None = None,
    num_resamples: int = 1_000,
    seed: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Vote tables of other items judged by other annotators: items and annotators drawn independently.

    Any metric can be computed on them: `distribution_metrics(category_probs[rows], *vote_shares(target_counts), ...)`.

    Args:
        judged_items (array of `int` of shape `(num_judgments,)`): row of the item that was judged.
        annotator_ids (array of shape `(num_judgments,)`): by whom, numbers or strings.
        judged_categories (array of `int` of shape `(num_judgments,)`): the category chosen.
        num_items, num_categories (`int`): shape of the vote table.
        cluster_ids (array of shape `(num_judgments,)`, *optional*): what is drawn instead of single items.
        num_resamples (`int`, at least 1), seed (`int`): draws, and what makes them repeatable.

    Yields:
        `rows`, `np.ndarray` of `int` of shape `(num_drawn,)`: items, as often as they were drawn; and
        `target_counts`, `np.ndarray` of shape `(num_drawn, num_categories)`: their votes, an annotator drawn twice
        voting twice. Items none of whose annotators was drawn are left out, and so is a resample without any vote.

    Raises:
        ValueError: indices out of range, arrays of different lengths, an item in two clusters, or fewer than two items
            (or clusters) or annotators.

    Source: Owen, *The pigeonhole bootstrap* (2007); vote tables of it [ours].

    Example:

    >>> rows, counts = next(crossed_resamples([0, 0, 1, 1], list("abab"), [0, 1, 1, 1], num_items=2, num_categories=2))
    >>> rows.shape[0] == len(counts), counts.shape[1]
    (True, 2)
    """
    items, categories = judgment_indices(judged_items, judged_categories, (num_items, num_categories))
    units, annotators = crossed_units(items, annotator_ids, cluster_ids, len(items))
    _check_draws(num_resamples)
    unit_of_item = np.zeros(num_items, dtype=int)
    unit_of_item[items] = units  # an item that nobody judged has no votes whatever is drawn
    cell = items * num_categories + categories
    of_units, of_annotators = np.random.default_rng(seed).spawn(2)
    return _vote_tables(
        cell,
        annotators,
        unit_of_item,
        (num_items, num_categories),
        units.max() + 1,
        num_resamples,
        of_units,
        of_annotators,
    )


def crossed_statistic_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    judged_items: ArrayLike,
    annotator_ids: ArrayLike,
    judged_categories: ArrayLike,
    num_items: int,
    num_categories: int,
    cluster_ids: ArrayLike | None = None,
    num_resamples: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
) -> StatisticInterval:
    """Any function of a vote table, with an interval for other items judged by other annotators.

    Args:
        statistic (callable): takes `rows` and `target_counts` as [`crossed_resamples`] yields them and returns a
            number.
        judged_items, annotator_ids, judged_categories, num_items, num_categories, cluster_ids, num_resamples, seed: as
            [`crossed_resamples`].
        level (`float`, between 0 and 1): coverage of the interval.

    Returns:
        [`StatisticInterval`].

    Raises:
        ValueError: as [`crossed_resamples`], or a statistic that is not finite on all data or on every resample.

    Source: as [`crossed_resamples`]; resamples moved to the value [ours].

    Example:

    >>> predicted = np.array([0.2, 0.4, 0.9])
    >>> interval = crossed_statistic_interval(
    ...     lambda rows, counts: np.abs(predicted[rows] - counts[:, 1] / counts.sum(1)).mean(),
    ...     [0, 0, 1, 1, 2, 2], list("ababab"), [0, 0, 1, 0, 1, 1], num_items=3, num_categories=2)
    >>> round(interval.value, 4), interval.low < interval.value < interval.high
    (0.1333, True)
    """
    items, categories = judgment_indices(judged_items, judged_categories, (num_items, num_categories))
    counts = np.bincount(items * num_categories + categories, minlength=num_items * num_categories)
    counts = counts.reshape(num_items, num_categories).astype(np.float64)
    judged = np.flatnonzero(counts.any(axis=1))
    resamples = crossed_resamples(
        items, annotator_ids, categories, num_items, num_categories, cluster_ids, num_resamples, seed
    )
    values = [statistic(rows, table) for rows, table in resamples]
    return _recentred(float(statistic(judged, counts[judged])), np.array(values, dtype=np.float64), level)


def _vote_tables(
    cell: np.ndarray,
    annotators: np.ndarray,
    unit_of_item: np.ndarray,
    shape: tuple[int, int],
    num_units: int,
    num_resamples: int,
    of_units: np.random.Generator,
    of_annotators: np.random.Generator,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    num_annotators = annotators.max() + 1
    for _ in range(num_resamples):
        times = multiplicities(of_units, num_units, 1)[0].astype(int)[unit_of_item]
        votes = multiplicities(of_annotators, num_annotators, 1)[0][annotators]
        counts = np.bincount(cell, votes, shape[0] * shape[1]).reshape(shape)
        rows = np.repeat(np.arange(shape[0]), np.where(counts.any(axis=1), times, 0))
        if len(rows):
            yield rows, counts[rows]


def _recentred(value: float, draws: np.ndarray, level: float) -> StatisticInterval:
    """Percentiles of the draws, moved so that the draws' mean lies at the value."""
    if not np.isfinite(value):
        raise ValueError(f"the statistic is {value} on all data; an interval needs a finite number")
    draws = draws[np.isfinite(draws)]
    if len(draws) == 0:
        raise ValueError("the statistic is not finite on any resample; it needs more items or annotators")
    low, high = percentile_interval(draws + (value - draws.mean()), level)
    return StatisticInterval(value, low, high, len(draws))


def _check_draws(num_resamples: int) -> None:
    if num_resamples < 1:
        raise ValueError(f"num_resamples is {num_resamples}; give at least 1 (1,000 for an interval)")
