"""What the numbers of a report on distributions do not say of themselves."""

import numpy as np
from numpy.typing import ArrayLike

from ..metrics.vote_pairs import has_pairs, in_one_category
from .intervals import few_clusters_note
from .judged_items import JudgedItems
from .own_votes import OwnVotes
from .votes_and_judgments import JudgmentsBesideVotes


def item_notes(
    items: JudgedItems,
    validation_counts: ArrayLike | None,
    reference_counts: np.ndarray,
    reference_name: str,
    own_votes: OwnVotes,
    crossed: bool,
) -> list[str]:
    """Sentences for the reader of a report.

    Args:
        items ([`JudgedItems`]): what was judged.
        validation_counts (array of shape `(M, K)`, *optional*): votes that something was fitted on.
        reference_counts (`np.ndarray` of shape `(L, K)`), reference_name (`str`): votes that constants and the prior
            of votes alone come from, and what they are called.
        own_votes ([`OwnVotes`]): of the curve in votes.
        crossed (`bool`): whether intervals are over annotators, too.
    """
    return [
        *few_clusters_note(items.clusters),
        *_judgments(items, crossed),
        *_validation(validation_counts),
        *_disagreement(items, own_votes),
        *_one_category(items, reference_counts, reference_name, own_votes),
    ]


def _judgments(items: JudgedItems, crossed: bool) -> list[str]:
    votes = items.single_votes
    if votes is None:
        return [
            "The judgments' annotators are not known here, so every interval is over items alone: it speaks for this "
            "panel of annotators. With the table of judgments it speaks for other annotators, too."
        ]
    notes = JudgmentsBesideVotes.of(items).note()
    if not crossed:
        notes.append(
            "There are too few annotators, or items (or clusters) that they judged, to draw both: what intervals "
            "there are, are over items alone and speak for this panel of annotators."
        )
    return notes + [
        f"The groups by {variable} are single annotators: their intervals are over items alone."
        for variable in votes.groups
        if votes.groups_are_people(variable)
    ]


def _validation(validation_counts: ArrayLike | None) -> list[str]:
    if validation_counts is None:
        return [
            "No validation votes were given: nothing was recalibrated, and a prior strength is the one stored with "
            "the model, if any."
        ]
    return []


def _disagreement(items: JudgedItems, own_votes: OwnVotes) -> list[str]:
    if not has_pairs(items.target_counts).any():
        return ["No item has two votes, so nothing can be said about disagreement within an item."]
    if not own_votes.steps:
        return []
    number = int(own_votes.chosen.sum())
    left_out = len(items) - number
    return [
        f"The curve of votes is drawn on the {number} items with more than {own_votes.steps[-1]} whole votes"
        + (f"; {left_out} others have fewer, or fractions." if left_out else ".")
    ]


def _one_category(
    items: JudgedItems, reference_counts: np.ndarray, reference_name: str, own_votes: OwnVotes
) -> list[str]:
    """What cannot be computed where nobody disagrees with anybody."""
    notes = []
    if in_one_category(items.target_counts):
        chosen = _most_chosen(items, items.target_counts)
        notes.append(
            f"All judged votes are for {chosen}: they do not tell the items apart, so a correlation of rewards is not "
            "defined, and the votes alone do not bracket what a perfect model could reach."
        )
    if own_votes.steps and in_one_category(reference_counts):
        notes.append(
            f"There is no curve of votes alone: its prior comes from {reference_name}, all of which are for "
            f"{_most_chosen(items, reference_counts)} and do not tell what a prior is worth."
        )
    return notes


def _most_chosen(items: JudgedItems, counts: np.ndarray) -> str:
    return items.categories.names[int(counts.sum(axis=0).argmax())]
