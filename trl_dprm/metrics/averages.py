"""Averages in which an item counts as often as it was voted on."""

import numpy as np

_CONSTANT = 1e-12  # a standard deviation this small against the values themselves is rounding


def weighted_mean(values: np.ndarray, weight: np.ndarray) -> float:
    """Mean of `values`; items of weight 0 do not exist, whatever their value.

    Args:
        values (`np.ndarray` of shape `(num_items,)`): may be infinite.
        weight (`np.ndarray` of shape `(num_items,)`): non-negative, not all zero.

    Example:

    >>> weighted_mean(np.array([1.0, 4.0, np.inf]), np.array([2.0, 1.0, 0.0]))
    2.0
    """
    counts = weight > 0
    return float((values[counts] * weight[counts]).sum() / weight[counts].sum())


def weighted_median(values: np.ndarray, weight: np.ndarray) -> float:
    """Lower weighted median: the smallest value that at least half of the weight does not exceed.

    It minimises the weighted mean absolute deviation, and it is one of the values.

    Args:
        values (`np.ndarray` of shape `(num_items,)`): finite.
        weight (`np.ndarray` of shape `(num_items,)`): non-negative, not all zero.

    Example:

    >>> weighted_median(np.array([5.0, 1.0, 2.0]), np.array([1.0, 1.0, 3.0]))
    2.0
    """
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])


def weighted_variance(values: np.ndarray, weight: np.ndarray) -> float:
    """Mean squared deviation from the weighted mean; exactly 0 where the values differ by rounding only.

    Args:
        values (`np.ndarray` of shape `(num_items,)`): finite.
        weight (`np.ndarray` of shape `(num_items,)`): non-negative, not all zero.

    Example:

    >>> weighted_variance(np.array([1.0, 4.0, 9.0]), np.array([2.0, 1.0, 0.0]))
    2.0
    """
    counts = weight > 0
    values, share = values[counts], weight[counts] / weight.sum()
    variance = share @ (values - share @ values) ** 2
    return float(variance) if np.sqrt(variance) > _CONSTANT * np.abs(values).max() else 0.0


def weighted_correlation(predicted: np.ndarray, observed: np.ndarray, weight: np.ndarray) -> float:
    """Pearson correlation; NaN where one side is constant (a single item, a constant prediction).

    Args:
        predicted, observed (`np.ndarray` of shape `(num_items,)`): finite.
        weight (`np.ndarray` of shape `(num_items,)`): non-negative, not all zero.

    Returns:
        `float` in [-1, 1], or NaN.

    Example:

    >>> weighted_correlation(np.array([0.0, 1.0, 5.0]), np.array([1.0, 2.0, 9.0]), np.array([1.0, 1.0, 0.0]))
    1.0
    >>> weighted_correlation(np.array([0.3, 0.3]), np.array([1.0, 2.0]), np.ones(2))
    nan
    """
    counts = weight > 0
    predicted, observed, share = predicted[counts], observed[counts], weight[counts] / weight.sum()
    deviations = [values - share @ values for values in (predicted, observed)]
    spreads = [np.sqrt(share @ deviation**2) for deviation in deviations]
    for values, spread in zip((predicted, observed), spreads, strict=True):
        if spread <= _CONSTANT * np.abs(values).max():
            return float("nan")
    correlation = share @ (deviations[0] * deviations[1]) / (spreads[0] * spreads[1])
    return float(np.clip(correlation, -1, 1))
