"""How many tokens a backbone can read: what lies beyond its positions fails, or was never trained."""

from torch import nn
from transformers import PreTrainedConfig


def num_positions(config: PreTrainedConfig, model: nn.Module | None = None) -> int | None:
    """Longest sequence that a backbone reads, in tokens.

    Backbones like RoBERTa number their tokens from after the padding token's position: of 514 positions they use 512.

    Args:
        config ([`~transformers.PreTrainedConfig`]): Of the backbone.
        model (`torch.nn.Module`, *optional*): With that backbone in it, to find such positions.

    Returns:
        `int`, or `None` where nothing bounds it: positions that are relative, or no positions at all.

    >>> from transformers import BertConfig, BloomConfig, DebertaV2Config
    >>> num_positions(BertConfig()), num_positions(BloomConfig())
    (512, None)
    >>> num_positions(DebertaV2Config(relative_attention=True, position_biased_input=False))
    """
    positions = getattr(config, "max_position_embeddings", None)
    is_relative = getattr(config, "relative_attention", False) and not getattr(config, "position_biased_input", True)
    if is_relative or getattr(config, "alibi", False) or not isinstance(positions, int) or positions < 1:
        return None
    for name, module in () if model is None else model.named_modules():
        if (
            isinstance(module, nn.Embedding)
            and "position_embeddings" in name
            and module.num_embeddings == positions
            and module.padding_idx is not None
        ):
            return positions - module.padding_idx - 1
    return positions
