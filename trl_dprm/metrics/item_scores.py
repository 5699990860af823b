"""How far each prediction is from the votes on its item: one number per item and score, lower is better.

Means of these arrays, weighted by votes, are what `distribution_metrics` reports; the arrays themselves go into
`paired_difference`, which says whether one model is better than another.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import linprog
from scipy.sparse import eye_array, kron, vstack

from ..losses import (
    MAX_CATEGORIES,
    brier_score,
    energy_distance,
    optimal_transport_distance,
    ranked_probability_score,
    wasserstein_distance,
)
from .arrays import finite_vector, matching_distributions

LINEAR_PROGRAM_OPTIONS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def item_scores(
    category_probs: ArrayLike,
    target_probs: ArrayLike,
    category_rewards: Sequence[float],
    category_positions: Sequence[float] | None,
    cost_matrix: Sequence[Sequence[float]],
) -> dict[str, np.ndarray]:
    """Every score of every item.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        target_probs (array of shape `(num_items, num_categories)`): raw vote shares, rows sum to 1.
        category_rewards (sequence of `float`, length `num_categories`): reward of each category.
        category_positions (sequence of `float`, length `num_categories`, or `None`): where the categories lie on their
            line (`DPRMConfig.category_positions`); `None` where they lie on none, only in `cost_matrix`.
        cost_matrix (nested sequence of shape `(num_categories, num_categories)`): ground cost
            (`DPRMConfig.cost_matrix`).

    Returns:
        `dict[str, np.ndarray]` of float64 arrays of shape `(num_items,)`: `nats_per_vote`, `wasserstein_distance`,
        `ranked_probability_score`, `energy_distance`, `brier_score`, `expected_reward_mae` (see
        `DISTRIBUTION_METRICS`). Without positions there is no order that cumulative distributions could follow, and
        `ranked_probability_score` is left out: the energy distance of the matrix is its generalisation [ours].

    Raises:
        ValueError: tables that are no distributions or of different shapes; rewards, positions or a cost for another
            number of categories.

    Example:

    >>> line = [-1.0, 0.0, 1.0]
    >>> cost = [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    >>> scores = item_scores([[0.5, 0.5, 0.0]], [[0.5, 0.0, 0.5]], line, line, cost)
    >>> {name: values.tolist() for name, values in scores.items() if name != "nats_per_vote"}
    {'wasserstein_distance': [0.5], 'ranked_probability_score': [0.25], 'energy_distance': [0.5], \
'brier_score': [0.5], 'expected_reward_mae': [0.5]}
    >>> scores["nats_per_vote"]  # half of the votes went to a category that was called impossible
    array([inf])
    """
    category_probs, target_probs = matching_distributions(category_probs, target_probs)
    rewards = finite_vector("category_rewards", category_rewards, category_probs.shape[1])
    prediction, target = torch.from_numpy(category_probs), torch.from_numpy(target_probs)
    scores = {"nats_per_vote": nats_per_vote(category_probs, target_probs)}
    if category_positions is None:
        scores["wasserstein_distance"] = transport_cost(category_probs, target_probs, cost_matrix)
    else:
        scores["wasserstein_distance"] = wasserstein_distance(prediction, target, category_positions).numpy()
        scores["ranked_probability_score"] = ranked_probability_score(prediction, target, category_positions).numpy()
    scores["energy_distance"] = energy_distance(prediction, target, cost_matrix).numpy()
    scores["brier_score"] = brier_score(prediction, target).numpy()
    scores["expected_reward_mae"] = np.abs((category_probs - target_probs) @ rewards)
    return scores


def nats_per_vote(category_probs: np.ndarray, target_probs: np.ndarray) -> np.ndarray:
    """Cross-entropy `-sum_k p_k log q_k` against raw vote shares, averaged over the votes of each item.

    Weighted by votes, its mean is minus the log-likelihood per vote; the floor is the votes' own entropy, not 0.

    Args:
        category_probs (`np.ndarray` of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        target_probs (`np.ndarray` of shape `(num_items, num_categories)`): vote shares, rows sum to 1.

    Returns:
        `np.ndarray` of shape `(num_items,)`; `inf` where a category with votes got probability 0, while categories
        without votes cost nothing at any probability.

    Example:

    >>> nats_per_vote(np.array([[0.5, 0.5, 0.0]]), np.array([[1.0, 0.0, 0.0]]))  # log 2
    array([0.69314718])
    """
    with np.errstate(divide="ignore"):
        surprise = -np.log(category_probs)
    return (target_probs * np.where(target_probs > 0, surprise, 0.0)).sum(axis=1)


def transport_cost(
    category_probs: np.ndarray, target_probs: np.ndarray, cost_matrix: Sequence[Sequence[float]]
) -> np.ndarray:
    """Exact optimal transport for a cost matrix of any size.

    Up to `MAX_CATEGORIES` categories the loss of the same name is used, beyond one linear program per item (a few
    milliseconds each), so that a model trained without transport can be evaluated by it.

    Args:
        category_probs (`np.ndarray` of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        target_probs (`np.ndarray` of shape `(num_items, num_categories)`): rows sum to 1.
        cost_matrix (nested sequence of shape `(num_categories, num_categories)`): non-negative, zero diagonal.

    Returns:
        `np.ndarray` of shape `(num_items,)`, in units of the cost.

    Example:

    >>> transport_cost(np.array([[1.0, 0.0]]), np.array([[0.25, 0.75]]), [[0, 2], [2, 0]])
    array([1.5])
    """
    if category_probs.shape[1] <= MAX_CATEGORIES:
        distance = optimal_transport_distance(
            torch.from_numpy(category_probs), torch.from_numpy(target_probs), cost_matrix
        )
        return distance.numpy()
    cost = np.asarray(cost_matrix, dtype=np.float64)
    return np.array([_linear_program(q, p, cost) for q, p in zip(category_probs, target_probs, strict=True)])


def _linear_program(category_probs: np.ndarray, target_probs: np.ndarray, cost: np.ndarray) -> float:
    """`min sum(T * cost)` over plans `T >= 0` with these marginals; rounding must not make it infeasible."""
    size = len(cost)
    marginals = vstack([kron(eye_array(size), np.ones((1, size))), kron(np.ones((1, size)), eye_array(size))])
    wanted = np.concatenate([category_probs / category_probs.sum(), target_probs / target_probs.sum()])
    solution = linprog(
        cost.ravel(), A_eq=marginals.tocsr()[:-1], b_eq=wanted[:-1], method="highs", options=LINEAR_PROGRAM_OPTIONS
    )
    if solution.status != 0:
        raise RuntimeError(f"the transport problem was not solved ({solution.message}); check cost_matrix")
    return solution.fun
