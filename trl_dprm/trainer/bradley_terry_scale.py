"""The scale κ between differences of expected reward and log-odds of winning, learned beside the model."""

import torch
from torch import Tensor


class BradleyTerryScale:
    r"""κ in `P(chosen beats rejected) = σ(κ Δ − margin)`, one multiplicative gradient step per optimizer step.

    Expected rewards are bounded by the category rewards, so `σ(Δ)` is capped; κ lifts the cap. It is no tensor of the
    checkpoint (tensor names are the backbone's) but a number of its configuration, which is therefore all the state
    that resuming needs. The step is \\(\kappa \leftarrow \kappa \exp(-\eta s\, \partial L / \partial \log\kappa)\\)
    on the mean ranking loss of the global batch, the same on every process; \\(s\\) is the share of its peak that the
    model's learning rate has reached, so that κ comes to rest with the model. The loss is the cross-entropy of a
    logit, whose second derivative in log κ is at most 0.44 but for surprise: steps are stable far beyond η = 1.

    Args:
        value (`float`): Starting value, positive.
        learning_rate (`float`): η, at least 0.
        device (`torch.device`): Of the losses.

    Source:
        [ours]; the soft-label Bradley–Terry gradient in κ.
    """

    def __init__(self, value: float, learning_rate: float, device: torch.device):
        self.value = torch.tensor(value, dtype=torch.float32, device=device)
        self.learning_rate = learning_rate
        self.forget_gradient()

    def accumulate(self, difference: Tensor, margin: Tensor, vote_share: Tensor, weight: Tensor) -> None:
        """Add the gradient with respect to log κ of one micro-batch.

        Args:
            difference, margin, vote_share (`torch.Tensor` of shape *(num_pairs,)*):
                Δ, margin, share of annotators who prefer the chosen response.
            weight (`torch.Tensor` of shape *(num_pairs,)*): Share of each pair in the mean over the global batch.
        """
        logit = self.value * difference.detach()
        self.gradient += (weight * (torch.sigmoid(logit - margin) - vote_share) * logit).sum()

    def step(self, accelerator, schedule: float = 1.0) -> None:
        """Take the step with the gradient summed over processes, and forget it.

        Args:
            accelerator ([`~accelerate.Accelerator`]): Of the training.
            schedule (`float`): s, at least 0.
        """
        gradient = accelerator.reduce(self.gradient, reduction="sum")
        self.value = self.value * torch.exp(-self.learning_rate * schedule * gradient)
        self.forget_gradient()

    def forget_gradient(self) -> None:
        """Start a new optimizer step."""
        self.gradient = torch.zeros_like(self.value)
