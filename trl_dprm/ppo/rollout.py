"""From a scored rollout to what PPO trains on: a reward, an advantage and a return for every token."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..losses.arguments import at_least_float32, check_tensors
from .advantages import generalized_advantage_estimation, masked_totals, masked_whiten
from .arguments import boolean_mask, same_shape


@dataclass(frozen=True)
class ScoredRollout:
    """What a rollout's scores mean for its tokens; every tensor is of shape `(batch, length)` and 0 where masked.

    Args:
        mask (`Tensor` of booleans): tokens that count, those of unscorable completions left out. Policy and value loss
            go over these.
        token_rewards (`Tensor`): KL penalty and score, before any whitening.
        advantages (`Tensor`): whitened.
        returns (`Tensor`): the critic's targets.
    """

    mask: Tensor
    token_rewards: Tensor
    advantages: Tensor
    returns: Tensor


def score_rollout(
    scores: Tensor,
    kl: Tensor,
    values: Tensor,
    mask: Tensor,
    kl_coef: float,
    gamma: float,
    lam: float,
    whiten_rewards: bool = False,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> ScoredRollout:
    """Token rewards, whitened advantages and returns of a rollout.

    Args:
        scores (`Tensor` of shape `(batch,)`): one reward per completion; NaN where no reward function applies. Such a
            completion is left out: no reward, no KL penalty, no advantage, no part in the whitening.
        kl (`Tensor` of shape `(batch, length)`): KL to the reference per token, in nats.
        values (`Tensor` of shape `(batch, length)`): value of the state before each token.
        mask (`Tensor` of shape `(batch, length)`): 1 where the policy chose the token.
        kl_coef (`float`): weight of the KL in the reward.
        gamma (`float` in [0, 1]): discount per token.
        lam (`float` in [0, 1]): of generalised advantage estimation.
        whiten_rewards (`bool`): scale the token rewards to unit variance about their mean, which is kept.
        reduce (callable, *optional*): sum of a tensor over processes; every process calls it equally often. With it
            whitening is over all processes' tokens.

    Returns:
        [`ScoredRollout`].

    Raises:
        ValueError: shapes that do not fit, or a factor outside [0, 1].

    Source: TRL's removed `PPOTrainer`. differs: the score stands on the last token itself instead of the padding after
        it, and whitening is over all processes.

    Example: one completion is better than expected, the other worse; a third cannot be scored.

    >>> zeros = torch.zeros(3, 2)
    >>> rollout = score_rollout(
    ...     torch.tensor([1.0, -1.0, torch.nan]), zeros, zeros, zeros + 1, kl_coef=0.1, gamma=1.0, lam=1.0
    ... )
    >>> rollout.advantages
    tensor([[ 0.8660,  0.8660],
            [-0.8660, -0.8660],
            [ 0.0000,  0.0000]])
    """
    kl, values = same_shape(kl=kl, values=values)
    rewards = token_rewards(scores, kl, mask, kl_coef)
    mask = boolean_mask(mask, kl, "kl") & ~scores.isnan()[:, None]
    trained_rewards = _whiten(rewards, mask, shift_mean=False, reduce=reduce) if whiten_rewards else rewards
    advantages, returns = generalized_advantage_estimation(trained_rewards, values, mask, gamma, lam)
    advantages = _whiten(advantages, mask, shift_mean=True, reduce=reduce)
    return ScoredRollout(mask, rewards, advantages, returns)


def _whiten(values, mask, shift_mean, reduce):
    totals = masked_totals(values, mask)
    return masked_whiten(values, mask, shift_mean, totals if reduce is None else reduce(totals))


@torch.no_grad()
def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    r"""Reward of every token: the KL penalty, and at a completion's last token that counts its score.

        r_t = -kl_coef * kl_t  +  score * 1[t is the last]

    Args:
        scores (`Tensor` of shape `(batch,)`): NaN where a completion cannot be scored: its tokens get nothing.
        kl (`Tensor` of shape `(batch, length)`): KL to the reference; what stands at masked tokens is not read.
        mask (`Tensor` of shape `(batch, length)`): 1 where the policy chose the token. A completion without such a
            token gets nothing.
        kl_coef (`float`): weight of the KL.

    Returns:
        `Tensor` of shape `(batch, length)`, without gradients; 0 where masked.

    Raises:
        ValueError: shapes that do not fit.

    Source: Ziegler et al., arXiv 1909.08593, equation 2.

    Example:

    >>> token_rewards(torch.tensor([3.0]), torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[1, 1, 0]]), kl_coef=0.5)
    tensor([[-0.5000,  2.0000,  0.0000]])
    """
    check_tensors(scores=scores)
    mask = boolean_mask(mask, kl, "kl")
    if scores.shape != kl.shape[:1]:
        raise ValueError(
            f"scores has shape {tuple(scores.shape)} but kl has {tuple(kl.shape)}; give one score per completion"
        )
    counts = mask & ~scores.isnan()[:, None]
    is_last = counts & (counts.flip(1).cumsum(1).flip(1) == 1)
    rewards = torch.where(counts, -kl_coef * at_least_float32(kl), 0.0)
    return rewards + torch.where(is_last, at_least_float32(scores)[:, None], 0.0)


def penalise_missing_eos(scores: Tensor, has_eos: Tensor, penalty: float) -> Tensor:
    """Scores less a penalty where a completion ran out of tokens without an end.

    Args:
        scores (`Tensor` of shape `(batch,)`): NaN stays NaN.
        has_eos (`Tensor` of shape `(batch,)`): whether the completion ended by itself.
        penalty (`float`): subtracted, in units of the score.

    Returns:
        `Tensor` of shape `(batch,)`, a new one.

    Raises:
        ValueError: shapes that differ, or a penalty below zero, which would be a prize.

    Source: TRL's removed `PPOTrainer`, `missing_eos_penalty`.

    Example:

    >>> penalise_missing_eos(torch.tensor([2.0, 2.0]), torch.tensor([True, False]), penalty=1.0)
    tensor([2., 1.])
    """
    check_tensors(scores=scores, has_eos=has_eos)
    if has_eos.shape != scores.shape:
        raise ValueError(
            f"has_eos has shape {tuple(has_eos.shape)} but scores has {tuple(scores.shape)}; give one entry per "
            "completion to both"
        )
    if not penalty >= 0:
        raise ValueError(f"missing_eos_penalty is {penalty}; give what is subtracted, zero or more")
    return torch.where(has_eos.bool(), scores, scores - penalty)
