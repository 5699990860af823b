"""Scores of single judgments, whose means differ between two models exactly as those against vote shares do."""

import numpy as np
from numpy.typing import ArrayLike

from ..metrics.arrays import distribution_table
from ..metrics.judgment_scores import judgment_nats
from .judged_items import JudgedItems

LINEAR_METRICS = ("nats_per_vote", "brier_score", "energy_distance")


def linear_scores(category_probs: ArrayLike, items: JudgedItems) -> dict[str, np.ndarray]:
    """The scores of `LINEAR_METRICS`, one number per judgment, lower is better.

    Nats, Brier score and energy distance are linear in the vote share, up to a term that no prediction changes. So the
    *difference* of two models is the same for single votes as for shares and for the unknown truth, and intervals that
    draw annotators can be had for it. Transport and calibration errors are not linear.

    Args:
        category_probs (array of shape `(N, K)`): prediction, rows sum to 1.
        items ([`JudgedItems`]): with `single_votes`, R of them.

    Returns:
        `dict[str, np.ndarray]` of arrays of shape `(R,)`.

    Source: [ours].
    """
    probs, votes = distribution_table("category_probs", category_probs), items.single_votes
    cost = np.asarray(items.categories.cost_matrix)
    to_category, spread = probs @ cost, ((probs @ cost) * probs).sum(axis=1)
    chosen = votes.item, votes.category
    return {
        "nats_per_vote": judgment_nats(probs, *chosen),
        "brier_score": (probs**2).sum(axis=1)[votes.item] - 2 * probs[chosen] + 1,
        "energy_distance": 2 * to_category[chosen] - spread[votes.item],
    }
