"""In which precision the base of an adapter was while it trained: on another one the adapter gives other rewards."""

from transformers.utils import logging

logger = logging.get_logger(__name__)


def base_precision(model):
    """What `config.json` beside an adapter says of the base that it was trained on.

    Args:
        model ([`DPRMForSequenceClassification`]): The base as loaded, adapters on it or not.

    Returns:
        `dict`, or `None` for float32: `dtype` of what is not quantised; where the rest is, by bitsandbytes, its `bits`
        with `quant_type`, `double_quant` and `compute_dtype` (4) or `threshold` of outliers (8), by others its
        `quant_method`.
    """
    precision = {"dtype": str(model.dtype).removeprefix("torch.")}
    quantization = getattr(model.config, "quantization_config", None)
    if quantization is not None:
        precision |= _quantised(quantization if isinstance(quantization, dict) else quantization.to_dict())
    return None if precision == {"dtype": "float32"} else precision


def warn_of_other_precision(model, path):
    """Say that an adapter was trained on a base in another precision than this one, and how to get that.

    Args:
        model ([`DPRMForSequenceClassification`]): As loaded; `config.base_precision` is that of training.
        path (`str`): Of the adapter, or of the base below it, for the message.
    """
    trained = getattr(model.config, "base_precision", None)
    loaded = base_precision(model)
    if trained is None or trained == loaded:
        return
    logger.warning(
        f"{path}: the adapter was trained on a base in {precision_in_words(trained)}, but the base is loaded in "
        f"{precision_in_words(loaded)}, so its rewards are not those of training: they differ by what one of the two "
        f"has rounded. For training's numbers load with {precision_options(trained)}."
    )


def _quantised(quantization):
    """The part of a quantisation's configuration that weights and products depend on."""
    if quantization.get("load_in_4bit"):
        return {
            "bits": 4,
            "quant_type": quantization["bnb_4bit_quant_type"],
            "double_quant": quantization["bnb_4bit_use_double_quant"],
            "compute_dtype": str(quantization["bnb_4bit_compute_dtype"]).removeprefix("torch."),
        }
    if quantization.get("load_in_8bit"):
        return {"bits": 8, "threshold": quantization["llm_int8_threshold"]}
    return {"quant_method": str(getattr(quantization["quant_method"], "value", quantization["quant_method"]))}


def precision_in_words(precision):
    """A precision as messages and cards say it (`str`).

    Args:
        precision (`dict`, *optional*): As of `base_precision`.
    """
    if precision is None:
        return "full precision (float32)"
    if precision.get("bits") == 4:
        kind = f"{precision['quant_type']}{', double quantisation' if precision['double_quant'] else ''}"
        return f"4 bits ({kind}, computing in {precision['compute_dtype']}; the rest in {precision['dtype']})"
    if precision.get("bits") == 8:
        return f"8 bits (outliers beyond {precision['threshold']:g}; the rest in {precision['dtype']})"
    return " beside ".join(str(precision[name]) for name in ("quant_method", "dtype") if name in precision)


def precision_options(trained):
    """How to load in a precision: arguments of `from_pretrained`, and options of the command line if it has them.

    Args:
        trained (`dict`): As of `base_precision`.

    Returns:
        `str` in Markdown.
    """
    dtype, flags = f'dtype="{trained["dtype"]}"', f"--dtype {trained['dtype']}"
    if trained.get("bits") == 4:
        kind, nested, compute_dtype = (trained[name] for name in ("quant_type", "double_quant", "compute_dtype"))
        arguments = (
            f'load_in_4bit=True, bnb_4bit_quant_type="{kind}", bnb_4bit_use_double_quant={nested}, '
            f'bnb_4bit_compute_dtype="{compute_dtype}"'
        )
        flags = f"--load_in_4bit --bnb_4bit_quant_type {kind}{' --use_bnb_nested_quant' * nested} {flags}"
        on_command_line = compute_dtype == trained["dtype"]
    elif trained.get("bits") == 8:
        arguments = f"load_in_8bit=True, llm_int8_threshold={trained['threshold']}"
        flags = f"--load_in_8bit {flags}"
        on_command_line = trained["threshold"] == 6.0
    elif "quant_method" in trained:
        return f"that quantisation (`{trained['quant_method']}`) and `{dtype}`"
    else:
        return f"`{dtype}`, on the command line `{flags}`"
    python = f"`quantization_config=BitsAndBytesConfig({arguments}), {dtype}`"
    return f"{python}, on the command line `{flags}`" if on_command_line else python
