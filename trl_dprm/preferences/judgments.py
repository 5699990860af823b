"""The judgments of an annotation table as small integer codes, every row checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.dataset

from .annotations import AnnotationColumns, read_batches, require_columns
from .categories import PreferenceCategories
from .column_codes import (
    as_numbers,
    as_times,
    encode,
    encode_categories,
    encode_items,
    encode_one_hot,
    refuse_rows,
)


@dataclass
class Judgments:
    """R judgments of N items by A annotators, columnar. Rows are the table's, counted from 0.

    Args:
        item (`np.ndarray` of shape `(R,)`): item of each row, numbered in the order of first appearance.
        annotator (`np.ndarray` of shape `(R,)`): annotator of each row; −1 in a row that only lists its item.
        category (`np.ndarray` of shape `(R,)`): category of each row; −1 in a row that only lists its item.
        weight (`np.ndarray` of shape `(R,)`, *optional*): relative importance of each row, not negative.
        timestamp (`np.ndarray` of shape `(R,)`, *optional*): numbers that increase with time.
        item_ids (`pyarrow.Array` of length N): text or whole numbers.
        annotator_ids (`pyarrow.Array` of length A): text or whole numbers.
        groups (`dict` of pairs): for each group column the codes of shape `(R,)`, −1 where missing, and their names.
        kept (`dict` of columns of length R): what else belongs to the judgment, under its name in the output.
    """

    item: np.ndarray
    annotator: np.ndarray
    category: np.ndarray
    weight: np.ndarray | None
    timestamp: np.ndarray | None
    item_ids: pa.Array
    annotator_ids: pa.Array
    groups: Mapping[str, tuple[np.ndarray, pa.Array]]
    kept: Mapping[str, pa.ChunkedArray]

    @cached_property
    def first_row_of_item(self) -> np.ndarray:
        """Whether a row is the first of its item, shape `(R,)`."""
        latest = np.maximum.accumulate(self.item)
        return np.concatenate([[True], latest[1:] > latest[:-1]])

    def table(self, categories: PreferenceCategories) -> pa.Table:
        """The judgment table under the reserved names, its codes as Arrow dictionaries.

        Args:
            categories ([`PreferenceCategories`]): those that the table was read with.

        Returns:
            `pyarrow.Table` of R rows.
        """
        columns = {
            "item_id": _dictionary(self.item, self.item_ids),
            "annotator_id": _dictionary(self.annotator, self.annotator_ids),
            "category": _dictionary(self.category, pa.array(categories.names)),
        }
        columns.update({name: _dictionary(*group) for name, group in self.groups.items()})
        return pa.table({**columns, **self.kept})

    def groups_of_annotators(self, variables: Sequence[str]) -> dict[str, list]:
        """For each variable the group of each of the A annotators, as `population_weights` wants them.

        Args:
            variables (sequence of `str`): names of group columns.

        Returns:
            `dict` of lists of length A, in the order of `annotator_ids`.

        Raises:
            ValueError: naming row, annotator and column, for a missing group, one that changes between an annotator's
                judgments, and a variable that is not among the group columns.
        """
        return {variable: self._groups_of_annotators(variable) for variable in variables}

    def _groups_of_annotators(self, variable: str) -> list:
        """The group of each annotator by one variable."""
        if variable not in self.groups:
            raise ValueError(
                f"population has the variable {variable!r}, which is not among the group columns {list(self.groups)}; "
                "name its column in groups."
            )
        codes, names = self.groups[variable]
        voted = self.annotator >= 0
        refuse_rows(voted & (codes < 0), variable, "the annotator's group is missing; fill it in")
        of_annotator = np.zeros(len(self.annotator_ids), dtype=np.int32)
        of_annotator[self.annotator[voted][::-1]] = codes[voted][::-1]
        changes = voted & (of_annotator[self.annotator] != codes)
        if changes.any():
            row = int(np.argmax(changes))
            who = self.annotator_ids[int(self.annotator[row])].as_py()
            now, before = names[int(codes[row])].as_py(), names[int(of_annotator[self.annotator[row]])].as_py()
            refuse_rows(
                changes, variable, f"annotator {who!r} is {now!r} here and {before!r} before; give everyone one group"
            )
        return names.take(pa.array(of_annotator)).to_pylist()


def read_judgments(
    table: pyarrow.dataset.Dataset,
    categories: PreferenceCategories,
    columns: AnnotationColumns,
    progress: bool = False,
) -> Judgments:
    """Read and check the judgment columns of a table; the items' own columns stay unread.

    A row whose annotator and category are both missing only lists its item: one that nobody has judged yet.

    Args:
        table (`pyarrow.dataset.Dataset` of R rows): from [`~trl_dprm.preferences.open_annotations`].
        categories ([`PreferenceCategories`]): the known ones.
        columns ([`AnnotationColumns`]): which column says what.
        progress (`bool`): show a progress bar.

    Returns:
        [`Judgments`]

    Raises:
        ValueError: naming row, column, value and remedy, for a missing column, an empty table, empty item ids, a
            missing annotator or category, unknown categories (listing the known ones), 0/1 columns that mark several
            categories, weights that are negative or not finite, and times that cannot be read.

    >>> from trl_dprm.preferences import PreferenceCategories, open_annotations
    >>> rows = {"item_id": ["a", "a", "b"], "annotator_id": [7, 8, 7], "category": ["good", "bad", "good"]}
    >>> quality = PreferenceCategories(["bad", "good"], [0.0, 1.0])
    >>> judgments = read_judgments(open_annotations(pa.table(rows)), quality, AnnotationColumns())
    >>> judgments.item, judgments.annotator, judgments.category
    (array([0, 0, 1], dtype=int32), array([0, 1, 0], dtype=int32), array([1, 0, 1], dtype=int32))
    """
    rows = _read_rows(table, columns, progress)
    item, item_ids = encode_items(rows, columns.item_key)
    annotator, annotator_ids = encode(rows[columns.annotator_id], columns.annotator_id)
    if columns.category_columns:
        category = encode_one_hot(rows, columns.choice, len(categories))
    else:
        category = encode_categories(rows[columns.category], columns.category, categories)
    refuse_rows(
        (annotator < 0) & (category >= 0),
        columns.annotator_id,
        "the annotator is missing; give every judgment its annotator, or each row its own id where they are unknown",
    )
    refuse_rows(
        (annotator >= 0) & (category < 0), columns.choice[0], "the category is missing; fill it in or remove the row"
    )
    present = rows.column_names
    weight = as_numbers(rows[columns.weight], columns.weight, category >= 0) if columns.weight in present else None
    time = (
        as_times(rows[columns.timestamp], columns.timestamp, category >= 0) if columns.timestamp in present else None
    )
    kept = {"weight": pa.array(weight, mask=np.isnan(weight))} if weight is not None else {}
    kept |= {"timestamp": rows[columns.timestamp]} if time is not None else {}
    kept |= {name: rows[name] for name in columns.judgment}
    groups = {name: encode(rows[name], name) for name in columns.group_columns(present)}
    return Judgments(item, annotator, category, weight, time, item_ids, annotator_ids, groups, kept)


def _read_rows(table: pyarrow.dataset.Dataset, columns: AnnotationColumns, progress: bool) -> pa.Table:
    """The columns that judgments are made of, in memory."""
    require_columns(table, columns.item_key, "item_id")
    require_columns(table, [columns.annotator_id], "annotator_id")
    require_columns(table, columns.choice, "category_columns" if columns.category_columns else "category")
    require_columns(table, columns.groups, "groups")
    require_columns(table, columns.judgment, "judgment")
    wanted = list(dict.fromkeys([*columns.item_key, *columns.judgment_level(table.schema.names)]))
    batches = [batch for batch in read_batches(table, wanted, "Reading judgments" if progress else None) if len(batch)]
    if not batches:
        raise ValueError("the annotation table has no rows; give one row per judgment.")
    return pa.Table.from_batches(batches)


def _dictionary(codes: np.ndarray, values: pa.Array) -> pa.DictionaryArray:
    """Codes, −1 as null, with their values."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), values)
