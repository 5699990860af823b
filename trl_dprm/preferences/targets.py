"""From annotations to training targets: one row per item, the judgments kept beside."""

from collections.abc import Mapping
from dataclasses import dataclass

import datasets
import numpy as np
import pyarrow as pa

from .annotations import BATCH_ROWS, AnnotationColumns, decoded, open_annotations
from .categories import PreferenceCategories
from .column_codes import as_distributions
from .item_columns import gather_item_columns
from .item_rows import ITEM_ROWS, read_item_rows
from .judgments import Judgments, read_judgments
from .population import population_weights
from .smoothing import smooth_towards_runner_up, smooth_uniformly
from .vote_arrays import positive_number
from .votes import REPEATED_RULES, ItemVotes, count_votes

TARGET_COLUMNS = ("target_counts", "target_probs", "vote_weight", "num_annotators")
SMOOTHINGS = (None, "runner_up", "uniform")


@dataclass(frozen=True)
class TargetOptions:
    """How judgments become targets. The defaults are raw vote shares.

    Args:
        repeated (`str`): what several judgments of one item by one annotator count, see
            [`~trl_dprm.preferences.count_votes`]: `"split"`, `"first"`, `"last"` or `"each"`.
        population (`dict` of `dict`, *optional*): for each group column the population's share of each group;
            judgments are then weighted as [`~trl_dprm.preferences.population_weights`] says.
        max_population_weight (`float`, *optional*): cap on those weights, as a multiple of their mean.
        raking_iterations (`int`): limit for raking.
        raking_tolerance (`float`): largest error that raking leaves in a share.
        prior_strength (`float`, *optional*): number of votes that the items' own `prior_probs` are worth. Targets are
            then posterior means `(n0 π + c) / (n0 + Σ c)`, see [`prepare_targets`].
        smoothing (`str`, *optional*): `"runner_up"` or `"uniform"`.
        smoothing_amount (`float`): see [`~trl_dprm.preferences.smooth_towards_runner_up`] and
            [`~trl_dprm.preferences.smooth_uniformly`].

    Raises:
        ValueError: for a rule, smoothing or strength that is not as above.

    >>> TargetOptions(repeated="last", prior_strength=5.0).smoothing is None
    True
    """

    repeated: str = "split"
    population: Mapping[str, Mapping] | None = None
    max_population_weight: float | None = None
    raking_iterations: int = 100
    raking_tolerance: float = 1e-8
    prior_strength: float | None = None
    smoothing: str | None = None
    smoothing_amount: float = 0.1

    def __post_init__(self):
        if self.repeated not in REPEATED_RULES:
            raise ValueError(f"repeated is {self.repeated!r}; give one of {list(REPEATED_RULES)}.")
        if self.smoothing not in SMOOTHINGS:
            raise ValueError(f"smoothing is {self.smoothing!r}; give one of {list(SMOOTHINGS)}.")
        if self.prior_strength is not None:
            positive_number(self.prior_strength, "prior_strength", "the number of votes that prior_probs are worth")


@dataclass
class PreparedTargets:
    """What [`prepare_targets`] returns.

    Args:
        items (`datasets.Dataset` of N rows): the items with their targets.
        judgments (`datasets.Dataset` of R rows, *optional*): the judgment table under the reserved names (`item_id`,
            `annotator_id`, `category`, groups, `weight`, `timestamp`, further judgment columns); `item_id` leads to
            the items. `None` where the input had no judgments.
    """

    items: datasets.Dataset
    judgments: datasets.Dataset | None


