"""How much better a token was than the critic expected, and statistics over the tokens that count."""

import torch
from torch import Tensor

from ..losses.arguments import at_least_float32
from .arguments import boolean_mask, check_between, same_shape, wide

_WHITENING_EPSILON = 1e-8  # the removed trainer's, under the root


@torch.no_grad()
def generalized_advantage_estimation(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    r"""Advantages and returns of every token, by generalised advantage estimation.

        delta_t = r_t + gamma * V_(t+1) - V_t
        A_t     = delta_t + gamma * lam * A_(t+1),      R_t = A_t + V_t

    `t + 1` is the *next token that counts*: masked tokens (padding, and tool output within a completion) are skipped,
    with neither a delta nor a decay. After the last one both `V` and `A` are 0: an episode ends with its completion.

    Args:
        rewards (`Tensor` of shape `(batch, length)`): reward of each token; what stands at masked tokens is not read.
        values (`Tensor` of shape `(batch, length)`): value of the state before each token.
        mask (`Tensor` of shape `(batch, length)`): 1 where the policy chose the token.
        gamma (`float` in [0, 1]): discount per token.
        lam (`float` in [0, 1]): 0 trusts the critic (one-step error), 1 the rewards alone.

    Returns:
        Advantages and returns, `Tensor`s of shape `(batch, length)` without gradients; 0 where masked.

    Raises:
        ValueError: shapes that differ, or a factor outside [0, 1].

    Source: Schulman et al., arXiv 1506.02438, equations 11 and 16. differs: masked tokens within it are skipped.

    Example: with a reward at the end and no critic, lam = 1 gives every token the discounted reward.

    >>> generalized_advantage_estimation(
    ...     torch.tensor([[0.0, 9.0, 1.0]]), torch.zeros(1, 3), torch.tensor([[1, 0, 1]]), gamma=0.5, lam=1.0
    ... )[0]
    tensor([[0.5000, 0.0000, 1.0000]])
    """
    rewards, values = same_shape(rewards=rewards, values=values)
    mask = boolean_mask(mask, values)
    check_between("gamma", gamma, 0, 1)
    check_between("lam", lam, 0, 1)
    advantages = torch.zeros_like(values)
    next_value = next_advantage = values.new_zeros(values.shape[0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * lam * next_advantage
        next_advantage = torch.where(mask[:, t], advantage, next_advantage)
        next_value = torch.where(mask[:, t], values[:, t], next_value)
        advantages[:, t] = torch.where(mask[:, t], advantage, 0.0)
    return advantages, torch.where(mask, advantages + values, 0.0)


def masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean over the tokens that count.

    Args:
        values (`Tensor` of any shape): what stands at masked tokens is not read, NaN included; gradients flow.
        mask (`Tensor` of the same shape): 1 where a token counts.
        dim (`int`, *optional*): average over this dimension alone.

    Returns:
        `Tensor` without dimension `dim`, or a scalar; NaN where no token counts.

    Example:

    >>> masked_mean(torch.tensor([[1.0, 3.0, 100.0]]), torch.tensor([[1, 1, 0]]), dim=1)
    tensor([2.])
    """
    mask = boolean_mask(mask, values)
    kept = torch.where(mask, at_least_float32(values), 0.0)
    return kept.sum(dim) / mask.sum(dim)


def masked_variance(values: Tensor, mask: Tensor, unbiased: bool = True) -> Tensor:
    """Variance over the tokens that count.

    Args:
        values (`Tensor` of any shape): what stands at masked tokens is not read; gradients flow.
        mask (`Tensor` of the same shape): 1 where a token counts.
        unbiased (`bool`): divide by their number less one.

    Returns:
        Scalar `Tensor`; NaN where it is not defined (no token, or one if unbiased).

    Example:

    >>> masked_variance(torch.tensor([1.0, 3.0, 100.0]), torch.tensor([1, 1, 0]))
    tensor(2.)
    """
    deviations = at_least_float32(values) - masked_mean(values, mask)
    mask = boolean_mask(mask, values)
    return torch.where(mask, deviations**2, 0.0).sum() / (mask.sum() - int(unbiased)).clamp(min=0)


def masked_totals(values: Tensor, mask: Tensor) -> Tensor:
    """Sum, sum of squares and number of the tokens that count: added over processes, they give global statistics.

    Args:
        values (`Tensor` of any shape): what stands at masked tokens is not read.
        mask (`Tensor` of the same shape): 1 where a token counts.

    Returns:
        `Tensor` of shape `(3,)`, float64, without gradients.

    Example:

    >>> masked_totals(torch.tensor([1.0, 3.0, 100.0]), torch.tensor([1, 1, 0]))
    tensor([ 4., 10.,  2.], dtype=torch.float64)
    """
    mask = boolean_mask(mask, values)
    kept = torch.where(mask, wide(values.detach()), 0.0)
    return torch.stack([kept.sum(), (kept**2).sum(), mask.sum().to(kept.dtype)])


def totals_mean_and_variance(totals: Tensor, unbiased: bool = True) -> tuple[Tensor, Tensor]:
    """Mean and variance that `masked_totals` stand for.

    Args:
        totals (`Tensor` of shape `(3,)`): sum, sum of squares, number.
        unbiased (`bool`): divide the squared deviations by the number less one.

    Returns:
        Two scalar `Tensor`s; the mean of nothing is 0, as is the variance of fewer than two numbers and one that is
        below float32's resolution of the numbers.

    Example:

    >>> totals_mean_and_variance(torch.tensor([4.0, 10.0, 2.0]))
    (tensor(2.), tensor(2.))
    """
    total, squares, count = totals
    mean = total / count.clamp(min=1)
    deviations = squares - total * mean
    resolution = squares * torch.finfo(torch.float32).eps ** 2
    deviations = torch.where(deviations > resolution, deviations, 0.0)
    return mean, deviations / (count - int(unbiased)).clamp(min=1)


def masked_whiten(values: Tensor, mask: Tensor, shift_mean: bool = True, totals: Tensor | None = None) -> Tensor:
    """Values divided by their standard deviation over the tokens that count, with mean 0 or their own.

    Args:
        values (`Tensor` of any shape): what stands at masked tokens is not read; gradients flow, but for those of the
            mean and the standard deviation.
        mask (`Tensor` of the same shape): 1 where a token counts.
        shift_mean (`bool`): subtract the mean; if not, deviations from the mean are scaled and the mean is kept.
        totals (`Tensor` of shape `(3,)`, *optional*): `masked_totals` added over processes, to whiten over all of
            them; those of `values` by default.

    Returns:
        `Tensor` of the same shape; 0 where masked, and at a lone token that counts (no deviation, if shifted).

    Source: TRL's removed `PPOTrainer` (unbiased variance, 1e-8 under the root). differs: over all processes, and no
        error for a rollout without tokens.

    Example:

    >>> masked_whiten(torch.tensor([[1.0, 3.0, 100.0]]), torch.tensor([[1, 1, 0]]))
    tensor([[-0.7071,  0.7071,  0.0000]])
    """
    mask = boolean_mask(mask, values)
    totals = masked_totals(values, mask) if totals is None else totals
    mean, variance = totals_mean_and_variance(totals)
    whitened = (wide(values) - mean) * torch.rsqrt(variance + _WHITENING_EPSILON)
    if not shift_mean:
        whitened = whitened + mean
    return torch.where(mask, whitened, 0.0).to(at_least_float32(values).dtype)
