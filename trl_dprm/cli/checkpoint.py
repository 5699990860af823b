"""The trained model that a command reads."""

from dataclasses import dataclass, field

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import ModelConfig, get_quantization_config

from ..models import DPRMConfig, DPRMForSequenceClassification
from ..trainer.reading import naming_source
from .parsing import option_of


@dataclass
class CheckpointArguments:
    """Which trained model a command reads, and how it is loaded."""

    model: str = field(metadata={"help": "PATH|HUB_ID of a trained model or adapter."})
    revision: str = option_of(ModelConfig, "model_revision")
    dtype: str | None = option_of(ModelConfig, "dtype")
    attn_implementation: str | None = option_of(ModelConfig, "attn_implementation")
    load_in_8bit: bool = option_of(ModelConfig, "load_in_8bit")
    load_in_4bit: bool = option_of(ModelConfig, "load_in_4bit")
    bnb_4bit_quant_type: str = option_of(ModelConfig, "bnb_4bit_quant_type")
    use_bnb_nested_quant: bool = option_of(ModelConfig, "use_bnb_nested_quant")
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Run code that lies on the Hub beside a backbone or its tokenizer."}
    )


def load_checkpoint(
    arguments: CheckpointArguments, device_map: str | None = None
) -> tuple[DPRMForSequenceClassification, PreTrainedTokenizerBase]:
    """Load a trained model with its tokenizer.

    Args:
        arguments ([`CheckpointArguments`]): Which, and how.
        device_map (`str`, *optional*): A device, or `"auto"`.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if the folder or Hub id holds another kind of model.
    """
    hub = {"revision": arguments.revision, "trust_remote_code": arguments.trust_remote_code}
    model = DPRMForSequenceClassification.from_pretrained(
        arguments.model, config=checkpoint_config(arguments), **loading_options(arguments, device_map)
    )
    return model, AutoTokenizer.from_pretrained(arguments.model, **hub)


def checkpoint_config(arguments: CheckpointArguments) -> DPRMConfig:
    """What a trained model says of itself, before its weights are read.

    Args:
        arguments ([`CheckpointArguments`]): Which.

    Raises:
        FileNotFoundError, ValueError: as [`load_checkpoint`].
    """
    description = _description(arguments)
    if description.get("model_type") != DPRMConfig.model_type:
        found = f"a model of type `{description['model_type']}`" if "model_type" in description else "no `config.json`"
        raise ValueError(
            f"`{arguments.model}` holds {found}, not a distributional preference reward model. "
            f"Train one from it: `trl-dprm train --model_name_or_path {arguments.model} --dataset_name ...`."
        )
    return DPRMConfig.from_pretrained(arguments.model, revision=arguments.revision)


def is_dprm(arguments: CheckpointArguments) -> bool:
    """Whether it is a DPRM, or an adapter on one, that lies there.

    Args:
        arguments ([`CheckpointArguments`]): Which.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    return _description(arguments).get("model_type") == DPRMConfig.model_type


def _description(arguments: CheckpointArguments) -> dict:
    """`config.json`, empty where there is none."""
    with naming_source(arguments.model, "model (`--model`)"):
        return DPRMConfig.get_config_dict(arguments.model, revision=arguments.revision)[0]


def loading_options(arguments: CheckpointArguments, device_map: str | None = None) -> dict[str, object]:
    """What the options say to `from_pretrained`, beside the path.

    Args:
        arguments ([`CheckpointArguments`]): How the model is loaded.
        device_map (`str`, *optional*): A device, or `"auto"`.
    """
    quantization = ModelConfig(
        dtype=arguments.dtype,
        load_in_8bit=arguments.load_in_8bit,
        load_in_4bit=arguments.load_in_4bit,
        bnb_4bit_quant_type=arguments.bnb_4bit_quant_type,
        use_bnb_nested_quant=arguments.use_bnb_nested_quant,
    )
    return {
        "revision": arguments.revision,
        "trust_remote_code": arguments.trust_remote_code,
        "dtype": arguments.dtype,
        "attn_implementation": arguments.attn_implementation,
        "quantization_config": get_quantization_config(quantization),
        "device_map": device_map,
    }


def default_device() -> str:
    """The GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
