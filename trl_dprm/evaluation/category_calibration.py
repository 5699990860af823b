"""Is each category's probability right? A mean over categories can hide the one that is not."""

from typing import NamedTuple

import numpy as np

from ..metrics import MeanInterval, category_calibration_errors, category_debiased_calibration_errors
from ..metrics.calibration import NUM_BINS, calibration_bins
from ..metrics.debiased_calibration import signed_roots, squared_calibration_error
from ..metrics.drawn_bins import MOST_DRAWS, DrawnBins, category_errors
from ..metrics.resampled_report import recentred_interval
from .intervals import Resampling, can_cross
from .judged_items import JudgedItems


class CategoryCalibration(NamedTuple):
    """Calibration errors of the probability of one category, in ten bins of equal width.

    Attributes:
        expected ([`MeanInterval`]): expected calibration error; above 0 by chance alone, too.
        debiased ([`MeanInterval`]): without what chance adds; NaN for too few votes.
    """

    expected: MeanInterval
    debiased: MeanInterval


def calibration_by_category(
    category_probs: np.ndarray, items: JudgedItems, resampling: Resampling
) -> dict[str, CategoryCalibration]:
    """Of each category by its name; the means over categories are the two errors among the report's metrics.

    Args:
        category_probs (`np.ndarray` of shape `(N, K)`): prediction.
        items ([`JudgedItems`]): N of them.
        resampling ([`Resampling`]): of the intervals, over items crossed with annotators where these are known, else
            over items (or clusters) for this panel; NaN where there is nothing to draw.

    Example:

    >>> from trl_dprm.preferences import PreferenceCategories
    >>> items = JudgedItems([[2, 1], [0, 3]], PreferenceCategories(["bad", "good"], [0.0, 1.0]))
    >>> found = calibration_by_category(np.array([[0.5, 0.5], [0.5, 0.5]]), items, Resampling(num_resamples=10))
    >>> round(found["good"].expected.mean, 4)
    0.1667
    """
    given = category_probs, items.target_probs, items.vote_weight
    columns = zip(category_probs.T, items.target_probs.T, strict=True)
    squares = np.array([squared_calibration_error(*column, items.vote_weight) for column in columns])
    errors = category_calibration_errors(*given), category_debiased_calibration_errors(*given)
    centres = errors[0], signed_roots(squares)
    drawn = _drawn(category_probs, items, resampling)
    return {
        name: CategoryCalibration(
            *(
                _interval(error[place], centre[place], None if drawn is None else draws[place], resampling.level)
                for error, centre, draws in zip(errors, centres, drawn or (None, None), strict=True)
            )
        )
        for place, name in enumerate(items.categories.names)
    }


def _drawn(
    category_probs: np.ndarray, items: JudgedItems, resampling: Resampling
) -> tuple[np.ndarray, np.ndarray] | None:
    """Both errors of each category on drawn votes, `(K, number of draws)` each; `None` where there is one unit."""
    if can_cross(items):
        votes = items.single_votes
        row, chosen, who, weight = votes.item, votes.category, votes.annotator, votes.weight
    else:
        row, chosen = np.nonzero(items.target_counts)
        who, weight = None, items.target_counts[row, chosen]
    counted = weight > 0
    row, chosen, weight = row[counted], chosen[counted], weight[counted]
    units = np.unique(row if items.clusters is None else np.asarray(items.clusters)[row], return_inverse=True)[1]
    if units.max() == 0:
        return None
    judges = None if who is None else np.unique(who[counted], return_inverse=True)[1]
    num_categories = category_probs.shape[1]
    bins = calibration_bins(category_probs[row], weight, NUM_BINS, "equal_width")
    drawing = DrawnBins(bins, np.eye(num_categories)[chosen] - category_probs[row], weight, units, judges)
    batches = drawing(min(resampling.num_resamples, MOST_DRAWS), resampling.seed)
    errors = [category_errors(batch, num_categories) for batch in batches]
    return tuple(np.concatenate(parts, axis=1) for parts in zip(*errors, strict=True))


def _interval(error: float, centre: float, draws: np.ndarray | None, level: float) -> MeanInterval:
    """The error with the part of its interval that it can take."""
    ends = None if draws is None else recentred_interval(centre, draws, level)
    if ends is None:
        return MeanInterval(float(error), float("nan"), float("nan"))
    return MeanInterval(float(error), max(min(ends[0], error), 0.0), min(max(ends[1], error), 1.0))
