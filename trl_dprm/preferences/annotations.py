"""Annotation tables from anywhere, as one Arrow dataset that is read column by column, batch by batch."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
from tqdm.auto import tqdm

BATCH_ROWS = 131_072
CSV_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class AnnotationColumns:
    """Which column of an annotation table says what; every other column is taken as the item's own.

    Args:
        item_id (`str` or sequence of `str`): the item, as text or whole numbers. Several columns together identify it
            where the table has no id; its id is then a hash of their values.
        annotator_id (`str`): who judged, as text or whole numbers.
        category (`str`): the chosen category, by name or index (from 0).
        category_columns (sequence of `str`, *optional*): instead of `category`, one 0/1 column per category, in the
            order of the categories.
        weight (`str`): relative importance of the judgment, not negative; used where the table has it.
        timestamp (`str`): a number or an Arrow timestamp; used where the table has it.
        groups (sequence of `str`): the annotators' groups, for population weights; `group` where the table has it.
        judgment (sequence of `str`): further columns that belong to the judgment, not to the item: kept with it.

    >>> AnnotationColumns(item_id="turn", annotator_id="worker").category
    'category'
    """

    item_id: str | Sequence[str] = "item_id"
    annotator_id: str = "annotator_id"
    category: str = "category"
    category_columns: Sequence[str] | None = None
    weight: str = "weight"
    timestamp: str = "timestamp"
    groups: Sequence[str] = ()
    judgment: Sequence[str] = ()

    @property
    def item_key(self) -> tuple[str, ...]:
        """The columns that identify the item."""
        return (self.item_id,) if isinstance(self.item_id, str) else tuple(self.item_id)

    @property
    def choice(self) -> tuple[str, ...]:
        """The column, or the 0/1 columns, that hold the chosen category."""
        return tuple(self.category_columns or (self.category,))

    def judgment_level(self, present: Sequence[str]) -> list[str]:
        """The columns among `present` that belong to the judgment, in the order of this class."""
        groups = self.group_columns(present)
        names = (self.annotator_id, *self.choice, self.weight, self.timestamp, *groups, *self.judgment)
        return list(dict.fromkeys(name for name in names if name in present))

    def group_columns(self, present: Sequence[str]) -> list[str]:
        """The group columns among `present`."""
        return [name for name in self.groups or ("group",) if name in present]

    def item_level(self, present: Sequence[str]) -> list[str]:
        """The item's own columns among `present`; its id is not among them unless several columns make it."""
        taken = {*self.judgment_level(present), *(self.item_key if len(self.item_key) == 1 else ())}
        return [name for name in present if name not in taken]


def open_annotations(source, split: str = "train", subset: str | None = None) -> pyarrow.dataset.Dataset:
    """Open a table for reading in batches, without loading it.

    A CSV file's columns are text, numbers being read where numbers are needed; an item's own numbers and lists want
    Parquet or JSON Lines. JSON and Hub ids go through `datasets.load_dataset` and its cache.

    Args:
        source (`datasets.Dataset`, `pyarrow.Table`, `pandas.DataFrame`, `pyarrow.dataset.Dataset` or path): an open
            table; a file that ends in `.csv`, `.parquet`, `.json` or `.jsonl` (CSV also compressed, as `.csv.gz`); a
            folder that `load_dataset` reads; or a Hub id.
        split (`str`): the part of a folder's or Hub id's data to read.
        subset (`str`, *optional*): the configuration of a folder's or Hub id's data.

    Returns:
        `pyarrow.dataset.Dataset`

    Raises:
        FileNotFoundError: for a path with one of these endings that does not exist.
        TypeError: for a source of another type.

    >>> open_annotations(pd.DataFrame({"item_id": ["a"], "annotator_id": [1], "category": ["good"]})).schema.names
    ['item_id', 'annotator_id', 'category']
    """
    if isinstance(source, pyarrow.dataset.Dataset):
        return source
    if isinstance(source, datasets.Dataset):
        return pyarrow.dataset.dataset(source.with_format("arrow")[:])
    if isinstance(source, pd.DataFrame):
        return pyarrow.dataset.dataset(pa.Table.from_pandas(source, preserve_index=False))
    if isinstance(source, pa.Table):
        return pyarrow.dataset.dataset(source)
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source), split, subset)
    raise TypeError(
        f"annotations are a {type(source).__name__}; give one split of a datasets.Dataset, a pyarrow.Table, a pandas "
        "DataFrame, a CSV, JSON, JSONL or Parquet path, or a Hub id."
    )


