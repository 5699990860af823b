"""Calibration of pairs on drawn pairs, every pair in both orders: the two orders of a pair are drawn together."""

import numpy as np
from numpy.typing import ArrayLike

from .calibration import NUM_BINS, calibration_bins, calibration_items, in_both_orders, reliability_curve
from .drawn_bins import MOST_DRAWS, DrawnBins, calibration_errors
from .reliability_intervals import ReliabilityPoints, ends_of_bins


def drawn_pair_calibration_errors(
    win_probs: ArrayLike,
    chosen_vote_share: ArrayLike,
    pair_weight: ArrayLike | None = None,
    binning: str = "equal_width",
    cluster_ids: ArrayLike | None = None,
    num_resamples: int = MOST_DRAWS,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Calibration errors of drawn pairs, what their intervals are made of; bins are cut once for all draws.

    Args:
        win_probs (array of shape `(num_pairs,)`): probability that the chosen response is preferred.
        chosen_vote_share (array of shape `(num_pairs,)`): share of the votes for it, a tie as half a vote.
        pair_weight (array of shape `(num_pairs,)`, *optional*): votes of each pair; equal if not given.
        binning (`str`): `"equal_width"` or `"equal_mass"`.
        cluster_ids (array of shape `(num_pairs,)`, *optional*): which pairs belong together and are drawn together;
            if not given, every pair stands for itself.
        num_resamples (`int`, at least 1), seed (`int`): of the draws.

    Returns:
        Two `np.ndarray` of shape `(num_resamples,)`: the expected calibration error, and the debiased one with its
        sign, below 0 where its square is. The second is NaN where every bin has a single pair (or cluster).

    Raises:
        ValueError: as [`~trl_dprm.metrics.reliability_curve`], or another number of cluster ids.

    Source: as [`~trl_dprm.metrics.debiased_calibration.signed_calibration_error`], which says what the sign is for.

    Example:

    >>> plain, signed = drawn_pair_calibration_errors([0.8, 0.8], [1.0, 0.6], num_resamples=4)
    >>> plain.round(4), signed.round(4)  # of the same pair twice nothing can be told without bias
    (array([0.2, 0. , 0.2, 0.2]), array([ nan, -0.2,  nan,  nan]))
    """
    predicted, observed, weight, units = _voted(win_probs, chosen_vote_share, pair_weight, cluster_ids)
    drawn = _drawn_bins(in_both_orders(observed) - in_both_orders(predicted), predicted, weight, units, binning)
    errors = [calibration_errors(batch, 1) for batch in drawn(num_resamples, seed)]
    plain, signed = (np.concatenate(column) for column in zip(*errors, strict=True))
    return plain, signed


def pair_reliability_points(
    win_probs: ArrayLike,
    chosen_vote_share: ArrayLike,
    pair_weight: ArrayLike | None = None,
    cluster_ids: ArrayLike | None = None,
    num_resamples: int = MOST_DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> ReliabilityPoints:
    """A reliability curve of pairs in ten bins of equal mass, with intervals for what was observed in each bin.

    Args:
        win_probs, chosen_vote_share, pair_weight, cluster_ids: as [`drawn_pair_calibration_errors`].
        num_resamples (`int`, at least 1), level (`float`), seed (`int`): of the intervals, percentiles.

    Returns:
        [`~trl_dprm.metrics.reliability_intervals.ReliabilityPoints`]; ends are NaN where there is one pair (or
        cluster).

    Raises:
        ValueError: as [`drawn_pair_calibration_errors`].

    Source: as [`~trl_dprm.metrics.reliability_intervals.reliability_points`]; both orders [ours].

    Example:

    >>> points = pair_reliability_points([0.8, 0.8], [1.0, 0.6])
    >>> points.observed, points.low, points.high
    (array([0.2, 0.8]), array([0. , 0.6]), array([0.4, 1. ]))
    """
    predicted, observed, weight, units = _voted(win_probs, chosen_vote_share, pair_weight, cluster_ids)
    curve = reliability_curve(predicted, observed, weight, NUM_BINS, "equal_mass", both_orders=True)
    drawn = _drawn_bins(in_both_orders(observed), predicted, weight, units, "equal_mass")
    ends = np.full((2, NUM_BINS), np.nan)
    if units.max() > 0:
        ends = ends_of_bins(list(drawn(min(num_resamples, MOST_DRAWS), seed)), level)
    occupied = np.unique(_bins(predicted, weight, "equal_mass"))
    return ReliabilityPoints(*curve, *ends[:, occupied])


def _voted(win_probs, chosen_vote_share, pair_weight, cluster_ids) -> tuple[np.ndarray, ...]:
    """Probabilities, shares, weights and codes of the pairs (or clusters) that have weight."""
    given = np.arange(np.size(win_probs)) if cluster_ids is None else np.asarray(cluster_ids)
    if given.shape != (np.size(win_probs),):
        raise ValueError(f"cluster_ids has shape {given.shape} for {np.size(win_probs)} pairs; give one id per pair")
    weighted = np.ones(len(given), bool) if pair_weight is None else np.asarray(pair_weight) > 0
    columns = calibration_items(win_probs, chosen_vote_share, pair_weight)
    return *columns, np.unique(given[weighted], return_inverse=True)[1]


def _bins(predicted: np.ndarray, weight: np.ndarray, binning: str) -> np.ndarray:
    """Of the pairs in one order, then in the other."""
    return calibration_bins(in_both_orders(predicted), np.tile(weight, 2), NUM_BINS, binning)


def _drawn_bins(
    values: np.ndarray, predicted: np.ndarray, weight: np.ndarray, units: np.ndarray, binning: str
) -> DrawnBins:
    """What sums `values`, given in both orders, over the bins of drawn pairs."""
    bins = _bins(predicted, weight, binning)
    return DrawnBins(bins[:, None], values[:, None], np.tile(weight, 2), np.tile(units, 2))
