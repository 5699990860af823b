"""Other items and other annotators without resampling: variances of both, and Student's quantile for few annotators.

The crossed bootstrap counts the noise of single judgments up to three times. Where that matters (a paired difference
of two models is mostly such noise) this interval is sharper, and with a handful of annotators it is wider, as it
should be: eight annotators give seven degrees of freedom.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from .arrays import weight_vector
from .bootstrap import MeanInterval, score_rows
from .crossed_bootstrap import judgments_with_weight


def two_way_interval(
    judgment_scores: ArrayLike,
    item_ids: ArrayLike,
    annotator_ids: ArrayLike,
    weight: ArrayLike | None = None,
    cluster_ids: ArrayLike | None = None,
    level: float = 0.95,
) -> MeanInterval:
    """A weighted mean over judgments with an interval for other items judged by other annotators, in closed form.

    With `e` the weighted deviations from the mean, the variance is that of their sums by item, plus that by annotator,
    minus that by item and annotator (which both have counted), each with its `G / (G - 1)`, and at least the larger of
    the first two. The interval is symmetric, with Student's quantile at the degrees of freedom of the smaller side.
    For two models give the differences of their scores: the interval of `scores - baseline_scores` is paired.

    Args:
        judgment_scores (array of shape `(num_judgments,)` or `(num_seeds, num_judgments)`): finite; averaged over
            seeds first.
        item_ids, annotator_ids, weight, cluster_ids: as [`crossed_interval`].
        level (`float`, between 0 and 1): coverage of the interval.

    Returns:
        [`MeanInterval`].

    Raises:
        ValueError: as [`crossed_interval`].

    Source: Cameron, Gelbach & Miller, *Robust inference with multiway clustering* (2011), equation 2.8. Differs: never
        below a one-way variance; degrees of freedom as they advise for few clusters (section 4.2).

    Example:

    >>> interval = two_way_interval([0.0, 1.0, 0.0, 1.0], ["a", "a", "b", "b"], [1, 2, 1, 2])
    >>> interval.mean, round(interval.high, 2)  # two annotators that differ: one degree of freedom
    (0.5, 6.85)
    """
    rows = score_rows("judgment_scores", judgment_scores)
    weight = weight_vector("weight", weight, rows.shape[1])
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; give a coverage between 0 and 1, such as 0.95")
    units, annotators = judgments_with_weight(weight, item_ids, annotator_ids, cluster_ids)
    scores, weight = rows.mean(axis=0)[weight > 0], weight[weight > 0]
    mean = float(np.average(scores, weights=weight))
    deviations = weight * (scores - mean) / weight.sum()
    num_annotators = annotators.max() + 1
    by_unit, by_annotator = _variance(deviations, units), _variance(deviations, annotators)
    by_both = _variance(deviations, units * num_annotators + annotators)
    variance = max(by_unit + by_annotator - by_both, by_unit, by_annotator)
    half = student.ppf((1 + level) / 2, min(units.max(), annotators.max())) * np.sqrt(variance)
    return MeanInterval(mean, float(mean - half), float(mean + half))


def _variance(deviations: np.ndarray, groups: np.ndarray) -> float:
    """Sum of squares of the sums of each group, with the correction for a finite number of groups."""
    _, group = np.unique(groups, return_inverse=True)
    sums = np.bincount(group, deviations)
    return float(len(sums) / (len(sums) - 1) * (sums**2).sum())
