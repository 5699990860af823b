"""Results of commands, written whole or not at all."""

import json
import os
from pathlib import Path

from datasets import Dataset

from ..hub.whole_file import whole_file

TABLE_FORMATS = (".jsonl", ".csv", ".parquet")


def check_output(path: str, formats: tuple[str, ...]) -> None:
    """Find out before the work whether its result can be written.

    Args:
        path (`str`): The file to write.
        formats (`tuple[str, ...]`): The endings that it may have, with their dots.

    Raises:
        ValueError: for another ending than those in `formats`.
        FileNotFoundError: if the folder is missing.
        PermissionError: if it cannot be written to.
    """
    folder = Path(path).absolute().parent
    if Path(path).suffix.lower() not in formats:
        raise ValueError(f"`output` is `{path}`: its name must end in {', '.join(formats)}.")
    if not folder.is_dir():
        raise FileNotFoundError(f"The folder of `output`, {folder}, does not exist: make it, or choose another.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"The folder of `output`, {folder}, cannot be written to: choose another.")


def write_table(table: Dataset, path: str) -> None:
    """Write a data set, whole or not at all.

    Args:
        table ([`~datasets.Dataset`]): What to write.
        path (`str`): With one of `TABLE_FORMATS` as ending, which is the format; lists in CSV are written as JSON.

    Raises:
        OSError: if it cannot be written there.
    """
    suffix = Path(path).suffix.lower()
    with whole_file(path) as unfinished:
        if suffix == ".jsonl":
            table.to_json(unfinished, force_ascii=False)
        elif suffix == ".parquet":
            table.to_parquet(unfinished)
        else:
            table.map(_lists_as_json, load_from_cache_file=False, desc="Writing lists as JSON").to_csv(unfinished)


def write_metrics(metrics: dict[str, float], path: str) -> None:
    """Write metrics as JSON, whole or not at all.

    Args:
        metrics (`dict[str, float]`): By name.
        path (`str`): The file, `.json`.

    Raises:
        OSError: if it cannot be written there.
    """
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def _lists_as_json(example):
    """The columns of a row that CSV has no notation for, as JSON."""
    return {name: json.dumps(value) for name, value in example.items() if isinstance(value, list | dict)}
