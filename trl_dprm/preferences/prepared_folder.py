"""The folder that prepared targets are written to: all of it appears at once, or nothing."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from .annotations import BATCH_ROWS, decoded
from .categories import PreferenceCategories

CATEGORIES_FILE = "categories.json"
JUDGMENTS_FILE = "judgments.parquet"


@contextmanager
def new_folder(path: str | os.PathLike, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder to write in, which becomes `path` when the block ends without an error.

    It lies beside `path`, so that the last step is a rename: an interrupted run leaves nothing under `path` that could
    be loaded. Entering already refuses a place that cannot be written, before any work is done.

    Args:
        path (`str` or path): the folder to make.
        overwrite (`bool`): replace a folder that prepared targets were written to before.

    Yields:
        `Path`

    Raises:
        OSError: if the folder cannot be made there.
        FileExistsError: if there is something already, unless it may be overwritten.

    >>> import tempfile
    >>> parent = tempfile.mkdtemp()
    >>> with new_folder(f"{parent}/prepared") as folder:
    ...     _ = (folder / "a.txt").write_text("done")
    >>> os.listdir(parent), os.listdir(f"{parent}/prepared")
    (['prepared'], ['a.txt'])
    """
    path = Path(os.path.abspath(path))
    _refuse_existing(path, overwrite)
    partial, replaced = (path.with_name(f".{path.name}.{state}-{os.getpid()}") for state in ("partial", "replaced"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
    except OSError as error:
        raise OSError(
            f"the output folder {str(path)!r} cannot be made ({error}); choose one that can be written."
        ) from error
    try:
        yield partial
        if path.exists():
            os.replace(path, replaced)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def write_prepared(
    folder: Path,
    items: pa.Table,
    judgments: pa.Table | None,
    categories: PreferenceCategories,
    parts: Sequence[str] | None = None,
    progress: bool = False,
) -> None:
    """Write prepared targets as a data set folder for `load_dataset`.

    `items.parquet`, or one file per part (`train.parquet` …); `judgments.parquet`, loaded as the configuration
    `"judgments"`; `categories.json` with the keys of `DPRMTrainingArguments`; and a `README.md` that tells
    `load_dataset` which is which.

    Args:
        folder (`Path`): an existing folder.
        items (`pyarrow.Table` of N rows), judgments (`pyarrow.Table`, *optional*): from `prepare_tables`.
        categories ([`PreferenceCategories`]): of the targets.
        parts (sequence of N `str`, *optional*): the part of each item, from `split_by_hash`.
        progress (`bool`): show progress bars.
    """
    files = {"train": "items.parquet"}
    if parts is None:
        _write_table(folder / "items.parquet", items, "Writing items" if progress else None)
    else:
        parts = pa.array(parts)
        files = {part: f"{part}.parquet" for part in dict.fromkeys(parts.to_pylist())}
        for part, name in files.items():
            _write_table(folder / name, items.filter(pc.equal(parts, part)), f"Writing {part}" if progress else None)
    if judgments is not None:
        _write_table(folder / JUDGMENTS_FILE, judgments, "Writing judgments" if progress else None)
    (folder / CATEGORIES_FILE).write_text(json.dumps(categories.to_dict(), indent=2, ensure_ascii=False) + "\n")
    (folder / "README.md").write_text(_data_card(folder, files, judgments is not None))


def _refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse a folder with something in it, but for prepared targets that may be overwritten."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / CATEGORIES_FILE).is_file():
        raise FileExistsError(f"the output folder {str(path)!r} exists and holds other things; choose another.")
    if not overwrite:
        raise FileExistsError(
            f"the output folder {str(path)!r} exists; choose another (`--output_dir`), or replace it by `--overwrite` "
            "(in Python `overwrite=True`)."
        )


def _write_table(path: Path, table: pa.Table, description: str | None) -> None:
    """Write a Parquet file batch by batch, dictionaries decoded; with a progress bar if described."""
    schema = pa.schema([(field.name, _plain_type(field.type)) for field in table.schema])
    with (
        pq.ParquetWriter(path, schema, store_schema=False) as writer,
        tqdm(total=len(table), desc=description, unit=" rows", unit_scale=True, disable=description is None) as bar,
    ):
        for batch in table.to_batches(max_chunksize=BATCH_ROWS):
            writer.write_batch(
                pa.RecordBatch.from_arrays([decoded(column) for column in batch.columns], schema=schema)
            )
            bar.update(len(batch))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """A dictionary's type of values; other types as they are."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _data_card(folder: Path, files: dict[str, str], with_judgments: bool) -> str:
    """A README that `load_dataset` reads. Its cache goes by the folder's name and this text: hence the digests."""
    lines = ["---", "configs:", "- config_name: items", "  default: true"]
    lines += [f"  description: {_digest(folder, *files.values())}", "  data_files:"]
    lines += [line for part, name in files.items() for line in (f"  - split: {part}", f"    path: {name}")]
    if with_judgments:
        lines += ["- config_name: judgments", f"  description: {_digest(folder, JUDGMENTS_FILE)}"]
        lines += [f"  data_files: {JUDGMENTS_FILE}"]
    lines += ["---", "", "Preference targets prepared by `trl-dprm prepare`: one row per item"]
    lines += [f"({', '.join(f'`{name}`' for name in files.values())}), the categories in `{CATEGORIES_FILE}`,"]
    lines += ["and the judgments beside them." if with_judgments else "one per line.", ""]
    return "\n".join(lines)


def _digest(folder: Path, *names: str) -> str:
    """A short text that changes with the content of these files."""
    digest = hashlib.blake2b(digest_size=8)
    for name in names:
        with open(folder / name, "rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return f"content {digest.hexdigest()}"
