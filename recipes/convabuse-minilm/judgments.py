"""Who said what: one row per item and annotator, which pairs and intervals over annotators need."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from data import CATEGORIES, data_folder, prepare_parts, read_source

COLUMNS = ["item_id", "annotator_id", "category"]


@dataclass
class ItemVotes:
    """What each annotator said of each item.

    Args:
        votes (`np.ndarray` of shape *(num_items, num_annotators, num_categories)*): Each annotator's vote on each
            item, summing to 1 (shared where the annotator gave several answers), or 0 everywhere.
        annotators (`list[str]`): Their names.
    """

    votes: np.ndarray
    annotators: list[str]

    @property
    def judged(self) -> np.ndarray:
        """Whether the annotator judged the item, `bool` of shape *(num_items, num_annotators)*."""
        return self.votes.any(axis=2)


def votes_of_items(judgments: pd.DataFrame, items: pd.DataFrame) -> ItemVotes:
    """The judgments of these items, in their order.

    Args:
        judgments (`pd.DataFrame`): With `item_id`, `annotator_id` and `category` (its index), one row per judgment.
        items (`pd.DataFrame`): With `item_id`.
    """
    annotators = sorted(judgments["annotator_id"].unique())
    rows = pd.Index(items["item_id"]).get_indexer(judgments["item_id"])
    columns = pd.Index(annotators).get_indexer(judgments["annotator_id"])
    counts = np.zeros((len(items), len(annotators), len(CATEGORIES)))
    np.add.at(counts, (rows, columns, judgments["category"].to_numpy()), 1.0)
    return ItemVotes(counts / counts.sum(axis=2, keepdims=True).clip(min=1.0), annotators)


def prepare_judgments(arguments: RecipeArguments) -> dict[str, pd.DataFrame]:
    """Write the judgments of each part, those of the test part apart, and read all but those.

    Only `read_test_judgments` opens the test judgments, and only `table.py` calls it.

    Returns:
        `dict[str, pd.DataFrame]`: `train` and `validation`, with `item_id`, `annotator_id` and `category`.
    """
    parts = prepare_parts(arguments)
    folder = data_folder(arguments)
    if not (folder / "test_judgments.parquet").exists():
        judgments = read_source(arguments.dataset, arguments.dataset_split).judgments.to_pandas()
        judgments["category"] = judgments["category"].map({name: k for k, name in enumerate(CATEGORIES.names)})
        for part in ("train", "validation", "test"):  # the test part last: it says that all are there
            own = judgments.loc[judgments["item_id"].isin(parts[part]["item_id"]), COLUMNS]
            own.to_parquet(folder / f"{part}_judgments.parquet", index=False)
    return {part: pd.read_parquet(folder / f"{part}_judgments.parquet") for part in ("train", "validation")}


def read_test_judgments(arguments: RecipeArguments) -> pd.DataFrame:
    """The judgments of the test items."""
    return pd.read_parquet(data_folder(arguments) / "test_judgments.parquet")
