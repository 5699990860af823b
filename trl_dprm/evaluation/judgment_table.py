"""The table of judgments that lies beside a data set, matched to the items that a model scored."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..preferences import AnnotationColumns, Judgments, PreferenceCategories, open_annotations, read_judgments
from ..preferences.prepared_folder import JUDGMENTS_FILE
from .judged_items import SingleVotes


def judgments_of_data(source: str) -> str | None:
    """The table of judgments that `trl-dprm prepare` keeps in its folder, `None` where there is none.

    Args:
        source (`str`): `PATH|HUB_ID` of the data.
    """
    file = Path(source) / JUDGMENTS_FILE
    return str(file) if file.is_file() else None


def read_single_votes(
    source: str,
    item_ids: Sequence,
    categories: PreferenceCategories,
    columns: AnnotationColumns = AnnotationColumns(),  # noqa: B008 (frozen)
) -> SingleVotes:
    """Read the judgments of some items: who chose what, from which groups.

    Args:
        source (`str`): the table of judgments: a `.csv`, `.json`, `.jsonl` or `.parquet` file, or a folder that
            `trl-dprm prepare` wrote. Judgments of other items are left out.
        item_ids (sequence of length N): the items' ids, in their order.
        categories ([`~trl_dprm.preferences.PreferenceCategories`]): the K known ones.
        columns ([`~trl_dprm.preferences.AnnotationColumns`]): which column says what, groups too.

    Returns:
        [`SingleVotes`]. An annotator's several judgments of one item share one vote evenly, as `prepare` counts them.

    Raises:
        FileNotFoundError: if there is no such table.
        ValueError: for a table that cannot be read (naming column and remedy), or one without judgments of the items.
    """
    path = judgments_of_data(source) if Path(source).is_dir() else source
    if path is None or not Path(path).exists():
        raise FileNotFoundError(
            f"No table of judgments at {Path(source).absolute()}: give a .csv, .json, .jsonl or .parquet file with "
            f"one row per judgment, or a folder with the `{JUDGMENTS_FILE}` that `trl-dprm prepare` wrote."
        )
    judgments = read_judgments(open_annotations(path), categories, columns)
    row_of = {item: row for row, item in enumerate(item_ids)}
    rows = np.array([row_of.get(item, -1) for item in judgments.item_ids.to_pylist()])[judgments.item]
    kept = (rows >= 0) & (judgments.annotator >= 0)
    if not kept.any():
        raise ValueError(
            f"`{path}` has judgments of {len(judgments.item_ids)} items, but of none of the {len(item_ids)} that were "
            f"scored: their ids, such as {item_ids[0]!r}, do not occur in its column {columns.item_id!r}. Give the "
            "table that these items were made from."
        )
    annotators = judgments.annotator_ids.to_numpy(zero_copy_only=False)
    return SingleVotes(
        item=rows[kept],
        annotator=annotators[judgments.annotator[kept]],
        category=judgments.category[kept],
        weight=_shares(judgments)[kept],
        groups={name: _names(*group)[kept] for name, group in judgments.groups.items()},
    )


def _shares(judgments: Judgments) -> np.ndarray:
    """What each row counts: one vote per annotator and item, times the judgment's own weight."""
    answers = (
        pd.Series(1, index=range(len(judgments.item))).groupby([judgments.item, judgments.annotator]).transform("sum")
    )
    shares = 1 / answers.to_numpy(dtype=np.float64)
    return shares if judgments.weight is None else shares * np.nan_to_num(judgments.weight)


def _names(codes: np.ndarray, names) -> np.ndarray:
    """The group of each row by name, `None` where it is missing."""
    values = np.array([*(str(name) for name in names.to_pylist()), None], dtype=object)
    return values[codes]
