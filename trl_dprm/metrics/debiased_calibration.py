"""Calibration error without what finite votes add to it."""

import numpy as np
from numpy.typing import ArrayLike

from .arrays import matching_distributions
from .calibration import NUM_BINS, calibration_bins, calibration_items, in_both_orders


def squared_calibration_error(
    predicted: ArrayLike,
    observed: ArrayLike,
    weight: ArrayLike | None = None,
    num_bins: int = NUM_BINS,
    binning: str = "equal_width",
    both_orders: bool = False,
    cluster_ids: ArrayLike | None = None,
) -> float:
    """Squared distance of the bins of a reliability curve from the diagonal, unbiased: it may be **negative**.

    In each bin the squared gap `(sum_i w_i d_i / sum_i w_i)²`, `d_i = observed_i - predicted_i`, holds the square of
    the true gap *and* the sampling variance of the mean. Products of two *different* items hold the former only:

        sum_(i ≠ j) w_i d_i w_j d_j / sum_(i ≠ j) w_i w_j

    With equal weights that is the squared gap minus `s² / n`, the usual estimate of the variance of a mean. It needs
    no model of how votes vary: votes of one item may depend on each other, and ties may count half. For pairs in both
    orders the two orders of a pair are one item. The mean over bins is weighted by votes; a bin with a single item (a
    single cluster) shows no variance and is left out.

    Args:
        predicted, observed, weight, num_bins, binning, both_orders: as [`reliability_curve`].
        cluster_ids (array of shape `(num_items,)`, *optional*): which items belong together (conversation ids), so
            that only items of different clusters are multiplied; if not given, every item stands for itself.

    Returns:
        `float`, at most 1, best 0; NaN if every bin has a single item.

    Raises:
        ValueError: as [`reliability_curve`], or another number of cluster ids.

    Source: Kumar, Liang & Ma, *Verified Uncertainty Calibration* (2019), debiased estimator, which it equals for one
        vote per item and a constant prediction in each bin. Differs: vote shares, weights, clusters.

    Example:

    >>> squared_calibration_error([0.5, 0.5, 0.5, 0.5], [1.0, 0.0, 1.0, 0.0])
    -0.08333333333333333
    """
    predicted, observed, weight, item = _items(predicted, observed, weight, cluster_ids)
    if both_orders:
        predicted, observed = in_both_orders(predicted), in_both_orders(observed)
        weight, item = np.tile(weight, 2), np.tile(item, 2)
    bins = calibration_bins(predicted, weight, num_bins, binning)
    cells, cell = np.unique(item * num_bins + bins, return_inverse=True)
    gap = np.bincount(cell, weight * (observed - predicted))
    mass = np.bincount(cell, weight)
    gaps, gap_squares, total, squares, count = (
        np.bincount(cells % num_bins, values, num_bins) for values in (gap, gap**2, mass, mass**2, np.ones(len(cells)))
    )
    several = count > 1
    if not several.any():
        return float("nan")
    products = (gaps**2 - gap_squares)[several] / (total**2 - squares)[several]
    return float(np.average(products, weights=total[several]))


def debiased_calibration_error(
    predicted: ArrayLike,
    observed: ArrayLike,
    weight: ArrayLike | None = None,
    num_bins: int = NUM_BINS,
    binning: str = "equal_width",
    both_orders: bool = False,
    cluster_ids: ArrayLike | None = None,
) -> float:
    """Root mean square calibration error, debiased: near 0 for a calibrated model, however few the votes.

    The root of [`squared_calibration_error`], 0 where that is negative. As a root mean square it is at least as large
    as the expected calibration error that endless votes would show in the same bins, so a value above the plain error
    on the same items is no contradiction. Average the square, not the root, over seeds.

    Args:
        predicted, observed, weight, num_bins, binning, both_orders, cluster_ids: as [`squared_calibration_error`].

    Returns:
        `float` in [0, 1], best 0; NaN if every bin has a single item.

    Raises:
        ValueError: as [`squared_calibration_error`].

    Source: as [`squared_calibration_error`].

    Example:

    >>> round(debiased_calibration_error([0.5, 0.5, 0.5, 0.5], [1.0, 1.0, 1.0, 0.75]), 4)
    0.433
    """
    square = squared_calibration_error(predicted, observed, weight, num_bins, binning, both_orders, cluster_ids)
    return float(np.sqrt(np.maximum(square, 0.0)))


