"""Whether a tokenizer, a model and another tokenizer speak of the same token ids."""

from transformers import AutoTokenizer, PreTrainedTokenizerBase, ProcessorMixin


def text_tokenizer(processing_class: PreTrainedTokenizerBase | ProcessorMixin) -> PreTrainedTokenizerBase:
    """The tokenizer itself, of a multimodal processor too."""
    return processing_class.tokenizer if isinstance(processing_class, ProcessorMixin) else processing_class


def same_tokenizer(first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase) -> bool:
    """Whether every token id means the same to both, padding aside.

    Padding is no text, and it is what scripts add: TRL's example for PPO gives the policy's tokenizer a `[PAD]` token.
    """
    return knows_ids_of(first, second) and knows_ids_of(second, first)


def knows_ids_of(tokenizer: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Whether `tokenizer` has every token of `other` under the same id, padding aside."""
    vocabulary = tokenizer.get_vocab()
    padding = {tokenizer.pad_token, other.pad_token}
    return all(vocabulary.get(token) == place or token in padding for token, place in other.get_vocab().items())


def stored_tokenizer(
    name_or_path: str, trust_remote_code: bool = False, **hub_arguments
) -> PreTrainedTokenizerBase | None:
    """The tokenizer beside a checkpoint, `None` where there is none.

    Some tokenizer classes come up empty where their files are missing: those count as none.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=trust_remote_code, **hub_arguments)
    except (OSError, ValueError):
        return None
    return tokenizer if set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens) else None


def check_tokenizer_fits(tokenizer: PreTrainedTokenizerBase, num_embeddings: int, name: str) -> None:
    """Refuse a tokenizer with tokens that the model has no embedding for; its padding token may be one.

    Raises:
        ValueError: naming the first such token.
    """
    beyond = {place: t for t, place in tokenizer.get_vocab().items() if place >= num_embeddings}
    beyond.pop(tokenizer.pad_token_id, None)
    if beyond:
        first = min(beyond)
        raise ValueError(
            f"The tokenizer for the reward model '{name}' has {len(beyond)} tokens beyond its {num_embeddings} "
            f"embeddings, the first is {beyond[first]!r} with id {first}: it is the tokenizer of another model. Pass "
            "the reward model's own as `processing_class` (in a trainer: `reward_processing_classes`)."
        )


def valid_pad_token_id(
    tokenizer: PreTrainedTokenizerBase, config_pad_token_id: int | None, num_embeddings: int, name: str
) -> int | None:
    """The id to pad with: the one that the model was trained with, or else the tokenizer's.

    Returns:
        `int`, or `None` where the tokenizer's padding token has no embedding (it was added without resizing the
        model): then any id serves that is not read as the end of a sequence.

    Raises:
        ValueError: if neither model nor tokenizer has a padding token.
    """
    candidates = [pad for pad in (config_pad_token_id, tokenizer.pad_token_id) if pad is not None]
    if not candidates:
        raise ValueError(
            f"Neither the reward model '{name}' nor its tokenizer has a padding token. Set the one that it was "
            "trained with, `tokenizer.pad_token = ...`, or if it had none, any that ends no text, such as the unknown "
            "token."
        )
    return next((pad for pad in candidates if 0 <= pad < num_embeddings), None)
