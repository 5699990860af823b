"""Tables with one row per item: votes already counted, lists of labels, or ready distributions."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from .annotations import AnnotationColumns, read_batches, require_columns
from .categories import PreferenceCategories
from .column_codes import (
    as_distributions,
    as_numbers,
    as_vectors,
    encode_categories,
    encode_items,
    refuse_rows,
)
from .votes import ItemVotes

ITEM_ROWS = {"counts": "target_counts", "labels": "labels", "distributions": "target_probs"}


def read_item_rows(
    table: pyarrow.dataset.Dataset,
    categories: PreferenceCategories,
    columns: AnnotationColumns,
    rows: str,
    progress: bool = False,
) -> tuple[pa.Array, ItemVotes, pa.Table]:
    """Read a table of one row per item.

    * `"counts"`: `target_counts`, votes per category, taken as those of different annotators;
    * `"labels"`: `labels`, a list of category names or indices, each of another annotator;
    * `"distributions"`: `target_probs`, with `vote_weight` votes behind each (1 where the table does not say).

    A column `num_annotators` is kept; without it a distribution's is 0, for unknown.

    Args:
        table (`pyarrow.dataset.Dataset` of N rows): from [`~trl_dprm.preferences.open_annotations`].
        categories ([`PreferenceCategories`]): the K categories.
        columns ([`AnnotationColumns`]): which column identifies the item.
        rows (`str`): what a row holds, a key of `ITEM_ROWS`.
        progress (`bool`): show a progress bar.

    Returns:
        the item ids (`pyarrow.Array` of length N), [`ItemVotes`], and the items' other columns (`pyarrow.Table`).

    Raises:
        ValueError: naming row, column, value and remedy, for a missing column, an empty table, empty or repeated item
            ids, vectors of wrong length, with negative or NaN entries, probabilities that do not sum to 1, and unknown
            categories.
    """
    name = ITEM_ROWS[rows]
    require_columns(table, [*columns.item_key, name], f"rows={rows!r}")
    batches = list(read_batches(table, table.schema.names, "Reading items" if progress else None))
    if not sum(map(len, batches)):
        raise ValueError("the table has no rows; give one row per item.")
    read = pa.Table.from_batches(batches)
    item, item_ids = encode_items(read, columns.item_key)
    repeated = np.concatenate([[False], item[1:] <= np.maximum.accumulate(item)[:-1]])
    if repeated.any():
        ids = item_ids[int(item[np.argmax(repeated)])].as_py()
        refuse_rows(repeated, " + ".join(columns.item_key), f"item {ids!r} has a row before; give one row per item")
    used = {name, "num_annotators", *(["vote_weight"] if rows == "distributions" else [])}
    votes = _votes(read, categories, rows)
    own = [column for column in columns.item_level(read.column_names) if column not in used]
    return item_ids, votes, read.select(own)


def _votes(read: pa.Table, categories: PreferenceCategories, rows: str) -> ItemVotes:
    """The votes of each row, and how many annotators cast them."""
    size, column = len(categories), read[ITEM_ROWS[rows]]
    if rows == "counts":
        counts = as_vectors(column, "target_counts", size)
        annotators = np.rint(counts.sum(axis=1))
    elif rows == "labels":
        counts = _counted_labels(column, categories)
        annotators = counts.sum(axis=1)
    else:
        counts = as_distributions(column, "target_probs", size)
        if "vote_weight" in read.column_names:
            counts = counts * as_numbers(read["vote_weight"], "vote_weight")[:, None]
        annotators = np.zeros(len(counts))
    if "num_annotators" in read.column_names:
        annotators = as_numbers(read["num_annotators"], "num_annotators")
    return ItemVotes(counts, counts.sum(axis=1), annotators.astype(np.int64))


def _counted_labels(column: pa.ChunkedArray, categories: PreferenceCategories) -> np.ndarray:
    """How often each category stands in each row's list, shape `(N, K)`."""
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise ValueError(f"column 'labels' holds {column.type}; give a list of category names or indices per row.")
    column = pa.chunked_array([column.combine_chunks()])
    row_of = pc.list_parent_indices(column).to_numpy()
    codes = encode_categories(pc.list_flatten(column), "labels", categories, row_of)
    missing = np.isin(np.arange(len(column)), row_of[codes < 0])
    refuse_rows(missing, "labels", "a label is missing; leave it out of the list")
    counts = np.bincount(row_of * len(categories) + codes, minlength=len(column) * len(categories))
    return counts.reshape(len(column), len(categories)).astype(np.float64)