def read_batches(
    table: pyarrow.dataset.Dataset, columns: Sequence[str], description: str | None = None, num_rows: int | None = None
) -> Iterator[pa.RecordBatch]:
    """The table's columns in order of its rows, dictionaries decoded and NaN as null.

    Args:
        table (`pyarrow.dataset.Dataset`): from [`open_annotations`].
        columns (sequence of `str`): the columns to read; others are not touched.
        description (`str`, *optional*): text of a progress bar, default none.
        num_rows (`int`, *optional*): length of that bar, where it is known.

    Yields:
        `pyarrow.RecordBatch` of at most about `BATCH_ROWS` rows.
    """
    if isinstance(table, pyarrow.dataset.FileSystemDataset) and table.format.default_extname == "parquet":
        batches = _parquet_batches(table, columns)
    else:
        batches = table.to_batches(columns=list(columns), batch_size=BATCH_ROWS, batch_readahead=4)
    with tqdm(total=num_rows, desc=description, unit=" rows", unit_scale=True, disable=description is None) as bar:
        for batch in batches:
            yield pa.RecordBatch.from_arrays([decoded(column) for column in batch.columns], batch.schema.names)
            bar.update(len(batch))


def _parquet_batches(table: pyarrow.dataset.FileSystemDataset, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Page by page: the dataset's own scanner holds whole row groups, which can be the whole file."""
    for fragment in table.get_fragments():
        with pyarrow.parquet.ParquetFile(fragment.path, filesystem=fragment.filesystem) as file:
            yield from file.iter_batches(BATCH_ROWS, columns=list(columns))


def decoded(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The column with a dictionary's values in place of its codes, and null in place of NaN.

    Args:
        column (`pyarrow.Array` or `pyarrow.ChunkedArray`): of any type.

    Returns:
        The same kind of array, of the same length.
    """
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    return column


def require_columns(table: pyarrow.dataset.Dataset, columns: Sequence[str], option: str) -> None:
    """Refuse a table that lacks a column.

    Args:
        table (`pyarrow.dataset.Dataset`): the table.
        columns (sequence of `str`): what it must have.
        option (`str`): which option points to them, for the message.

    Raises:
        ValueError: naming the first one that is missing, the option, and the columns that are there.
    """
    for name in columns:
        if name not in table.schema.names:
            raise ValueError(f"the table has no column {name!r} for {option}; it has {table.schema.names}.")


def _open_path(path: str, split: str, subset: str | None) -> pyarrow.dataset.Dataset:
    """A file by its ending, else what `load_dataset` makes of the folder or Hub id."""
    suffixes = {suffix.lower() for suffix in Path(path).suffixes[-2:]}
    is_file = os.path.isfile(path)
    if not is_file and suffixes & {".csv", ".parquet", ".json", ".jsonl"} and not os.path.isdir(path):
        raise FileNotFoundError(f"annotations are the path {path!r}, which does not exist; correct the path.")
    if is_file and ".csv" in suffixes:
        return _open_csv(path)
    if is_file and ".parquet" in suffixes:
        return pyarrow.dataset.dataset(path, format="parquet")
    if is_file and suffixes & {".json", ".jsonl"}:
        return open_annotations(datasets.load_dataset("json", data_files=path, split="train"))
    if is_file:
        raise ValueError(f"annotations are the file {path!r}; its name ends in .csv, .json, .jsonl or .parquet.")
    return open_annotations(datasets.load_dataset(path, subset, split=split))


def _open_csv(path: str) -> pyarrow.dataset.Dataset:
    """A CSV file with every column as text: types guessed from the first block would fail further down."""
    parse_options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    header = pyarrow.dataset.dataset(path, format=pyarrow.dataset.CsvFileFormat(parse_options)).schema.names
    scan_options = pyarrow.dataset.CsvFragmentScanOptions(
        convert_options=pyarrow.csv.ConvertOptions(column_types={name: pa.string() for name in header}),
        read_options=pyarrow.csv.ReadOptions(block_size=CSV_BLOCK_BYTES),
    )
    return pyarrow.dataset.dataset(
        path, format=pyarrow.dataset.CsvFileFormat(parse_options, default_fragment_scan_options=scan_options)
    )
