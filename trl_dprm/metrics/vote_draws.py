"""Votes drawn anew, as a table and weights: other items for the same panel, or other items and other annotators.

Rows are not repeated: an item that was drawn twice counts twice, and an annotator who was drawn twice votes twice.
Pairs of *distinct* annotators are counted apart: an annotator drawn twice is not paired with itself, so that what is
estimated without bias from two votes keeps its meaning in every draw (in `crossed_resamples` it does not).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import cost_table, count_table, weight_vector
from .bootstrap import multiplicities
from .crossed_bootstrap import judgments_with_weight
from .judgment_scores import judgment_indices
from .vote_pairs import ROUNDING, vote_pair_cost


class VoteDraw(NamedTuple):
    """Votes on N items of K categories, drawn once.

    Attributes:
        times (`np.ndarray` of shape `(N,)`): how often each item was drawn, 0 for many.
        counts (`np.ndarray` of shape `(N, K)`): the votes on it; a row may be empty where no annotator of an item was
            drawn.
        pairs (`np.ndarray` of shape `(N,)`): ordered pairs of distinct annotators, `n (n - 1)` for n whole votes.
        pair_costs (`np.ndarray` of shape `(number of costs, N)`): mean cost between two distinct annotators; NaN
            without pairs.
    """

    times: np.ndarray
    counts: np.ndarray
    pairs: np.ndarray
    pair_costs: np.ndarray


def votes_as_given(target_counts: ArrayLike, costs: Sequence[ArrayLike]) -> VoteDraw:
    """Every item once, with its own votes.

    Args:
        target_counts (array of shape `(N, K)`): raw votes.
        costs (sequence of arrays of shape `(K, K)`): of what is found between two annotators.

    Example:

    >>> votes_as_given([[2, 1], [1, 0]], [1 - np.eye(2)]).pair_costs
    array([[0.66666667,        nan]])
    """
    counts = count_table(target_counts)
    votes = counts.sum(axis=1)
    pairs = np.where(votes > 1 + ROUNDING, votes * (votes - 1), 0.0)
    return VoteDraw(np.ones(len(counts)), counts, pairs, np.array([vote_pair_cost(counts, cost) for cost in costs]))


def panel_draws(
    target_counts: ArrayLike,
    costs: Sequence[ArrayLike],
    cluster_ids: ArrayLike | None = None,
    num_resamples: int = 1_000,
    seed: int = 0,
) -> Iterator[VoteDraw]:
    """Other items (or whole clusters), judged by this panel of annotators.

    Args:
        target_counts, costs: as [`votes_as_given`].
        cluster_ids (array of shape `(N,)`, *optional*): which items belong together.
        num_resamples (`int`, at least 1), seed (`int`): draws, and what makes them repeatable.

    Yields:
        [`VoteDraw`].

    Source: as [`statistic_interval`].

    Example:

    >>> int(next(panel_draws([[2, 1], [1, 0], [0, 3]], [1 - np.eye(2)])).times.sum())
    3
    """
    given = votes_as_given(target_counts, costs)
    ids = np.arange(len(given.times)) if cluster_ids is None else np.asarray(cluster_ids)
    names, unit = np.unique(ids, return_inverse=True)
    generator = np.random.default_rng(seed)
    for _ in range(num_resamples):
        yield given._replace(times=multiplicities(generator, len(names), 1)[0][unit])


def crossed_draws(
    judged_items: ArrayLike,
    annotator_ids: ArrayLike,
    judged_categories: ArrayLike,
    shape: tuple[int, int],
    costs: Sequence[ArrayLike],
    weight: ArrayLike | None = None,
    cluster_ids: ArrayLike | None = None,
    num_resamples: int = 1_000,
    seed: int = 0,
) -> Iterator[VoteDraw]:
    """Other items judged by other annotators: both drawn independently.

    Args:
        judged_items, annotator_ids, judged_categories, cluster_ids (arrays of shape `(num_judgments,)`): as
            [`crossed_resamples`].
        shape (`tuple[int, int]`): N items and K categories.
        costs (sequence of arrays of shape `(K, K)`): as [`votes_as_given`].
        weight (array of shape `(num_judgments,)`, *optional*): how much each judgment counts; 1 if not given. An
            annotator's several judgments of an item are one vote split, and are not compared with each other.
        num_resamples (`int`, at least 1), seed (`int`): draws, and what makes them repeatable.

    Yields:
        [`VoteDraw`]; a draw without any vote is left out.

    Raises:
        ValueError: as [`crossed_resamples`].

    Source: Owen, *The pigeonhole bootstrap* (2007); pairs of distinct annotators in it [ours].

    Example:

    >>> draw = next(crossed_draws([0, 0, 1, 1], list("abab"), [0, 1, 1, 1], (2, 2), [1 - np.eye(2)], seed=1))
    >>> draw.counts.tolist(), draw.pairs.tolist(), draw.pair_costs.tolist()
    ([[1.0, 1.0], [0.0, 2.0]], [2.0, 2.0], [[1.0, 0.0]])
    """
    items, categories = judgment_indices(judged_items, judged_categories, shape)
    weight = weight_vector("weight", weight, len(items))
    units, annotators = judgments_with_weight(weight, items, annotator_ids, cluster_ids)
    items, categories, weight = (column[weight > 0] for column in (items, categories, weight))
    costs = [cost_table(cost, shape[1]) for cost in costs]
    unit_of_item = np.zeros(shape[0], dtype=int)
    unit_of_item[items] = units
    own = _own_votes(items, annotators, categories, weight, shape)
    of_units, of_annotators = np.random.default_rng(seed).spawn(2)
    for _ in range(num_resamples):
        times = multiplicities(of_units, units.max() + 1, 1)[0][unit_of_item]
        voices = multiplicities(of_annotators, annotators.max() + 1, 1)[0]
        cell = items * shape[1] + categories
        counts = np.bincount(cell, voices[annotators] * weight, shape[0] * shape[1]).reshape(shape)
        if (times @ counts).any():
            yield VoteDraw(times, counts, *_distinct_pairs(counts, voices, own, costs))


class _OwnVotes(NamedTuple):
    """What each annotator gave to each item: rows of item, annotator, and shares of the vote `(rows, K)`."""

    item: np.ndarray
    annotator: np.ndarray
    votes: np.ndarray


def _own_votes(items, annotators, categories, weight, shape) -> _OwnVotes:
    cells, cell = np.unique(items * (annotators.max() + 1) + annotators, return_inverse=True)
    votes = np.bincount(cell * shape[1] + categories, weight, len(cells) * shape[1]).reshape(len(cells), shape[1])
    return _OwnVotes(cells // (annotators.max() + 1), cells % (annotators.max() + 1), votes)


def _distinct_pairs(
    counts: np.ndarray, voices: np.ndarray, own: _OwnVotes, costs: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Weight of the pairs of distinct annotators of each item, and their mean costs.

    All pairs of votes, without those of an annotator (as often as it was drawn, squared) with itself.
    """
    size, twice = len(counts), voices[own.annotator] ** 2
    votes = counts.sum(axis=1)
    pairs = votes**2 - np.bincount(own.item, twice * own.votes.sum(axis=1) ** 2, size)
    pairs = np.where(pairs > ROUNDING, pairs, 0.0)
    divisor = np.where(pairs > 0, pairs, np.nan)
    split = (own.votes > 0).sum(axis=1) > 1  # who gave one answer agrees with itself at no cost
    item, mine, twice = own.item[split], own.votes[split], twice[split]
    totals = [
        ((counts @ cost) * counts).sum(axis=1) - np.bincount(item, twice * ((mine @ cost) * mine).sum(axis=1), size)
        for cost in costs
    ]
    return pairs, np.array(totals) / divisor
