"""From what models say of a data set to the report: the same rows for all, their texts, ids and judgments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from datasets import Dataset

from ..metrics import win_tie_probs
from ..models import DPRMConfig
from ..preferences import AnnotationColumns, PreferenceCategories
from .checkpoint_predictions import CheckpointPredictions
from .intervals import Resampling
from .item_report import ItemPredictions, ItemReport, ItemRewards, item_report
from .judged_items import JudgedItems, SingleVotes
from .judged_pairs import JudgedPairs
from .judgment_table import read_single_votes
from .pair_report import PairPredictions, PairReport, pair_report
from .scored_rows import ScoredRows
from .texts import response_texts


@dataclass(frozen=True)
class JudgmentSource:
    """Where the single judgments of a data set are.

    Args:
        path (`str`): the table, or a folder of `trl-dprm prepare`.
        columns ([`~trl_dprm.preferences.AnnotationColumns`]): which column says what.
    """

    path: str
    columns: AnnotationColumns


@dataclass(frozen=True)
class EvaluationReport:
    """What is known of some models on a data set.

    Attributes:
        metrics (`dict[str, dict[str, float]]`): by model what [`DPRMTrainer`] logs, `eval_` before the names.
        items ([`ItemReport`], *optional*): of the responses with votes.
        pairs ([`PairReport`], *optional*): of the pairs.
        notes (`list[str]`): what a reader must know of the data.
        methods (`dict[str, list[str]]`): by method the models that are its trainings; empty where each stands for
            itself.
    """

    metrics: dict[str, dict[str, float]]
    items: ItemReport | None
    pairs: PairReport | None
    notes: list[str]
    methods: Mapping[str, Sequence[str]] = field(default_factory=dict)


def data_report(
    scored: Mapping[str, ScoredRows],
    dataset: Dataset,
    validation: Mapping[str, ScoredRows] | None = None,
    judgments: JudgmentSource | None = None,
    cluster_column: str | None = None,
    with_texts: bool = False,
    resampling: Resampling = Resampling(),  # noqa: B008 (frozen)
    methods: Mapping[str, Sequence[str]] | None = None,
) -> EvaluationReport:
    """Compare models on a data set that each has scored.

    Args:
        scored (`dict` of [`ScoredRows`] by name): of `dataset`, [`CheckpointPredictions`] of DPRMs, one at least, and
            what [`predict_scalar`] gives; the first is what others are compared with.
        dataset ([`~datasets.Dataset`]): the rows.
        validation (`dict` of [`ScoredRows`] by name, *optional*): of a validation set, by the same models.
        judgments ([`JudgmentSource`], *optional*): who voted for what; the rows need their `item_id`.
        cluster_column (`str`, *optional*): column of rows that belong together, such as a conversation.
        with_texts (`bool`): whether the report may show texts of rows; people's texts can offend.
        resampling ([`Resampling`]): of the intervals.
        methods (`dict[str, list[str]]`, *optional*): which models are trainings of one method, with other seeds.

    Returns:
        [`EvaluationReport`].

    Raises:
        ValueError: models of different categories, a column that the rows lack, or no row that every model scored.
    """
    distributional = {name: made for name, made in scored.items() if isinstance(made, CheckpointPredictions)}
    if not distributional:
        raise ValueError(f"No model of {', '.join(scored)} is a DPRM, which says what the votes are on: add one.")
    refuse_other_categories({name: predictions.config for name, predictions in distributional.items()})
    categories = _categories(next(iter(distributional.values())).config)
    scored, notes = _common_rows(scored, len(dataset))
    if cluster_column is not None:
        notes.append(
            f"Intervals draw the rows of one `{cluster_column}` together: they are over those, not single rows."
        )
    validation = None if validation is None else _common_rows(validation, None)[0]
    return EvaluationReport(
        {name: predictions.metrics for name, predictions in scored.items()},
        _items(scored, categories, dataset, validation, judgments, cluster_column, with_texts, resampling, notes),
        _pairs(scored, dataset, validation, cluster_column, resampling, notes),
        notes,
        methods or {},
    )


def refuse_other_categories(configs: Mapping[str, DPRMConfig]) -> None:
    """Models of other categories than the first cannot be compared with it: say so before anything is scored.

    Args:
        configs (`dict` of [`DPRMConfig`] by name): the models'.

    Raises:
        ValueError: naming two models, their categories and the remedy.
    """
    (name, first), *others = configs.items()
    for other, config in others:
        if _categories(config) != _categories(first):
            raise ValueError(
                f"`{name}` and `{other}` have other categories, and models are compared on the same ones. "
                f"`{name}`: {_described(first)}; `{other}`: {_described(config)}. Evaluate `{other}` by itself, or "
                "with models of its categories."
            )


def _categories(config: DPRMConfig) -> PreferenceCategories:
    return PreferenceCategories(config.category_names, config.category_rewards, config.ground_cost)


def _described(config: DPRMConfig) -> str:
    """The categories with their rewards, and the cost between them."""
    rewards = zip(config.category_names, config.category_rewards, strict=True)
    cost = f"the distance of their {config.ground_cost}" if isinstance(config.ground_cost, str) else "a matrix"
    return f"{', '.join(f'{name} ({reward:g})' for name, reward in rewards)}, ground cost {cost}"


def _common_rows(scored, num_rows):
    """The predictions on the rows that every model scored; notes on rows that were too long."""
    common = None
    for predictions in scored.values():
        common = predictions.rows if common is None else np.intersect1d(common, predictions.rows)
    if len(common) == 0:
        raise ValueError("No row is short enough for every model: set `max_length`, or evaluate them apart.")
    notes = []
    if num_rows is not None and len(common) < num_rows:
        notes.append(f"{num_rows - len(common)} of {num_rows} rows are too long for a model and are left out for all.")
    if all(len(predictions.rows) == len(common) for predictions in scored.values()):
        return dict(scored), notes
    return {name: predictions.of_rows(common) for name, predictions in scored.items()}, notes


def _items(
    scored, categories, dataset, validation, judgments, cluster_column, with_texts, resampling, notes
) -> ItemReport | None:
    """The report on responses with votes."""
    first = next(iter(scored.values()))
    if not first.judged.any():
        return None
    votes = None
    if validation is not None:
        of_first = next(iter(validation.values()))
        votes = of_first.target_counts if of_first.judged.any() else None
    models = _item_models(scored, validation if votes is not None else None, notes)
    if not models:
        return None
    places, sides = np.nonzero(first.judged)
    rows = first.rows[places]
    single_votes = None
    if judgments is not None:
        single_votes = _single_votes(judgments, dataset, rows, sides, categories)
    items = JudgedItems(
        target_counts=first.target_counts,
        categories=categories,
        item_names=[f"row {row + 1}" for row in rows],
        texts=response_texts(dataset, rows, sides) if with_texts else None,
        clusters=_clusters(dataset, rows, cluster_column),
        single_votes=single_votes,
    )
    return item_report(models, items, votes, resampling=resampling)


def _item_models(scored, validation, notes) -> dict[str, ItemPredictions | ItemRewards]:
    """What each model says of the responses with votes; rewards where its categories mean nothing, or it has none."""
    models, rewards_alone = {}, []
    for name, predictions in scored.items():
        if _has_distributions(predictions):
            probs = None if validation is None else validation[name].category_probs
            models[name] = ItemPredictions(predictions.category_probs, predictions.config.prior_strength, probs)
            continue
        rewards_alone.append(name)
        if validation is not None:
            models[name] = ItemRewards(predictions.judged_rewards, validation[name].judged_rewards)
    if rewards_alone and validation is not None:
        notes.append(
            f"{', '.join(rewards_alone)}: one number for a text (scalar reward models, and DPRMs trained on pairs "
            "alone). Which distribution goes with which number is read out by a multinomial logit on polynomials of "
            "it, fitted on the validation votes, which choose their degree. To be fair, compare it with the "
            "recalibrated rows, which the same votes have helped; figures and groups show these."
        )
    elif rewards_alone:
        notes.append(
            f"{', '.join(rewards_alone)}: one number for a text (scalar reward models, and DPRMs trained on pairs "
            "alone), so left out where distributions are judged. With validation votes (`--validation_split`) a "
            "distribution is read out of the number."
        )
    return models


def _has_distributions(predictions: ScoredRows) -> bool:
    """Whether category probabilities mean something: not without votes on categories in training."""
    return isinstance(predictions, CheckpointPredictions) and predictions.config.anchored


def _single_votes(judgments, dataset, rows, sides, categories) -> SingleVotes:
    """The judgments of the rows, matched by their ids."""
    if "item_id" not in dataset.column_names:
        raise ValueError(
            f"The data have no column `item_id`, by which judgments could be matched to rows; they have "
            f"{dataset.column_names}. Evaluate the folder that `trl-dprm prepare` wrote, or add the column."
        )
    if sides.any():
        raise ValueError("Judgments of categories belong to single responses, but the data have pairs with votes.")
    item_ids = dataset["item_id"][:]
    return read_single_votes(judgments.path, [item_ids[row] for row in rows], categories, judgments.columns)


def _clusters(dataset, rows, column) -> list | None:
    if column is None:
        return None
    if column not in dataset.column_names:
        raise ValueError(
            f"The data have no column `{column}` (`cluster_column`); they have {dataset.column_names}. Name one of "
            "them, or leave it out: every row then stands for itself."
        )
    values = dataset[column][:]
    return [str(values[row]) for row in rows]


def _pairs(scored, dataset, validation, cluster_column, resampling, notes) -> PairReport | None:
    first = next(iter(scored.values()))
    if not first.pairs.any():
        return None
    validation_pairs = None
    if validation is not None and next(iter(validation.values())).pairs.any():
        validation_pairs = _judged_pairs(next(iter(validation.values())), None)
    models = {
        name: PairPredictions(
            predictions.pair_rewards,
            predictions.config.bradley_terry_scale if isinstance(predictions, CheckpointPredictions) else 1.0,
            None if validation_pairs is None else validation[name].pair_rewards,
            _three_way_probs(predictions),
        )
        for name, predictions in scored.items()
    }
    unanchored = [
        name
        for name, predictions in scored.items()
        if isinstance(predictions, CheckpointPredictions) and not predictions.config.anchored
    ]
    if unanchored:
        notes.append(
            f"Trained on pairs alone: {', '.join(unanchored)}. What pairs have of two draws from the distributions "
            "(`win_calibration_error`, `three_way_nats`, `decisive_nats` without a fitted κ) means something for such "
            "a model only if it was trained by `--ranking_loss win_probability`."
        )
    clusters = _clusters(dataset, first.rows[first.pairs], cluster_column)
    return pair_report(models, _judged_pairs(first, clusters), validation_pairs, resampling)


def _three_way_probs(predictions: ScoredRows) -> np.ndarray | None:
    """Of chosen, tie, rejected, by two independent draws from the distributions, where there are any."""
    if not isinstance(predictions, CheckpointPredictions):
        return None
    probs = predictions.pair_category_probs
    return win_tie_probs(probs[:, 0], probs[:, 1], predictions.config.category_rewards)


def _judged_pairs(predictions: ScoredRows, clusters) -> JudgedPairs:
    pairs = predictions.pairs
    return JudgedPairs(
        predictions.labels["chosen_vote_share"][pairs].astype(np.float64),
        predictions.labels["pair_weight"][pairs].astype(np.float64),
        clusters,
        predictions.labels["tie_vote_share"][pairs].astype(np.float64),
    )
