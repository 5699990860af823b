"""How good are predictions once an item has k votes of its own? Judged on its other votes, over all ways to choose.

"How many annotators do I need?" for the votes at hand: the estimate for an item is the posterior mean
`(n0 q + c) / (n0 + k)` after `k` of its votes, with the model's distribution `q` as prior, and it is scored on a vote
that it has not seen. Every choice of the `k` votes and of the unseen one counts alike; their mean is a sum over
hypergeometric probabilities, so nothing is drawn and nothing is random.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import hypergeom

from ..preferences import estimate_prior_strength
from .arrays import matching_distributions, vote_shares
from .averages import weighted_mean
from .vote_pairs import has_pairs, in_one_category

HELD_OUT_METRICS = ("nats_per_vote", "unbiased_brier_score", "unbiased_energy_distance")
_WHOLE = 1e-6


class HeldOutScores(NamedTuple):
    """The scores of single items after 0, 1, 2, 4 … of their votes: what a [`VotesCurve`] is the mean of.

    Of a million items and four steps they take a hundred megabytes, so make the curve and let them go.

    Attributes:
        num_votes (`list[int]`): how many of an item's votes the estimate has seen.
        scores (`dict` of `np.ndarray` of shape `(len(num_votes), N)`): for each of `HELD_OUT_METRICS`; nats may be
            infinite.
        votes (`np.ndarray` of shape `(N,)`): of the items, the weights of the means.
    """

    num_votes: list[int]
    scores: dict[str, np.ndarray]
    votes: np.ndarray


@dataclass(frozen=True)
class VotesCurve:
    """Scores after 0, 1, 2, 4 … votes of the item, all on the same items.

    Attributes:
        num_votes (`list[int]`): how many of an item's votes the estimate has seen.
        scores (`dict[str, list[float]]`): for each of `HELD_OUT_METRICS` the mean over items, weighted by their votes.
        num_items (`int`): the items, each with more votes than the longest step.
        intervals (`dict[str, list[tuple[float, float]]]`): ends of the scores' intervals, NaN where there is none;
            empty where none were asked for ([`~trl_dprm.metrics.votes_curve_intervals.curve_with_intervals`]).
    """

    num_votes: list[int]
    scores: dict[str, list[float]]
    num_items: int
    intervals: Mapping[str, list[tuple[float, float]]] = field(default_factory=dict)


def curve_items(target_counts: ArrayLike, min_share: float = 0.5) -> tuple[np.ndarray, list[int]]:
    """Which items the curve can be drawn on, and at which numbers of votes.

    Every step is judged on the same items, or the curve would show how items with many votes differ from others. So
    the longest step is the largest of 1, 2, 4, 8, … that leaves a vote to judge by on at least `min_share` of the
    items with two votes or more.

    Args:
        target_counts (array of shape `(N, K)`): votes. Items with fractions of votes (an annotator split over two
            answers) are left out: which vote is held out is not defined there.
        min_share (`float`, above 0 and at most 1): see above.

    Returns:
        Mask of shape `(N,)`, and the steps, from 0; an empty mask and no steps where no item has two whole votes.

    Source: [ours].

    Example:

    >>> curve_items([[3, 0], [2, 1], [1, 4], [1, 1], [1, 0], [1.5, 0.5]])
    (array([ True,  True,  True, False, False, False]), [0, 1, 2])
    """
    counts = np.asarray(target_counts, dtype=np.float64)
    whole = (np.abs(counts - counts.round()) < _WHOLE).all(axis=1)
    votes = np.where(whole, counts.sum(axis=1).round(), 0)
    several = votes >= 2
    if not several.any():
        return np.zeros(len(counts), dtype=bool), []
    steps = [0, 1]
    while (votes > 2 * steps[-1]).sum() >= min_share * several.sum():
        steps.append(2 * steps[-1])
    return votes > steps[-1], steps


def held_out_votes_curve(
    category_probs: ArrayLike,
    target_counts: ArrayLike,
    prior_strength: float,
    cost_matrix: Sequence[Sequence[float]],
    num_votes: Sequence[int],
) -> VotesCurve:
    """Scores of the posterior mean after some of each item's votes, on its other votes, exactly.

    Args:
        category_probs (array of shape `(N, K)`): the prior's mean for each item: a model's prediction, or the same
            row for every item.
        target_counts (array of shape `(N, K)`): whole votes, at least two and more than `max(num_votes)` each.
        prior_strength (`float`, at least 0, `inf` allowed): n0. With 0 the estimate before any vote is the prior.
        cost_matrix (nested sequence of shape `(K, K)`): ground cost of the energy distance.
        num_votes (sequence of `int`): the steps, such as `curve_items` gives them.

    Returns:
        [`VotesCurve`]. At 0 votes the nats are those of `distribution_metrics` on these items.

    Raises:
        ValueError: for bad arrays, a strength below 0, and an item without a vote left to judge by.

    Source: [ours]; the unbiased scores as [`~trl_dprm.metrics.unbiased_brier_score`].

    Example:

    >>> curve = held_out_votes_curve([[0.5, 0.5]], [[3, 1]], 2.0, [[0, 1], [1, 0]], [0, 1])
    >>> [round(value, 4) for value in curve.scores["nats_per_vote"]]  # log 2; then 1/2 log 3/2 + 1/2 log 3
    [0.6931, 0.752]
    """
    return mean_curve(held_out_scores(category_probs, target_counts, prior_strength, cost_matrix, num_votes))


def held_out_scores(
    category_probs: ArrayLike,
    target_counts: ArrayLike,
    prior_strength: float,
    cost_matrix: Sequence[Sequence[float]],
    num_votes: Sequence[int],
) -> HeldOutScores:
    """The scores of each item that [`held_out_votes_curve`] averages.

    Args:
        category_probs, target_counts, prior_strength, cost_matrix, num_votes: as [`held_out_votes_curve`].

    Raises:
        ValueError: as [`held_out_votes_curve`].

    Source: as [`held_out_votes_curve`].

    Example:

    >>> held_out_scores([[0.5, 0.5]] * 2, [[2, 0], [1, 1]], 2.0, [[0, 1], [1, 0]], [0]).scores["unbiased_brier_score"]
    array([[ 0.5, -0.5]])
    """
    counts = _whole_counts(target_counts, max(num_votes))
    shares, votes = vote_shares(counts)
    priors, _ = matching_distributions(category_probs, shares)
    cost = np.asarray(cost_matrix, dtype=np.float64)
    if not prior_strength >= 0:
        raise ValueError(f"prior_strength is {prior_strength}; give a number of votes, at least 0")
    steps = []
    for step in num_votes:
        seen = priors, counts, step, *_weights(prior_strength, step)
        steps.append([_nats(*seen), _quadratic(*seen, -np.eye(len(cost))), _quadratic(*seen, cost)])
    return HeldOutScores(list(num_votes), dict(zip(HELD_OUT_METRICS, np.stack(steps, axis=1), strict=True)), votes)


def mean_curve(scores: HeldOutScores) -> VotesCurve:
    """The curve without intervals.

    Args:
        scores ([`HeldOutScores`]): of single items.
    """
    means = {name: [weighted_mean(row, scores.votes) for row in rows] for name, rows in scores.scores.items()}
    return VotesCurve(scores.num_votes, means, len(scores.votes))


def votes_only_curve(
    reference_counts: ArrayLike,
    target_counts: ArrayLike,
    cost_matrix: Sequence[Sequence[float]],
    num_votes: Sequence[int],
) -> VotesCurve | None:
    """The curve of the estimate that reads no item: a Dirichlet prior, the same for all, and the item's votes.

    Args:
        reference_counts (array of shape `(M, K)`): votes that the prior is fitted to, best those of training.
        target_counts, cost_matrix, num_votes: as [`held_out_votes_curve`].

    Returns:
        [`VotesCurve`]; `None` where the prior has no known strength: no item of the reference has two votes, or all
        its votes are for one category.

    Example:

    >>> curve = votes_only_curve([[3, 0], [0, 3], [2, 1]], [[3, 1]], [[0, 1], [1, 0]], [0, 1])
    >>> [round(value, 4) for value in curve.scores["unbiased_brier_score"]]
    [-0.0494, 0.1381]
    """
    scores = votes_only_scores(reference_counts, target_counts, cost_matrix, num_votes)
    return None if scores is None else mean_curve(scores)


def votes_only_scores(
    reference_counts: ArrayLike,
    target_counts: ArrayLike,
    cost_matrix: Sequence[Sequence[float]],
    num_votes: Sequence[int],
) -> HeldOutScores | None:
    """The scores of each item that [`votes_only_curve`] averages.

    Args:
        reference_counts, target_counts, cost_matrix, num_votes: as [`votes_only_curve`], and `None` where it is.
    """
    reference = np.asarray(reference_counts, dtype=np.float64)
    if not has_pairs(reference).any() or in_one_category(reference):
        return None
    prior = estimate_prior_strength(reference)
    probs = np.tile(prior.prior_probs, (len(np.asarray(target_counts)), 1))
    return held_out_scores(probs, target_counts, prior.prior_strength, cost_matrix, num_votes)


def _whole_counts(target_counts: ArrayLike, longest: int) -> np.ndarray:
    given = np.asarray(target_counts, dtype=np.float64)
    counts = given.round()
    short = (np.abs(given - counts) >= _WHOLE).any(axis=1) | (counts.sum(axis=1) <= max(longest, 1))
    if short.any():
        row = int(short.argmax())
        raise ValueError(
            f"target_counts row {row} is {given[row].tolist()}; give items with whole votes and more than "
            f"{max(longest, 1)} of them (`curve_items` selects them)"
        )
    return counts


def _weights(prior_strength: float, step: int) -> tuple[float, float]:
    """What the prior and each seen vote count in the posterior mean."""
    if step == 0 or np.isinf(prior_strength):
        return 1.0, 0.0
    return prior_strength / (prior_strength + step), 1 / (prior_strength + step)


def _nats(priors, counts, step, prior_share, vote_share):
    """Minus the expected log-probability of an unseen vote, per item."""
    total = counts.sum(axis=1, keepdims=True)
    nats = np.zeros(len(counts))
    for seen in range(step + 1):  # how many of the seen votes went where the unseen one did
        chance = hypergeom.pmf(seen, total - 1, np.maximum(counts - 1, 0), step)
        with np.errstate(divide="ignore"):
            surprise = -np.log(prior_share * priors + vote_share * seen)
        likely = (counts > 0) & (chance > 0)
        nats += np.where(likely, counts / total * chance * np.where(likely, surprise, 0.0), 0.0).sum(axis=1)
    return nats


def _quadratic(priors, counts, step, prior_share, vote_share, cost):
    """Unbiased `2 e'Cp − e'Ce − p'Cp`, `e` the estimate and `p` the truth; `C = −I` is the Brier score, per item.

    The estimate is `a q + b h` with `h` the seen votes: its moments are those of draws without replacement.
    """
    total = counts.sum(axis=1, keepdims=True)
    seen = step * counts / total
    met = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1])
    pairs = met / (total * (total - 1))[:, :, None]  # chance that two different voters choose j and k
    crossed = ((priors @ cost) * (counts / total)).sum(axis=1) * prior_share
    crossed += vote_share * step * (pairs * cost).sum(axis=(1, 2))
    of_seen = step * (step - 1) * (pairs * cost).sum(axis=(1, 2)) + seen @ np.diag(cost)
    own = prior_share**2 * ((priors @ cost) * priors).sum(axis=1)
    own += 2 * prior_share * vote_share * ((priors @ cost) * seen).sum(axis=1) + vote_share**2 * of_seen
    return 2 * crossed - own - (pairs * cost).sum(axis=(1, 2))
