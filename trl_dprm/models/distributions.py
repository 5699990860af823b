"""What a distribution over preference categories says: pure functions of its probabilities and the rewards.

Every function takes probabilities of shape *(..., num_categories)*, computes in at least float32, lets gradients flow
to the probabilities and returns shape *(...)*. The spread of such a distribution is **disagreement among people**, not
the model's ignorance: it is no guard against reward hacking.
"""

import torch

PROBABILITY_TOLERANCE = 1e-4
"""How far from 1 the sum of given probabilities may be: float32 rounds within 1e-6, bfloat16 would move results."""


def expected_reward(category_probs, category_rewards):
    r"""Mean reward \\(\sum_k q_k r_k\\): the scalar that a policy maximises.

    Args:
        category_probs (`torch.Tensor` of shape *(..., num_categories)*): Probabilities, summing to one.
        category_rewards (`torch.Tensor` or `list[float]` of shape *(num_categories,)*): Reward of each category.

    Returns:
        `torch.Tensor` of shape *(...)*.

    Source:
        DPRM (arXiv 2402.09764), expected reward.

    Example:

    ```python
    >>> import torch
    >>> from trl_dprm.models.distributions import expected_reward
    >>> round(expected_reward(torch.tensor([0.25, 0.25, 0.5]), [-1.0, 0.0, 1.0]).item(), 4)
    0.25

    ```
    """
    probs, rewards = _at_least_float32(category_probs, category_rewards)
    return _weighted_sum(probs, rewards)


def reward_variance(category_probs, category_rewards):
    r"""Variance of the reward, \\(\sum_k q_k (r_k - \bar r)^2\\): how much people disagree, in squared reward units.

    Args:
        category_probs (`torch.Tensor` of shape *(..., num_categories)*): Probabilities, summing to one.
        category_rewards (`torch.Tensor` or `list[float]` of shape *(num_categories,)*): Reward of each category.

    Returns:
        `torch.Tensor` of shape *(...)*, non-negative.

    Example:

    ```python
    >>> import torch
    >>> from trl_dprm.models.distributions import reward_variance
    >>> reward_variance(torch.tensor([0.5, 0.0, 0.5]), [-1.0, 0.0, 1.0]).item()
    1.0

    ```
    """
    probs, rewards = _at_least_float32(category_probs, category_rewards)
    deviation = rewards - _weighted_sum(probs, rewards).unsqueeze(-1)
    return _weighted_sum(probs, deviation.square())


def lower_semideviation(category_probs, category_rewards):
    r"""Root mean square shortfall below the mean, \\(\sqrt{\sum_k q_k \min(r_k - \bar r, 0)^2}\\).

    `mean − λ · lower_semideviation` with λ ≤ 1 never falls when mass moves to a better category, unlike
    `mean − λ · standard deviation`. The gradient at a point mass is zero.

    Args:
        category_probs (`torch.Tensor` of shape *(..., num_categories)*): Probabilities, summing to one.
        category_rewards (`torch.Tensor` or `list[float]` of shape *(num_categories,)*): Reward of each category.

    Returns:
        `torch.Tensor` of shape *(...)*, non-negative, in reward units.

    Source:
        Ogryczak and Ruszczyński, "From stochastic dominance to mean-risk models" (1999).

    Example:

    ```python
    >>> import torch
    >>> from trl_dprm.models.distributions import lower_semideviation
    >>> round(lower_semideviation(torch.tensor([0.5, 0.0, 0.5]), [-1.0, 0.0, 1.0]).item(), 4)
    0.7071

    ```
    """
    probs, rewards = _at_least_float32(category_probs, category_rewards)
    shortfall = (rewards - _weighted_sum(probs, rewards).unsqueeze(-1)).clamp(max=0)
    semivariance = _weighted_sum(probs, shortfall.square())
    positive = semivariance > 0
    return semivariance.where(positive, 1.0).sqrt() * positive


