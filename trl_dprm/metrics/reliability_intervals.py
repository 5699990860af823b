"""A reliability curve with an interval for each of its points."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import matching_distributions, vote_shares, weight_vector
from .bootstrap import percentile_interval
from .calibration import NUM_BINS, calibration_bins, reliability_curve
from .crossed_bootstrap import judgments_with_weight
from .drawn_bins import MOST_DRAWS, BinDraws, DrawnBins
from .judgment_scores import judgment_indices


class ReliabilityPoints(NamedTuple):
    """The bins of equal mass of one category's probability, from low to high.

    Attributes:
        predicted, observed, weight (`np.ndarray` of shape `(num_occupied_bins,)`): as
            [`~trl_dprm.metrics.ReliabilityCurve`].
        low, high (`np.ndarray` of shape `(num_occupied_bins,)`): ends of the interval of each observed share, a bin at
            a time: of ten bins one may well miss. NaN where there is none.
    """

    predicted: np.ndarray
    observed: np.ndarray
    weight: np.ndarray
    low: np.ndarray
    high: np.ndarray


def reliability_points(
    category_probs: ArrayLike,
    target_counts: ArrayLike,
    judged_items: ArrayLike,
    judged_categories: ArrayLike,
    annotator_ids: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    cluster_ids: Sequence | None = None,
    num_resamples: int = MOST_DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> list[ReliabilityPoints]:
    """Reliability curves in ten bins of equal mass, with intervals for what was observed in each bin.

    Args:
        category_probs (array of shape `(N, K)`): prediction, rows sum to 1.
        target_counts (array of shape `(N, K)`): raw votes, which the points are made of.
        judged_items, judged_categories (arrays of `int` of shape `(R,)`): the judgments that are drawn: rows and
            columns of the votes.
        annotator_ids (array of shape `(R,)`, *optional*): who judged. With it items and annotators are drawn; without
            it items only, for this panel of annotators.
        weight (array of shape `(R,)`, *optional*): how much each judgment counts; 1 if not given.
        cluster_ids (sequence of length N, *optional*): which items belong together; if not given, every item stands
            for itself.
        num_resamples (`int`, at least 1), level (`float`), seed (`int`): of the intervals, percentiles.

    Returns:
        `list` of [`ReliabilityPoints`], one for each category.

    Raises:
        ValueError: as [`~trl_dprm.metrics.category_calibration_errors`], for judgments that do not fit, and, with
            `annotator_ids`, for fewer than two items (or clusters) or annotators.

    Source: points as [`~trl_dprm.metrics.reliability_curve`], draws as [`~trl_dprm.metrics.crossed_resamples`];
        intervals of single bins [ours].

    Example:

    >>> probs, counts = [[0.75, 0.25]] * 4, [[1, 0], [1, 0], [0, 1], [1, 0]]
    >>> no, yes = reliability_points(probs, counts, [0, 1, 2, 3], [0, 0, 1, 0])
    >>> no.observed, no.low, no.high
    (array([0.75]), array([0.25]), array([1.]))
    """
    shares, votes = vote_shares(target_counts)
    probs, shares = matching_distributions(category_probs, shares)
    items, categories = judgment_indices(judged_items, judged_categories, probs.shape)
    weight = weight_vector("weight", weight, len(items))
    bins = np.stack([calibration_bins(column, votes, NUM_BINS, "equal_mass") for column in probs.T], axis=1)
    curves = [
        reliability_curve(predicted, observed, votes, NUM_BINS, "equal_mass")
        for predicted, observed in zip(probs.T, shares.T, strict=True)
    ]
    units, annotators = _units(items, annotator_ids, weight, cluster_ids, len(probs))
    kept = weight > 0
    ends = np.full((2, probs.shape[1] * NUM_BINS), np.nan)
    if units.max() > 0:
        chosen = np.eye(probs.shape[1])[categories[kept]]
        drawn = DrawnBins(bins[items[kept]], chosen, weight[kept], units, annotators)
        ends = ends_of_bins(list(drawn(min(num_resamples, MOST_DRAWS), seed)), level)
    low, high = ends.reshape(2, -1, NUM_BINS)
    occupied = [np.unique(column) for column in bins.T]
    return [
        ReliabilityPoints(*curve, lows[places], highs[places])
        for curve, lows, highs, places in zip(curves, low, high, occupied, strict=True)
    ]


def _units(items, annotator_ids, weight, cluster_ids, num_items) -> tuple[np.ndarray, np.ndarray | None]:
    """Item (or cluster) and annotator of each judgment of weight, as codes from 0."""
    clusters = (np.arange(num_items) if cluster_ids is None else np.asarray(cluster_ids))[items]
    if annotator_ids is None:
        return np.unique(clusters[weight > 0], return_inverse=True)[1], None
    return judgments_with_weight(weight, items, annotator_ids, clusters)


def ends_of_bins(batches: Sequence[BinDraws], level: float) -> np.ndarray:
    """Percentiles of the drawn shares of each bin, `(2, number of bins)`; NaN for bins that no draw fills.

    Args:
        batches (sequence of [`~trl_dprm.metrics.drawn_bins.BinDraws`]): of what was observed.
        level (`float`, between 0 and 1): coverage of the interval.
    """
    mass, value = (np.concatenate([getattr(batch, name) for batch in batches], axis=1) for name in ("mass", "value"))
    ends = np.full((2, len(mass)), np.nan)
    for place, (total, chosen) in enumerate(zip(mass, value, strict=True)):
        filled = total > 0
        if filled.any():
            ends[:, place] = percentile_interval(chosen[filled] / total[filled], level)
    return ends
