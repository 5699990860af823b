"""`trl-dprm prepare`: from an annotation table to training targets, one row per item."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ..preferences.annotations import AnnotationColumns, open_annotations
from ..preferences.categories import PreferenceCategories, ready_made_categories
from ..preferences.prepared_folder import new_folder, write_prepared
from ..preferences.splits import SPLIT_FRACTIONS, split_by_hash
from ..preferences.targets import TargetOptions, prepare_tables
from .parsing import CommandParser, errors_as_messages


@dataclass
class PrepareArguments:
    """Arguments of `trl-dprm prepare`."""

    annotations: str = field(
        metadata={
            "help": "PATH|HUB_ID of the annotation table: a .csv, .json, .jsonl or .parquet file, or a data set."
        }
    )
    output_dir: str = field(metadata={"help": "Folder to write; it appears when everything is done."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a folder that `prepare` wrote before."})
    source_split: str = field(default="train", metadata={"help": "Split of a Hub data set to read."})
    source_subset: str | None = field(default=None, metadata={"help": "Configuration of a Hub data set to read."})
    rows: str | None = field(
        default=None,
        metadata={"help": "What a row is: judgments, counts, labels or distributions. Default: the columns decide."},
    )

    categories: str = field(
        default="likert-5",
        metadata={"help": "Ready-made categories: `dprm` (the paper's six) or `likert-<size>` (named 1 to size)."},
    )
    category_names: list[str] | None = field(default=None, metadata={"help": "Names of own categories, in order."})
    category_rewards: list[float] | None = field(default=None, metadata={"help": "Their rewards."})
    ground_cost: str = field(
        default="rewards",
        metadata={
            "help": "Cost between own categories: `rewards`, `ranks`, or a K × K matrix as JSON or in the YAML."
        },
    )

    item_id_column: list[str] = field(
        default_factory=lambda: ["item_id"],
        metadata={"help": "Column of the item's id, or the columns that identify it together."},
    )
    annotator_id_column: str = field(default="annotator_id", metadata={"help": "Column of the annotator's id."})
    category_column: str = field(default="category", metadata={"help": "Column of the category (name or index)."})
    category_columns: list[str] | None = field(
        default=None, metadata={"help": "Instead: one 0/1 column per category, in the order of the categories."}
    )
    weight_column: str = field(default="weight", metadata={"help": "Column of a judgment's weight, if present."})
    timestamp_column: str = field(default="timestamp", metadata={"help": "Column of a judgment's time, if present."})
    group_columns: list[str] | None = field(
        default=None, metadata={"help": "Columns of the annotators' groups. Default: `group`, if present."}
    )
    judgment_columns: list[str] | None = field(
        default=None, metadata={"help": "Further columns that belong to the judgment; all others are the item's."}
    )

    repeated: str = field(
        default="split",
        metadata={"help": "Several judgments of one item by one annotator: split, first, last or each."},
    )
    population: str | None = field(
        default=None,
        metadata={
            "help": "YAML file with the population's shares, `column: {group: share}`; or the same in --config."
        },
    )
    max_population_weight: float | None = field(
        default=None, metadata={"help": "Cap on an annotator's weight, as a multiple of the mean."}
    )
    raking_iterations: int = field(default=100, metadata={"help": "Limit of raking sweeps."})
    raking_tolerance: float = field(default=1e-8, metadata={"help": "Largest error that raking leaves in a share."})
    prior_strength: float | None = field(
        default=None, metadata={"help": "Votes that the items' own `prior_probs` are worth; targets: posterior means."}
    )
    smoothing: str | None = field(default=None, metadata={"help": "Label smoothing: runner_up or uniform."})
    smoothing_amount: float = field(default=0.1, metadata={"help": "Share of the mass that smoothing moves."})

    split_by: str | None = field(
        default=None,
        metadata={"help": "Item column whose hash decides between train, validation and test, such as conversation."},
    )
    split_fractions: list[float] = field(
        default_factory=lambda: list(SPLIT_FRACTIONS.values()),
        metadata={"help": "Shares of train, validation and test, summing to 1."},
    )
    split_salt: str = field(default="", metadata={"help": "Another salt is another split."})


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the process's arguments)."""
    (arguments,) = CommandParser(
        "prepare", "Turn a table of annotator judgments into training targets.", [PrepareArguments]
    ).parse(argv)
    with errors_as_messages("prepare"):
        _prepare(arguments)


