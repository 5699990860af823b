"""Whether the packed weights of a model in 4 or 8 bits are complete: transformers checks their names only in part."""

import logging as standard_logging

from transformers.utils import logging

logger = logging.get_logger(__name__)


def check_packed_weights(model, path):
    """Refuse packed weights that do not fit their layer, or that are to be unpacked by numbers that are not there.

    Args:
        model (`torch.nn.Module`): As loaded, quantised by bitsandbytes or not at all.
        path (`str`): Of the checkpoint, for the message.

    Raises:
        ValueError: naming the tensors that are missing or of another shape, ten at most.
    """
    faults = []
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is None or weight.device.type == "meta":  # offloaded
            continue
        if getattr(weight, "quant_state", None) is not None:
            faults += [f"{name}.{fault}" for fault in _four_bit_faults(module, weight.quant_state)]
        elif hasattr(weight, "SCB"):
            faults += [f"{name}.{fault}" for fault in _eight_bit_faults(module)]
    if faults:
        more = f" and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise ValueError(
            f"The quantised checkpoint {path} does not hold these tensors whole: {', '.join(faults[:10])}{more}. Its "
            "weights would be unpacked to other numbers. Use a complete one, or quantise the original again."
        )


def warn_of_neighbours(model):
    """Say that in 8 bits, as bitsandbytes does them by default, a reward depends on the batch that it is read in.

    Columns with an outlier are multiplied in 16 bits, and a column counts as one if *any* row of the batch has it.

    Args:
        model (`torch.nn.Module`): Quantised, or not.
    """
    configuration = getattr(model.config, "quantization_config", None)
    threshold = getattr(configuration, "llm_int8_threshold", 0.0)
    if getattr(model, "is_loaded_in_8bit", False) and threshold > 0:
        logger.warning(
            f"In 8 bits with `llm_int8_threshold={threshold:g}` a reward depends a little on what else is in its "
            "batch: bitsandbytes looks for outliers in all rows together. Set `BitsAndBytesConfig(load_in_8bit=True, "
            "llm_int8_threshold=0.0)` for rewards that do not; large models may lose accuracy by it."
        )


def hold_cast_notices(model):
    """Keep bitsandbytes from saying at every 8-bit layer of every forward that it computes in 16 bits.

    Args:
        model (`torch.nn.Module`): Quantised, or not.
    """
    if getattr(model, "is_loaded_in_8bit", False):
        standard_logging.getLogger("bitsandbytes.autograd._functions").addFilter(_is_no_cast_notice)


def _is_no_cast_notice(record):
    return not record.getMessage().startswith("MatMul8bitLt: inputs will be cast")


def _four_bit_faults(module, state):
    """What is wrong with a `Linear4bit`: two weights to a byte, one scale to a block, scales perhaps packed too."""
    shape = (module.out_features, module.in_features)
    num_weights = module.out_features * module.in_features
    num_blocks = -(-num_weights // state.blocksize)
    num_bytes = module.weight.numel() * module.weight.element_size()
    if tuple(state.shape) != shape:
        yield f"weight (made for shape {tuple(state.shape)}, expected {shape})"
    elif num_bytes != -(-num_weights // 2):
        yield f"weight ({num_bytes} bytes, expected {-(-num_weights // 2)})"
    elif state.absmax.numel() != num_blocks:
        yield f"weight.absmax ({state.absmax.numel()} blocks, expected {num_blocks})"
    elif not state.nested and not state.absmax.is_floating_point():
        yield "weight.nested_absmax (missing)"
    elif state.nested and state.state2.absmax.numel() != -(-num_blocks // state.state2.blocksize):
        yield f"weight.nested_absmax ({state.state2.absmax.numel()} blocks)"


def _eight_bit_faults(module):
    """What is wrong with a `Linear8bitLt`: a byte to a weight, one scale to a row."""
    shape = (module.out_features, module.in_features)
    scales = module.state.SCB if module.weight.SCB is None else module.weight.SCB
    if tuple(module.weight.shape) != shape:
        yield f"weight (shape {tuple(module.weight.shape)}, expected {shape})"
    elif scales is None or scales.numel() != module.out_features:
        yield f"SCB ({'missing' if scales is None else f'{scales.numel()} rows, expected {module.out_features}'})"
