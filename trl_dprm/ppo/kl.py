"""How far a policy is from its reference and from the policy that sampled, and a coefficient that keeps it near."""

import math
import warnings

import torch
from torch import Tensor

from .arguments import check_positive, same_shape

KL_ESTIMATORS = ("k1", "k3")

_LARGEST_ERROR = 0.2  # of Ziegler et al.


def per_token_kl(log_probs: Tensor, ref_log_probs: Tensor, estimator: str = "k1") -> Tensor:
    r"""Estimate of KL(policy || reference) at tokens that the policy sampled.

    With `d = log pi - log pi_ref`, `k1 = d` and `k3 = exp(-d) - 1 + d`. Both have the KL as their mean; k3 is never
    negative and varies less near the reference, which makes it the better one to *report*. Inside the reward its
    gradient vanishes to first order near the reference: there k1 is the penalty that is meant.

    Args:
        log_probs (`Tensor` of shape `(batch, length)`): of the policy that sampled the tokens; gradients flow.
        ref_log_probs (`Tensor` of shape `(batch, length)`): of the reference; gradients flow.
        estimator (`str`): `"k1"` or `"k3"`.

    Returns:
        `Tensor` of shape `(batch, length)`, in nats. k3 overflows where the reference is `exp(88)` times likelier.

    Raises:
        ValueError: shapes that differ, or an unknown estimator.

    Source: Schulman, *Approximating KL Divergence* (2020), http://joschu.net/blog/kl-approx.html

    Example:

    >>> per_token_kl(torch.tensor([[-1.0]]), torch.tensor([[-2.0]]), "k1")
    tensor([[1.]])
    >>> per_token_kl(torch.tensor([[-1.0]]), torch.tensor([[-2.0]]), "k3")
    tensor([[0.3679]])
    """
    log_probs, ref_log_probs = same_shape(log_probs=log_probs, ref_log_probs=ref_log_probs)
    difference = log_probs - ref_log_probs
    if estimator == "k1":
        return difference
    if estimator == "k3":
        return torch.expm1(-difference) + difference
    raise ValueError(f"kl_estimator is '{estimator}'; choose one of {', '.join(KL_ESTIMATORS)}")


def approximate_kl(log_probs: Tensor, old_log_probs: Tensor) -> Tensor:
    r"""Estimate of KL(old || new policy) at tokens that the old policy sampled, for the KL limit and the log.

        exp(x) - 1 - x,    x = log pi_new - log pi_old

    Unlike half the squared log ratio, the removed trainer's `policy/approxkl_avg`, its mean is the KL wherever the
    policy went; to second order in `x` the two agree, so that limits carry over. It also grows fastest where ratios
    explode, which is what a limit is for, and it is what the usual PPO implementations compare with their KL target.

    Args:
        log_probs (`Tensor` of shape `(batch, length)`): of the policy being trained; gradients flow.
        old_log_probs (`Tensor` of shape `(batch, length)`): of the policy that sampled the tokens.

    Returns:
        `Tensor` of shape `(batch, length)`, in nats, never negative (to rounding).

    Raises:
        ValueError: shapes that differ.

    Source: Schulman (2020), estimator k3. differs: TRL's removed trainer took k2.

    Example:

    >>> approximate_kl(torch.tensor([-1.0, -2.0]), torch.tensor([-1.0, -1.0]))
    tensor([0.0000, 0.3679])
    """
    return per_token_kl(old_log_probs, log_probs, "k3")


class AdaptiveKL:
    r"""A KL coefficient that keeps the KL near a target, by a proportional controller in its logarithm.

        error = clip(KL / target - 1, -0.2, 0.2),    coefficient <- coefficient * (1 + error * episodes / horizon)

    Args:
        initial (`float`): first coefficient, positive (zero could never grow).
        target (`float`): KL to the reference **per completion** (summed over its tokens) that is aimed for, in nats.
        horizon (`float`): episodes in which the coefficient grows or shrinks by about a fifth, at most. Take it well
            above a rollout.

    Raises:
        ValueError: a number that is not positive.

    Source: Ziegler et al., arXiv 1909.08593, section 2.2. The paper's gain of 0.1 is `episodes / horizon` here, as in
        its code.

    Example:

    >>> controller = AdaptiveKL(0.1, target=6.0, horizon=100)
    >>> controller.update(kl=60.0, num_episodes=10)  # far above the target: the error is clipped to 0.2
    >>> controller.coefficient
    0.10200000000000001
    """

    def __init__(self, initial: float, target: float = 6.0, horizon: float = 10_000):
        check_positive("kl_coef", initial)
        check_positive("kl_target", target)
        check_positive("kl_horizon", horizon)
        self.coefficient = float(initial)
        self.target = float(target)
        self.horizon = float(horizon)

    def update(self, kl: float, num_episodes: int) -> None:
        """Correct the coefficient after a rollout.

        Args:
            kl (`float`): mean KL per completion over all processes. NaN, which is what a rollout without a token that
                counts has, says nothing: the coefficient stays, with a warning.
            num_episodes (`int`): completions of the rollout, over all processes.

        Raises:
            ValueError: an infinite KL, or so many episodes for the horizon that the coefficient could become negative.
        """
        if math.isinf(kl):
            raise ValueError(f"The KL to the reference is {kl}; look for tokens that one of the models rules out")
        if num_episodes * _LARGEST_ERROR >= self.horizon:
            raise ValueError(
                f"kl_horizon is {self.horizon:g} for rollouts of {num_episodes} episodes: one correction could turn "
                f"the coefficient negative. Raise it above {num_episodes}."
            )
        if math.isnan(kl):
            warnings.warn("The KL of this rollout is NaN (no token counts): `kl_coef` stays as it is.", stacklevel=2)
            return
        error = min(max(kl / self.target - 1, -_LARGEST_ERROR), _LARGEST_ERROR)
        self.coefficient *= 1 + error * num_episodes / self.horizon

    def state_dict(self) -> dict[str, float]:
        """What runs along; target and horizon are options."""
        return {"coefficient": self.coefficient}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from where another controller was.

        Args:
            state (`dict[str, float]`): what `state_dict` gave.

        Raises:
            ValueError: a coefficient that is not positive.
        """
        check_positive("the checkpoint's kl coefficient", state["coefficient"])
        self.coefficient = float(state["coefficient"])
