"""The loss that a training run is configured with: a weighted sum of losses on one distribution, by name."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .arguments import check_cost, comparable, frozen_matrix, one_per_category
from .dual_vertices import dual_vertices
from .scoring import (
    brier_score,
    cross_entropy_loss,
    energy_distance,
    is_negative_type,
    ranked_probability_score,
)
from .transport import optimal_transport_distance, wasserstein_distance

DISTRIBUTION_LOSSES = (
    "cross_entropy",
    "optimal_transport",
    "ranked_probability_score",
    "energy_distance",
    "brier_score",
)


@dataclass(frozen=True)
class DistributionLoss:
    """Weighted sum of losses between predicted logits and target distributions, one value per example.

    Args:
        loss_type (`list[str]`): names among `DISTRIBUTION_LOSSES`, each at most once.
        loss_weights (`list[float]`, same length): non-negative, at least one positive.
        category_positions (`list[float]` or `None`): where the categories lie on a line; `None` if they do not.
        cost_matrix (nested lists, `num_categories x num_categories`): the ground cost; used by `energy_distance`, and
            by `optimal_transport` where there are no positions (then at most `MAX_CATEGORIES` categories).
        exponent (`float`, at least 1): `optimal_transport` on a line is `W_p^p` with this `p`.

    Raises:
        ValueError: at construction, for an unknown or repeated name, weights or positions of another length, a matrix
            that is no ground cost, `ranked_probability_score` or an exponent without positions, or too many
            categories.

    Warns:
        UserWarning: `energy_distance` for a cost that is not of negative type, for which it is not proper.

    Source: transport and cross-entropy from DPRM (arXiv 2402.09764); the other losses and weighted sums [ours].

    Example:

    >>> line = [-1.0, 0.0, 1.0]
    >>> costs = [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    >>> loss = DistributionLoss(["cross_entropy", "optimal_transport"], [1.0, 2.0], line, costs)
    >>> loss(torch.zeros(2, 3), torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    tensor([3.0986, 2.4319])
    """

    loss_type: Sequence[str]
    loss_weights: Sequence[float]
    category_positions: Sequence[float] | None
    cost_matrix: Sequence[Sequence[float]]
    exponent: float = 1

    def __post_init__(self) -> None:
        _check_names(self.loss_type)
        _check_weights(self.loss_weights, self.loss_type)
        object.__setattr__(self, "cost_matrix", frozen_matrix(self.cost_matrix))
        check_cost(self.cost_matrix)
        self._check_geometry()

    def __call__(self, category_logits: Tensor, target_probs: Tensor) -> Tensor:
        """The weighted sum.

        Args:
            category_logits (`Tensor` of shape `(..., num_categories)`): finite; gradients flow.
            target_probs (`Tensor` of shape `(..., num_categories)`): sums to 1.

        Returns:
            `Tensor` of shape `(...)`, float32 or float64, unreduced.
        """
        terms = self.terms(category_logits, target_probs)
        return sum(weight * terms[name] for name, weight in zip(self.loss_type, self.loss_weights, strict=True))

    def terms(self, category_logits: Tensor, target_probs: Tensor) -> dict[str, Tensor]:
        """Every selected loss before weighting, by name, each of shape `(...)`; for logs.

        Example:

        >>> loss = DistributionLoss(["brier_score"], [0.5], None, [[0, 1], [1, 0]])
        >>> loss.terms(torch.zeros(2), torch.tensor([1.0, 0.0]))
        {'brier_score': tensor(0.5000)}
        """
        category_logits, target_probs = comparable(category_logits, target_probs, "category_logits")
        category_probs = category_logits.softmax(-1)
        compute: dict[str, Callable[[], Tensor]] = {
            "cross_entropy": lambda: cross_entropy_loss(category_logits, target_probs),
            "optimal_transport": lambda: self._optimal_transport(category_probs, target_probs),
            "ranked_probability_score": lambda: ranked_probability_score(
                category_probs, target_probs, self.category_positions
            ),
            "energy_distance": lambda: energy_distance(category_probs, target_probs, self.cost_matrix),
            "brier_score": lambda: brier_score(category_probs, target_probs),
        }
        return {name: compute[name]() for name in self.loss_type}

    def _optimal_transport(self, category_probs: Tensor, target_probs: Tensor) -> Tensor:
        if self.category_positions is None:
            return optimal_transport_distance(category_probs, target_probs, self.cost_matrix)
        return wasserstein_distance(category_probs, target_probs, self.category_positions, p=self.exponent)

    def _check_geometry(self) -> None:
        """Everything about positions and costs that training would otherwise find out at its first step."""
        if not (math.isfinite(self.exponent) and self.exponent >= 1):
            raise ValueError(f"exponent is {self.exponent}; give a finite number of at least 1")
        if self.category_positions is None:
            self._check_without_positions()
        else:
            positions = one_per_category(self.category_positions, "category_positions", len(self.cost_matrix))
            object.__setattr__(self, "category_positions", positions)
        if "energy_distance" in self.loss_type and not is_negative_type(self.cost_matrix):
            warnings.warn(
                "energy_distance is not a proper score for this cost_matrix (not of negative type): its optimum is "
                "not the target; use distances between points, or optimal_transport with cross_entropy",
                stacklevel=4,
            )

    def _check_without_positions(self) -> None:
        if "ranked_probability_score" in self.loss_type:
            raise ValueError(
                "ranked_probability_score needs categories on a line, but category_positions is None; "
                "give positions, or use energy_distance, which takes any cost matrix"
            )
        if self.exponent != 1:
            raise ValueError(
                f"exponent is {self.exponent}, but without category_positions the cost matrix is used as it is; "
                "raise its entries to the power yourself and leave exponent at 1"
            )
        if "optimal_transport" in self.loss_type:
            dual_vertices(self.cost_matrix, torch.device("cpu"))


def _check_names(loss_type: Sequence[str]) -> None:
    valid = ", ".join(DISTRIBUTION_LOSSES)
    if isinstance(loss_type, str) or not loss_type:
        raise ValueError(f"loss_type is {loss_type!r}; give a list of names among: {valid}")
    for name in loss_type:
        if name not in DISTRIBUTION_LOSSES:
            raise ValueError(f"loss_type names an unknown loss {name!r}; choose among: {valid}")
        if list(loss_type).count(name) > 1:
            raise ValueError(f"loss_type names {name!r} more than once; name it once and raise its weight")


def _check_weights(loss_weights: Sequence[float], loss_type: Sequence[str]) -> None:
    if len(loss_weights) != len(loss_type):
        raise ValueError(
            f"loss_weights has {len(loss_weights)} entries for {len(loss_type)} losses; give one weight per loss"
        )
    for name, weight in zip(loss_type, loss_weights, strict=True):
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"the weight of {name!r} is {weight}; give finite, non-negative weights")
    if not any(weight > 0 for weight in loss_weights):
        raise ValueError("loss_weights are all 0; give at least one loss a positive weight")
