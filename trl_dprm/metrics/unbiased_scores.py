"""Distance to the distribution that nobody saw: scores whose mean over the votes' luck is the distance to the truth.

A score against vote shares judges a prediction by the luck of few votes: even the true distribution is far from the
shares of three annotators. Two votes are enough to take that noise away, item by item and for any prediction.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .arrays import cost_table, matching_counts
from .vote_pairs import vote_pair_cost


def unbiased_brier_score(category_probs: ArrayLike, target_counts: ArrayLike) -> np.ndarray:
    """Estimate of `sum_k (q_k - p_k)^2` for the item's unknown true distribution `p`, without bias.

        q.q - 2 q.p̂ + sum_k c_k (c_k - 1) / (n (n - 1))

    The last term is the share of pairs of distinct annotators who agree, which estimates `p.p`. It does not know the
    prediction, so that differences between models are those of `brier_score`; what it gives is the zero: a mean near 0
    says that the predictions are the truth. Single values may be **negative**, down to `-1` and beyond; only means
    over items speak. The prediction must not have seen these votes.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        target_counts (array of shape `(num_items, num_categories)`): raw votes, non-negative; for fractional ones see
            [`vote_pair_cost`].

    Returns:
        `np.ndarray` of shape `(num_items,)`; NaN for items with fewer than two votes.

    Raises:
        ValueError: predictions that are no distributions, bad counts, or shapes that differ.

    Source: Ferro, *Measuring forecast performance in the presence of observation error* (2017), for scores that are
        unbiased for the truth; Hoeffding (1948) for the pairs. Their use for votes [ours].

    Example:

    >>> unbiased_brier_score([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]], [[1, 1], [2, 0], [1, 0]])
    array([-0.5,  0.5,  nan])
    """
    predictions, counts = matching_counts(category_probs, target_counts)
    agreement = 1 - vote_pair_cost(counts, 1 - np.eye(counts.shape[1]))
    return (predictions * (predictions - 2 * _shares(counts))).sum(axis=1) + agreement


def unbiased_energy_distance(
    category_probs: ArrayLike, target_counts: ArrayLike, cost_matrix: Sequence[Sequence[float]]
) -> np.ndarray:
    """Estimate of the energy distance `2 q'Cp - q'Cq - p'Cp` to the item's unknown true `p`, without bias.

        2 q'Cp̂ - q'Cq - sum_ij c_i c_j C_ij / (n (n - 1))

    The last term is the mean cost between two distinct annotators ([`vote_pair_cost`]): the pairs with oneself are on
    the diagonal of `C`, which is zero, so the sum needs no correction, only its divisor. With `C = 1 - I` it is
    [`unbiased_brier_score`]; with distances on a line, half of it is the ranked probability score without bias. Single
    values may be **negative**; only means over items speak. The prediction must not have seen these votes.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        target_counts (array of shape `(num_items, num_categories)`): raw votes, non-negative; for fractional ones see
            [`vote_pair_cost`].
        cost_matrix (nested sequence of shape `(num_categories, num_categories)`): ground cost, non-negative, zero
            diagonal; of an asymmetric one the mean of both directions counts, as in the loss.

    Returns:
        `np.ndarray` of shape `(num_items,)`, in units of the cost; NaN for items with fewer than two votes.

    Raises:
        ValueError: as [`unbiased_brier_score`], or a cost for another number of categories or with a non-zero
            diagonal.

    Source: Székely & Rizzo, *Energy statistics* (2013), U-statistic form; Ferro (2017). Differs: only the votes are a
        sample.

    Example:

    >>> unbiased_energy_distance([[1.0, 0.0, 0.0]], [[1, 0, 1]], [[0, 1, 2], [1, 0, 1], [2, 1, 0]])
    array([0.])
    """
    predictions, counts = matching_counts(category_probs, target_counts)
    cost = cost_table(cost_matrix, counts.shape[1])
    return ((predictions @ cost) * (2 * _shares(counts) - predictions)).sum(axis=1) - vote_pair_cost(counts, cost)


def _shares(counts: np.ndarray) -> np.ndarray:
    """Vote shares, NaN without votes."""
    votes = counts.sum(axis=1, keepdims=True)
    return counts / np.where(votes > 0, votes, np.nan)
