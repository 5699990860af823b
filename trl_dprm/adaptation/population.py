"""The mean reward of texts in a population of given shares of the groups, beside what the checkpoints say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from .groups import GroupMaps, post_stratified_probs


@dataclass(frozen=True)
class PopulationReward:
    """What a population would say of texts on average, in expected reward.

    Attributes:
        shares (`dict[str, float]`): of the groups in the population.
        num_texts (`int`): texts that the means are over.
        reward (`float`): mean expected reward in the population.
        saved_reward (`float`): the same by the map of all, which the saved checkpoint holds.
        old_reward (`float`): the same by the model as it was.
    """

    shares: dict[str, float]
    num_texts: int
    reward: float
    saved_reward: float
    old_reward: float

    @property
    def in_words(self) -> str:
        """The means by name, in one sentence."""
        name = ", ".join(f"{group} {share:g}" for group, share in self.shares.items())
        return (
            f"Mean expected reward over {self.num_texts:,} text{'' if self.num_texts == 1 else 's'}: "
            f"{self.reward:.4f} in the population ({name}), {self.saved_reward:.4f} by the saved checkpoint, "
            f"{self.old_reward:.4f} by the old one."
        )


def population_reward(maps: GroupMaps, category_logits, category_rewards, shares: Sequence[float]) -> PopulationReward:
    """Average the expected reward of texts over a population of given shares, and set the checkpoints' beside it.

    Args:
        maps ([`GroupMaps`]): one per group.
        category_logits (array of shape `(N, K)`): the model's as it was, of N texts, one at least.
        category_rewards (array of shape `(K,)`): reward of each category.
        shares (sequence of G `float`): of the groups in the population, summing to 1.

    Returns:
        [`PopulationReward`]

    Raises:
        ValueError: as [`post_stratified_probs`].

    >>> from trl_dprm.adaptation import fit_group_maps
    >>> maps = fit_group_maps([[0.0, 0.0]], [[[30, 10]], [[10, 30]]], ["a", "b"], prior_weight=0)
    >>> round(population_reward(maps, [[0.0, 0.0]], [0.0, 1.0], [1.0, 0.0]).reward, 3)
    0.25
    """
    logits, rewards = np.asarray(category_logits, dtype=np.float64), np.asarray(category_rewards, dtype=np.float64)
    mixed = post_stratified_probs(maps.group_probs(logits), shares)
    return PopulationReward(
        shares=dict(zip(maps.group_names, map(float, shares), strict=True)),
        num_texts=len(logits),
        reward=float((mixed @ rewards).mean()),
        saved_reward=float((maps.shared.probs(logits) @ rewards).mean()),
        old_reward=float((softmax(logits, axis=1) @ rewards).mean()),
    )
