"""ConvAbuse as five ordered categories, with a split that is a rule and a test part whose votes lie apart."""

from pathlib import Path

import pandas as pd
from arguments import RecipeArguments

from trl_dprm.preferences import (
    AnnotationColumns,
    PreferenceCategories,
    PreparedTargets,
    open_annotations,
    prepare_targets,
    split_by_hash,
)

LEVELS = (-3, -2, -1, 0, 1)
CATEGORIES = PreferenceCategories(
    names=["very strongly abusive", "strongly abusive", "mildly abusive", "ambiguous", "not abusive"],
    rewards=[float(level) for level in LEVELS],
)
TURN = ("conv_id", "prev_agent", "prev_user", "agent", "user")
VOTES = ["target_counts", "target_probs", "vote_weight"]


def read_source(source: str, split: str) -> PreparedTargets:
    """The judged turns with the votes on them, and the judgments.

    `example_no` numbers the *judgments*: an item is a distinct user turn with its conversation and its context. An
    annotator who judged it twice counts once, split over the answers.

    Args:
        source (`str`): CSV or Parquet file, or Hub id, with one row per judgment.
        split (`str`): Of a Hub dataset.

    Returns:
        [`~trl_dprm.preferences.PreparedTargets`]; the items have the columns of `prepare_targets` and of the turn.
    """
    table = open_annotations(source, split)
    one_hot = [f"is_abuse.{level}" for level in LEVELS]
    of_the_judgment = [name for name in table.schema.names if name not in (*TURN, "annotator_id", *one_hot)]
    columns = AnnotationColumns(item_id=TURN, category_columns=one_hot, judgment=of_the_judgment)
    return prepare_targets(table, CATEGORIES, columns, progress=True)


def add_texts(items: pd.DataFrame, context: bool) -> pd.DataFrame:
    """Add what the model reads, the part of each item, and whether its judged text occurs in training.

    The text is `user`; with context, `agent: <agent>` and `user: ` stand before it on two lines. The part is a rule:
    70/10/20 by a hash of the conversation id. Texts count as equal where an uncased encoder cannot tell them apart.
    """
    judged = items["user"].str.casefold().str.split().str.join(" ")
    items = items.assign(
        part=split_by_hash(items["conv_id"]),
        prompt="agent: " + items["agent"] + "\nuser: " if context else "",
        completion=items["user"],
    )
    return items.assign(seen_in_training=judged.isin(set(judged[items["part"] == "train"])))


def prepare_parts(arguments: RecipeArguments) -> dict[str, pd.DataFrame]:
    """Write train, validation and test Parquet files, the test votes apart, and read all but those votes.

    Only `read_test_votes` opens the test votes, and only `table.py` calls it.

    Returns:
        `dict[str, pd.DataFrame]`: `train` and `validation` with votes, `test` without.
    """
    folder = data_folder(arguments)
    if not (folder / "test_votes.parquet").exists():
        folder.mkdir(parents=True, exist_ok=True)
        source = read_source(arguments.dataset, arguments.dataset_split)
        items = add_texts(source.items.to_pandas(), arguments.context)
        for part, rows in items.groupby("part"):
            rows.drop(columns=VOTES if part == "test" else []).to_parquet(folder / f"{part}.parquet", index=False)
        items.loc[items["part"] == "test", ["item_id", *VOTES]].to_parquet(folder / "test_votes.parquet", index=False)
    return {part: pd.read_parquet(folder / f"{part}.parquet") for part in ("train", "validation", "test")}


def read_test_votes(arguments: RecipeArguments) -> pd.DataFrame:
    """The votes on the test items, in their order."""
    return pd.read_parquet(data_folder(arguments) / "test_votes.parquet")


def data_folder(arguments: RecipeArguments) -> Path:
    """Where the parts lie."""
    return Path(arguments.output_dir, "data-with-context" if arguments.context else "data")