def prepare_targets(
    annotations,
    categories: PreferenceCategories,
    columns: AnnotationColumns = AnnotationColumns(),  # noqa: B008 (frozen)
    options: TargetOptions = TargetOptions(),
    rows: str | None = None,
    split: str = "train",
    subset: str | None = None,
    progress: bool = False,
) -> PreparedTargets:
    """Turn an annotation table into one row per item.

    The items' columns, in order of their first appearance: `item_id`; the item's own columns, which must be constant
    within an item; and

    * `target_counts`: weighted votes per category, K floats that sum to the effective number of votes;
    * `target_probs`: the target, K floats. By default the raw vote shares: with `vote_weight` as the weight of the
      item's loss, cross-entropy is the multinomial likelihood of the votes;
    * `vote_weight`: the effective number of votes behind the target. With `prior_strength` n0 the target is the
      posterior mean `(n0 π + c) / (n0 + Σ c)` under the item's own `prior_probs` π, and `vote_weight` is `n0 + Σ c`,
      so that also an item without votes is learned from, as n0 votes; `target_counts` stay the people's votes alone;
    * `num_annotators`: how many different people judged the item.

    Args:
        annotations: any source that [`~trl_dprm.preferences.open_annotations`] takes.
        categories ([`PreferenceCategories`]): the K categories.
        columns ([`AnnotationColumns`]): which column says what.
        options ([`TargetOptions`]): how judgments become targets.
        rows (`str`, *optional*): what a row is: `"judgments"`, or, with one row per item, `"counts"` (column
            `target_counts`), `"labels"` (column `labels`) or `"distributions"` (column `target_probs`). By default the
            columns decide.
        split (`str`), subset (`str`, *optional*): of a Hub id or folder.
        progress (`bool`): show progress bars.

    Returns:
        [`PreparedTargets`]

    Raises:
        ValueError: naming item or row, column, value and remedy, for everything that cannot be used; see
            `read_judgments`, `gather_item_columns`, `read_item_rows`; for an item with neither votes nor a prior, and
            for columns that would be overwritten.

    Source: the posterior under a prior for that very response: DPRM (2402.09764) [paper]. Raw shares as the default
        and no smoothing towards the *table's* mean [ours]: such targets' optimum is not the population's
        distribution, so they make a calibrated model impossible.

    >>> table = {"item_id": ["a", "a", "b"], "annotator_id": [1, 2, 1], "category": ["good", "bad", "good"]}
    >>> quality = PreferenceCategories(["bad", "good"], [0.0, 1.0])
    >>> prepare_targets(pa.table({**table, "prompt": ["Hi", "Hi", "Ho"]}), quality).items.to_list()[0]
    {'item_id': 'a', 'prompt': 'Hi', 'target_counts': [1.0, 1.0], 'target_probs': [0.5, 0.5], 'vote_weight': 2.0, \
'num_annotators': 2}
    """
    table = open_annotations(annotations, split, subset)
    items, judgments = prepare_tables(table, categories, columns, options, rows, progress)
    return PreparedTargets(datasets.Dataset(items), None if judgments is None else datasets.Dataset(plain(judgments)))


def prepare_tables(
    table, categories: PreferenceCategories, columns: AnnotationColumns, options: TargetOptions, rows, progress
) -> tuple[pa.Table, pa.Table | None]:
    """[`prepare_targets`] on an opened table, in Arrow.

    Args:
        table (`pyarrow.dataset.Dataset`): from [`~trl_dprm.preferences.open_annotations`].
        categories, columns, options, rows, progress: as in [`prepare_targets`].

    Returns:
        `pyarrow.Table` of the N items, and of the R judgments with their codes as dictionaries, `None` where the input
        has none.

    Raises:
        ValueError: as [`prepare_targets`].
    """
    rows = rows or _kind_of_rows(table.schema.names, columns)
    if rows == "judgments":
        judgments = read_judgments(table, categories, columns, progress)
        own_columns = _own_columns(columns.item_level(table.schema.names))
        votes = count_votes(judgments, len(categories), options.repeated, _annotator_weights(judgments, options))
        own = gather_item_columns(table, own_columns, judgments, progress)
        row_of = np.flatnonzero(judgments.first_row_of_item)
        return _items(judgments.item_ids, own, votes, categories, options, row_of), judgments.table(categories)
    if rows not in ITEM_ROWS:
        raise ValueError(f"rows is {rows!r}; give one of {['judgments', *ITEM_ROWS]}.")
    if options.population is not None:
        raise ValueError(f"population weights annotators, and rows={rows!r} has none; give a table of judgments.")
    item_ids, votes, own = read_item_rows(table, categories, columns, rows, progress)
    _own_columns(own.column_names)
    return _items(item_ids, own, votes, categories, options, np.arange(len(item_ids))), None


