"""From a dataset as the user has it to the prepared one that the collator reads."""

from collections.abc import Sequence

from accelerate.logging import get_logger
from datasets import Dataset, IterableDataset
from transformers import PreTrainedTokenizerBase
from trl.data_utils import get_dataset_column_names

from ..models import DPRMConfig
from ..models.configuration_dprm import LIKERT_CATEGORY_NAMES
from . import rows, tokenization
from .dprm_training_arguments import DPRMTrainingArguments
from .fingerprint import prepared_fingerprint
from .rows import PREPARED_COLUMNS, prepare_row
from .tokenization import TokenizationRule
from .vote_weights import VoteWeightCheck, check_vote_weights

logger = get_logger(__name__)


def prepare_dataset(
    dataset: Dataset | IterableDataset,
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    rule: TokenizationRule,
    category_names: Sequence[str],
    num_proc: int | None = None,
    on_votes: bool = False,
    positions: int | None = None,
) -> Dataset | IterableDataset:
    """Check and tokenise every row and leave out the overlong ones; a prepared dataset comes back as it is.

    Args:
        dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]): In the columns of `prepare_row`.
        name (`str`): What messages call it.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): Of the reward model.
        rule ([`TokenizationRule`]): From text to ids, and the longest response.
        category_names (`list[str]`): Of the model.
        num_proc (`int`, *optional*): Processes, for a dataset in memory.
        on_votes (`bool`): For evaluation, see `prepare_row`.
        positions (`int`, *optional*): Most tokens that the backbone reads, for messages.

    Returns:
        The dataset with `PREPARED_COLUMNS`. A stream is checked row by row as it is read.

    Raises:
        ValueError: for the first row that cannot be learned from, and where no row is left.
    """
    columns = get_dataset_column_names(dataset)
    if set(PREPARED_COLUMNS) <= set(columns):
        return dataset
    facts = {"tokenizer": tokenizer, "rule": rule, "category_names": category_names, "on_votes": on_votes}
    if isinstance(dataset, IterableDataset):
        checked = dataset.map(VoteWeightCheck(name), with_indices=True)
        prepared = checked.map(prepare_row, with_indices=True, remove_columns=columns, fn_kwargs=facts)
        return prepared if rule.max_length is None else prepared.filter(_fits, fn_kwargs={"limit": rule.max_length})
    if len(dataset) == 0:
        raise ValueError(f"The {name} dataset has no rows. Check how it was made.")
    if "item_id" in columns and not {"rejected", "rejected_ids"} & set(columns):
        _check_distinct(dataset["item_id"], name)
    prepared = dataset.map(
        prepare_row,
        with_indices=True,
        remove_columns=columns,
        fn_kwargs=facts,
        num_proc=num_proc,
        new_fingerprint=prepared_fingerprint(dataset, facts, rows.__file__, tokenization.__file__),
        desc=f"Checking and tokenizing {name} dataset",
    )
    check_vote_weights(dataset, name)
    return prepared if rule.max_length is None else _without_overlong(prepared, name, rule.max_length, positions)


def effective_max_length(max_length: int | None, positions: int | None) -> int | None:
    """The longest response that can be learned from, in tokens: the smaller bound.

    Args:
        max_length (`int`, *optional*): Of the arguments.
        positions (`int`, *optional*): Most tokens that the backbone reads. A warning says where they bound a
            `max_length` that was asked for.

    >>> effective_max_length(1024, 512), effective_max_length(None, 512), effective_max_length(64, None)
    (512, 512, 64)
    """
    if positions is None or (max_length is not None and max_length <= positions):
        return max_length
    if max_length not in (None, DPRMTrainingArguments.max_length):  # neither unbounded nor the default
        logger.warning(
            f"`max_length={max_length}` is more than the backbone reads (`max_position_embeddings`): rows beyond "
            f"{positions} tokens are left out. For longer ones choose a backbone with more positions."
        )
    return positions


def warn_of_default_categories(config: DPRMConfig) -> None:
    """Say what the targets are taken for, where a new model has the default categories: data do not carry theirs."""
    if not config.anchored and config.category_names == list(LIKERT_CATEGORY_NAMES):
        logger.warning(
            f"The targets are read as votes on the default categories {config.category_names} with rewards "
            f"{config.category_rewards}. If people chose among others, set `category_names` and `category_rewards`, "
            "for example `DPRMTrainingArguments(..., **categories.to_dict())`."
        )


def _check_distinct(item_ids, name):
    """One row per item: an item that stands twice would be learned twice, its votes split between the rows."""
    rows = {}
    for row, item in enumerate(item_ids):
        first = rows.setdefault(item, row)
        if first != row and item is not None:
            raise ValueError(
                f"Row {row} of the {name} dataset, column `item_id`: item {item!r} stands in row {first} already. "
                "Join their votes, for example by `prepare_targets`, or remove one."
            )


def _without_overlong(prepared, name, limit, positions):
    """Leave out rows beyond the limit, with a warning; an error where none is left."""
    kept = prepared.filter(_fits, fn_kwargs={"limit": limit}, desc=f"Filtering {name} dataset")
    reason, remedy = "", "Raise it, or set it to None."
    if limit == positions:
        reason = ", all that the backbone reads (`max_position_embeddings`),"
        remedy = "Shorten them, or choose a backbone with more positions."
    if len(kept) == 0:
        raise ValueError(
            f"All {len(prepared)} rows of the {name} dataset are longer than `max_length={limit}` tokens"
            f"{reason.rstrip(',')}. {remedy}"
        )
    if len(kept) < len(prepared):
        logger.warning(
            f"{len(prepared) - len(kept)} of {len(prepared)} rows of the {name} dataset are longer than "
            f"`max_length={limit}` tokens{reason} and are left out."
        )
    return kept


def _fits(row, limit):
    """Whether a prepared row is within the limit."""
    return row["length"] <= limit
