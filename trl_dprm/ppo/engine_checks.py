"""Several processes: how models are loaded for the engine of policy and critic, and which engines cannot work."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from accelerate import Accelerator
from transformers import PreTrainedModel
from transformers.integrations import deepspeed

from .expected_reward_ppo_config import ExpectedRewardPPOConfig


@contextmanager
def loaded_whole(args: ExpectedRewardPPOConfig) -> Iterator[None]:
    """Load models whole on every process, also under ZeRO-3, which partitions the engine when it is built.

    transformers would partition every model while it loads it. The reward model is in no engine that gathers it, and
    a partitioned model cannot be copied (reference, critic) or tried (whether the critic's backbone is causal).

    Args:
        args ([`ExpectedRewardPPOConfig`]): Holds the DeepSpeed configuration, if there is one.
    """
    configuration = getattr(args, "hf_deepspeed_config", None)
    if configuration is None:
        yield
        return
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed.set_hf_deepspeed_config(configuration)


def check_engine(accelerator: Accelerator, args: ExpectedRewardPPOConfig, model: PreTrainedModel) -> None:
    """Refuse at the start what would fail later, or train something else without a word.

    Args:
        accelerator ([`~accelerate.Accelerator`]): The trainer's.
        args ([`ExpectedRewardPPOConfig`]): For `share_backbone`, `kl_limit` and checkpointing.
        model ([`~transformers.PreTrainedModel`]): The policy, for whether it is quantised.

    Raises:
        ValueError: naming the setting, the reason and the remedy.
    """
    kind = str(getattr(accelerator.distributed_type, "value", accelerator.distributed_type))
    quantised = any(getattr(model, name, False) for name in ("is_loaded_in_4bit", "is_loaded_in_8bit"))
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("1", "true") and kind != "FSDP":
        raise ValueError(
            f"accelerate was told to use FSDP, but runs as {kind}: on a CPU it does so without a word. Use a "
            "configuration without FSDP (`cpu_2_processes.yaml`), or a GPU."
        )
    if kind == "FSDP":
        _check_fsdp(accelerator.state.fsdp_plugin, args, quantised)
    if kind == "DEEPSPEED":
        _check_deepspeed(accelerator.state.deepspeed_plugin.zero_stage, args, quantised)


def _check_fsdp(plugin, args, quantised):
    if plugin.fsdp_version != 2:
        raise ValueError(
            f"`fsdp_version` is {plugin.fsdp_version}: FSDP1 flattens frozen and trained parameters together. Set "
            "`fsdp_version: 2` (see recipes/accelerate_configs/fsdp2.yaml)."
        )
    if quantised:
        raise ValueError(
            "A quantised policy does not go with FSDP2: accelerate leaves its weights unsharded, because their "
            "quantisation state would be lost. Use DDP, where every process holds them, or load without quantisation."
        )
    if plugin.cpu_ram_efficient_loading:
        raise ValueError(
            "`fsdp_cpu_ram_efficient_loading` leaves the models of all processes but the first empty, and only the "
            "engine is filled again, not the reward model. Set it to false."
        )
    if "FULL_STATE_DICT" not in str(plugin.state_dict_type):
        raise ValueError(
            f"`fsdp_state_dict_type` is {plugin.state_dict_type}, with which `Trainer.save_model` writes no policy. "
            "Set `fsdp_state_dict_type: FULL_STATE_DICT`."
        )
    if plugin.activation_checkpointing and args.share_backbone:
        raise ValueError(
            "`fsdp_activation_checkpointing` runs layers again under whatever adapter is active by then. With "
            "`share_backbone=True` use `gradient_checkpointing=True` instead, which knows the adapter."
        )


def _check_deepspeed(stage, args, quantised):
    if args.kl_limit is not None:
        raise ValueError("`kl_limit` cannot skip a DeepSpeed engine's steps. Remove it, or use DDP or FSDP2.")
    if stage == 3 and quantised:
        raise ValueError(
            "A quantised policy does not go with ZeRO-3, which would partition its weights but not their quantisation "
            "state. Use ZeRO-2 or DDP, where every process holds them, or load without quantisation."
        )
    if stage == 3 and args.share_backbone:
        raise ValueError(
            "`share_backbone=True` does not go with ZeRO-3: adapters under it need reentrant checkpointing, which "
            "would run layers again under another adapter, and one precision for all parameters, but the value head "
            "is float32. Use ZeRO-2 or FSDP2, or leave `share_backbone` off."
        )
