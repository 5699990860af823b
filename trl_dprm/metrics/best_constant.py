"""The best that can be said without reading the item: for each metric, the constant distribution that minimises it.

A model must beat the constant *of the metric it is judged by*. The marginal is the best constant for proper scores
only; for transport it is a poor opponent (ConvAbuse: the marginal has W1 0.77, always "not abusive" 0.52).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog
from scipy.sparse import block_array, csr_array, eye_array, kron

from ..losses import is_negative_type
from .arrays import distribution_table, finite_vector, weight_vector
from .averages import weighted_mean, weighted_median
from .item_scores import LINEAR_PROGRAM_OPTIONS, item_scores

CONSTANT_METRICS = (
    "nats_per_vote",
    "wasserstein_distance",
    "ranked_probability_score",
    "energy_distance",
    "brier_score",
    "expected_reward_mae",
)


def best_constant(
    target_probs: ArrayLike,
    vote_weight: ArrayLike | None,
    metric: str,
    category_rewards: Sequence[float] | None = None,
    category_positions: Sequence[float] | None = None,
    cost_matrix: Sequence[Sequence[float]] | None = None,
) -> np.ndarray:
    """The distribution that, predicted for every item, minimises a metric on these targets, exactly.

    * `nats_per_vote`, `brier_score`, `ranked_probability_score`, `energy_distance`: the mean of the targets.
    * `wasserstein_distance` on a line: the weighted median of the cumulative distributions, cut by cut (medians of
      ordered numbers are ordered, so they form a cumulative distribution again). For a cost matrix: a linear program.
    * `expected_reward_mae`: the target of an item whose mean reward is the weighted median; any distribution with that
      mean would do.

    Args:
        target_probs (array of shape `(num_items, num_categories)`): raw vote shares of the *training* items, rows sum
            to 1.
        vote_weight (array of shape `(num_items,)` or `None`): votes of each item; equal if `None`.
        metric (`str`): one of `CONSTANT_METRICS`.
        category_rewards (sequence of `float`, length `num_categories`, *optional*): needed for `expected_reward_mae`.
        category_positions (sequence of `float`, length `num_categories`, *optional*): for `wasserstein_distance` on a
            line.
        cost_matrix (nested sequence of shape `(num_categories, num_categories)`, *optional*): for
            `wasserstein_distance` without positions, and to check that the energy distance is proper.

    Returns:
        `np.ndarray` of shape `(num_categories,)`, sums to 1.

    Raises:
        ValueError: a metric without a best constant, a missing geometry, or a cost for which the energy distance is
            not proper, so that its minimum is not the mean.

    Source: [ours].

    Example:

    >>> votes = [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    >>> best_constant(votes, None, "wasserstein_distance", category_positions=[0, 1, 2])
    array([1., 0., 0.])
    >>> best_constant(votes, [1, 1, 2], "brier_score")
    array([0.5, 0. , 0.5])
    """
    targets = distribution_table("target_probs", target_probs)
    weight = weight_vector("vote_weight", vote_weight, len(targets))
    if metric not in CONSTANT_METRICS:
        raise ValueError(f'metric "{metric}" has no best constant; choose one of {", ".join(CONSTANT_METRICS)}')
    if metric == "expected_reward_mae":
        return _median_reward_target(targets, weight, category_rewards)
    if metric == "wasserstein_distance" and category_positions is not None:
        return _median_on_line(targets, weight, category_positions)
    if metric == "wasserstein_distance":
        return _transport_median(targets, weight, cost_matrix)
    if metric == "energy_distance" and cost_matrix is not None and not is_negative_type(cost_matrix):
        raise ValueError(
            "cost_matrix is not of negative type, so the mean of the targets does not minimise its energy distance; "
            "use another cost or leave energy_distance out"
        )
    return _normalised(weight @ targets)


def best_constant_metrics(
    train_target_probs: ArrayLike,
    train_vote_weight: ArrayLike | None,
    target_probs: ArrayLike,
    vote_weight: ArrayLike | None,
    category_rewards: Sequence[float],
    category_positions: Sequence[float] | None,
    cost_matrix: Sequence[Sequence[float]],
) -> dict[str, float]:
    """The row "best constant per metric" of a table: each metric by its own constant, chosen on training targets.

    Args:
        train_target_probs (array of shape `(num_train_items, num_categories)`): targets that the constants minimise.
        train_vote_weight (array of shape `(num_train_items,)` or `None`): their votes.
        target_probs (array of shape `(num_items, num_categories)`): targets that the constants are judged on.
        vote_weight (array of shape `(num_items,)` or `None`): their votes.
        category_rewards, category_positions, cost_matrix: as `distribution_metrics`.

    Returns:
        `dict[str, float]`: the metrics of `CONSTANT_METRICS` that `item_scores` gives for these categories. A cost
        that is not of negative type has no `energy_distance` here.

    Raises:
        ValueError: as `best_constant` and `item_scores`.

    Source: [ours].

    Example:

    >>> line, cost = [0, 1, 2], [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    >>> train, test = [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]
    >>> metrics = best_constant_metrics(train, None, test, None, line, line, cost)
    >>> round(metrics["wasserstein_distance"], 4), round(metrics["brier_score"], 4)
    (0.25, 0.3056)
    """
    targets = distribution_table("target_probs", target_probs)
    weight = weight_vector("vote_weight", vote_weight, len(targets))
    geometry = category_rewards, category_positions, cost_matrix
    metrics = {}
    for metric in CONSTANT_METRICS:
        if metric == "ranked_probability_score" and category_positions is None:
            continue
        if metric == "energy_distance" and not is_negative_type(cost_matrix):
            continue
        constant = best_constant(train_target_probs, train_vote_weight, metric, *geometry)
        predictions = np.tile(constant, (len(targets), 1))
        metrics[metric] = weighted_mean(item_scores(predictions, targets, *geometry)[metric], weight)
    return metrics


def _median_on_line(targets: np.ndarray, weight: np.ndarray, positions: Sequence[float]) -> np.ndarray:
    positions = finite_vector("category_positions", positions, targets.shape[1])
    order = np.argsort(positions, kind="stable")
    cuts = np.cumsum(targets[:, order], axis=1)[:, :-1].T
    cdf = np.array([0.0, *(weighted_median(cut, weight) for cut in cuts), 1.0]).clip(max=1)
    constant = np.empty(targets.shape[1])
    constant[order] = np.diff(np.maximum.accumulate(cdf))  # a median interval may be left at either end by rounding
    return constant


def _median_reward_target(
    targets: np.ndarray, weight: np.ndarray, category_rewards: Sequence[float] | None
) -> np.ndarray:
    if category_rewards is None:
        raise ValueError('metric "expected_reward_mae" needs category_rewards; give one reward per category')
    mean_rewards = targets @ finite_vector("category_rewards", category_rewards, targets.shape[1])
    return targets[np.argmax(mean_rewards == weighted_median(mean_rewards, weight))]


def _transport_median(
    targets: np.ndarray, weight: np.ndarray, cost_matrix: Sequence[Sequence[float]] | None
) -> np.ndarray:
    """`argmin_q sum_i w_i OT_C(q, p_i)` as one linear program in `q` and a plan per distinct target."""
    if cost_matrix is None:
        raise ValueError('metric "wasserstein_distance" needs category_positions or cost_matrix; give one of them')
    size = targets.shape[1]
    cost = np.asarray(cost_matrix, dtype=np.float64)
    if cost.shape != (size, size):
        raise ValueError(f"cost_matrix has shape {cost.shape}; give {size} x {size}, one row per category")
    distinct, which = np.unique(targets / targets.sum(axis=1, keepdims=True), axis=0, return_inverse=True)
    share = np.bincount(which, weight) / weight.sum()
    plans, ones = eye_array(len(distinct)), np.ones((1, size))
    leaving = kron(plans, kron(eye_array(size), ones))  # rows of every plan sum to q
    arriving = kron(plans, kron(ones, eye_array(size)))  # columns to the target
    minus_q = -kron(np.ones((len(distinct), 1)), eye_array(size))
    constraints = block_array([[minus_q, leaving], [csr_array((distinct.size, size)), arriving]], format="csr")
    solution = linprog(
        np.concatenate([np.zeros(size), np.kron(share, cost.ravel())]),
        A_eq=constraints,
        b_eq=np.concatenate([np.zeros(distinct.size), distinct.ravel()]),
        method="highs",
        options=LINEAR_PROGRAM_OPTIONS,
    )
    if solution.status != 0:
        raise RuntimeError(f"the transport median was not found ({solution.message}); check cost_matrix")
    return _normalised(solution.x[:size].clip(min=0))


def _normalised(values: np.ndarray) -> np.ndarray:
    return values / values.sum()
