"""Scoring rules: losses whose optimum is the distribution itself, also where the targets are noisy votes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .arguments import check_cost, check_cost_size, comparable, frozen_matrix, placed_cost
from .line import line_through


def cross_entropy_loss(category_logits: Tensor, target_probs: Tensor) -> Tensor:
    r"""Cross-entropy `-sum_k p_k log q_k` in nats, from logits.

    With vote shares as targets and vote counts as weights it is the multinomial likelihood of the votes. Its smallest
    value is the entropy of the target, not 0. Strictly proper; it does not know which categories are near each other.

    Args:
        category_logits (`Tensor` of shape `(..., num_categories)`): finite; gradients flow.
        target_probs (`Tensor` of shape `(..., num_categories)`): sums to 1; gradients flow.

    Returns:
        `Tensor` of shape `(...)`, the broadcast leading dimensions.

    Raises:
        ValueError: shapes that do not fit.

    Source: Good, *Rational Decisions* (1952); "DPRM with cross-entropy" in arXiv 2402.09764.

    Example:

    >>> cross_entropy_loss(torch.zeros(4), torch.tensor([0.7, 0.1, 0.1, 0.1]))  # log 4
    tensor(1.3863)
    """
    category_logits, target_probs = comparable(category_logits, target_probs, "category_logits")
    return -(target_probs * category_logits.log_softmax(-1)).sum(-1)


def brier_score(category_probs: Tensor, target_probs: Tensor) -> Tensor:
    r"""Squared Euclidean distance `sum_k (q_k - p_k)^2`, between 0 and 2.

    Strictly proper; bounded, so that single absurd votes weigh less than in cross-entropy; blind to the geometry.

    Args:
        category_probs (`Tensor` of shape `(..., num_categories)`): prediction, sums to 1; gradients flow.
        target_probs (`Tensor` of shape `(..., num_categories)`): sums to 1; gradients flow.

    Returns:
        `Tensor` of shape `(...)`, the broadcast leading dimensions.

    Raises:
        ValueError: shapes that do not fit.

    Source: Brier, *Verification of forecasts expressed in terms of probability* (1950), all categories summed.

    Example:

    >>> brier_score(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.5, 0.5, 0.0]))
    tensor(0.5000)
    """
    category_probs, target_probs = comparable(category_probs, target_probs)
    return (category_probs - target_probs).square().sum(-1)


def ranked_probability_score(
    category_probs: Tensor, target_probs: Tensor, positions: Sequence[float] | Tensor
) -> Tensor:
    r"""Ranked probability score: squared distance between the cumulative distributions, weighted by the gaps.

        RPS = sum_k (Q_k - P_k)^2 (s_(k+1) - s_k) = integral (Q(s) - P(s))^2 ds

    It is the continuous ranked probability score of a distribution over points, and half the energy distance for the
    cost `|s_i - s_j|`. Proper and aware of distance; strictly proper unless two categories share a position, between
    which it cannot tell.

    Args:
        category_probs (`Tensor` of shape `(..., num_categories)`): prediction, sums to 1; gradients flow.
        target_probs (`Tensor` of shape `(..., num_categories)`): sums to 1; gradients flow.
        positions (sequence of `float` or `Tensor`, length `num_categories`): where the categories lie, in any order.

    Returns:
        `Tensor` of shape `(...)`, the broadcast leading dimensions, in units of the positions.

    Raises:
        ValueError: shapes that do not fit, or a position that is not finite.

    Source: Epstein (1969); Gneiting & Raftery, *Strictly Proper Scoring Rules* (2007), section 4.2. Differs: weighted
        by the gaps between positions, and not divided by `num_categories - 1`.

    Example:

    >>> ranked_probability_score(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.5, 0.0, 0.5]), [-1.0, 0.0, 1.0])
    tensor(0.5000)
    """
    category_probs, target_probs = comparable(category_probs, target_probs)
    line = line_through(positions, category_probs)
    return (line.cdf(category_probs - target_probs).square() * line.gaps).sum(-1)


def energy_distance(category_probs: Tensor, target_probs: Tensor, cost: Sequence[Sequence[float]] | Tensor) -> Tensor:
    r"""Energy distance `2 q'Cp - q'Cq - p'Cp` for a ground cost between categories.

    Proper and aware of distance for any cost *of negative type* (`is_negative_type`): Euclidean and city-block
    distances between points, trees, `|s_i - s_j|^rho` with `0 < rho <= 2`. Strictly proper for Euclidean distances
    between distinct points; city-block distances on a grid compare the marginals of its axes and miss how they go
    together. For a cost of another type the value can be negative and the optimum elsewhere.

    Computed as `-(q - p)'C(q - p)`, the same for a symmetric cost and without cancellation. An asymmetric cost is
    thereby replaced by the mean of its two directions [ours]: read literally, the formula would not be smallest
    where the two agree.

    Args:
        category_probs (`Tensor` of shape `(..., num_categories)`): prediction, sums to 1; gradients flow.
        target_probs (`Tensor` of shape `(..., num_categories)`): sums to 1; gradients flow.
        cost (nested sequence or `Tensor` of shape `(num_categories, num_categories)`): non-negative, zero diagonal.

    Returns:
        `Tensor` of shape `(...)`, the broadcast leading dimensions, in units of the cost.

    Raises:
        ValueError: shapes that do not fit, or a matrix that is no ground cost.

    Source: Székely & Rizzo, *Energy statistics* (2013); Gneiting & Raftery (2007), section 4.3. Differs: asymmetric
        costs.

    Example:

    >>> apart = [[0, 1], [1, 0]]
    >>> energy_distance(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]), apart)
    tensor(0.5000)
    """
    category_probs, target_probs = comparable(category_probs, target_probs)
    cost = frozen_matrix(cost)
    check_cost_size(cost, category_probs.shape[-1])
    costs = placed_cost(cost, category_probs.dtype, category_probs.device)
    difference = category_probs - target_probs
    # Products and sums, not a matrix product: autocast and TF32 would round the latter.
    return -(difference * (difference[..., None, :] * costs).sum(-1)).sum(-1)


def is_negative_type(cost: Sequence[Sequence[float]] | Tensor) -> bool:
    r"""Whether `energy_distance` is a proper score for this cost (no `d` with `sum(d) = 0` has `d'Cd > 0`).

    Args:
        cost (nested sequence or `Tensor` of shape `(num_categories, num_categories)`): non-negative, zero diagonal;
            the mean of its two directions counts.

    Raises:
        ValueError: a matrix that is no ground cost.

    Source: Schoenberg, *Metric spaces and positive definite functions* (1938).

    Example:

    >>> is_negative_type([[0, 1, 2], [1, 0, 1], [2, 1, 0]])  # |i - j|
    True
    >>> is_negative_type([[0, 1, 8], [1, 0, 1], [8, 1, 0]])  # |i - j| cubed
    False
    """
    frozen = frozen_matrix(cost)
    check_cost(frozen)
    costs = torch.tensor(frozen, dtype=torch.float64)
    centring = torch.eye(len(costs), dtype=torch.float64) - 1 / len(costs)
    largest = torch.linalg.eigvalsh(centring @ (costs + costs.T) @ centring).max()
    return bool(largest <= 1e-9 * costs.max())
