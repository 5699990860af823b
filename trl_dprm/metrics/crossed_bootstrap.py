"""Other items *and* other annotators: means over judgments, with intervals by a bootstrap of both at once.

Two judgments resemble each other when they are about one item, and also when one annotator gave them. Resampling items
alone keeps the panel of annotators as it is, and its intervals speak of that panel only. Here items (or whole
conversations) and annotators are drawn independently, and a judgment counts as often as its item was drawn times as
often as its annotator was: the pigeonhole bootstrap.

How far it can be read: no bootstrap of crossed data is exact (McCullagh 2000). This one is conservative: the noise of
single judgments is counted up to three times, so that an interval is up to 1.7 times too wide where neither items nor
annotators matter, and less so the more judgments each item and each annotator has (`two_way_interval` is sharper).
With a handful of annotators it is coarse, and whoever was not among them cannot be conjured up: eight annotators are
eight observations of the population, however many judgments each gave.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from .arrays import weight_vector
from .bootstrap import (
    MeanInterval,
    PairedDifference,
    check_pairing,
    multiplicities,
    percentile_interval,
    ratio,
    score_rows,
)

_DRAWS_AT_ONCE = 2**21  # bounds the memory of resampling


def crossed_interval(
    judgment_scores: ArrayLike,
    item_ids: ArrayLike,
    annotator_ids: ArrayLike,
    weight: ArrayLike | None = None,
    cluster_ids: ArrayLike | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> MeanInterval:
    """A weighted mean over judgments with an interval for other items judged by other annotators.

    Args:
        judgment_scores (array of shape `(num_judgments,)` or `(num_seeds, num_judgments)`): one finite score per
            judgment, such as `judgment_nats`; averaged over seeds first.
        item_ids (array of shape `(num_judgments,)`): which item was judged, numbers or strings.
        annotator_ids (array of shape `(num_judgments,)`): by whom. Where annotators are unknown there is no such
            interval: use `mean_interval` and say "for this panel of annotators".
        weight (array of shape `(num_judgments,)`, *optional*): how much each judgment counts; equal if not given.
        cluster_ids (array of shape `(num_judgments,)`, *optional*): what is drawn instead of single items
            (conversations); every item lies in one cluster.
        num_resamples (`int`, at least 1): draws of the bootstrap.
        level (`float`, between 0 and 1): coverage of the percentile interval.
        seed (`int`): the same seed gives the same interval.

    Returns:
        [`MeanInterval`]. A draw that happens to hold no judgment at all says nothing and is left out.

    Raises:
        ValueError: scores that are not finite, arrays of different lengths, an item in two clusters, fewer than two
            items (or clusters) or annotators, or `num_resamples` or `level` out of range.

    Source: Owen, *The pigeonhole bootstrap* (2007), section 4; McCullagh, *Resampling and exchangeable arrays* (2000).

    Example:

    >>> interval = crossed_interval([0.0, 1.0, 0.0, 1.0], ["a", "a", "b", "b"], [1, 2, 1, 2])
    >>> interval.mean, interval.low, interval.high  # the two annotators differ, the items do not
    (0.5, 0.0, 1.0)
    """
    rows = score_rows("judgment_scores", judgment_scores)
    weight = weight_vector("weight", weight, rows.shape[1])
    tables = _cell_sums([rows.mean(axis=0)], weight, item_ids, annotator_ids, cluster_ids)
    (means,) = _resampled_means(tables, num_resamples, seed)
    return MeanInterval(float(tables[1].sum() / tables[0].sum()), *percentile_interval(means, level))


def crossed_paired_difference(
    scores: ArrayLike,
    baseline_scores: ArrayLike,
    item_ids: ArrayLike,
    annotator_ids: ArrayLike,
    weight: ArrayLike | None = None,
    cluster_ids: ArrayLike | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Difference of two models' mean scores on the same judgments, for other items judged by other annotators.

    Args:
        scores (array of shape `(num_judgments,)` or `(num_seeds, num_judgments)`): scores of the model, finite;
            averaged over seeds first.
        baseline_scores (array of shape `(num_judgments,)` or `(num_seeds, num_judgments)`): of the baseline on the
            same judgments in the same order; one side may have a single row.
        item_ids, annotator_ids, weight, cluster_ids, num_resamples, level, seed: as [`crossed_interval`].

    Returns:
        [`PairedDifference`].

    Raises:
        ValueError: as [`crossed_interval`], or numbers of judgments or seeds that do not pair.

    Source: as [`crossed_interval`]; both models on the same draws as in [`paired_difference`].

    Example:

    >>> result = crossed_paired_difference([0.1, 0.2, 0.3, 0.2], [0.3, 0.3, 0.4, 0.4], [1, 1, 2, 2], list("abab"))
    >>> round(result.difference, 3), round(result.low, 3), round(result.high, 3)
    (-0.15, -0.2, -0.1)
    """
    scores, baseline = score_rows("scores", scores), score_rows("baseline_scores", baseline_scores)
    check_pairing(scores, baseline)
    weight = weight_vector("weight", weight, scores.shape[1])
    per_seed = np.average(scores - baseline, axis=1, weights=weight)
    tables = _cell_sums([scores.mean(axis=0), baseline.mean(axis=0)], weight, item_ids, annotator_ids, cluster_ids)
    means, baseline_means = _resampled_means(tables, num_resamples, seed)
    mean, baseline_mean = (float(table.sum() / tables[0].sum()) for table in tables[1:])
    return PairedDifference(
        mean - baseline_mean,
        *percentile_interval(means - baseline_means, level),
        float(ratio(np.float64(mean - baseline_mean), np.float64(baseline_mean))),
        *percentile_interval(ratio(means - baseline_means, baseline_means), level),
        per_seed,
        float(per_seed.std(ddof=1)) if len(per_seed) > 1 else float("nan"),
    )


