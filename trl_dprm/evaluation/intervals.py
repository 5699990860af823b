"""Intervals of means and of differences between models: over items crossed with annotators where these are known."""

from dataclasses import dataclass

import numpy as np

from ..metrics import MeanInterval, PairedDifference, item_scores, mean_interval, paired_difference
from ..metrics.crossed_bootstrap import crossed_interval, crossed_paired_difference
from .judged_items import JudgedItems
from .judgment_scores import judgment_scores

INTERVAL_METRICS = ("nats_per_vote", "brier_score", "energy_distance")
CROSSED, PANEL = "other items and other annotators", "other items, for this panel of annotators"


@dataclass(frozen=True)
class Resampling:
    """How intervals are drawn.

    Args:
        num_resamples (`int`): draws of the bootstrap.
        level (`float`, between 0 and 1): coverage of the intervals.
        seed (`int`): the same seed gives the same intervals.
    """

    num_resamples: int = 2000
    level: float = 0.95
    seed: int = 0


def can_cross(items: JudgedItems) -> bool:
    """Whether annotators are known, at least two of them (`bool`).

    Args:
        items ([`JudgedItems`]): with or without `single_votes`.
    """
    votes = items.single_votes
    return votes is not None and len(np.unique(votes.annotator[votes.weight > 0])) > 1


def nats_interval(category_probs: np.ndarray, items: JudgedItems, resampling: Resampling) -> MeanInterval | None:
    """Nats per vote with their interval; `None` where they are infinite, or where there is one item only.

    Args:
        category_probs (`np.ndarray` of shape `(N, K)`): prediction.
        items ([`JudgedItems`]): N of them.
        resampling ([`Resampling`]): how.
    """
    drawn = (resampling.num_resamples, resampling.level, resampling.seed)
    if can_cross(items):
        scores = judgment_scores(category_probs, items)["nats_per_vote"]
        votes = items.single_votes
        ids = (votes.item, votes.annotator, votes.weight, _clusters_of_votes(items))
        return crossed_interval(scores, *ids, *drawn) if np.isfinite(scores).all() else None
    scores = item_scores(category_probs, items.target_probs, *items.geometry)["nats_per_vote"]
    if not np.isfinite(scores).all() or _num_units(items) < 2:
        return None
    return mean_interval(scores, items.vote_weight, items.clusters, *drawn)


def differences(
    category_probs: np.ndarray, baseline_probs: np.ndarray, items: JudgedItems, resampling: Resampling
) -> dict[str, PairedDifference]:
    """What a model's scores are below (or above) those of another on the same votes, with intervals.

    Args:
        category_probs, baseline_probs (`np.ndarray` of shape `(N, K)`): predictions of the two.
        items ([`JudgedItems`]): N of them.
        resampling ([`Resampling`]): how.

    Returns:
        `dict[str, PairedDifference]` by metric, those of `INTERVAL_METRICS` that are finite for both.
    """
    drawn = (resampling.num_resamples, resampling.level, resampling.seed)
    if can_cross(items):
        votes = items.single_votes
        ids = (votes.item, votes.annotator, votes.weight, _clusters_of_votes(items))
        scores, baseline = (judgment_scores(probs, items) for probs in (category_probs, baseline_probs))
        compare = crossed_paired_difference
    elif _num_units(items) > 1:
        ids = items.vote_weight, items.clusters
        targets = items.target_probs
        scores, baseline = (item_scores(probs, targets, *items.geometry) for probs in (category_probs, baseline_probs))
        compare = paired_difference
    else:
        return {}
    finite = [
        name for name in INTERVAL_METRICS if np.isfinite(scores[name]).all() and np.isfinite(baseline[name]).all()
    ]
    return {name: compare(scores[name], baseline[name], *ids, *drawn) for name in finite}


def _num_units(items: JudgedItems) -> int:
    return len(items) if items.clusters is None else len(set(items.clusters))


def _clusters_of_votes(items: JudgedItems) -> np.ndarray | None:
    return None if items.clusters is None else np.asarray(items.clusters)[items.single_votes.item]