def _prepare(arguments: PrepareArguments) -> None:
    """Everything from the table to the written folder."""
    categories, columns, options = _categories(arguments), _columns(arguments), _options(arguments)
    if arguments.split_by is not None:
        split_by_hash([], _fractions(arguments))
    with new_folder(arguments.output_dir, arguments.overwrite) as folder:
        table = open_annotations(arguments.annotations, arguments.source_split, arguments.source_subset)
        items, judgments = prepare_tables(table, categories, columns, options, arguments.rows, progress=True)
        write_prepared(folder, items, judgments, categories, _parts(items, arguments), progress=True)
    num_judgments = "" if judgments is None else f" from {len(judgments):,} judgments"
    print(f"{len(items):,} items{num_judgments} in {arguments.output_dir}")


def _categories(arguments: PrepareArguments) -> PreferenceCategories:
    """The ready-made categories, or own ones where both names and rewards are given."""
    names, rewards, cost = arguments.category_names, arguments.category_rewards, arguments.ground_cost
    if names is None and rewards is None:
        return ready_made_categories(arguments.categories)
    if names is None or rewards is None:
        missing = "--category_names" if names is None else "--category_rewards"
        raise ValueError(f"own categories need both --category_names and --category_rewards; give {missing} too.")
    cost = json.loads(cost) if isinstance(cost, str) and cost.startswith("[") else cost
    return PreferenceCategories([str(name) for name in names], rewards, cost)


def _columns(arguments: PrepareArguments) -> AnnotationColumns:
    """Which column says what."""
    return AnnotationColumns(
        item_id=tuple(arguments.item_id_column),
        annotator_id=arguments.annotator_id_column,
        category=arguments.category_column,
        category_columns=arguments.category_columns,
        weight=arguments.weight_column,
        timestamp=arguments.timestamp_column,
        groups=tuple(arguments.group_columns or ()),
        judgment=tuple(arguments.judgment_columns or ()),
    )


def _options(arguments: PrepareArguments) -> TargetOptions:
    """How judgments become targets, with the population read from its file."""
    population = arguments.population
    if isinstance(population, str):
        population = yaml.safe_load(Path(population).read_text())
    if population is not None and not (
        isinstance(population, dict) and all(isinstance(shares, dict) for shares in population.values())
    ):
        raise ValueError(f"population is {population!r}; write `column: {{group: share, …}}` for each variable.")
    return TargetOptions(
        repeated=arguments.repeated,
        population=population,
        max_population_weight=arguments.max_population_weight,
        raking_iterations=arguments.raking_iterations,
        raking_tolerance=arguments.raking_tolerance,
        prior_strength=arguments.prior_strength,
        smoothing=arguments.smoothing,
        smoothing_amount=arguments.smoothing_amount,
    )


def _fractions(arguments: PrepareArguments) -> dict[str, float]:
    """The share of each split by its name."""
    if len(arguments.split_fractions) != len(SPLIT_FRACTIONS):
        raise ValueError(f"split_fractions is {arguments.split_fractions}; give shares of {list(SPLIT_FRACTIONS)}.")
    return dict(zip(SPLIT_FRACTIONS, arguments.split_fractions, strict=True))


def _parts(items, arguments: PrepareArguments) -> list[str] | None:
    """The split of each item; `None` where there is to be only one."""
    if arguments.split_by is None:
        return None
    if arguments.split_by not in items.column_names:
        raise ValueError(f"split_by is {arguments.split_by!r}, not a column of the items: {items.column_names}.")
    return split_by_hash(items[arguments.split_by].to_pylist(), _fractions(arguments), arguments.split_salt)


if __name__ == "__main__":
    main()