def crossed_units(
    item_ids: ArrayLike, annotator_ids: ArrayLike, cluster_ids: ArrayLike | None, num_judgments: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which drawn unit (item or cluster) and which annotator each judgment belongs to, as codes from 0.

    Raises:
        ValueError: another number of ids, an item in two clusters, or fewer than two units or annotators.
    """
    items = _codes("item_ids", item_ids, num_judgments)
    annotators = _codes("annotator_ids", annotator_ids, num_judgments)
    units = items if cluster_ids is None else _codes("cluster_ids", cluster_ids, num_judgments)
    if cluster_ids is not None:
        first = np.full(items.max() + 1, -1)
        first[items[::-1]] = units[::-1]
        if (first[items] != units).any():
            place = int((first[items] != units).argmax())
            raise ValueError(
                f"item_ids[{place}] is {np.asarray(item_ids)[place]!s}, which lies in cluster "
                f"{np.asarray(cluster_ids)[place]!s} here and in another before; give each item one cluster"
            )
    for name, codes in (("item_ids" if cluster_ids is None else "cluster_ids", units), ("annotator_ids", annotators)):
        if codes.max() == 0:
            raise ValueError(
                f"{name} has 1 unit with weight; a crossed interval needs at least 2 items (or clusters) and 2 "
                "annotators: use mean_interval, which speaks for this panel of annotators"
            )
    return units, annotators


def _codes(name: str, ids: ArrayLike, length: int) -> np.ndarray:
    values = np.asarray(ids)
    if values.shape != (length,):
        raise ValueError(f"{name} has shape {values.shape} for {length} judgments; give one id per judgment")
    return np.unique(values, return_inverse=True)[1]


def judgments_with_weight(
    weight: np.ndarray, item_ids: ArrayLike, annotator_ids: ArrayLike, cluster_ids: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """`crossed_units` of the judgments of positive weight: others are no judgments, and stand for nobody.

    Raises:
        ValueError: as `crossed_units`.
    """
    given = {"item_ids": item_ids, "annotator_ids": annotator_ids, "cluster_ids": cluster_ids}
    for name, ids in given.items():
        if ids is not None and np.shape(ids) != weight.shape:
            raise ValueError(f"{name} has shape {np.shape(ids)} for {len(weight)} judgments; give one id per judgment")
    counts = weight > 0
    kept = [None if ids is None else np.asarray(ids)[counts] for ids in given.values()]
    return crossed_units(*kept, int(counts.sum()))


def _cell_sums(
    values: list[np.ndarray],
    weight: np.ndarray,
    item_ids: ArrayLike,
    annotator_ids: ArrayLike,
    cluster_ids: ArrayLike | None,
) -> list[csr_array]:
    """Weight, and weighted sum of each array, per unit and annotator: `(num_units, num_annotators)` each."""
    cells = judgments_with_weight(weight, item_ids, annotator_ids, cluster_ids)
    shape = cells[0].max() + 1, cells[1].max() + 1
    columns = [weight, *(weight * array for array in values)]
    return [csr_array((column[weight > 0], cells), shape=shape) for column in columns]


def _resampled_means(tables: list[csr_array], num_resamples: int, seed: int) -> np.ndarray:
    """Weighted means under crossed resampling, `(number of arrays, draws that hold a judgment)`."""
    if num_resamples < 1:
        raise ValueError(f"num_resamples is {num_resamples}; give at least 1 (10,000 for an interval)")
    of_units, of_annotators = np.random.default_rng(seed).spawn(2)
    num_units, num_annotators = tables[0].shape
    at_once = max(1, _DRAWS_AT_ONCE // max(num_units, num_annotators))
    totals = []
    for start in range(0, num_resamples, at_once):
        size = min(at_once, num_resamples - start)
        units = multiplicities(of_units, num_units, size)
        annotators = multiplicities(of_annotators, num_annotators, size)
        totals.append([((units @ table) * annotators).sum(axis=1) for table in tables])
    total, *sums = np.concatenate(totals, axis=1)
    drawn = total > 0
    if not drawn.any():
        raise ValueError(
            f"none of {num_resamples} resamples holds a judgment; too few items and annotators for a crossed interval"
        )
    return np.array([column[drawn] / total[drawn] for column in sums])
