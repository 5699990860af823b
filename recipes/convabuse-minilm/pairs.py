"""Pairs of items from ratings, for the methods that learn from comparisons: every vote is one annotator's on both."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from judgments import ItemVotes

WANTED_ANNOTATORS = 2  # in common, where there is such a partner


@dataclass
class Pairs:
    """Items that met, and how the annotators who judged both compared them.

    Args:
        first, second (`np.ndarray` of shape *(num_pairs,)*): Rows of the items.
        votes (`np.ndarray` of shape *(num_pairs, 3)*): How many annotators rated the first item higher, both equal,
            the first lower; fractions where an annotator gave several answers.
    """

    first: np.ndarray
    second: np.ndarray
    votes: np.ndarray

    def __len__(self):
        return len(self.first)

    def __getitem__(self, rows) -> "Pairs":
        return Pairs(self.first[rows], self.second[rows], self.votes[rows])

    @property
    def share(self) -> np.ndarray:
        """Share of the votes for the first item, an equal vote as half, of shape *(num_pairs,)*."""
        return (self.votes[:, 0] + self.votes[:, 1] / 2) / self.votes.sum(axis=1)

    def majority(self) -> "Pairs":
        """The pairs with a winner, as one vote for it; "equal" is half a vote for either side."""
        winner = np.sign(self.votes[:, 0] - self.votes[:, 2])
        one_vote = np.stack([winner > 0, np.zeros_like(winner), winner < 0], axis=1).astype(np.float64)
        return Pairs(self.first, self.second, one_vote)[winner != 0]


def match_items(judged: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Let every item meet one other at random, of those left that share most annotators with it, up to two.

    Args:
        judged (`np.ndarray` of `bool` of shape *(num_items, num_annotators)*): Who judged what.
        rng (`np.random.Generator`): Of the order and the choice.

    Returns:
        `np.ndarray` of shape *(num_pairs, 2)*: rows of items; an item for which nobody is left has no pair.
    """
    order = rng.permutation(len(judged))
    shuffled = judged[order].astype(int)
    free, pairs = np.full(len(order), True), []
    for place in range(len(order)):
        if not free[place]:
            continue
        free[place] = False
        common = np.where(free, np.minimum(shuffled @ shuffled[place], WANTED_ANNOTATORS), 0)
        if common.any():
            partner = rng.choice(np.flatnonzero(common == common.max()))
            free[partner] = False
            pairs.append((order[place], order[partner]))
    return np.array(pairs)


def compare(items: ItemVotes, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How each annotator who judged both items compared them: higher, equal, lower.

    Args:
        items (`ItemVotes`): What was said of each item.
        first, second (`np.ndarray` of shape *(num_pairs,)*): Rows of the items.

    Returns:
        `np.ndarray` of shape *(num_pairs, num_annotators, 3)*: sums to 1 for an annotator who judged both, else to 0.
    """
    joint = items.votes[first][..., :, None] * items.votes[second][..., None, :]
    higher, lower = np.tril(joint, -1).sum(axis=(2, 3)), np.triu(joint, 1).sum(axis=(2, 3))
    return np.stack([higher, np.trace(joint, axis1=2, axis2=3), lower], axis=2)


def passes(items: ItemVotes, seed: int) -> Iterator[Pairs]:
    """Endless passes over the items, each with other partners."""
    rng = np.random.default_rng(seed)
    while True:
        first, second = match_items(items.judged, rng).T
        yield Pairs(first, second, compare(items, first, second).sum(axis=1))


def pairs_of_passes(items: ItemVotes, seed: int, num_passes: int) -> Pairs:
    """All pairs of the first passes."""
    return concatenate([pairs for _, pairs in zip(range(num_passes), passes(items, seed), strict=False)])


def first_pairs(items: ItemVotes, seed: int, num_pairs: int, majority: bool = False) -> Pairs:
    """The first pairs of the stream that a seed gives.

    Args:
        items (`ItemVotes`): What was said of each item.
        seed (`int`): Of the partners.
        num_pairs (`int`): How many.
        majority (`bool`): Keep those with a winner only, as one vote for it.
    """
    collected = []
    for pairs in passes(items, seed):
        collected.append(pairs.majority() if majority else pairs)
        if sum(map(len, collected)) >= num_pairs:
            return concatenate(collected)[slice(num_pairs)]


def concatenate(pieces: list[Pairs]) -> Pairs:
    """All pairs of several lists."""
    fields = ("first", "second", "votes")
    return Pairs(*(np.concatenate([getattr(piece, field) for piece in pieces]) for field in fields))
