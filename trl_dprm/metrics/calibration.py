"""Calibration: of the votes on items where the model said 30 %, are 30 % for that category?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import matching_distributions, share_vector, weight_vector

NUM_BINS = 10
BINNINGS = ("equal_width", "equal_mass")


class ReliabilityCurve(NamedTuple):
    """Predicted probabilities against observed shares, per occupied bin, from low to high probability.

    Attributes:
        predicted (`np.ndarray` of shape `(num_occupied_bins,)`): weighted mean of the predicted probabilities.
        observed (`np.ndarray` of shape `(num_occupied_bins,)`): weighted mean of the observed shares.
        weight (`np.ndarray` of shape `(num_occupied_bins,)`): total weight (votes) in the bin.
    """

    predicted: np.ndarray
    observed: np.ndarray
    weight: np.ndarray

    @property
    def calibration_error(self) -> float:
        """Mean of `|observed - predicted|` over the bins, weighted by votes: between 0 (best) and 1."""
        return float(np.average(np.abs(self.observed - self.predicted), weights=self.weight))


def reliability_curve(
    predicted: ArrayLike,
    observed: ArrayLike,
    weight: ArrayLike | None = None,
    num_bins: int = NUM_BINS,
    binning: str = "equal_width",
    both_orders: bool = False,
) -> ReliabilityCurve:
    """Items with similar predicted probabilities in one bin; what was observed there?

    Args:
        predicted (array of shape `(num_items,)`): predicted probability of one category (or of one side of a pair).
        observed (array of shape `(num_items,)`): the share of votes it got, 0 or 1 for a single vote.
        weight (array of shape `(num_items,)`, *optional*): votes behind each share; all equal if not given.
        num_bins (`int`, at least 1): bins of probability.
        binning (`str`): `"equal_width"` cuts [0, 1] into intervals of one width, each with its left end (the last one
            with both ends); `"equal_mass"` cuts the sorted items into groups of about equal weight, where equal
            predictions stay together, so that there may be fewer groups.
        both_orders (`bool`): for pairs, count each in both orders (probability `q` against share `s`, and `1 - q`
            against `1 - s`): where the preferred response always comes first, one order alone would call every honest
            model underconfident.

    Returns:
        [`ReliabilityCurve`]: bins without weight are left out.

    Raises:
        ValueError: values outside [0, 1], lengths that differ, no bins, or another binning.

    Source: Naeini, Cooper & Hauskrecht (2015) for the bins; Nixon et al., *Measuring Calibration in Deep Learning*
        (2019) for equal mass. Differs: observed are vote shares, weighted by votes.

    Example:

    >>> reliability_curve([0.1, 0.1, 0.9], [0.0, 0.5, 1.0], num_bins=2).observed
    array([0.25, 1.  ])
    """
    predicted, observed, weight = calibration_items(predicted, observed, weight)
    if both_orders:
        predicted, observed, weight = in_both_orders(predicted), in_both_orders(observed), np.tile(weight, 2)
    bins = calibration_bins(predicted, weight, num_bins, binning)
    total = np.bincount(bins, weight, num_bins)
    occupied = total > 0
    means = [np.bincount(bins, weight * values, num_bins)[occupied] for values in (predicted, observed)]
    return ReliabilityCurve(*(sums / total[occupied] for sums in means), total[occupied])


def expected_calibration_error(
    predicted: ArrayLike,
    observed: ArrayLike,
    weight: ArrayLike | None = None,
    num_bins: int = NUM_BINS,
    binning: str = "equal_width",
    both_orders: bool = False,
) -> float:
    """Expected calibration error: the mean distance of the reliability curve from the diagonal.

    With few votes per bin it is above 0 for a perfect model too: by how much says `calibration_error_if_calibrated`,
    and `debiased_calibration_error` takes it away.

    Args:
        predicted, observed, weight, num_bins, binning, both_orders: as [`reliability_curve`].

    Returns:
        `float` in [0, 1], best 0.

    Raises:
        ValueError: as [`reliability_curve`].

    Source: Guo et al., *On Calibration of Modern Neural Networks* (2017), equation 3. Differs: vote shares.

    Example:

    >>> expected_calibration_error([0.25, 0.25, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0])
    0.125
    """
    return reliability_curve(predicted, observed, weight, num_bins, binning, both_orders).calibration_error


def category_calibration_errors(
    category_probs: ArrayLike,
    target_probs: ArrayLike,
    vote_weight: ArrayLike | None = None,
    num_bins: int = NUM_BINS,
    binning: str = "equal_width",
) -> np.ndarray:
    """Expected calibration error of each category's probability against its share of the votes.

    Every probability is judged, not only that of the likeliest category: a distribution is used as a whole.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        target_probs (array of shape `(num_items, num_categories)`): raw vote shares, rows sum to 1.
        vote_weight (array of shape `(num_items,)`, *optional*): votes behind each row; all equal if not given.
        num_bins, binning: as [`reliability_curve`].

    Returns:
        `np.ndarray` of shape `(num_categories,)`, each in [0, 1], best 0.

    Raises:
        ValueError: tables that are no distributions or of different shapes; else as [`reliability_curve`].

    Source: Kull et al., *Beyond temperature scaling* (2019), classwise-ECE. Differs: vote shares.

    Example:

    >>> category_calibration_errors([[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.5, 0.5]])
    array([0.25, 0.25])
    """
    category_probs, target_probs = matching_distributions(category_probs, target_probs)
    columns = zip(category_probs.T, target_probs.T, strict=True)
    return np.array([expected_calibration_error(q, p, vote_weight, num_bins, binning) for q, p in columns])


def calibration_items(
    predicted: ArrayLike, observed: ArrayLike, weight: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, shares and weights, checked, without the items of weight 0.

    Raises:
        ValueError: values outside [0, 1], lengths that differ, or weights that are negative or all zero.
    """
    predicted = share_vector("predicted", predicted)
    observed = share_vector("observed", observed, len(predicted))
    weight = weight_vector("weight", weight, len(predicted))
    counts = weight > 0
    return predicted[counts], observed[counts], weight[counts]


def in_both_orders(values: np.ndarray) -> np.ndarray:
    """Probabilities or shares of one side of the pairs, then of the other side.

    Example:

    >>> in_both_orders(np.array([0.25, 1.0]))
    array([0.25, 1.  , 0.75, 0.  ])
    """
    return np.concatenate([values, 1 - values])


def calibration_bins(predicted: np.ndarray, weight: np.ndarray, num_bins: int, binning: str) -> np.ndarray:
    """Bin of each item, from 0 to `num_bins - 1`; see [`reliability_curve`] for the two binnings."""
    if num_bins < 1:
        raise ValueError(f"num_bins is {num_bins}; give at least 1")
    if binning == "equal_width":
        return np.minimum((predicted * num_bins).astype(int), num_bins - 1)
    if binning == "equal_mass":
        _, value = np.unique(predicted, return_inverse=True)
        mass = np.bincount(value, weight)
        middle = (np.cumsum(mass) - mass / 2) / mass.sum()
        return np.minimum((middle * num_bins).astype(int), num_bins - 1)[value]
    raise ValueError(f'binning is "{binning}"; choose one of {", ".join(BINNINGS)}')
