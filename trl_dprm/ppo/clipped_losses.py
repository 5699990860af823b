"""PPO's two clipped losses, per token, and how well the critic explains the returns."""

import torch
from torch import Tensor

from .advantages import masked_totals, totals_mean_and_variance
from .arguments import check_positive, same_shape


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, cliprange_value: float) -> Tensor:
    r"""Half the squared error of the critic, pessimistically: moving further than the range never helps.

        1/2 max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2)

    Args:
        values (`Tensor` of shape `(batch, length)`): of the critic being trained; gradients flow.
        old_values (`Tensor` of shape `(batch, length)`): of the critic at sampling.
        returns (`Tensor` of shape `(batch, length)`): the targets.
        cliprange_value (`float`, positive): `c`, in units of the reward; `float("inf")` does not clip.

    Returns:
        `Tensor` of shape `(batch, length)`.

    Raises:
        ValueError: shapes that differ, or a range that is not positive.

    Source: Ziegler et al. (arXiv 1909.08593) and its code, after *Baselines*' PPO2.

    Example: the second value stands beyond the range and nearer to its return, which earns it nothing.

    >>> clipped_value_loss(torch.tensor([0.5, 0.5]), torch.tensor([0.4, 0.0]), torch.ones(2), cliprange_value=0.2)
    tensor([0.1250, 0.3200])
    """
    error, clipped_error = _value_errors(values, old_values, returns, cliprange_value)
    return 0.5 * torch.maximum(error**2, clipped_error**2)


def value_is_clipped(values: Tensor, old_values: Tensor, returns: Tensor, cliprange_value: float) -> Tensor:
    """Where the clipped error is the larger one, so that the token does not move the critic.

    Args:
        values, old_values, returns, cliprange_value: as for `clipped_value_loss`.

    Returns:
        `Tensor` of booleans of shape `(batch, length)`.

    Example:

    >>> value_is_clipped(torch.tensor([0.5, 0.5]), torch.tensor([0.4, 0.0]), torch.ones(2), cliprange_value=0.2)
    tensor([False,  True])
    """
    error, clipped_error = _value_errors(values, old_values, returns, cliprange_value)
    return clipped_error**2 > error**2


def _value_errors(values, old_values, returns, cliprange_value):
    values, old_values, returns = same_shape(values=values, old_values=old_values, returns=returns)
    if cliprange_value != float("inf"):
        check_positive("cliprange_value", cliprange_value)
    clipped = torch.clamp(values, old_values - cliprange_value, old_values + cliprange_value)
    return values - returns, clipped - returns


def clipped_policy_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, cliprange: float) -> Tensor:
    r"""PPO's clipped policy loss. The trainer uses TRL's; this one is what TRL's is tested against.

        -min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A),    rho = pi / pi_old

    Args:
        log_probs (`Tensor` of shape `(batch, length)`): of the policy being trained; gradients flow.
        old_log_probs (`Tensor` of shape `(batch, length)`): of the policy that sampled the tokens.
        advantages (`Tensor` of shape `(batch, length)`): whitened or not.
        cliprange (`float`, positive): `epsilon`.

    Returns:
        `Tensor` of shape `(batch, length)`.

    Raises:
        ValueError: shapes that differ, or a range that is not positive.

    Source: Schulman et al., arXiv 1707.06347, equation 7.

    Example:

    >>> ratios = torch.tensor([1.5, 1.5])
    >>> clipped_policy_loss(ratios.log(), torch.zeros(2), torch.tensor([1.0, -1.0]), cliprange=0.2)
    tensor([-1.2000,  1.5000])
    """
    log_probs, old_log_probs, advantages = same_shape(
        log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages
    )
    check_positive("cliprange", cliprange)
    ratio = (log_probs - old_log_probs).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - cliprange, 1 + cliprange) * advantages)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Share of the returns' variance that the critic explains, over the tokens that count.

    Args:
        values (`Tensor` of shape `(batch, length)`): of the critic.
        returns (`Tensor` of shape `(batch, length)`): what came.
        mask (`Tensor` of shape `(batch, length)`): 1 where a token counts.

    Returns:
        Scalar `Tensor`, without gradients: 1 for a perfect critic (a constant offset is forgiven), 0 for a constant
        one, negative for one that is worse; NaN where the returns do not vary.

    Raises:
        ValueError: shapes that differ.

    Example:

    >>> explained_variance(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 2.0]), torch.ones(2))
    tensor(0.7500, dtype=torch.float64)
    """
    values, returns = same_shape(values=values, returns=returns)
    return explained_variance_of_totals(masked_totals(returns - values, mask), masked_totals(returns, mask))


def explained_variance_of_totals(error_totals: Tensor, return_totals: Tensor) -> Tensor:
    """Explained variance from `masked_totals` of the critic's errors and of the returns, added over processes.

    Args:
        error_totals (`Tensor` of shape `(3,)`): of returns less values.
        return_totals (`Tensor` of shape `(3,)`): of returns.

    Returns:
        Scalar `Tensor`; NaN where the returns do not vary.

    Example:

    >>> explained_variance_of_totals(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([2.0, 4.0, 2.0]))
    tensor(0.7500)
    """
    _, error_variance = totals_mean_and_variance(error_totals, unbiased=False)
    _, return_variance = totals_mean_and_variance(return_totals, unbiased=False)
    return torch.where(return_variance > 0, 1 - error_variance / return_variance, torch.nan)
