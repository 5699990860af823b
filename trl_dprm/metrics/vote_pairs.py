"""Two annotators of one item: how far apart are their answers? From few votes, without bias."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .arrays import cost_table, count_table, finite_vector

ROUNDING = 1e-6  # what float32 shares may do to a vote: counts this close to whole numbers, per vote, are whole


def vote_pair_cost(target_counts: ArrayLike, cost_matrix: Sequence[Sequence[float]]) -> np.ndarray:
    """Mean cost between the answers of two *distinct* annotators: unbiased for `p'Cp` of the item's true `p`.

    For whole votes `sum_ij c_i c_j C_ij / (n (n - 1))`: the diagonal of the cost is zero, so that no vote is paired
    with itself, and the sum over all ordered pairs of votes is that over pairs of distinct annotators.

    Fractional votes come from two sources, and the numbers tell them apart:

    * *Weighted annotators* (`count_votes` with weights): the votes of an item sum to Kish's effective number `n`, at
      which `n (n - 1)` is the total weight of the pairs of distinct annotators. The formula is exact as it stands.
    * *An annotator split over several answers*: `n` is whole, the counts are not. The split annotator's answers must
      not be compared with each other, so the cost `f'Cf` within the fractional parts `f` of the counts is taken away.
      Exact for one split annotator on an item. Of several, counts tell too little: `m = sum(f)` are taken to be split
      alike (`f'Cf / m`), and split votes that add up to whole ones pass for whole ones.

    Args:
        target_counts (array of shape `(num_items, num_categories)`): raw votes, non-negative.
        cost_matrix (nested sequence of shape `(num_categories, num_categories)`): ground cost, non-negative, zero
            diagonal; of an asymmetric one the mean of both directions counts.

    Returns:
        `np.ndarray` of shape `(num_items,)`, in units of the cost; NaN for items with fewer than two annotators (whole
        votes: fewer than two; effective votes: at most one).

    Raises:
        ValueError: bad counts, or a cost for another number of categories or with a non-zero diagonal.

    Source: Hoeffding's U-statistic (1948) of Rao's quadratic entropy (1982); the rule for split votes [ours].

    Example:

    >>> vote_pair_cost([[2, 0, 1], [1, 0, 0], [1.5, 0, 0.5]], [[0, 1, 2], [1, 0, 1], [2, 1, 0]])
    array([1.33333333,        nan, 1.        ])
    """
    counts = count_table(target_counts)
    cost = cost_table(cost_matrix, counts.shape[1])
    votes = counts.sum(axis=1)
    split = _split_votes(counts)
    total = _pair_sum(counts, cost) - _pair_sum(split, cost) / np.maximum(np.rint(split.sum(axis=1)), 1)
    pairs = np.where(has_pairs(counts), votes * (votes - 1), np.nan)
    return total / pairs


def vote_reward_variance(target_counts: ArrayLike, category_rewards: Sequence[float]) -> np.ndarray:
    """Variance of the reward among the people, from the votes of an item, without bias.

    Half the mean squared difference between two distinct annotators: for whole votes the sample variance with the
    divisor `n - 1`.

    Args:
        target_counts (array of shape `(num_items, num_categories)`): raw votes, as [`vote_pair_cost`].
        category_rewards (sequence of `float`, length `num_categories`): reward of each category.

    Returns:
        `np.ndarray` of shape `(num_items,)`, in squared reward units; NaN for items with fewer than two votes.

    Raises:
        ValueError: bad counts, or rewards for another number of categories.

    Source: as [`vote_pair_cost`].

    Example:

    >>> vote_reward_variance([[2, 0, 1], [0, 1, 0]], [-1.0, 0.0, 1.0])
    array([1.33333333,        nan])
    """
    counts = count_table(target_counts)
    rewards = finite_vector("category_rewards", category_rewards, counts.shape[1])
    return vote_pair_cost(counts, np.square(rewards[:, None] - rewards) / 2)


def has_pairs(target_counts: np.ndarray) -> np.ndarray:
    """Which items have two annotators or more, `bool` of shape `(num_items,)`: more than one (effective) vote.

    Example:

    >>> has_pairs(np.array([[1.0, 0.0], [1.0, 1.0]]))
    array([False,  True])
    """
    return target_counts.sum(axis=1) > 1 + ROUNDING


def in_one_category(target_counts: np.ndarray) -> bool:
    """Whether all votes of all items are for the same category: they then tell no strength of a prior around them.

    Example:

    >>> in_one_category(np.array([[2, 0], [1, 0]])), in_one_category(np.array([[2, 0], [0, 1]]))
    (True, False)
    """
    return int((target_counts.sum(axis=0) > 0).sum()) == 1


def _split_votes(counts: np.ndarray) -> np.ndarray:
    """The fractional parts of the counts where annotators were split, zeros elsewhere."""
    votes = counts.sum(axis=1, keepdims=True)
    rounding = ROUNDING * np.maximum(votes, 1)
    fractions = (counts - np.floor(counts + rounding)).clip(min=0)
    return np.where(np.abs(votes - np.rint(votes)) <= rounding, fractions, 0.0)


def _pair_sum(counts: np.ndarray, cost: np.ndarray) -> np.ndarray:
    return ((counts @ cost) * counts).sum(axis=1)
