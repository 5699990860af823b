"""Prompts of a PPO run: checked before the first rollout, and given a text where they come as token ids."""

from collections.abc import Callable, Mapping, Sequence

from accelerate.logging import get_logger
from datasets import Dataset, IterableDataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
from trl.data_utils import is_conversational
from trl.trainer.utils import global_then_local_main_first

from ..trainer.fingerprint import prepared_fingerprint
from ..trainer.tokenization import require_chat_template
from .constructor import tokenizer_of
from .expected_reward_ppo_config import ExpectedRewardPPOConfig

logger = get_logger(__name__)


def context_length(model: PreTrainedModel) -> int | None:
    """Most tokens that the policy reads (`max_position_embeddings`); `None` where its configuration sets no bound."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def prepare_prompts(
    dataset: Dataset | IterableDataset | Mapping | None,
    name: str,
    processing_class: PreTrainedTokenizerBase | ProcessorMixin,
    model: PreTrainedModel,
    args: ExpectedRewardPPOConfig,
    tools: list[Callable] | None = None,
) -> Dataset | IterableDataset | Mapping | None:
    """Check every prompt, and give pre-tokenised ones a `prompt` column; `input_ids` are then what the policy reads.

    `input_ids` may be padded on either side: padding is recognised by the column `attention_mask`, which is then
    dropped, or by the tokenizer's padding token. Prompts with images or videos are not measured.

    Args:
        dataset ([`~datasets.Dataset`], [`~datasets.IterableDataset`], a mapping of them, or `None`):
            With `prompt` (text or messages), `input_ids`, or both.
        name (`str`): `"train"` or `"eval"`; what messages call it.
        processing_class ([`~transformers.PreTrainedTokenizerBase`] or [`~transformers.ProcessorMixin`]):
            The one that the user gave, *before* `safe_tokenizer`: `input_ids` may hold its padding token.
        model ([`~transformers.PreTrainedModel`]): The policy, for its vocabulary and context.
        args ([`ExpectedRewardPPOConfig`]): For the longest completion, the size of a rollout, the chat template.
        tools (`list[Callable]`, *optional*): For the chat template.

    Returns:
        The dataset, or the mapping of datasets. A stream is checked row by row as it is read.

    Raises:
        TypeError: for another type than those of `datasets`.
        ValueError: naming row and remedy, for a prompt that cannot be continued; for a set without prompts, or with
            fewer than one rollout needs.
    """
    if dataset is None:
        return None
    if isinstance(dataset, Mapping):
        if name == "train":
            raise TypeError(f"`train_dataset` is a mapping of the splits {sorted(dataset)}: pass one of them.")
        return type(dataset)(
            {
                split: prepare_prompts(part, f"{name} ({split})", processing_class, model, args, tools)
                for split, part in dataset.items()
            }
        )
    if not isinstance(dataset, Dataset | IterableDataset):
        raise TypeError(
            f"The {name} dataset is a `{type(dataset).__name__}`; it must be a `datasets.Dataset` or "
            "`IterableDataset`. Rows in a list: `datasets.Dataset.from_list(rows)`."
        )
    columns = _columns(dataset, name)
    if name == "train" and isinstance(dataset, Dataset):
        _check_rollout(dataset, args)
    reading = {
        "name": name,
        "processing_class": processing_class,
        "vocabulary_size": model.get_input_embeddings().num_embeddings,
        "longest": context_length(model),
        "max_completion_length": args.max_completion_length,
    }
    if "input_ids" in columns:
        return _prepare_ids(dataset, columns, reading, args)
    template = {"tools": tools or None, **(args.chat_template_kwargs or {})}
    return _apply(check_prompts, dataset, reading | {"template": template}, args, f"Checking {name} prompts")


def _columns(dataset, name):
    columns = dataset.column_names
    if isinstance(dataset, IterableDataset) and columns is None:
        columns = list(next(iter(dataset), {}))
    if not columns or (isinstance(dataset, Dataset) and not len(dataset)):
        raise ValueError(f"The {name} dataset is empty. Check how it was made, and the name of its split.")
    if not {"prompt", "input_ids"} & set(columns):
        raise ValueError(
            f"The {name} dataset has the columns {sorted(columns)}, but neither `prompt` (text or messages) nor "
            "`input_ids`. Rename the column that holds the prompts, by `dataset.rename_column(..., 'prompt')`."
        )
    return columns


def _check_rollout(dataset, args):
    prompts = args.generation_batch_size // args.num_generations
    if len(dataset) < prompts:
        raise ValueError(
            f"The train dataset has {len(dataset)} rows, but a rollout takes {prompts} prompts "
            f"({args.generation_batch_size} completions over {args.world_size} processes, `num_generations` "
            f"{args.num_generations}), and incomplete ones are dropped: nothing would be trained. Add rows, or lower "
            "`per_device_train_batch_size` or `gradient_accumulation_steps`."
        )


def _prepare_ids(dataset, columns, reading, args):
    if "prompt" in columns:
        logger.warning(
            f"The {reading['name']} dataset has `input_ids` and `prompt`: the policy reads the ids, reward functions "
            "get the text. If the ids are not those of the prompts alone, remove the column `input_ids`."
        )
    with global_then_local_main_first():
        return _apply(prepare_ids, dataset, reading, args, f"Preparing {reading['name']} prompts", columns)


def _apply(function, dataset, reading, args, description, columns=()):
    """The dataset after `function`, which gets batches of rows with their numbers; a stream's when they are read."""
    remove = ["attention_mask"] if "attention_mask" in columns else None
    options = {"with_indices": True, "batched": True, "fn_kwargs": reading, "remove_columns": remove}
    if isinstance(dataset, IterableDataset):
        if function is check_prompts:
            function = _checked_batch
        return dataset.map(function, batch_size=1, **options)
    fingerprint = prepared_fingerprint(dataset, {**reading, "columns": columns}, __file__)
    return dataset.map(
        function, num_proc=args.dataset_num_proc, new_fingerprint=fingerprint, desc=description, **options
    )


