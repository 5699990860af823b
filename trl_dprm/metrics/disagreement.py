"""Contested items: how much two people disagree about an item, and whether the model knows on which ones they do."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import cost_table, count_table, distribution_table, matching_whole_counts
from .averages import weighted_correlation
from .vote_pairs import vote_pair_cost


class Concordance(NamedTuple):
    """How often, of two items with equally many votes, the one that is more contested was predicted to be.

    Attributes:
        probability (`float`): between 0 and 1, a tie of predictions as half; 0.5 is chance, NaN without pairs.
        num_pairs (`int`): pairs of items that were compared.
        num_items (`int`): items that are in at least one pair.
    """

    probability: float
    num_pairs: int
    num_items: int


def pairwise_disagreement(
    target_counts: ArrayLike, cost_matrix: Sequence[Sequence[float]] | None = None
) -> np.ndarray:
    """How far two distinct annotators of an item are apart, estimated without bias from its votes.

    The mean cost over all pairs of its annotators (`vote_pair_cost`), by default the share of pairs that differ. The
    plug-in `p'Cp` would count each annotator as agreeing with itself, and call items with few votes too agreed.

    Args:
        target_counts (array of shape `(num_items, num_categories)`): raw votes.
        cost_matrix (nested sequence of shape `(num_categories, num_categories)`, *optional*): cost between two
            answers, with a diagonal of zeros; if not given, 1 for two different answers: the chance to differ.

    Returns:
        `np.ndarray` of shape `(num_items,)`, in units of the cost; NaN for an item with at most one vote, which has no
        two annotators.

    Raises:
        ValueError: bad counts, or a cost that does not fit.

    Source: Rao's quadratic entropy (1982); without a cost the unbiased form of Simpson's index (1949).

    Example:

    >>> pairwise_disagreement([[2, 1, 0], [1, 0, 1], [1, 0, 0]])
    array([0.66666667, 1.        ,        nan])
    >>> pairwise_disagreement([[2, 1, 0], [1, 0, 1]], cost_matrix=[[0, 1, 2], [1, 0, 1], [2, 1, 0]])
    array([0.66666667, 2.        ])
    """
    counts = count_table(target_counts)
    return vote_pair_cost(counts, _cost(cost_matrix, counts.shape[1]))


def predicted_disagreement(
    category_probs: ArrayLike, cost_matrix: Sequence[Sequence[float]] | None = None
) -> np.ndarray:
    """How far two independent annotators would be apart if the prediction were true: `q'Cq`.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        cost_matrix (nested sequence of shape `(num_categories, num_categories)`, *optional*): as
            [`pairwise_disagreement`].

    Returns:
        `np.ndarray` of shape `(num_items,)`, in units of the cost.

    Raises:
        ValueError: a table that is no distribution, or a cost that does not fit.

    Source: Rao's quadratic entropy (1982); without a cost Gini-Simpson's index.

    Example:

    >>> predicted_disagreement([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    array([0.5, 0. ])
    """
    probs = distribution_table("category_probs", category_probs)
    return ((probs @ _cost(cost_matrix, probs.shape[1])) * probs).sum(axis=1)


def contested_auroc(
    category_probs: ArrayLike,
    target_counts: ArrayLike,
    cost_matrix: Sequence[Sequence[float]] | None = None,
) -> Concordance:
    """Area under the ROC curve of predicted disagreement for "its votes are split", at equal vote counts.

    With more votes an item is split more often, whatever the model knows: if busy items are also the ones predicted
    to be contested, a plain AUROC rewards the model for counting votes. So a split item is compared only with
    unanimous items that have as many votes, and all such pairs are pooled.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        target_counts (array of shape `(num_items, num_categories)`): raw votes, whole; items with at most one vote
            cannot be split and are in no pair.
        cost_matrix (nested sequence of shape `(num_categories, num_categories)`, *optional*): as
            [`pairwise_disagreement`]; votes between which nothing costs are not split.

    Returns:
        [`Concordance`] over pairs of one split and one unanimous item.

    Raises:
        ValueError: tables of different shapes or that are no distributions, votes that are not whole, or a cost
            that does not fit.

    Source: Hanley & McNeil (1982) for AUROC as a share of pairs; pairs at equal vote counts [ours].

    Example:

    >>> probs = [[0.5, 0.5], [0.9, 0.1], [0.6, 0.4], [0.99, 0.01]]
    >>> contested_auroc(probs, [[1, 1], [2, 0], [3, 1], [0, 4]])
    Concordance(probability=1.0, num_pairs=2, num_items=4)
    """
    predicted, observed, votes = both_disagreements(category_probs, target_counts, cost_matrix)
    return concordance_at_equal_votes(predicted, (observed > 0).astype(np.float64), votes)


def disagreement_concordance(
    category_probs: ArrayLike,
    target_counts: ArrayLike,
    cost_matrix: Sequence[Sequence[float]] | None = None,
) -> Concordance:
    """As [`contested_auroc`], over all pairs of items with equally many votes that disagree unequally much.

    With many votes hardly an item is unanimous, and the AUROC of "split" has few pairs left: this one then says more.
    With two votes per item it is the same.

    Args:
        category_probs, target_counts, cost_matrix: as [`contested_auroc`].

    Returns:
        [`Concordance`].

    Raises:
        ValueError: as [`contested_auroc`].

    Source: Harrell's concordance (1982); pairs at equal vote counts [ours].

    Example:

    >>> disagreement_concordance([[0.5, 0.5], [0.6, 0.4], [0.9, 0.1]], [[2, 2], [3, 1], [4, 0]])
    Concordance(probability=1.0, num_pairs=3, num_items=3)
    """
    return concordance_at_equal_votes(*both_disagreements(category_probs, target_counts, cost_matrix))


def disagreement_correlation(
    category_probs: ArrayLike,
    target_counts: ArrayLike,
    cost_matrix: Sequence[Sequence[float]] | None = None,
) -> float:
    """Pearson correlation of predicted and unbiased observed disagreement, items weighted by votes - 1.

    The unbiased estimate has the same mean at any number of votes, so that items of different vote counts may meet
    here. Its noise is large with few votes: even the true distributions stay far below 1. Compare models on the same
    items.

    Args:
        category_probs, target_counts, cost_matrix: as [`contested_auroc`].

    Returns:
        `float` in [-1, 1]; NaN where one side is constant.

    Raises:
        ValueError: as [`contested_auroc`], or no item with two votes.

    Source: [ours].

    Example:

    >>> round(disagreement_correlation([[0.5, 0.5], [0.6, 0.4], [0.9, 0.1]], [[1, 1], [3, 1], [4, 0]]), 4)
    0.9033
    """
    predicted, observed, votes = both_disagreements(category_probs, target_counts, cost_matrix)
    several = votes > 1
    if not several.any():
        raise ValueError("target_counts has no item with two votes; disagreement needs at least one")
    return weighted_correlation(predicted[several], observed[several], votes[several] - 1)


def both_disagreements(
    category_probs: ArrayLike, target_counts: ArrayLike, cost_matrix: Sequence[Sequence[float]] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted and observed disagreement, and the number of votes, per item; arguments as [`contested_auroc`]."""
    probs, counts = matching_whole_counts(category_probs, target_counts)
    predicted = predicted_disagreement(probs, cost_matrix)
    return predicted, pairwise_disagreement(counts, cost_matrix), counts.sum(axis=1)


def concordance_at_equal_votes(predicted: np.ndarray, observed: np.ndarray, votes: np.ndarray) -> Concordance:
    """Of two items with equally many votes, is the one of which more is observed also the one of which more is said?

    By sorting: each observed level against all lower ones.

    Args:
        predicted, observed (`np.ndarray` of shape `(num_items,)`): what is compared.
        votes (`np.ndarray` of shape `(num_items,)`): of each item; those with at most one are in no pair.

    Example:

    >>> concordance_at_equal_votes(np.array([0.1, 0.3, 0.2]), np.array([0.0, 0.5, 0.5]), np.array([3, 3, 2]))
    Concordance(probability=1.0, num_pairs=1, num_items=2)
    """
    wins, num_pairs, num_items = 0.0, 0, 0
    for number in np.unique(votes[votes > 1]):
        here = votes == number
        prediction, levels = predicted[here], observed[here].round(9)  # equal votes in another order are equal
        values = np.unique(levels)
        if len(values) > 1:
            num_items += int(here.sum())
        for value in values[1:]:
            lower, at = np.sort(prediction[levels < value]), prediction[levels == value]
            left, right = (np.searchsorted(lower, at, side) for side in ("left", "right"))
            wins += (left + right).sum() / 2
            num_pairs += len(lower) * len(at)
    return Concordance(float(wins / num_pairs) if num_pairs else float("nan"), num_pairs, num_items)


def _cost(cost_matrix: Sequence[Sequence[float]] | None, num_categories: int) -> np.ndarray:
    """The cost as an array; 1 off the diagonal for `None`."""
    return 1.0 - np.eye(num_categories) if cost_matrix is None else cost_table(cost_matrix, num_categories)
