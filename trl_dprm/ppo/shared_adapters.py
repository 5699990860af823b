"""What `share_backbone=True` is given, checked and read: the policy's adapter, and a DPRM's beside it."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel, TaskType
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
from transformers.utils import cached_file, find_adapter_config_file

from ..models import DPRMConfig
from ..rewards.reward_function import RewardModelFunction
from ..rewards.statistics import RewardStatistic
from ..rewards.tokenizers import same_tokenizer, stored_tokenizer, text_tokenizer
from ..trainer.reading import naming_source
from .expected_reward_ppo_config import ExpectedRewardPPOConfig
from .readouts import Readout

_ADAPTERS_OF_A_POLICY = {"default", "ref"}
# Options of LoRA that leave the backbone no longer frozen, or no longer everybody's.
_UNSHARED = {
    "bias": "it trains the backbone's biases",
    "modules_to_save": "it trains modules of the backbone",
    "trainable_token_indices": "it trains the backbone's embeddings",
    "target_parameters": "PEFT does not switch such adapters layer by layer",
    "layer_replication": "it changes the backbone's layers",
    "alora_invocation_tokens": "it looks for its tokens in every forward",
}
_INITIALISATIONS = (True, False, "gaussian", "orthogonal")

REENTRANT = (
    "`share_backbone=True` needs `use_reentrant=False` in `gradient_checkpointing_kwargs`, or no checkpointing: the "
    "reentrant kind runs layers again in the backward pass under whatever adapter is active by then."
)


@dataclass(frozen=True)
class RewardAdapter:
    """A DPRM's LoRA adapter, read from a checkpoint.

    Args:
        source (`str`): Folder or Hub id.
        config ([`DPRMConfig`]): Of the DPRM.
        lora_config ([`~peft.LoraConfig`]): As it goes on a causal language model: frozen, without head and dropout.
        base (`str`): Folder or Hub id of the backbone that it was trained on.
        lora_tensors (`dict[str, torch.Tensor]`): As in the file.
        head (`torch.nn.Linear`): From the hidden size to the categories, float32, frozen.
    """

    source: str
    config: DPRMConfig
    lora_config: LoraConfig
    base: str
    lora_tensors: dict[str, torch.Tensor]
    head: nn.Linear


def check_sharing(
    args: ExpectedRewardPPOConfig, model: object, peft_config: object, ref_model: object, value_model: object
) -> None:
    """Refuse, before anything is loaded, what does not go with `share_backbone=True`.

    Args:
        args ([`ExpectedRewardPPOConfig`]): For vLLM and gradient checkpointing.
        model (`str` or [`~transformers.PreTrainedModel`]): The policy, as given.
        peft_config ([`~peft.PeftConfig`] or `None`): For a policy that has no adapter yet.
        ref_model, value_model (*optional*): As given to the trainer.

    Raises:
        ValueError: naming the argument and the remedy.
        TypeError: if the policy has no adapter, or none that can share.
    """
    purposes = {"value_model": "the critic is an adapter", "ref_model": "the reference is the backbone itself"}
    for name, given in (("value_model", value_model), ("ref_model", ref_model)):
        if given is not None:
            raise ValueError(
                f"`{name}` and `share_backbone=True` exclude each other: {purposes[name]} on the policy's backbone. "
                f"Leave out `{name}`, or `share_backbone`."
            )
    if args.use_vllm:
        raise ValueError(
            "`share_backbone=True` does not go with `use_vllm`: vLLM would hold a second backbone, with the policy's "
            "adapter merged. Set `use_vllm=False`, or leave `share_backbone` off."
        )
    if args.gradient_checkpointing and (args.gradient_checkpointing_kwargs or {}).get("use_reentrant"):
        raise ValueError(REENTRANT)
    if peft_config is not None:
        check_lora(peft_config, "`peft_config`")
    if peft_config is None and not isinstance(model, PeftModel):
        raise TypeError(
            "`share_backbone=True` needs a policy that is an adapter on its backbone: pass a `peft_config` such as "
            "`LoraConfig(task_type='CAUSAL_LM')`, or a `PeftModel` as `model`."
        )
    if isinstance(model, PeftModel):
        _check_adapters(model)
    elif getattr(model, "_hf_peft_config_loaded", False):
        raise TypeError(
            "The policy was loaded with an adapter by transformers. Load it by "
            "`peft.AutoPeftModelForCausalLM.from_pretrained(...)` and pass that as `model`."
        )


def _check_adapters(policy: PeftModel):
    names = set(policy.peft_config)
    if "default" not in names or names - _ADAPTERS_OF_A_POLICY:
        raise ValueError(
            f"The policy has the adapters {sorted(names)}; `share_backbone=True` takes one by the name `default` and "
            "adds the others. Load it alone, as `PeftModel.from_pretrained(backbone, folder)`."
        )
    check_lora(policy.peft_config["default"], "The policy's adapter")


def check_lora(config: PeftConfig, what: str) -> None:
    """Refuse an adapter that is not LoRA, or that would change the backbone which others share.

    Args:
        config ([`~peft.PeftConfig`]): Of the adapter.
        what (`str`): For messages.

    Raises:
        TypeError: for another kind of adapter.
        ValueError: naming the option.
    """
    if not isinstance(config, LoraConfig):
        raise TypeError(
            f"{what} is a `{type(config).__name__}`, but `share_backbone=True` shares LoRA adapters: use `LoraConfig`."
        )
    for name, reason in _UNSHARED.items():
        value = getattr(config, name, None)
        if value not in (None, "none", [], ()):
            raise ValueError(
                f"{what} has `{name}={value!r}`: {reason}, but with `share_backbone=True` policy, reference, critic "
                "and reward share it. Remove the option, or leave `share_backbone` off."
            )
    if config.init_lora_weights not in _INITIALISATIONS:
        raise ValueError(
            f"{what} has `init_lora_weights={config.init_lora_weights!r}`, which changes the backbone's weights, but "
            "with `share_backbone=True` others share them. Use `True`, 'gaussian' or 'orthogonal'."
        )


def read_reward_adapter(source: object) -> RewardAdapter:
    """The first reward, as `share_backbone=True` needs it.

    Args:
        source (`str` or `Path`): Folder or Hub id of a LoRA adapter that [`DPRMTrainer`] trained.

    Raises:
        FileNotFoundError: if there is no such folder.
        TypeError: for something else than a folder or Hub id, or another adapter than LoRA.
        ValueError: if there is no DPRM's adapter, or its head is not one linear layer.
    """
    if not isinstance(source, str | Path):
        raise TypeError(
            "`share_backbone=True` needs the folder or Hub id of a DPRM adapter as the first reward, got "
            f"`{type(source).__name__}`. Train one by `DPRMTrainer(..., peft_config=LoraConfig())` on the policy's "
            "backbone."
        )
    source = str(source)
    with naming_source(source, "reward adapter"):
        description, _ = DPRMConfig.get_config_dict(source)
        adapter_file = find_adapter_config_file(source)
    if adapter_file is None:
        raise ValueError(
            f"`{source}` holds no adapter (`adapter_config.json`), but `share_backbone=True` puts the reward on the "
            "policy's backbone as one. Train it by `DPRMTrainer(..., peft_config=LoraConfig())`, or leave "
            "`share_backbone` off."
        )
    if description.get("model_type") != DPRMConfig.model_type:
        raise ValueError(
            f"`{source}` is no DPRM's adapter: there is no DPRM's `config.json` beside it. `DPRMTrainer` saves one."
        )
    config = DPRMConfig.from_pretrained(source)
    tensors = load_file(cached_file(source, "adapter_model.safetensors"))
    lora_tensors = {name: tensor for name, tensor in tensors.items() if ".lora_" in name}
    head = {name: tensor for name, tensor in tensors.items() if name not in lora_tensors}
    lora_config = PeftConfig.from_pretrained(source)
    base = lora_config.base_model_name_or_path
    if isinstance(lora_config, LoraConfig):
        lora_config.modules_to_save, lora_config.lora_dropout = None, 0.0  # the head stands beside the backbone
    check_lora(lora_config, f"The reward adapter {source}")
    lora_config.task_type, lora_config.inference_mode = TaskType.CAUSAL_LM, True
    return RewardAdapter(
        source, config, lora_config, base, lora_tensors, _linear_head(head, config.num_categories, source)
    )


def _linear_head(tensors, num_categories, source):
    """The one linear layer that the tensors beside the LoRA matrices must be."""
    weights = [tensor for tensor in tensors.values() if tensor.dim() == 2 and len(tensor) == num_categories]
    biases = [tensor for tensor in tensors.values() if tensor.dim() == 1 and len(tensor) == num_categories]
    if len(weights) != 1 or len(biases) > 1 or len(weights) + len(biases) != len(tensors):
        raise ValueError(
            f"The head of {source} is not one linear layer of {num_categories} categories, saved with the adapter: "
            f"{sorted(tensors) or 'nothing'}. Train it by `DPRMTrainer` on a decoder, or leave `share_backbone` off."
        )
    head = nn.Linear(weights[0].size(1), num_categories, bias=bool(biases), dtype=torch.float32)
    with torch.no_grad():
        head.weight.copy_(weights[0])
        if biases:
            head.bias.copy_(biases[0])
    return head.requires_grad_(False)


def check_same_backbone(model: PreTrainedModel, reward: RewardAdapter) -> None:
    """The adapter's numbers mean something on the backbone that it was trained on, and on no other.

    Backbones are compared by where they were loaded from.

    Args:
        model ([`~transformers.PreTrainedModel`]): The policy's language model.
        reward ([`RewardAdapter`]): The adapter.

    Raises:
        ValueError: naming both.
    """
    ours = model.config.name_or_path
    both_folders = os.path.isdir(reward.base or "") and os.path.isdir(ours)
    if reward.base == ours or (both_folders and Path(reward.base).samefile(ours)):
        return
    raise ValueError(
        f"The reward adapter {reward.source} was trained on {reward.base}, but the policy's backbone is {ours}. Load "
        "the policy from the same folder or Hub id, train the reward model on the policy's backbone "
        "(`DPRMTrainer(model=<that>, peft_config=...)`), or leave `share_backbone` off."
    )


def shared_reward_function(
    reward: RewardAdapter,
    category_logits: Readout,
    args: ExpectedRewardPPOConfig,
    policy_tokenizer: PreTrainedTokenizerBase | ProcessorMixin,
    reward_processing_classes: PreTrainedTokenizerBase | ProcessorMixin | list | None = None,
) -> RewardModelFunction:
    """The reward function of the adapter, read from the shared backbone.

    Args:
        reward ([`RewardAdapter`]): The adapter; its configuration gets the padding token.
        category_logits (`Callable`): Of `input_ids` and `attention_mask`.
        args ([`ExpectedRewardPPOConfig`]): For the statistic and the batch size.
        policy_tokenizer ([`~transformers.PreTrainedTokenizerBase`] or [`~transformers.ProcessorMixin`]): The policy's.
        reward_processing_classes (tokenizer or list of them, *optional*): As given to the trainer; the first is the
            adapter's. Default: the tokenizer beside the adapter, or the policy's.

    Raises:
        ValueError: if the two number tokens otherwise: one of them is not the backbone's.
    """
    given = reward_processing_classes
    processing_class = given[0] if isinstance(given, list) and given else given
    if processing_class is None:
        processing_class = stored_tokenizer(reward.source)
    if processing_class is None:
        processing_class = policy_tokenizer
    if not same_tokenizer(text_tokenizer(processing_class), text_tokenizer(policy_tokenizer)):
        raise ValueError(
            f"The tokenizers of the policy and of the reward adapter {reward.source} number tokens otherwise, but "
            "with `share_backbone=True` both are read by the same embeddings. Pass the backbone's own tokenizer as "
            "`processing_class`, and to `DPRMTrainer`."
        )
    return RewardModelFunction(
        category_logits,
        processing_class,
        statistic=RewardStatistic(
            args.reward_statistic, args.cvar_level, args.semideviation_weight, args.reward_category_rewards
        ),
        batch_size=args.local_rollout_forward_batch_size,
        name=Path(reward.source).name,
        chat_template_kwargs=args.chat_template_kwargs,
        config=reward.config,
    )