def category_debiased_calibration_errors(
    category_probs: ArrayLike,
    target_probs: ArrayLike,
    vote_weight: ArrayLike | None = None,
    num_bins: int = NUM_BINS,
    binning: str = "equal_width",
    cluster_ids: ArrayLike | None = None,
) -> np.ndarray:
    """Debiased calibration error of each category's probability against its share of the votes.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        target_probs (array of shape `(num_items, num_categories)`): raw vote shares, rows sum to 1.
        vote_weight (array of shape `(num_items,)`, *optional*): votes behind each row; all equal if not given.
        num_bins, binning, cluster_ids: as [`squared_calibration_error`].

    Returns:
        `np.ndarray` of shape `(num_categories,)`, each in [0, 1], best 0.

    Raises:
        ValueError: tables that are no distributions or of different shapes; else as [`squared_calibration_error`].

    Source: as [`squared_calibration_error`].

    Example:

    >>> category_debiased_calibration_errors([[0.5, 0.5]] * 3, [[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]).round(4)
    array([0.2887, 0.2887])
    """
    category_probs, target_probs = matching_distributions(category_probs, target_probs)
    columns = zip(category_probs.T, target_probs.T, strict=True)
    return np.array(
        [debiased_calibration_error(q, p, vote_weight, num_bins, binning, False, cluster_ids) for q, p in columns]
    )


def signed_calibration_error(
    category_probs: ArrayLike,
    target_probs: ArrayLike,
    vote_weight: ArrayLike | None = None,
    cluster_ids: ArrayLike | None = None,
) -> float:
    """Mean over categories of the debiased calibration error, with the root of a negative square below 0.

    What intervals are put around. Cut off at 0, draws of the error pile up there; moved to where their mean is the
    error on all data, they would say of a calibrated model, about one time in four, that it is not. With its sign
    the error of a calibrated model is about 0 on average, and what is cut off is the interval.

    Args:
        category_probs, target_probs, vote_weight, cluster_ids: as [`category_debiased_calibration_errors`].

    Raises:
        ValueError: as [`category_debiased_calibration_errors`].

    Source: [ours].

    Example:

    >>> round(signed_calibration_error([[0.5, 0.5]] * 4, [[1.0, 0.0], [0.0, 1.0]] * 2), 4)
    -0.2887
    """
    category_probs, target_probs = matching_distributions(category_probs, target_probs)
    columns = zip(category_probs.T, target_probs.T, strict=True)
    squares = [squared_calibration_error(q, p, vote_weight, cluster_ids=cluster_ids) for q, p in columns]
    return float(signed_roots(np.array(squares)).mean())


def signed_roots(squares: np.ndarray) -> np.ndarray:
    """Roots that keep the sign of what may be below 0.

    Example:

    >>> signed_roots(np.array([4.0, -4.0]))
    array([ 2., -2.])
    """
    return np.sign(squares) * np.sqrt(np.abs(squares))


def _items(
    predicted: ArrayLike, observed: ArrayLike, weight: ArrayLike | None, cluster_ids: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The items with weight, and the number of the item or cluster that each stands for."""
    given = np.arange(np.size(predicted)) if cluster_ids is None else np.asarray(cluster_ids)
    if given.shape != (np.size(predicted),):
        raise ValueError(f"cluster_ids has shape {given.shape} for {np.size(predicted)} items; give one id per item")
    weighted = np.ones(len(given), bool) if weight is None else np.asarray(weight) > 0
    items = calibration_items(predicted, observed, weight)
    return *items, np.unique(given[weighted], return_inverse=True)[1]
