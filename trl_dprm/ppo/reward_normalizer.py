"""Rewards in units of their own spread so far, whatever scale a reward model speaks in."""

import math

import torch
from torch import Tensor

from ..losses.arguments import at_least_float32, check_tensors
from .arguments import wide


class RunningRewardNormalizer:
    r"""Divides rewards by the standard deviation of all rewards seen so far.

    Scale only, by default: subtracting a mean changes what a completion is worth against one that ends early or cannot
    be scored, and whitening the advantages removes it anyway. Give `update` the rewards of *all* processes, so that
    every process divides by the same number.

    Args:
        shift_mean (`bool`): subtract the running mean as well.

    Source: Welford (1962) and Chan et al. (1979), *Updating Formulae*, for merging mean and variance.

    Example:

    >>> normalizer = RunningRewardNormalizer()
    >>> normalizer.update(torch.tensor([2.0, 4.0, float("nan"), 6.0]))
    >>> normalizer.normalize(torch.tensor([2.0, 4.0]))
    tensor([1., 2.])
    """

    def __init__(self, shift_mean: bool = False):
        self.shift_mean = shift_mean
        self.count = 0
        self.mean = 0.0
        self._squared_deviations = 0.0

    @property
    def std(self) -> float:
        """Standard deviation so far (unbiased variance); 1 as long as the rewards do not differ."""
        scatter = self._squared_deviations
        squares = scatter + self.count * self.mean**2
        if self.count < 2 or scatter <= squares * torch.finfo(torch.float32).eps ** 2:  # differ by rounding at most
            return 1.0
        return math.sqrt(scatter / (self.count - 1))

    def update(self, rewards: Tensor) -> None:
        """Take in the rewards of a rollout.

        Args:
            rewards (`Tensor` of any shape): of all processes; NaN (a completion that cannot be scored) is left out.

        Raises:
            ValueError: an infinite reward, which would spoil every later one.
        """
        check_tensors(rewards=rewards)
        seen = wide(rewards.detach()[~rewards.isnan()])
        if seen.numel() == 0:
            return
        if seen.isinf().any():
            raise ValueError(f"a reward is {seen[seen.isinf()][0].item()}; give finite rewards, or NaN where none is")
        count, mean = seen.numel(), seen.mean()
        scatter = ((seen - mean) ** 2).sum().item()
        difference = mean.item() - self.mean
        total = self.count + count
        self._squared_deviations += scatter + difference**2 * self.count * count / total
        self.mean += difference * count / total
        self.count = total

    def normalize(self, rewards: Tensor) -> Tensor:
        """Rewards in units of the standard deviation so far.

        Args:
            rewards (`Tensor` of any shape): NaN stays NaN; gradients flow.

        Returns:
            `Tensor` of the same shape.
        """
        check_tensors(rewards=rewards)
        centre = self.mean if self.shift_mean else 0.0
        return (at_least_float32(rewards) - centre) / self.std

    def state_dict(self) -> dict[str, float]:
        """What runs along; JSON keeps it to the last bit."""
        return {"count": self.count, "mean": self.mean, "squared_deviations": self._squared_deviations}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from where another normalizer was.

        Args:
            state (`dict[str, float]`): what `state_dict` gave.
        """
        self.count = state["count"]
        self.mean = state["mean"]
        self._squared_deviations = state["squared_deviations"]
