"""ConvAbuse vote by vote: who gave which level to which user turn."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from trl_dprm.preferences import (
    AnnotationColumns,
    PreferenceCategories,
    open_annotations,
    prepare_targets,
    split_by_hash,
)

from .ratings import NO_VOTE

LEVELS = (-3, -2, -1, 0, 1)
CATEGORIES = PreferenceCategories(
    names=["very strongly abusive", "strongly abusive", "mildly abusive", "ambiguous", "not abusive"],
    rewards=[float(level) for level in LEVELS],
)
TURN = ("conv_id", "prev_agent", "prev_user", "agent", "user")


@dataclass(frozen=True)
class JudgedTurns:
    """User turns and the level that each annotator gave them.

    Args:
        texts (`pd.DataFrame` of *num_items* rows):
            `item_id`, `conv_id`, `prompt` (empty), `completion` (the user turn), `text` (what an uncased encoder can
            tell apart of it) and `part`, 70/10/20 by a hash of the conversation.
        ratings (`np.ndarray` of `int` of shape *(num_items, num_annotators)*): −1 where the annotator did not judge.
        annotators (`list[str]`): Names of the columns.
    """

    texts: pd.DataFrame
    ratings: np.ndarray
    annotators: list[str]

    def rows(self, kept: np.ndarray) -> "JudgedTurns":
        """Some of the items, by numbers or by a mask."""
        return JudgedTurns(self.texts[kept].reset_index(drop=True), self.ratings[kept], self.annotators)

    def part(self, name: str) -> "JudgedTurns":
        """The items of one part."""
        return self.rows((self.texts["part"] == name).to_numpy())


def read_turns(source: str, split: str = "train") -> JudgedTurns:
    """Read the judgments; of several by one annotator on one item the first counts.

    Args:
        source (`str`): CSV or Parquet file, or Hub id, with one row per judgment.
        split (`str`): Of a Hub dataset.

    Raises:
        FileNotFoundError: if there is nothing to read, from `open_annotations`.
    """
    table = open_annotations(source, split)
    one_hot = [f"is_abuse.{level}" for level in LEVELS]
    of_the_judgment = [name for name in table.schema.names if name not in (*TURN, "annotator_id", *one_hot)]
    columns = AnnotationColumns(item_id=TURN, category_columns=one_hot, judgment=of_the_judgment)
    prepared = prepare_targets(table, CATEGORIES, columns)
    items = prepared.items.to_pandas()
    judgments = prepared.judgments.to_pandas()[["item_id", "annotator_id", "category"]].astype(str)
    first = judgments.drop_duplicates(["item_id", "annotator_id"]).assign(
        category=lambda rows: rows["category"].map(CATEGORIES.names.index)
    )
    ratings = first.pivot(index="item_id", columns="annotator_id", values="category")
    ratings = ratings.reindex(items["item_id"].astype(str)).fillna(NO_VOTE).astype(int)
    texts = pd.DataFrame(
        {
            "item_id": items["item_id"],
            "conv_id": items["conv_id"],
            "prompt": "",
            "completion": items["user"],
            "text": items["user"].str.casefold().str.split().str.join(" "),
            "part": split_by_hash(items["conv_id"]),
        }
    )
    return JudgedTurns(texts, ratings.to_numpy(), list(ratings.columns))
