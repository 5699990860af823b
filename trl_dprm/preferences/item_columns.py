"""The items' own columns (prompt, completion, prior …), gathered from the judgment rows that repeat them."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.dataset

from .annotations import read_batches
from .judgments import Judgments


def gather_item_columns(
    table: pyarrow.dataset.Dataset, columns: Sequence[str], judgments: Judgments, progress: bool = False
) -> pa.Table:
    """Take each item's columns from its first row, and check that its other rows say the same.

    The table is streamed twice, once to take and once to check: at no time are more than the items and a few batches
    in memory. Columns may be of any Arrow type, lists and structs included.

    Args:
        table (`pyarrow.dataset.Dataset` of R rows): the annotation table.
        columns (sequence of `str`): the items' own columns.
        judgments ([`Judgments`]): read from `table`.
        progress (`bool`): show a progress bar.

    Returns:
        `pyarrow.Table` of N rows, in the order of `judgments.item_ids`.

    Raises:
        ValueError: naming item, row, column and the two values, for a column that is not constant within an item.
    """
    if not columns:
        return pa.table({})
    taking, checking = ("Reading items", "Checking items") if progress else (None, None)
    is_first = judgments.first_row_of_item
    first_rows = [
        batch.filter(pa.array(is_first[rows])) for rows, batch in _row_batches(table, columns, judgments, taking)
    ]
    items = pa.Table.from_batches(first_rows).combine_chunks()
    for rows, batch in _row_batches(table, columns, judgments, checking):
        codes = pa.array(judgments.item[rows])
        for name in columns:
            _refuse_difference(items[name].take(codes), batch.column(name), name, judgments, rows.start)
    return items


def _row_batches(
    table: pyarrow.dataset.Dataset, columns: Sequence[str], judgments: Judgments, description: str | None
) -> Iterator[tuple[slice, pa.RecordBatch]]:
    """The table's batches and which rows they hold."""
    start = 0
    for batch in read_batches(table, columns, description, len(judgments.item)):
        yield slice(start, start + len(batch)), batch
        start += len(batch)


def _refuse_difference(expected: pa.ChunkedArray, found: pa.Array, name: str, judgments: Judgments, start: int):
    """Refuse rows that do not repeat their item's value; `start` is the row of the first one."""
    found = pa.chunked_array([found])
    if expected.equals(found):
        return
    place = _first_difference(expected, found)
    item = judgments.item_ids[int(judgments.item[start + place])].as_py()
    first_row = int(np.argmax(judgments.item == judgments.item[start + place]))
    raise ValueError(
        f"row {start + place}, column {name!r}: item {item!r} has {found[place].as_py()!r} here and "
        f"{expected[place].as_py()!r} in row {first_row}; make it the same in all rows of an item, or list the column "
        "among the judgment columns if it belongs to the judgment."
    )


def _first_difference(left: pa.ChunkedArray, right: pa.ChunkedArray) -> int:
    """Place of the first of unequal entries, by bisection: works for every Arrow type, nulls being equal."""
    low, high = 0, len(left)
    while high - low > 1:
        middle = (low + high) // 2
        if left.slice(low, middle - low).equals(right.slice(low, middle - low)):
            low = middle
        else:
            high = middle
    return low
