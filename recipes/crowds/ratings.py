"""Single votes of items: taken away one by one, and counted."""

import numpy as np

NO_VOTE = -1


def num_votes(ratings: np.ndarray) -> np.ndarray:
    """Votes of each item, shape *(num_items,)*."""
    return (ratings != NO_VOTE).sum(axis=1)


def thinned(ratings: np.ndarray, votes_per_item: int, rng: np.random.Generator) -> np.ndarray:
    """As many votes of each item as are asked for, drawn without replacement; the others are taken away.

    Args:
        ratings (`np.ndarray` of `int` of shape *(num_items, num_columns)*): Categories; −1 where there is no vote.
        votes_per_item (`int`): How many to keep.
        rng (`np.random.Generator`): Draws them.

    Returns:
        `np.ndarray` of the same shape.

    Raises:
        ValueError: naming the first item with too few votes.

    >>> left = thinned(np.array([[4, -1, 0, 2], [1, 1, 3, 3]]), 2, np.random.default_rng(0))
    >>> num_votes(left).tolist(), set(left[0].tolist()) <= {4, 0, 2, -1}
    ([2, 2], True)
    """
    short = num_votes(ratings) < votes_per_item
    if short.any():
        row = int(np.argmax(short))
        raise ValueError(
            f"item {row} has {num_votes(ratings)[row]} votes, not {votes_per_item}; leave such items out."
        )
    order = rng.random(ratings.shape)
    order[ratings == NO_VOTE] = 2.0  # behind every vote
    rank = order.argsort(axis=1).argsort(axis=1)
    return np.where(rank < votes_per_item, ratings, NO_VOTE)


def target_counts(ratings: np.ndarray, num_categories: int) -> np.ndarray:
    """Votes per category, float64 of shape *(num_items, num_categories)*.

    >>> target_counts(np.array([[2, -1, 0, 2]]), 3)
    array([[1., 0., 2.]])
    """
    return np.stack([(ratings == category).sum(axis=1) for category in range(num_categories)], axis=1).astype(float)