def _checked_batch(batch, rows, **reading):
    """`check_prompts` for streams, which want every batch back."""
    check_prompts(batch, rows, **reading)
    return batch


def check_prompts(
    batch: Mapping[str, list],
    rows: Sequence[int],
    name: str,
    processing_class: PreTrainedTokenizerBase | ProcessorMixin,
    vocabulary_size: int,
    longest: int | None,
    max_completion_length: int,
    template: Mapping,
) -> None:
    """Tokenise a batch of prompts as `trl.GRPOTrainer` does, and refuse what the policy could not continue.

    Args:
        batch (`dict` of columns): With `prompt`.
        rows (`list[int]`): Their numbers in the dataset.
        name (`str`): What messages call the dataset.
        processing_class, vocabulary_size, longest, max_completion_length: See `check_ids`.
        template (`dict`): Options of the chat template.

    Raises:
        ValueError: naming the row.
    """
    media = [batch[column] for column in ("image", "images", "video", "videos") if column in batch]
    measured = []
    for k, (row, prompt) in enumerate(zip(rows, batch["prompt"], strict=True)):
        if not isinstance(prompt, str) and not is_conversational({"prompt": prompt}):
            raise ValueError(
                f"Row {row} of the {name} dataset, column `prompt`: {prompt!r} is neither text nor a list of "
                "messages. Correct or remove the row."
            )
        if not isinstance(processing_class, ProcessorMixin) and all(column[k] is None for column in media):
            measured.append((row, prompt))
        if not isinstance(prompt, str):
            try:
                require_chat_template(processing_class, template)
            except ValueError as error:
                raise ValueError(f"Row {row} of the {name} dataset, column `prompt`: {error}") from None
    for row, ids in _token_ids(measured, processing_class, template):
        check_ids(ids, row, name, processing_class, vocabulary_size, longest, max_completion_length)


def _token_ids(rows_and_prompts, tokenizer, template):
    """Pairs of row and token ids: texts tokenised together, conversations by the chat template."""
    texts = [(row, prompt) for row, prompt in rows_and_prompts if isinstance(prompt, str)]
    if texts:
        rows, prompts = zip(*texts, strict=True)
        yield from zip(rows, tokenizer(text=list(prompts))["input_ids"], strict=True)
    options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, **template}
    for row, prompt in rows_and_prompts:
        if not isinstance(prompt, str):
            yield row, tokenizer.apply_chat_template(prompt, **options)["input_ids"]


