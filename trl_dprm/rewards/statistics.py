"""Which number of a distribution a policy maximises: a choice, kept apart from the model that it is read from."""

import math
from dataclasses import dataclass
from numbers import Real

from torch import Tensor

from ..models import DPRMConfig
from ..models.distributions import conditional_value_at_risk, expected_reward, lower_semideviation

LARGEST_REWARD = 1e18
"""Largest size of a category's reward: float32 holds the square of twice that, which the variance needs."""
STATISTICS = ("expected_reward", "cvar", "lower_semideviation")


@dataclass(frozen=True)
class RewardStatistic:
    r"""From category probabilities to the scalar reward of a completion.

    With rewards `r_k` of the categories, their mean `m` under the probabilities and their lower semideviation `s`:

        expected_reward        m
        cvar                   mean reward among the least satisfied share `level` of the annotators
        lower_semideviation    m - weight * s

    All three never fall when mass moves to a better category; `m - weight * standard deviation` can, and is not
    offered. The spread of such a distribution is **disagreement among people**, not the model's ignorance: none of
    them is a guard against reward hacking, and `cvar` over ratings is not the utility of the worst-off group.

    Args:
        statistic (`str`): `"expected_reward"`, `"cvar"` or `"lower_semideviation"`.
        level (`float`): Share of annotators that `cvar` looks at, in (0, 1]; 1 is the expected reward.
        weight (`float`): Weight of the lower semideviation, in [0, 1]; beyond 1 it would not be monotone.
        category_rewards (`list[float]` or `dict[str, float]`, *optional*): Other rewards than the trained ones: a
            list gives one per category, a `dict` replaces those of the categories that it names.

    Raises:
        ValueError: for an unknown statistic or a number out of its range.

    Source: expected reward: DPRM (arXiv 2402.09764). The lower semideviation with a weight of at most 1: Ogryczak and
        Ruszczyński (1999). CVaR: Rockafellar and Uryasev (2002). As rewards of a policy [ours].

    Example:

    >>> import torch
    >>> from trl_dprm import DPRMConfig
    >>> config = DPRMConfig(category_names=["harmful", "dull", "good"], category_rewards=[-1.0, 0.0, 1.0])
    >>> probs = torch.tensor([0.25, 0.25, 0.5])
    >>> RewardStatistic()(probs, config)
    tensor(0.2500)
    >>> RewardStatistic("cvar", level=0.5)(probs, config)
    tensor(-0.5000)
    >>> RewardStatistic(category_rewards={"harmful": -5.0})(probs, config)
    tensor(-0.7500)
    """

    statistic: str = "expected_reward"
    level: float = 0.1
    weight: float = 1.0
    category_rewards: list[float] | dict[str, float] | None = None

    def __post_init__(self):
        if self.statistic not in STATISTICS:
            raise ValueError(f"The reward statistic is one of {', '.join(STATISTICS)}, got {self.statistic!r}.")
        if not (isinstance(self.level, Real) and 0 < self.level <= 1):
            raise ValueError(f"The level of `cvar` is a share of annotators in (0, 1], got {self.level!r}.")
        if not (isinstance(self.weight, Real) and 0 <= self.weight <= 1):
            raise ValueError(
                f"The weight of `lower_semideviation` is a number in [0, 1], got {self.weight!r}. Beyond 1 the reward "
                "could fall when people like a completion better."
            )
        if not isinstance(self.category_rewards, list | tuple | dict | None):
            raise ValueError(
                "`category_rewards` is a list with one reward per category or a dict from category names to rewards, "
                f"got {self.category_rewards!r}."
            )
        for value in self._given_rewards():
            if not (isinstance(value, Real) and math.isfinite(value) and abs(value) <= LARGEST_REWARD):
                raise ValueError(
                    f"`category_rewards` holds {value!r}: every reward is a finite number, at most {LARGEST_REWARD:g} "
                    "in size."
                )

    @property
    def is_trained(self) -> bool:
        """Whether this is the reward that the model was trained to give: its own expected reward."""
        return self.statistic == "expected_reward" and self.category_rewards is None

    def check(self, config: DPRMConfig) -> None:
        """Refuse rewards for other categories than the model has.

        Raises:
            ValueError: naming the model's categories, for an unknown name or another number of rewards.
        """
        known = f"The model has {config.num_categories} categories: {', '.join(config.category_names)}."
        if isinstance(self.category_rewards, dict):
            unknown = [name for name in self.category_rewards if name not in config.category_names]
            if unknown:
                raise ValueError(f"`category_rewards` names {', '.join(map(repr, unknown))}. {known}")
        elif self.category_rewards is not None and len(self.category_rewards) != config.num_categories:
            raise ValueError(
                f"`category_rewards` has {len(self.category_rewards)} entries. {known} Give one for each."
            )

    def rewards(self, config: DPRMConfig) -> list[float]:
        """Reward of each category, in the model's order."""
        if self.category_rewards is None:
            return list(config.category_rewards)
        if isinstance(self.category_rewards, dict):
            trained = dict(zip(config.category_names, config.category_rewards, strict=True))
            return [float(reward) for reward in (trained | self.category_rewards).values()]
        return [float(reward) for reward in self.category_rewards]

    def __call__(self, category_probs: Tensor, config: DPRMConfig) -> Tensor:
        """The reward of every distribution.

        Args:
            category_probs (`Tensor` of shape `(..., num_categories)`): Sums to 1; gradients flow.
            config ([`DPRMConfig`]): Whose categories these are.

        Returns:
            `Tensor` of shape `(...)`, at least float32, in reward units.
        """
        rewards = self.rewards(config)
        if self.statistic == "cvar":
            return conditional_value_at_risk(category_probs, rewards, self.level)
        mean = expected_reward(category_probs, rewards)
        if self.statistic == "lower_semideviation":
            return mean - self.weight * lower_semideviation(category_probs, rewards)
        return mean

    def _given_rewards(self):
        given = self.category_rewards or ()
        return given.values() if isinstance(given, dict) else given
