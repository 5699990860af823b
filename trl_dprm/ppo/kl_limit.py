"""The KL limit: past it, what remains of a rollout's optimizer and scheduler steps is skipped."""

import torch
from accelerate import Accelerator


class KLLimit:
    """Watches how far the policy has moved from the one that sampled the rollout, over one optimizer step at a time.

    The decision is taken from sums over all processes, so that every process takes the same.

    Args:
        limit (`float` or `None`): Largest approximate KL per token, in nats; `None` watches nothing.
        accelerator ([`~accelerate.Accelerator`]): For the sums.

    Raises:
        ValueError: with DeepSpeed, whose engine steps by itself, and with fp16, whose scaler needs gradients.
    """

    def __init__(self, limit: float | None, accelerator: Accelerator):
        if limit is not None and accelerator.distributed_type == "DEEPSPEED":
            raise ValueError("`kl_limit` cannot skip a DeepSpeed engine's steps. Remove it, or use DDP or FSDP2.")
        if limit is not None and accelerator.mixed_precision == "fp16":
            raise ValueError("`kl_limit` cannot skip steps of an fp16 gradient scaler. Remove it, or use bf16.")
        self.limit = limit
        self.accelerator = accelerator
        self.exceeded = False
        self._sums = None

    def new_rollout(self) -> None:
        """A new rollout is sampled by the policy as it is now."""
        self.exceeded = False
        self._sums = None

    def watch(self, approximate_kl: torch.Tensor, mask: torch.Tensor) -> None:
        """Add one micro-batch: KL per token and mask, both of shape *(batch_size, length)*."""
        if self.limit is None:
            return
        sums = torch.stack([(approximate_kl * mask).sum(), mask.sum()]).float()
        self._sums = sums if self._sums is None else self._sums + sums

    def decide(self) -> bool:
        """At the end of an optimizer step's backward passes: whether it and the rest of the rollout are skipped."""
        if self.limit is None or self._sums is None:
            return False
        total, count = self.accelerator.reduce(self._sums, reduction="sum")
        self._sums = None
        self.exceeded = bool(total / count.clamp(min=1.0) > self.limit)
        return self.exceeded


def skip_optimizer_step(model: torch.nn.Module, optimizer, skip: bool) -> None:
    """Make the step that follows one without effect, and tell the scheduler's loop so (or that it is a step again).

    Without gradients AdamW changes neither parameters nor its state; `accelerate` then reports the step as skipped,
    and `Trainer` leaves the scheduler where it is.
    """
    if skip:
        model.zero_grad(set_to_none=True)
    optimizer._is_overflow = skip  # what `Accelerator.optimizer_step_was_skipped` reads
