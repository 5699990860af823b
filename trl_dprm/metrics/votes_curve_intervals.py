"""How sure is a curve in votes, and is a model ahead of an item's votes? Intervals over items, or clusters of them.

All of them are "for this panel of annotators": the curve is a sum over every way to choose an item's seen and unseen
votes, with each vote there once. A draw of annotators holds some of them twice, and a vote that is seen twice, or seen
and unseen at a time, is no way to choose; so other annotators are not drawn. What was fitted elsewhere (the prior of
the votes-only estimate, a prior strength) is held as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .averages import weighted_mean
from .bootstrap import MeanInterval, mean_intervals
from .held_out_votes import HELD_OUT_METRICS, HeldOutScores, VotesCurve, mean_curve


@dataclass(frozen=True)
class AheadOfVotes:
    """A model without a vote of the item, minus the estimate that reads no item, after 0, 1, 2, 4 … votes of it.

    Attributes:
        num_votes (`list[int]`): how many of an item's votes the estimate from votes alone has seen.
        differences (`dict` of lists of [`~trl_dprm.metrics.MeanInterval`]): for each of `HELD_OUT_METRICS` one for
            each of `num_votes`, paired on the same items: below 0 the model is ahead. Ends are NaN where there is no
            interval.
    """

    num_votes: list[int]
    differences: dict[str, list[MeanInterval]]


def curve_with_intervals(
    scores: HeldOutScores,
    cluster_ids: Sequence | None = None,
    num_resamples: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> VotesCurve:
    """The curve, with an interval for each of its scores.

    Args:
        scores ([`~trl_dprm.metrics.held_out_votes.HeldOutScores`]): of N items.
        cluster_ids (sequence of length N, *optional*): which items belong together; if not given, every item stands
            for itself.
        num_resamples (`int`, at least 1), level (`float`), seed (`int`): as [`~trl_dprm.metrics.mean_interval`]. All
            scores are on the same draws.

    Source: as [`~trl_dprm.metrics.mean_interval`].

    Example:

    >>> from trl_dprm.metrics.held_out_votes import held_out_scores
    >>> scores = held_out_scores([[0.5, 0.5]] * 3, [[2, 0], [1, 1], [0, 2]], 2.0, [[0, 1], [1, 0]], [0, 1])
    >>> curve_with_intervals(scores).intervals["unbiased_brier_score"][0]
    (-0.5, 0.5)
    """
    rows = np.concatenate([scores.scores[name] for name in HELD_OUT_METRICS])
    found = _means(rows, scores.votes, cluster_ids, num_resamples, level, seed)
    intervals = {
        name: [(interval.low, interval.high) for interval in part]
        for name, part in _by_metric(found, len(scores.num_votes)).items()
    }
    return replace(mean_curve(scores), intervals=intervals)


def ahead_of_votes(
    unaided: HeldOutScores,
    votes_only: HeldOutScores,
    cluster_ids: Sequence | None = None,
    num_resamples: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> AheadOfVotes:
    """How many votes of an item say as much as the model does without any? Paired, item by item.

    Args:
        unaided ([`~trl_dprm.metrics.held_out_votes.HeldOutScores`]): the model's, of which the first step, 0 votes, is
            taken.
        votes_only ([`~trl_dprm.metrics.held_out_votes.HeldOutScores`]): on the same N items.
        cluster_ids, num_resamples, level, seed: as [`curve_with_intervals`].

    Raises:
        ValueError: scores of the model that do not begin before any vote, or of other items.

    Source: as [`~trl_dprm.metrics.paired_difference`].

    Example:

    >>> from trl_dprm.metrics.held_out_votes import held_out_scores, votes_only_scores
    >>> counts, cost = [[3, 0], [1, 2], [0, 3]], [[0, 1], [1, 0]]
    >>> model = held_out_scores([[0.9, 0.1], [0.4, 0.6], [0.1, 0.9]], counts, 2.0, cost, [0])
    >>> ahead = ahead_of_votes(model, votes_only_scores(counts, counts, cost, [0, 1]))
    >>> [round(step.mean, 4) for step in ahead.differences["unbiased_brier_score"]]
    [-0.3294, -0.18]
    """
    if unaided.num_votes[0] != 0:
        raise ValueError(f"unaided begins at {unaided.num_votes[0]} votes; give the model's scores before any vote")
    if not np.array_equal(unaided.votes, votes_only.votes):
        raise ValueError(
            f"unaided is of {len(unaided.votes)} items with {unaided.votes.sum():g} votes and votes_only of "
            f"{len(votes_only.votes)} with {votes_only.votes.sum():g}; give the scores of the same items"
        )
    with np.errstate(invalid="ignore"):  # infinite nats of both have no difference
        rows = np.concatenate([unaided.scores[name][0] - votes_only.scores[name] for name in HELD_OUT_METRICS])
    found = _means(rows, votes_only.votes, cluster_ids, num_resamples, level, seed)
    return AheadOfVotes(votes_only.num_votes, _by_metric(found, len(votes_only.num_votes)))


def _by_metric(found: list[MeanInterval], steps: int) -> dict[str, list[MeanInterval]]:
    return {name: found[place * steps : (place + 1) * steps] for place, name in enumerate(HELD_OUT_METRICS)}


def _means(rows, votes, cluster_ids, *how) -> list[MeanInterval]:
    """Of each row its mean with an interval; without one where scores are infinite, or items are one unit."""
    found = [MeanInterval(weighted_mean(row, votes), np.nan, np.nan) for row in rows]
    units = np.arange(len(votes)) if cluster_ids is None else np.asarray(cluster_ids)
    finite = [place for place, row in enumerate(rows) if np.isfinite(row).all()]
    if len(np.unique(units)) > 1 and finite:
        for place, interval in zip(finite, mean_intervals(rows[finite], votes, units, *how), strict=True):
            found[place] = interval
    return found
