"""Proximal policy optimisation on the expected reward: the trainer, and its arithmetic as pure functions."""

from .expected_reward_ppo_config import ExpectedRewardPPOConfig
from .expected_reward_ppo_trainer import ExpectedRewardPPOTrainer

__all__ = ["ExpectedRewardPPOConfig", "ExpectedRewardPPOTrainer"]
