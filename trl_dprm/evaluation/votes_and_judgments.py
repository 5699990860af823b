"""Are the judgments those that the votes were counted from? Scores are of the votes, intervals of the judgments."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from .judged_items import JudgedItems

_ROUNDING = 1e-6  # what float32 shares may do to a vote
_MOST_FOREIGN = 0.5  # share of the judged items; a population's weights change what votes count, not who got one


@dataclass(frozen=True)
class JudgmentsBesideVotes:
    """How far judgments and votes are apart.

    Attributes:
        num_items, num_differing (`int`): items in all, and those on which they differ.
        num_votes, num_without_judgment (`float`): votes in all, and those that no judgment stands for.
        num_without_vote (`float`): judgments, each by its weight, that are in no vote.
    """

    num_items: int
    num_differing: int
    num_votes: float
    num_without_judgment: float
    num_without_vote: float

    @classmethod
    def of(cls, items: JudgedItems) -> Self:
        """Compare them.

        Args:
            items ([`JudgedItems`]): with `single_votes`.

        Example:

        >>> from trl_dprm.evaluation.judged_items import SingleVotes
        >>> from trl_dprm.preferences import PreferenceCategories
        >>> votes = SingleVotes([0, 0, 1], ["ann", "bob", "ann"], [0, 1, 1])
        >>> quality = PreferenceCategories(["bad", "good"], [0.0, 1.0])
        >>> found = JudgmentsBesideVotes.of(JudgedItems([[1, 1], [1, 2]], quality, single_votes=votes))
        >>> found.num_differing, found.num_without_judgment, found.num_without_vote
        (1, 2.0, 0.0)
        """
        more = items.target_counts - _judged_counts(items)
        rounding = _ROUNDING * np.maximum(items.vote_weight, 1)
        return cls(
            len(more),
            int((np.abs(more).max(axis=1) > rounding).sum()),
            float(items.target_counts.sum()),
            float(more.clip(min=0).sum()),
            float((-more).clip(min=0).sum()),
        )

    def note(self) -> list[str]:
        """What a reader must know; nothing where they are the same."""
        if not self.num_differing:
            return []
        votes, without, foreign = (
            f"{round(number, 1):,.10g}"
            for number in (self.num_votes, self.num_without_judgment, self.num_without_vote)
        )
        return [
            f"The table of judgments has other votes than the data on {self.num_differing:,} of {self.num_items:,} "
            f"items: {without} of {votes} votes are in no judgment, and {foreign} votes of the judgments are not in "
            "the data. Scores are on the data's votes, intervals and groups on the judgments. That is right where the "
            "votes are weighted for a population; else give the table that they were counted from."
        ]


def refuse_other_judgments(items: JudgedItems) -> None:
    """Refuse judgments of other people or of other items: intervals of them would be of another thing than scores.

    Args:
        items ([`JudgedItems`]): with `single_votes` or without.

    Raises:
        ValueError: in more than half of the judged items a judgment is for a category that has no vote there. Names
            the first item, its votes, its judgments and the remedy.
    """
    if items.single_votes is None:
        return
    judged = _judged_counts(items)
    foreign = ((judged > _ROUNDING) & (items.target_counts <= _ROUNDING)).any(axis=1)
    num_judged = int((judged.sum(axis=1) > _ROUNDING).sum())
    if foreign.sum() <= _MOST_FOREIGN * num_judged:
        return
    first = int(foreign.argmax())
    name = f"item {first + 1}" if items.item_names is None else items.item_names[first]
    raise ValueError(
        f"The judgments are not those that the data's votes were counted from: on {foreign.sum():,} of "
        f"{num_judged:,} judged items one of them is for a category that has no vote there. The first is {name}: "
        f"{_named(items, items.target_counts[first])} in the data, {_named(items, judged[first])} in the judgments. "
        "Give the table that the votes were counted from, with its columns of items and categories, or no table of "
        "judgments."
    )


def _judged_counts(items: JudgedItems) -> np.ndarray:
    """Votes by the judgments, `(N, K)`."""
    votes, counts = items.single_votes, np.zeros_like(items.target_counts)
    np.add.at(counts, (votes.item, votes.category), votes.weight)
    return counts


def _named(items: JudgedItems, counts: np.ndarray) -> str:
    return ", ".join(f"{name} {votes:.4g}" for name, votes in zip(items.categories.names, counts, strict=True))
