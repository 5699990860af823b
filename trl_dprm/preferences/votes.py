"""Votes: what the judgments of an item's annotators count, repeated answers and unequal weights included."""

from dataclasses import dataclass

import numpy as np

from .judgments import Judgments

REPEATED_RULES = ("split", "first", "last", "each")


@dataclass
class ItemVotes:
    """The votes of N items.

    Args:
        target_counts (`np.ndarray` of shape `(N, K)`): votes per category; they sum to `vote_weight`.
        vote_weight (`np.ndarray` of shape `(N,)`): effective number of votes; 0 without any.
        num_annotators (`np.ndarray` of shape `(N,)`): different annotators.
    """

    target_counts: np.ndarray
    vote_weight: np.ndarray
    num_annotators: np.ndarray


def count_votes(
    judgments: Judgments, num_categories: int, repeated: str = "split", annotator_weights: np.ndarray | None = None
) -> ItemVotes:
    """Count the votes of every item.

    An annotator who judged an item several times counts, by the rule `repeated`,

    * `"split"`: once, split evenly over their answers;
    * `"first"` or `"last"`: once, with that answer (by timestamp where there is one, else by row);
    * `"each"`: as often as they answered.

    A judgment's weight is its own `weight` times its annotator's. Only ratios of weights matter: the weighted votes of
    an item are scaled to sum to Kish's effective number `(Σ v)² / Σ v²`, `v` the total weight of each annotator on
    that item (of each judgment under `"each"`). Equal weights give plain counts; one heavy annotator among light ones
    gives little more than one vote, and that is what a Bayesian updater and a likelihood should see.

    Args:
        judgments ([`Judgments`]): as read.
        num_categories (`int`): K.
        repeated (`str`): the rule.
        annotator_weights (`np.ndarray` of shape `(A,)`, *optional*): from `population_weights`.

    Returns:
        [`ItemVotes`]

    Raises:
        ValueError: for an unknown rule.

    Source: Kish (1965) for the effective number; the rules for repeated judgments [ours].

    >>> import pyarrow as pa
    >>> from trl_dprm.preferences import AnnotationColumns, likert_categories, open_annotations, read_judgments
    >>> rows = pa.table({"item_id": ["a"] * 4, "annotator_id": [1, 1, 2, 3], "category": [3, 2, 1, 1]})
    >>> judgments = read_judgments(open_annotations(rows), likert_categories(3), AnnotationColumns())
    >>> count_votes(judgments, num_categories=3).target_counts
    array([[2. , 0.5, 0.5]])
    >>> count_votes(judgments, num_categories=3, repeated="last").target_counts
    array([[2., 1., 0.]])
    """
    if repeated not in REPEATED_RULES:
        raise ValueError(f"repeated is {repeated!r}; give one of {list(REPEATED_RULES)}.")
    num_items = len(judgments.item_ids)
    voted = np.flatnonzero(judgments.annotator >= 0)
    everywhere = len(voted) == len(judgments.item)
    item, annotator, category = (
        codes if everywhere else codes[voted] for codes in (judgments.item, judgments.annotator, judgments.category)
    )
    order, starts = _annotators_of_items(item, annotator, judgments, voted)
    weight = _shares(order, starts, repeated)
    if judgments.weight is not None:
        weight *= judgments.weight[voted]
    if annotator_weights is not None:
        weight *= annotator_weights[annotator]
    counts = np.bincount(item * np.int64(num_categories) + category, weight, minlength=num_items * num_categories)
    counts = counts.reshape(num_items, num_categories)
    if repeated == "each":
        voter_item, voter_weight = item, weight
    else:
        voter_item, voter_weight = item[order[starts]], np.add.reduceat(weight[order], starts)
    squares = np.bincount(voter_item, np.square(voter_weight), minlength=num_items)
    counts = counts * (counts.sum(axis=1) / np.where(squares > 0, squares, 1.0))[:, None]
    return ItemVotes(
        target_counts=counts,
        vote_weight=counts.sum(axis=1),
        num_annotators=np.bincount(item[order[starts]], minlength=num_items),
    )


def _annotators_of_items(item, annotator, judgments: Judgments, voted) -> tuple[np.ndarray, np.ndarray]:
    """Rows sorted by item, annotator, time; and where in that order each annotator of an item starts."""
    pair = item * np.int64(len(judgments.annotator_ids)) + annotator
    if judgments.timestamp is None:
        order = np.argsort(pair, kind="stable")
    else:
        order = np.lexsort((judgments.timestamp[voted], pair))
    pair = pair[order]
    return order, np.flatnonzero(np.concatenate([[True], pair[1:] != pair[:-1]])[: len(pair)])


def _shares(order: np.ndarray, starts: np.ndarray, repeated: str) -> np.ndarray:
    """What each row counts of its annotator's vote."""
    if repeated == "each" or len(starts) == len(order):
        return np.ones(len(order))
    answers = np.diff(starts, append=len(order))
    shares = np.zeros(len(order))
    if repeated == "split":
        shares[order] = np.repeat(1.0 / answers, answers)
    else:
        shares[order[starts if repeated == "first" else starts + answers - 1]] = 1.0
    return shares
