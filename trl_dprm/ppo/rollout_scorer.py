"""What PPO makes of a rollout that TRL has sampled and scored, and the numbers that run along from one to the next."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator

from .expected_reward_ppo_config import ExpectedRewardPPOConfig
from .kl import AdaptiveKL, per_token_kl
from .reward_normalizer import RunningRewardNormalizer
from .rollout import ScoredRollout, penalise_missing_eos, score_rollout
from .rollout_metrics import rollout_facts, rollout_metrics


@dataclass(frozen=True)
class SampledRollout:
    """One process's completions and what the models say of them; tensors of shape *(batch_size, length)*.

    Args:
        log_probs (`torch.Tensor`): Of the policy that sampled.
        ref_log_probs (`torch.Tensor` or `None`): Of the reference; without one there is no KL.
        values (`torch.Tensor`): Of the critic, before each token.
        mask (`torch.Tensor`): 1 at tokens that the policy wrote.
        has_eos (`torch.Tensor` of shape *(batch_size,)*): Whether each completion ended by itself.
    """

    log_probs: torch.Tensor
    ref_log_probs: torch.Tensor | None
    values: torch.Tensor
    mask: torch.Tensor
    has_eos: torch.Tensor


class RolloutScorer:
    """From scores, KL and values to advantages and returns, with the KL coefficient and the rewards' scale so far.

    Args:
        args ([`ExpectedRewardPPOConfig`]): Of the run.
        accelerator ([`~accelerate.Accelerator`]): For sums over processes.

    Attributes:
        episode (`int`): Completions that were trained on, over all processes.
        kl_controller ([`AdaptiveKL`] or `None`): With `adaptive_kl`.
        reward_normalizer ([`RunningRewardNormalizer`] or `None`): With `normalize_rewards`.
    """

    def __init__(self, args: ExpectedRewardPPOConfig, accelerator: Accelerator):
        self.args = args
        self.accelerator = accelerator
        self.episode = 0
        self.kl_controller = AdaptiveKL(args.beta, args.kl_target, args.kl_horizon) if args.adaptive_kl else None
        self.reward_normalizer = RunningRewardNormalizer() if args.normalize_rewards else None

    @property
    def kl_coef(self) -> float:
        """The coefficient of the next rollout's KL."""
        return self.args.beta if self.kl_controller is None else self.kl_controller.coefficient

    def __call__(
        self, rewards: torch.Tensor, sampled: SampledRollout, training: bool
    ) -> tuple[ScoredRollout, dict[str, float]]:
        """Score a rollout; in training, count it and let it move the running numbers.

        Args:
            rewards (`torch.Tensor` of shape *(num_completions,)*): Of all processes; NaN where no function applies.
            sampled ([`SampledRollout`]): Of this process.
            training (`bool`): Whether the policy is trained on it, or it is an evaluation's.

        Returns:
            [`ScoredRollout`] of this process, and the metrics of all.
        """
        kl_coef = self.kl_coef
        if training:
            self.episode += len(rewards)
        scores = self._scores(rewards, sampled, training)
        kl = torch.zeros_like(sampled.log_probs)
        if sampled.ref_log_probs is not None:
            kl = per_token_kl(sampled.log_probs, sampled.ref_log_probs, self.args.kl_estimator) * sampled.mask
        rollout = score_rollout(
            scores,
            kl,
            sampled.values,
            sampled.mask,
            kl_coef=kl_coef,
            gamma=self.args.gamma,
            lam=self.args.lam,
            whiten_rewards=self.args.whiten_rewards,
            reduce=self._sum_over_processes,
        )
        facts = rollout_facts(rollout, scores, kl, sampled.log_probs, sampled.values, sampled.mask)
        metrics = rollout_metrics(self._sum_over_processes(facts))
        if training and self.kl_controller is not None:
            self.kl_controller.update(metrics["kl"], len(rewards))
        if sampled.ref_log_probs is None:  # not measured, which is not zero
            del metrics["kl"]
        return rollout, metrics | {"kl_coef": kl_coef, "episode": self.episode}

    def _scores(self, rewards, sampled, training):
        """What this process's completions are trained on: normalised, and less the penalty for a missing end."""
        if self.reward_normalizer is not None:
            if training:
                self.reward_normalizer.update(rewards)
            rewards = self.reward_normalizer.normalize(rewards)
        start = self.accelerator.process_index * len(sampled.mask)
        scores = rewards[start : start + len(sampled.mask)]
        if self.args.missing_eos_penalty is not None:
            scores = penalise_missing_eos(scores, sampled.has_eos, self.args.missing_eos_penalty)
        return scores

    def _sum_over_processes(self, tensor):
        return self.accelerator.reduce(tensor, reduction="sum")

    def state_dict(self) -> dict:
        """What runs along, for JSON."""
        parts = {"kl_controller": self.kl_controller, "reward_normalizer": self.reward_normalizer}
        state = {name: part.state_dict() for name, part in parts.items() if part is not None}
        return state | {"episode": self.episode}

    def load_state_dict(self, state: dict) -> None:
        """Continue from `state_dict`.

        Raises:
            ValueError: if the options switch on something that did not run along so far.
        """
        parts = {"kl_controller": "adaptive_kl", "reward_normalizer": "normalize_rewards"}
        for name, option in parts.items():
            part = getattr(self, name)
            if part is None:
                continue
            if name not in state:
                raise ValueError(
                    f"The checkpoint was written without `{option}`, so it does not say where to go on from. Resume "
                    f"with `{option}=False`, or start from the checkpoint as `model`."
                )
            part.load_state_dict(state[name])
        self.episode = state["episode"]


def weighted_rewards(rewards: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted sum over reward functions.

    Args:
        rewards (`torch.Tensor` of shape *(num_completions, num_functions)*): NaN where a function does not apply.
        weights (`torch.Tensor` of shape *(num_functions,)*).

    Returns:
        `torch.Tensor` of shape *(num_completions,)*; NaN where none applies.

    Example:

    >>> nan = float("nan")
    >>> weighted_rewards(torch.tensor([[1.0, 2.0], [nan, 2.0], [nan, nan]]), torch.tensor([1.0, 0.5]))
    tensor([2., 1., nan])
    """
    inapplicable = rewards.isnan().all(dim=1)
    return (rewards * weights.to(rewards.device)).nansum(dim=1).masked_fill(inapplicable, torch.nan)
