"""What the PPO trainer is given, in TRL's present keywords or the old `PPOTrainer`'s: checked, and made one call."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from accelerate.logging import get_logger
from datasets import Dataset, IterableDataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin, TrainingArguments
from trl import GRPOConfig, RewardConfig
from trl.data_utils import is_conversational
from trl.trainer.utils import global_then_local_main_first

from ..models import DPRMConfig
from ..trainer import DPRMTrainingArguments
from .expected_reward_ppo_config import ExpectedRewardPPOConfig

logger = get_logger(__name__)

_WRONG_ARGUMENTS = (
    (DPRMConfig, "It describes a model: it belongs to the reward model's checkpoint."),
    (DPRMTrainingArguments, "It describes the training of a reward model, by `DPRMTrainer`."),
    (RewardConfig, "It describes the training of a reward model, by `DPRMTrainer` or `trl.RewardTrainer`."),
    (
        GRPOConfig,
        "Its defaults are GRPO's (no KL, one epoch, groups of 8): `ExpectedRewardPPOConfig` takes the same options "
        "and PPO's.",
    ),
    (TrainingArguments, "It describes another trainer's run."),
)


def check_arguments(args: object, model: object) -> ExpectedRewardPPOConfig:
    """The run's description, or that of a default run if there is none.

    Args:
        args ([`ExpectedRewardPPOConfig`], *optional*): What the trainer was given as `args`.
        model (`str` or [`~transformers.PreTrainedModel`]): The policy, for the name of the default output folder.

    Raises:
        TypeError: for a description of anything else; the message names the right class.
    """
    if model is None:
        raise TypeError("`model`, the policy, is missing: give a model, a folder or a Hub id.")
    if isinstance(model, TrainingArguments):
        raise TypeError(
            f"The first argument is `model`, and got `{type(model).__name__}`. The old `PPOTrainer` began with "
            "`args`: pass its arguments by keyword."
        )
    if isinstance(args, ExpectedRewardPPOConfig):
        return args
    if args is None:
        name = model if isinstance(model, str) else model.config.name_or_path
        return ExpectedRewardPPOConfig(f"{Path(name).name or 'model'}-PPO")
    hint = next((hint for wrong, hint in _WRONG_ARGUMENTS if isinstance(args, wrong)), "")
    raise TypeError(f"`args` is a `{type(args).__name__}`; use `ExpectedRewardPPOConfig`. {hint}".rstrip())


def rewards_of(reward_funcs: object, reward_model: object, environment_factory: object = None) -> list:
    """The reward sources as a list, from TRL's present keyword or the old one.

    Args:
        reward_funcs (`str`, model, `Callable`, or a list of them, *optional*): TRL's keyword.
        reward_model (the same, *optional*): The old `PPOTrainer`'s.
        environment_factory (*optional*): An environment may bring the reward, so that neither is needed.

    Raises:
        ValueError: if both are given, or neither.
        TypeError: for an entry that is `None`.

    >>> rewards_of(None, "reward-model")
    ['reward-model']
    """
    if reward_funcs is not None and reward_model is not None:
        raise ValueError(
            "`reward_funcs` and `reward_model` are both given, and are two names of one thing. Give one; to sum "
            "several rewards, `reward_funcs=[...]` with `reward_weights` in the configuration."
        )
    given = reward_model if reward_funcs is None else reward_funcs
    sources = list(given) if isinstance(given, list | tuple) else [given] if given is not None else []
    if not sources and environment_factory is None:
        raise ValueError(
            "There is nothing to maximise: give `reward_model`, or `reward_funcs`, as a DPRM, a scalar reward model "
            "(instance, folder or Hub id), or a function."
        )
    if any(source is None for source in sources):
        raise TypeError(f"Reward {[source is None for source in sources].index(True)} of the list is None: remove it.")
    return sources


def check_models(
    model: object,
    ref_model: object = None,
    data_collator: object = None,
    value_model: object = None,
    reward_sources: Sequence = (),
) -> None:
    """Refuse one object in two places: training it in one would change it in the other.

    Args:
        model, ref_model, value_model (`str` or [`~transformers.PreTrainedModel`]): As given to the trainer.
        data_collator (`Callable`, *optional*): An old keyword; a warning says that it is not used.
        reward_sources (`Sequence`): From `rewards_of`.

    Raises:
        ValueError: naming the two places.
    """
    if data_collator is not None:
        logger.warning(
            f"`data_collator` ({type(data_collator).__name__}) is not used: rollouts are padded by the trainer, after "
            "sampling. Remove it; prompts may stand in the dataset at their own lengths."
        )
    places = [("model", model), ("ref_model", ref_model), ("value_model", value_model)]
    places += [("reward_model", source) for source in reward_sources]
    instances = [(name, part) for name, part in places if part is not None and not isinstance(part, str)]
    remedies = {
        "ref_model": "leave it out: the trainer makes a frozen copy, or switches adapters off.",
        "value_model": "load it a second time, or leave it out: the critic then gets a backbone of its own.",
        "reward_model": "load it a second time.",
    }
    for k, (name, part) in enumerate(instances):
        for other, earlier in instances[:k]:
            if part is earlier and not name == other == "reward_model":
                raise ValueError(f"`{name}` and `{other}` are the same object. For `{name}`, {remedies[name]}")


def safe_tokenizer(
    processing_class: PreTrainedTokenizerBase | ProcessorMixin, vocabulary_size: int
) -> PreTrainedTokenizerBase | ProcessorMixin:
    """The tokenizer itself, or a copy that pads with EOS where its own padding token cannot be embedded.

    TRL's old example adds a `[PAD]` token without resizing the embeddings. Padding is masked wherever it stands, so
    which token it is makes no difference, but its id must have a row in the embeddings.

    Args:
        processing_class ([`~transformers.PreTrainedTokenizerBase`] or [`~transformers.ProcessorMixin`]):
            Of the policy; never changed.
        vocabulary_size (`int`): Rows of the policy's embeddings.

    Raises:
        TypeError: if it is neither tokenizer nor processor.
        ValueError: if EOS is missing or has no row either.
    """
    tokenizer = tokenizer_of(processing_class)
    padding, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    if eos is None or eos >= vocabulary_size:
        found = "has no EOS token" if eos is None else f"has the EOS token {tokenizer.eos_token!r} with id {eos}"
        raise ValueError(
            f"The policy's tokenizer {found}, and the policy has {vocabulary_size} embeddings: no completion could "
            "end. Set `tokenizer.eos_token` to a token of the model's vocabulary."
        )
    if padding is not None and padding < vocabulary_size:
        return processing_class
    fault = "has no padding token"
    if padding is not None:
        fault = (
            f"pads with {tokenizer.pad_token!r}, id {padding}, for which the policy's {vocabulary_size} embeddings "
            "have no row"
        )
    logger.warning(
        f"The tokenizer {fault}. A copy that pads with EOS, {tokenizer.eos_token!r} (id {eos}), is used, and saved "
        "with the model; padding is masked, so nothing else changes."
    )
    processing_class = copy.deepcopy(processing_class)
    tokenizer_of(processing_class).pad_token = tokenizer.eos_token
    return processing_class


def tokenizer_of(processing_class: PreTrainedTokenizerBase | ProcessorMixin) -> PreTrainedTokenizerBase:
    """The tokenizer, also that inside a processor.

    Raises:
        TypeError: for anything else.
    """
    tokenizer = processing_class.tokenizer if isinstance(processing_class, ProcessorMixin) else processing_class
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise TypeError(
            f"`processing_class` is a `{type(processing_class).__name__}`; give the policy's tokenizer or processor."
        )
    return tokenizer


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
    return dataset.map(function, num_proc=args.dataset_num_proc, desc=description, **options)


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
