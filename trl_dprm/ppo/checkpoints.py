"""What PPO adds to a training checkpoint: the critic, and the numbers that run along."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor

CRITIC_FILE = "value_model.safetensors"
STATE_FILE = "ppo_state.json"


def save_critic(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write the critic's tensors, whole or not at all.

    Args:
        folder (`Path`): The checkpoint.
        tensors (`dict[str, torch.Tensor]`): By name, as in the critic's `state_dict`; tied ones are written twice.
    """
    unfinished = folder / f"{CRITIC_FILE}.unfinished"
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, unfinished)
    unfinished.replace(folder / CRITIC_FILE)


def load_critic(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Read what `save_critic` wrote into the tensors of the critic that is trained.

    Args:
        folder (`Path`): The checkpoint.
        tensors (`dict[str, torch.Tensor]`): By name; overwritten.

    Raises:
        FileNotFoundError: if the checkpoint holds no critic.
        ValueError: naming tensors that are missing, or that the critic does not have.
    """
    file = folder / CRITIC_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} holds no critic ({CRITIC_FILE}): it is no checkpoint of `ExpectedRewardPPOTrainer`. Start from "
            "it as `model`, without `resume_from_checkpoint`."
        )
    saved = load_file(file)
    wrong = sorted(set(saved) ^ set(tensors))
    if wrong:
        raise ValueError(f"The critic in {file} differs from the one that is trained in {', '.join(wrong[:10])}.")
    with torch.no_grad():
        for name, tensor in tensors.items():
            value = saved[name]
            if isinstance(tensor, DTensor):  # FSDP2 holds a part of it here
                value = distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements)
            tensor.copy_(value)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor itself, or gathered from all processes where FSDP2 holds a part of it here: all of them must call."""
    return tensor.detach().full_tensor() if isinstance(tensor, DTensor) else tensor


def trained_tensors(critic: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What of a critic changes in training: its trained parameters and its buffers, by name."""
    frozen = {name for name, parameter in critic.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in critic.state_dict().items() if name not in frozen}


def save_state(folder: Path, state: dict) -> None:
    """Write the running numbers (KL coefficient, reward statistics, episodes) as JSON, whole or not at all."""
    unfinished = folder / f"{STATE_FILE}.unfinished"
    unfinished.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(folder / STATE_FILE)


def load_state(folder: Path) -> dict:
    """Read what `save_state` wrote.

    Raises:
        FileNotFoundError: if the checkpoint holds none.
    """
    file = folder / STATE_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no {STATE_FILE}: it is no checkpoint of `ExpectedRewardPPOTrainer`.")
    return json.loads(file.read_text(encoding="utf-8"))
