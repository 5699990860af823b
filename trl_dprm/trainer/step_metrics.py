"""What a training step logs: TRL's keys and ours, reduced over processes with one synchronisation."""

import torch

from .collator import chosen_and_rejected


def batch_facts(rewards: torch.Tensor, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Extremes and sums of one micro-batch, from which `batch_metrics` makes means over processes.

    Args:
        rewards (`torch.Tensor` of shape *(num_responses,)*): Expected rewards; no gradient flows.
        inputs (`dict`): The batch, as the collator gives it.

    Returns:
        `dict` of scalar tensors.
    """
    rewards = rewards.detach()
    chosen, rejected = chosen_and_rejected(rewards, inputs["is_pair"])
    return {
        "min_reward": rewards.min(),
        "max_reward": rewards.max(),
        "reward_sum": rewards.sum(),
        "num_responses": rewards.new_tensor(len(rewards)),
        "num_correct": (chosen > rejected).sum(),
        "margin_sum": (chosen - rejected).sum(),
        "num_pairs": inputs["is_pair"].sum(),
        "num_tokens": inputs["attention_mask"].sum(),
    }


def batch_metrics(facts: dict[str, torch.Tensor]) -> dict[str, float]:
    """The keys of `trl.RewardTrainer` for one micro-batch of all processes; those of pairs only where there are any.

    Args:
        facts (`dict` of `torch.Tensor` of shape *(num_processes,)*): Of `batch_facts`, gathered.

    Returns:
        `dict[str, float]`.
    """
    metrics = {
        "min_reward": facts["min_reward"].min().item(),
        "mean_reward": (facts["reward_sum"].sum() / facts["num_responses"].sum()).item(),
        "max_reward": facts["max_reward"].max().item(),
    }
    num_pairs = facts["num_pairs"].sum().item()
    if num_pairs > 0:
        metrics["accuracy"] = facts["num_correct"].sum().item() / num_pairs
        metrics["margin"] = facts["margin_sum"].sum().item() / num_pairs
    return metrics
