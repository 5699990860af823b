"""Intervals of numbers and of differences between models: over items crossed with annotators where these are known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..metrics import DISTRIBUTION_METRICS, PairedDifference, item_scores, mean_interval, paired_difference
from ..metrics.crossed_bootstrap import crossed_interval, crossed_paired_difference
from ..metrics.debiased_calibration import signed_calibration_error
from ..metrics.disagreement import both_disagreements, concordance_at_equal_votes
from ..metrics.reliability_intervals import ReliabilityPoints, reliability_points
from ..metrics.resampled_report import (
    RESAMPLED_METRICS,
    ResampledReport,
    pair_costs,
    recentred_interval,
    resampled_metrics,
)
from ..metrics.statistic_bootstrap import statistic_interval
from ..metrics.vote_draws import VoteDraw, crossed_draws, panel_draws
from ..metrics.vote_share_coverage import VoteShareCoverage
from .judged_items import JudgedItems
from .linear_scores import LINEAR_METRICS, linear_scores

CROSSED, PANEL = "other items and other annotators", "other items, for this panel of annotators"
FEW_CLUSTERS = 10
MOST_DRAWS, MOST_RANKINGS = 1000, 300  # of the votes, and of the items where each draw sorts them


@dataclass(frozen=True)
class Resampling:
    """How intervals are drawn.

    Args:
        num_resamples (`int`): draws of the bootstrap; at most `MOST_DRAWS` for what has to be computed anew from each
            draw's votes.
        level (`float`, between 0 and 1): coverage of the intervals.
        seed (`int`): the same seed gives the same intervals.
    """

    num_resamples: int = 2000
    level: float = 0.95
    seed: int = 0


class Interval(NamedTuple):
    """Where a number would lie with other votes.

    Attributes:
        low, high (`float`): its ends.
        over (`str`): `CROSSED` or `PANEL`.
    """

    low: float
    high: float
    over: str


def few_clusters_note(clusters: Sequence | None) -> list[str]:
    """What a reader must know of intervals that draw few clusters; nothing where there are enough.

    Args:
        clusters (sequence, *optional*): of the rows, such as conversation ids.

    Source: Cameron, Gelbach & Miller, *Bootstrap-based improvements for inference with clustered errors* (2008): with
        few clusters intervals cover less than they say. The number ten [ours].

    Example:

    >>> few_clusters_note(["a", "b", "a"])
    ['The rows are in 2 clusters: intervals from so few are too narrow.']
    >>> few_clusters_note(range(10))
    []
    """
    number = None if clusters is None else len(set(clusters))
    if number is None or number >= FEW_CLUSTERS:
        return []
    if number == 1:
        return ["The rows are in 1 cluster: there are no intervals over others."]
    return [f"The rows are in {number} clusters: intervals from so few are too narrow."]


def can_cross(items: JudgedItems) -> bool:
    """Whether annotators are known, at least two of them, on two items (or clusters) or more (`bool`).

    Args:
        items ([`JudgedItems`]): with or without `single_votes`.
    """
    votes = items.single_votes
    if votes is None:
        return False
    counted = votes.weight > 0
    units = votes.item if items.clusters is None else _clusters_of_votes(items)
    return min(len(np.unique(ids[counted])) for ids in (units, votes.annotator)) > 1


def drawn_metrics(
    models: Sequence[np.ndarray], items: JudgedItems, resampling: Resampling
) -> list[np.ndarray] | list[None]:
    """The numbers of `RESAMPLED_METRICS` on drawn votes, the same draws for all models.

    Args:
        models (sequence of `np.ndarray` of shape `(N, K)`): predictions.
        items ([`JudgedItems`]): N of them.
        resampling ([`Resampling`]): how.

    Returns:
        For each model an array of shape `(number of draws, len(RESAMPLED_METRICS))`, or `None` where there is a single
        item (or cluster) and nothing to draw.
    """
    if not can_cross(items) and _num_units(items) < 2:
        return [None] * len(models)
    reports = [ResampledReport(probs, items.vote_weight, *items.geometry) for probs in models]
    return list(resampled_metrics(reports, _draws(items, resampling)).swapaxes(0, 1))


def metric_intervals(
    values: Mapping[str, float],
    drawn: np.ndarray | None,
    category_probs: np.ndarray,
    items: JudgedItems,
    resampling: Resampling,
) -> dict[str, Interval]:
    """Intervals of a model's metrics.

    Args:
        values (`dict[str, float]`): the metrics, which intervals are put around.
        drawn (`np.ndarray`, *optional*): of this model, as [`drawn_metrics`] gives it.
        category_probs (`np.ndarray` of shape `(N, K)`): its prediction.
        items ([`JudgedItems`]): N of them.
        resampling ([`Resampling`]): how.

    Returns:
        `dict[str, Interval]` by metric, those that are finite.
    """
    if drawn is None:
        return {}
    over = CROSSED if can_cross(items) else PANEL
    intervals = {"nats_per_vote": _nats_interval(category_probs, items, resampling)}
    for name, draws in zip(RESAMPLED_METRICS, drawn.T, strict=True):
        ends = recentred_interval(values.get(name, np.nan), draws, resampling.level)
        intervals[name] = None if ends is None else Interval(*_within(name, ends), over)
    intervals["debiased_calibration_error"] = _debiased_interval(values, drawn, category_probs, items, resampling)
    if items.categories.positions is None:
        scores = item_scores(category_probs, items.target_probs, *items.geometry)["wasserstein_distance"]
        intervals["wasserstein_distance"] = _mean_over_items(scores, items.vote_weight, items, resampling)
    return {name: interval for name, interval in intervals.items() if interval is not None}


def coverage_interval(
    coverage: VoteShareCoverage, whole: np.ndarray, items: JudgedItems, resampling: Resampling
) -> Interval | None:
    """Of the share of vote shares within their predictive intervals, for this panel.

    Args:
        coverage ([`~trl_dprm.metrics.VoteShareCoverage`]): of the items of whole votes.
        whole (`np.ndarray` of `bool` of shape `(N,)`): which these are; every one counts alike.
        items ([`JudgedItems`]): N of them.
        resampling ([`Resampling`]): how.
    """
    covered = np.zeros(len(items))
    covered[whole] = coverage.covered.mean(axis=1)
    return _mean_over_items(covered, whole.astype(float), items, resampling)


def concordance_interval(
    category_probs: np.ndarray, whole: np.ndarray, items: JudgedItems, resampling: Resampling
) -> Interval | None:
    """Of how often the more contested of two items was predicted to be, for this panel.

    Only items of equally many votes are compared: drawing annotators would leave few of them.

    Args:
        category_probs (`np.ndarray` of shape `(N, K)`): prediction.
        whole (`np.ndarray` of `bool` of shape `(N,)`): the items of whole votes.
        items ([`JudgedItems`]): N of them.
        resampling ([`Resampling`]): how.
    """
    if not whole.any():
        return None
    columns = both_disagreements(category_probs[whole], items.target_counts[whole].round(), None)
    clusters = None if items.clusters is None else np.asarray(items.clusters)[whole]
    if len(np.unique(np.arange(whole.sum()) if clusters is None else clusters)) < 2:
        return None
    value = concordance_at_equal_votes(*columns).probability
    if not np.isfinite(value):
        return None
    interval = statistic_interval(
        lambda rows: concordance_at_equal_votes(*(column[rows] for column in columns)).probability,
        int(whole.sum()),
        clusters,
        min(resampling.num_resamples, MOST_RANKINGS),
        resampling.level,
        resampling.seed,
    )
    return Interval(max(interval.low, 0.0), min(interval.high, 1.0), PANEL)


def differences(
    category_probs: np.ndarray, baseline_probs: np.ndarray, items: JudgedItems, resampling: Resampling
) -> dict[str, PairedDifference]:
    """What a model's scores are below (or above) those of another on the same votes, with intervals.

    Args:
        category_probs, baseline_probs (`np.ndarray` of shape `(N, K)`): predictions of the two.
        items ([`JudgedItems`]): N of them.
        resampling ([`Resampling`]): how.

    Returns:
        `dict[str, PairedDifference]` by metric, those of `LINEAR_METRICS` that are finite for both.
    """
    if can_cross(items):
        votes = items.single_votes
        ids = (votes.item, votes.annotator, votes.weight, _clusters_of_votes(items))
        scores, baseline = (linear_scores(probs, items) for probs in (category_probs, baseline_probs))
        compare = crossed_paired_difference
    elif _num_units(items) > 1:
        ids = items.vote_weight, items.clusters
        targets = items.target_probs
        scores, baseline = (item_scores(probs, targets, *items.geometry) for probs in (category_probs, baseline_probs))
        compare = paired_difference
    else:
        return {}
    finite = [name for name in LINEAR_METRICS if np.isfinite(scores[name]).all() and np.isfinite(baseline[name]).all()]
    return {name: compare(scores[name], baseline[name], *ids, *_how(resampling)) for name in finite}


def _debiased_interval(
    values: Mapping[str, float],
    drawn: np.ndarray,
    category_probs: np.ndarray,
    items: JudgedItems,
    resampling: Resampling,
) -> Interval | None:
    """Of the error with its sign, cut off at 0 and reaching to the error itself."""
    value = values.get("debiased_calibration_error", np.nan)
    if not np.isfinite(value):
        return None
    signed = signed_calibration_error(category_probs, items.target_probs, items.vote_weight)
    draws = drawn[:, RESAMPLED_METRICS.index("signed_calibration_error")]
    ends = recentred_interval(signed, draws, resampling.level)
    if ends is None:
        return None
    within = _within("debiased_calibration_error", (min(ends[0], value), max(ends[1], value)))
    return Interval(*within, CROSSED if can_cross(items) else PANEL)


def reliability_with_intervals(
    category_probs: np.ndarray, items: JudgedItems, resampling: Resampling
) -> list[ReliabilityPoints]:
    """Of each category the points of its reliability curve, with intervals.

    Args:
        category_probs (`np.ndarray` of shape `(N, K)`): prediction.
        items ([`JudgedItems`]): N of them.
        resampling ([`Resampling`]): how.
    """
    votes, how = items.single_votes, _how(resampling)
    if can_cross(items):
        judgments = votes.item, votes.category, votes.annotator, votes.weight
    else:
        rows, columns = np.nonzero(items.target_counts)
        judgments = rows, columns, None, items.target_counts[rows, columns]
    return reliability_points(category_probs, items.target_counts, *judgments, items.clusters, *how)


def _draws(items: JudgedItems, resampling: Resampling) -> Iterator[VoteDraw]:
    rewards, _, cost = items.geometry
    costs, votes = pair_costs(rewards, cost), items.single_votes
    num_draws = min(resampling.num_resamples, MOST_DRAWS)
    if not can_cross(items):
        return panel_draws(items.target_counts, costs, items.clusters, num_draws, resampling.seed)
    judgments = (votes.item, votes.annotator, votes.category)
    drawn = (votes.weight, _clusters_of_votes(items), num_draws, resampling.seed)
    return crossed_draws(*judgments, items.target_counts.shape, costs, *drawn)


def _nats_interval(category_probs: np.ndarray, items: JudgedItems, resampling: Resampling) -> Interval | None:
    """A mean over judgments; `None` where it is infinite."""
    if not can_cross(items):
        scores = item_scores(category_probs, items.target_probs, *items.geometry)["nats_per_vote"]
        return _mean_over_items(scores, items.vote_weight, items, resampling)
    scores, votes = linear_scores(category_probs, items)["nats_per_vote"], items.single_votes
    if not np.isfinite(scores).all():
        return None
    ids = (votes.item, votes.annotator, votes.weight, _clusters_of_votes(items))
    _, low, high = crossed_interval(scores, *ids, *_how(resampling))
    return Interval(low, high, CROSSED)


def _mean_over_items(
    scores: np.ndarray, weight: np.ndarray, items: JudgedItems, resampling: Resampling
) -> Interval | None:
    """`None` for infinite scores, and where items of weight are in one unit."""
    units = np.arange(len(items)) if items.clusters is None else np.asarray(items.clusters)
    if not np.isfinite(scores).all() or len(np.unique(units[weight > 0])) < 2:
        return None
    _, low, high = mean_interval(scores, weight, units, *_how(resampling))
    return Interval(low, high, PANEL)


def _within(name: str, ends: tuple[float, float]) -> tuple[float, float]:
    """The part of an interval that the metric can take."""
    if name not in DISTRIBUTION_METRICS:
        return max(ends[0], 0.0), ends[1]
    about = DISTRIBUTION_METRICS[name]
    return max(ends[0], about.low), min(ends[1], about.high)


def _how(resampling: Resampling) -> tuple[int, float, int]:
    return resampling.num_resamples, resampling.level, resampling.seed


def _num_units(items: JudgedItems) -> int:
    return len(items) if items.clusters is None else len(set(items.clusters))


def _clusters_of_votes(items: JudgedItems) -> np.ndarray | None:
    return None if items.clusters is None else np.asarray(items.clusters)[items.single_votes.item]