def plain(table: pa.Table) -> pa.Table:
    """The table with dictionaries decoded, piece by piece.

    Args:
        table (`pyarrow.Table`): of any columns.

    Returns:
        `pyarrow.Table` of the same rows.
    """
    pieces = (pa.Table.from_batches([batch]) for batch in table.to_batches(max_chunksize=BATCH_ROWS))
    return pa.concat_tables(pa.table({name: decoded(piece[name]) for name in piece.column_names}) for piece in pieces)


def _kind_of_rows(names: list[str], columns: AnnotationColumns) -> str:
    """What the columns say that a row is; a `ValueError` where they say nothing or several things."""
    if columns.category_columns:
        return "judgments"
    kinds = ["judgments"] if columns.category in names else []
    kinds += [kind for kind, name in ITEM_ROWS.items() if name in names]
    if len(kinds) == 1:
        return kinds[0]
    raise ValueError(
        f"the table's columns {names} speak for rows={kinds or 'nothing known'}; name the column of the chosen "
        f"category, or say what a row is: one of {['judgments', *ITEM_ROWS]}."
    )


def _own_columns(names: list[str]) -> list[str]:
    """The items' own columns, if none of them has a name that the targets take."""
    clashing = [name for name in names if name in ("item_id", *TARGET_COLUMNS)]
    if clashing:
        raise ValueError(f"the columns {clashing} of the table would be overwritten; rename or drop them.")
    return names


def _annotator_weights(judgments: Judgments, options: TargetOptions) -> np.ndarray | None:
    """Population weights of the annotators, shape `(A,)`, where a population is given."""
    if options.population is None:
        return None
    return population_weights(
        judgments.groups_of_annotators(list(options.population)),
        options.population,
        options.max_population_weight,
        options.raking_iterations,
        options.raking_tolerance,
    )


def _items(
    item_ids, own, votes: ItemVotes, categories: PreferenceCategories, options: TargetOptions, row_of
) -> pa.Table:
    """The table of items with their targets; `row_of` is each item's first row in the input, for messages."""
    prior = None
    if "prior_probs" in own.column_names:
        prior = as_distributions(own["prior_probs"], "prior_probs", len(categories), row_of)
    probs, weight = _posterior(votes, prior, options.prior_strength, item_ids)
    if options.smoothing == "runner_up":
        probs = smooth_towards_runner_up(probs, options.smoothing_amount, prior, categories.cost_matrix)
    elif options.smoothing == "uniform":
        probs = smooth_uniformly(probs, options.smoothing_amount)
    return pa.table(
        {
            "item_id": item_ids,
            **dict(zip(own.column_names, own.columns, strict=True)),
            "target_counts": _lists(votes.target_counts),
            "target_probs": _lists(probs),
            "vote_weight": weight,
            "num_annotators": votes.num_annotators,
        }
    )


def _posterior(votes: ItemVotes, prior, prior_strength: float | None, item_ids) -> tuple[np.ndarray, np.ndarray]:
    """Targets and the number of votes behind them."""
    counts, weight = votes.target_counts, votes.vote_weight
    if prior_strength is not None:
        if prior is None:
            raise ValueError(
                "prior_strength is given and the table has no column 'prior_probs'; add each item's own prior (from a "
                "language model or a previous model), or leave prior_strength out: a shared prior would bias targets."
            )
        counts, weight = counts + prior_strength * prior, weight + prior_strength
    empty = weight == 0
    if empty.any():
        item = item_ids[int(np.argmax(empty))].as_py()
        remedy = "remove it" if prior is None else "remove it, or give prior_strength so that its prior_probs count"
        raise ValueError(f"item {item!r} has no votes and no prior; {remedy}.")
    return counts / weight[:, None], weight


def _lists(values: np.ndarray) -> pa.ListArray:
    """An array of shape `(N, K)` as a column of N lists."""
    offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))
