"""Data sets by `PATH|HUB_ID`, read in one place and with one set of messages."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import (
    Dataset,
    DatasetDict,
    IterableDataset,
    IterableDatasetDict,
    load_dataset,
    load_from_disk,
)
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError

from ..preferences.categories import PreferenceCategories
from ..preferences.prepared_folder import CATEGORIES_FILE, JUDGMENTS_FILE

FILE_FORMATS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}
CSV_JSON_COLUMNS = (
    "messages",
    "target_probs",
    "target_counts",
    "chosen_target_probs",
    "chosen_target_counts",
    "rejected_target_probs",
    "rejected_target_counts",
)


def require_existing_if_path(source: str, what: str) -> None:
    """Refuse a name that can only be a path and does not exist, before it is sent to the Hub as an id.

    Args:
        source (`str`): `PATH|HUB_ID`.
        what (`str`): What should be there, for the message.

    Raises:
        FileNotFoundError: naming the absolute path that was tried.
    """
    if os.path.exists(source):
        return
    is_path = source.startswith((".", "~", os.sep)) or source.count("/") > 1 or Path(source).suffix in FILE_FORMATS
    if is_path:
        raise FileNotFoundError(
            f"No {what} at {Path(source).expanduser().absolute()}. `{source}` is read as a path: correct it, or give "
            "a Hub id such as `owner/name`."
        )


@contextmanager
def naming_source(source: str, what: str) -> Iterator[None]:
    """Refuse a path that does not exist, and let errors of reading name what was asked for: the Hub's may not.

    Args:
        source (`str`): `PATH|HUB_ID`.
        what (`str`): What should be there, for the message.

    Raises:
        FileNotFoundError: as `require_existing_if_path`.
        OSError: naming the source, if it is no path and cannot be read as a Hub id.
    """
    require_existing_if_path(source, what)
    try:
        yield
    except OSError as error:
        if os.path.exists(source):
            raise
        raise OSError(
            f"The {what} `{source}` is no path in {Path.cwd()}, so it was read as a Hub id: {error}"
        ) from error


def read_splits(source: str, config: str | None = None, streaming: bool = False) -> DatasetDict | IterableDatasetDict:
    """All splits of a data set.

    Args:
        source (`str`):
            A file (`.jsonl`, `.json`, `.csv`, `.parquet`; its one split is `train`), a folder that `save_to_disk` or
            `trl-dprm prepare` wrote, a folder of such files named after their splits, or a Hub id. In CSV files the
            columns in `CSV_JSON_COLUMNS` hold JSON.
        config (`str`, *optional*): Configuration of a Hub data set or a folder of files.
        streaming (`bool`): Read rows when they are asked for.

    Returns:
        [`~datasets.DatasetDict`], or [`~datasets.IterableDatasetDict`] if streaming.

    Raises:
        FileNotFoundError: if neither a path nor, as far as the Hub can be reached, a Hub id of that name exists.
        ValueError: for a file of another format.
    """
    require_existing_if_path(source, "data set")
    if os.path.isfile(source):
        return _read_file(source, streaming)
    if _is_saved_to_disk(source):
        return _as_splits(load_from_disk(source), streaming)
    cache_dir = _cache_of_folder(source) if os.path.isdir(source) else None
    try:
        return load_dataset(source, name=config, streaming=streaming, cache_dir=cache_dir)
    except (FileNotFoundError, ConnectionError, HFValidationError) as error:
        raise FileNotFoundError(
            f"No file or folder `{source}` in {Path.cwd()}, and the Hub gave no data set of that id: {error}"
        ) from error


def read_split(
    source: str, split: str | None = None, config: str | None = None, streaming: bool = False
) -> Dataset | IterableDataset:
    """One split of a data set; without a name, its only one.

    Args:
        source, config, streaming: As in [`read_splits`].
        split (`str`, *optional*): Name of the split.

    Raises:
        ValueError: naming the splits, if there is none of that name, or several and no name is given.
    """
    return choose_split(read_splits(source, config, streaming), split, source)


def choose_split(splits: DatasetDict | IterableDatasetDict, split: str | None, source: str) -> Dataset:
    """The split of that name; `None` means the only one. Raises as [`read_split`]."""
    if split is None and len(splits) == 1:
        return next(iter(splits.values()))
    if split not in splits:
        asked = "choose one of them" if split is None else f"there is no split `{split}`"
        raise ValueError(f"`{source}` has the splits {', '.join(f'`{name}`' for name in splits)}: {asked}.")
    return splits[split]


def read_categories(source: str) -> PreferenceCategories | None:
    """The categories that `trl-dprm prepare` wrote beside the data, `None` where there are none.

    Args:
        source (`str`): As in [`read_splits`], which must have read it.
    """
    file = Path(source) / CATEGORIES_FILE
    if not os.path.exists(source):
        try:
            file = Path(hf_hub_download(source, CATEGORIES_FILE, repo_type="dataset"))
        except EntryNotFoundError:
            return None
    if not file.is_file():
        return None
    return PreferenceCategories.from_dict(json.loads(file.read_text(encoding="utf-8")))


def count_annotators(source: str, items: Dataset) -> int | None:
    """How many people judged the items, by the judgment table that `trl-dprm prepare` keeps beside them.

    Args:
        source (`str`): The folder that `prepare` wrote; other sources tell nothing.
        items ([`~datasets.Dataset`]): Some of its items, with their `item_id`.

    Returns:
        `int`, or `None` where there is no such table.
    """
    file = Path(source) / JUDGMENTS_FILE
    if not file.is_file() or not isinstance(items, Dataset) or "item_id" not in items.column_names:
        return None
    judgments = pq.read_table(file, columns=["item_id", "annotator_id"])
    of_items = pc.is_in(judgments["item_id"], value_set=pa.array(items["item_id"][:]))
    return len(pc.unique(judgments["annotator_id"].filter(of_items)))


def _read_file(source, streaming):
    """One file by its ending."""
    file_format = FILE_FORMATS.get(Path(source).suffix.lower())
    if file_format is None:
        raise ValueError(f"`{source}` is no data set: its name must end in {', '.join(FILE_FORMATS)}.")
    if Path(source).stat().st_size == 0:
        raise ValueError(f"`{source}` is empty: there are no rows to read.")
    splits = load_dataset(file_format, data_files=str(source), streaming=streaming)
    columns = splits["train"].column_names  # `None` for a stream
    if file_format == "csv" and (columns is None or set(columns) & set(CSV_JSON_COLUMNS)):
        return splits.map(_decode_json)
    return splits


def _decode_json(example):
    """The columns of a CSV row that hold JSON, decoded."""
    present = [name for name in CSV_JSON_COLUMNS if name in example]
    return {name: json.loads(example[name]) if example[name] else None for name in present}


def _is_saved_to_disk(source):
    """Whether `save_to_disk` wrote the folder."""
    return any((Path(source) / name).is_file() for name in ("dataset_dict.json", "state.json"))


def _cache_of_folder(source):
    """A cache of the folder's own, as it is now.

    `load_dataset` knows a folder with a `configs` section in its README by the folder's name and that section alone:
    it would answer with what another folder of that name, or this one before it changed, once held.
    """
    files = sorted(file for file in Path(source).rglob("*") if file.is_file())
    state = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return Path(datasets.config.HF_DATASETS_CACHE) / "folders" / hashlib.sha256(repr(state).encode()).hexdigest()[:32]


def _as_splits(saved, streaming):
    """One data set or several, as named splits."""
    splits = saved if isinstance(saved, DatasetDict) else DatasetDict(train=saved)
    if streaming:
        return IterableDatasetDict({name: dataset.to_iterable_dataset() for name, dataset in splits.items()})
    return splits