def prepare_ids(
    batch: Mapping[str, list],
    rows: Sequence[int],
    name: str,
    processing_class: PreTrainedTokenizerBase | ProcessorMixin,
    vocabulary_size: int,
    longest: int | None,
    max_completion_length: int,
) -> dict[str, list]:
    """Pre-tokenised prompts without their padding, checked, and with their text.

    Args:
        batch (`dict` of columns): With `input_ids`, perhaps `attention_mask` and `prompt`.
        rows (`list[int]`): Their numbers in the dataset.
        name (`str`): What messages call the dataset.
        processing_class, vocabulary_size, longest, max_completion_length: See `check_ids`.

    Returns:
        `dict` of the columns `input_ids` and `prompt`. The text is decoded with special tokens, which may belong to a
        chat template, but without a BOS token in front.

    Raises:
        ValueError: naming the row.
    """
    tokenizer = tokenizer_of(processing_class)
    masks = batch.get("attention_mask", [None] * len(rows))
    prepared = []
    for row, ids, mask in zip(rows, batch["input_ids"], masks, strict=True):
        ids = without_padding(ids, mask, row, name, tokenizer)
        check_ids(ids, row, name, tokenizer, vocabulary_size, longest, max_completion_length)
        prepared.append(ids)
    if "prompt" in batch:
        return {"input_ids": prepared}
    texts = [ids[1:] if len(ids) > 1 and ids[0] == tokenizer.bos_token_id else ids for ids in prepared]
    return {"input_ids": prepared, "prompt": tokenizer.batch_decode(texts, skip_special_tokens=False)}


def without_padding(
    ids: Sequence[int] | None, mask: Sequence[int] | None, row: int, name: str, tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    """A row's `input_ids` without padding on the left or right.

    Raises:
        ValueError: if there are none, the mask does not fit, or the padding token is also EOS or BOS, so that padding
            and prompt cannot be told apart without a mask.
    """
    place = f"Row {row} of the {name} dataset, column `input_ids`"
    if ids is None or not len(ids):
        raise ValueError(f"{place}: the prompt is empty. Correct or remove the row.")
    ids = [int(token) for token in ids]
    if mask is not None:
        if len(mask) != len(ids):
            raise ValueError(f"{place}: {len(ids)} ids, but `attention_mask` has {len(mask)}. Make them equally long.")
        return [token for token, seen in zip(ids, mask, strict=True) if seen]
    padding = tokenizer.pad_token_id
    start = next((k for k, token in enumerate(ids) if token != padding), len(ids))
    end = len(ids) - next((k for k, token in enumerate(reversed(ids)) if token != padding), 0)
    if padding not in (tokenizer.eos_token_id, tokenizer.bos_token_id):
        return ids[start:end]
    if padding is not None and max(start, len(ids) - end) > 1:
        raise ValueError(
            f"{place}: it begins or ends with {max(start, len(ids) - end)} padding tokens (id {padding}), which are "
            "EOS or BOS tokens too. Say which are padding by the column `attention_mask`, or do not pad: "
            "`tokenizer(text, padding=False)`."
        )
    return ids


def check_ids(
    ids: Sequence[int],
    row: int,
    name: str,
    processing_class: PreTrainedTokenizerBase,
    vocabulary_size: int,
    longest: int | None,
    max_completion_length: int,
) -> None:
    """Refuse a prompt that the policy could not read, or could not continue to the longest completion.

    Args:
        ids (`list[int]`): Token ids of the prompt.
        row, name (`int`, `str`): Its place, for messages.
        processing_class ([`~transformers.PreTrainedTokenizerBase`]): For messages.
        vocabulary_size (`int`): Rows of the policy's embeddings.
        longest (`int`, *optional*): Most tokens that the policy reads.
        max_completion_length (`int`): Longest completion, in tokens.

    Raises:
        ValueError: naming row, value and remedy.
    """
    place = f"Row {row} of the {name} dataset"
    if not ids:
        raise ValueError(f"{place}: the prompt has no tokens. Correct or remove the row.")
    beyond = next((token for token in ids if not 0 <= token < vocabulary_size), None)
    if beyond is not None:
        token = tokenizer_of(processing_class).convert_ids_to_tokens(beyond) if beyond >= 0 else None
        raise ValueError(
            f"{place}: token id {beyond} ({token!r}) is none of the policy's, which has {vocabulary_size} embeddings. "
            "Tokenise with the policy's own tokenizer, or resize its embeddings and train them first."
        )
    if longest is not None and len(ids) + max_completion_length > longest:
        raise ValueError(
            f"{place}: the prompt has {len(ids)} tokens; with a completion of up to {max_completion_length} "
            f"(`max_completion_length`, also `response_length`) that is {len(ids) + max_completion_length}, and the "
            f"policy reads at most {longest} (`max_position_embeddings`). Lower `max_completion_length`, or shorten "
            "or remove the row."
        )
