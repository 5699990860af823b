"""The policy as it starts: loaded as TRL's online trainers load it, its tokenizer, and its frozen reference."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.logging import get_logger
from transformers import AutoProcessor, BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
from trl.trainer.utils import create_model_from_path, get_config_model_id

from ..models.checkpoint_dprm import only_what_lies_there
from ..trainer.model_loading import loading_options
from ..trainer.reading import naming_source
from .expected_reward_ppo_config import ExpectedRewardPPOConfig

logger = get_logger(__name__)


def load_policy(
    model: str | PreTrainedModel, args: ExpectedRewardPPOConfig, quantization_config: BitsAndBytesConfig | None = None
) -> PreTrainedModel:
    """The policy as an instance; a path or Hub id is loaded as `trl.GRPOTrainer` loads it, but from no pickle.

    Args:
        model (`str` or [`~transformers.PreTrainedModel`]): Folder, Hub id or instance.
        args ([`ExpectedRewardPPOConfig`]): `model_init_kwargs` and `trust_remote_code`.
        quantization_config ([`~transformers.BitsAndBytesConfig`], *optional*): For 4-bit or 8-bit weights.

    Raises:
        OSError: if its weights are pickled and `model_init_kwargs` do not say `use_safetensors=False`.
        ValueError: if an instance comes with options for loading, or quantisation is configured twice.
    """
    if not isinstance(model, str):
        if quantization_config is not None or args.model_init_kwargs:
            raise ValueError(
                "`quantization_config` and `args.model_init_kwargs` are for loading, but `model` is loaded already. "
                "Pass its folder or Hub id as `model`, or load it with them."
            )
        return model
    options = {"use_safetensors": True, **loading_options(args, quantization_config)}
    with naming_source(model, "model"), only_what_lies_there(model):
        return create_model_from_path(model, **options)


def load_processing_class(
    model: PreTrainedModel, args: ExpectedRewardPPOConfig
) -> PreTrainedTokenizerBase | ProcessorMixin:
    """The tokenizer or processor that lies beside the policy's checkpoint."""
    return AutoProcessor.from_pretrained(
        get_config_model_id(model.config),
        revision=(args.model_init_kwargs or {}).get("revision", "main"),
        truncation_side="left",
        padding_side="left",
        trust_remote_code=args.trust_remote_code,
    )


def frozen_reference(
    policy: PreTrainedModel, ref_model: PreTrainedModel | None, beta: float, has_adapter: bool
) -> PreTrainedModel | None:
    """The model that KL is measured to: the given one, or a frozen copy of the policy as it is *now*.

    `trl.GRPOTrainer` reads the reference again from the checkpoint that an instance once came from; a policy that was
    changed since then would be compared with another model. A policy with adapters needs no second model: its
    reference is the backbone with adapters off, or a frozen copy of the adapter that it starts from.

    Args:
        policy ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]): Before training.
        ref_model ([`~transformers.PreTrainedModel`], *optional*): The user's reference.
        beta (`float`): Coefficient of the KL; with 0 there is no reference.
        has_adapter (`bool`): Whether the policy has, or will get, an adapter.

    Returns:
        [`~transformers.PreTrainedModel`] in evaluation mode without gradients, or `None`.
    """
    if beta == 0.0 and ref_model is not None:
        logger.warning("`ref_model` is not used: with a KL coefficient of 0 the KL to it is not measured.")
    if beta == 0.0 or (ref_model is None and has_adapter):
        return None
    reference = copy.deepcopy(policy) if ref_model is None else ref_model
    return reference.requires_grad_(False).eval()


@contextmanager
def options_for_grpo(args: ExpectedRewardPPOConfig, keeps_adapter: bool) -> Iterator[None]:
    """Keep `trl.GRPOTrainer` from loading a reference of its own, by options that it sees during its `__init__`.

    Args:
        args ([`ExpectedRewardPPOConfig`]): Changed inside, and as before after it.
        keeps_adapter (`bool`): Whether the policy starts from an adapter, of which TRL then makes the frozen copy.
    """
    beta, model_init_kwargs = args.beta, args.model_init_kwargs
    args.beta = beta if keeps_adapter else 0.0
    args.model_init_kwargs = None  # used already
    try:
        yield
    finally:
        args.beta, args.model_init_kwargs = beta, model_init_kwargs