def reward_quantile(category_probs, category_rewards, level):
    """Smallest category reward that at least a share `level` of the annotators does not exceed.

    It takes only the values in `category_rewards` and carries no gradient.

    Args:
        category_probs (`torch.Tensor` of shape *(..., num_categories)*): Probabilities, summing to one.
        category_rewards (`torch.Tensor` or `list[float]` of shape *(num_categories,)*): Reward of each category.
        level (`float`): Share of annotators, in (0, 1].

    Returns:
        `torch.Tensor` of shape *(...)*.

    Raises:
        ValueError: if `level` is outside (0, 1].

    Example:

    ```python
    >>> import torch
    >>> from trl_dprm.models.distributions import reward_quantile
    >>> reward_quantile(torch.tensor([0.2, 0.5, 0.3]), [1.0, -1.0, 0.0], 0.5).item()
    -1.0

    ```
    """
    _check_level(level)
    probs, rewards = _at_least_float32(category_probs, category_rewards)
    ascending = rewards.argsort()
    cdf = probs[..., ascending].cumsum(-1)
    # Rounding may leave the last entry a little below one; the largest reward is reached by every level.
    rounding = probs.shape[-1] * torch.finfo(cdf.dtype).eps
    reached = (cdf < level - rounding).sum(-1).clamp(max=probs.shape[-1] - 1)
    return rewards[ascending][reached]


def conditional_value_at_risk(category_probs, category_rewards, level):
    """Mean reward among the least satisfied share `level` of the annotators (CVaR, expected shortfall).

    `level=1` is the expected reward. It speaks of ratings, not of people: the annotators in the tail differ from
    response to response, so it is not the utility of the worst-off group.

    Args:
        category_probs (`torch.Tensor` of shape *(..., num_categories)*): Probabilities, summing to one.
        category_rewards (`torch.Tensor` or `list[float]` of shape *(num_categories,)*): Reward of each category.
        level (`float`): Share of annotators, in (0, 1].

    Returns:
        `torch.Tensor` of shape *(...)*, in reward units, at most the expected reward.

    Raises:
        ValueError: if `level` is outside (0, 1].

    Source:
        Rockafellar and Uryasev, "Conditional value-at-risk for general loss distributions" (2002), section 4.

    Example:

    ```python
    >>> import torch
    >>> from trl_dprm.models.distributions import conditional_value_at_risk
    >>> round(conditional_value_at_risk(torch.tensor([0.2, 0.5, 0.3]), [-1.0, 0.0, 1.0], 0.4).item(), 4)
    -0.5

    ```
    """
    _check_level(level)
    probs, rewards = _at_least_float32(category_probs, category_rewards)
    ascending = rewards.argsort()
    sorted_probs = probs[..., ascending]
    mass_below = sorted_probs.cumsum(-1) - sorted_probs
    tail_mass = torch.minimum((level - mass_below).clamp(min=0), sorted_probs)
    return _weighted_sum(tail_mass, rewards[ascending]) / level


def win_probability(category_probs, other_category_probs, category_rewards):
    r"""Probability that one response is rated above another by two independent annotators, ties counting half.

    \\(\sum_{ij} q_i q'_j (1[r_i > r_j] + \tfrac12 1[r_i = r_j])\\). One annotator's two judgments correlate, so a
    link must be fitted before this is scored against pairwise vote shares.

    Args:
        category_probs (`torch.Tensor` of shape *(..., num_categories)*): Probabilities of the response that may win.
        other_category_probs (`torch.Tensor` of shape *(..., num_categories)*): Probabilities of the other response.
        category_rewards (`torch.Tensor` or `list[float]` of shape *(num_categories,)*): Reward of each category.

    Returns:
        `torch.Tensor` of shape *(...)*, in [0, 1].

    Source:
        DPL (arXiv 2312.08358), categorical head.

    Example:

    ```python
    >>> import torch
    >>> from trl_dprm.models.distributions import win_probability
    >>> always_best, uniform = torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5])
    >>> win_probability(always_best, uniform, [-1.0, 1.0]).item()
    0.75

    ```
    """
    probs, rewards = _at_least_float32(category_probs, category_rewards)
    other_probs, _ = _at_least_float32(other_category_probs, category_rewards)
    beats = torch.heaviside(rewards[:, None] - rewards[None, :], rewards.new_tensor(0.5))
    return _weighted_sum(_weighted_sum(probs.unsqueeze(-2), beats.T), other_probs)


def _weighted_sum(weights, values):
    """Sum over the last dimension; not `@`, which autocast would run in bfloat16."""
    return (weights * values).sum(-1)


def _at_least_float32(category_probs, category_rewards):
    dtype = torch.promote_types(category_probs.dtype, torch.float32)
    rewards = torch.as_tensor(category_rewards, dtype=dtype, device=category_probs.device)
    if rewards.shape != category_probs.shape[-1:]:
        raise ValueError(
            f"`category_probs` has {category_probs.shape[-1]} categories in its last dimension, but "
            f"`category_rewards` has shape {tuple(rewards.shape)}."
        )
    return category_probs.to(dtype), rewards


def _check_level(level):
    if not 0 < level <= 1:
        raise ValueError(f"`level` is a share of annotators in (0, 1], got {level}.")
