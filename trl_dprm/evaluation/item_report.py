"""The numbers of a report on predicted distributions: models beside each other, on the same votes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ..losses import is_negative_type
from ..metrics import PairedDifference, best_constant, best_constant_metrics, distribution_metrics
from ..metrics.arrays import matching_distributions
from ..metrics.attainable_nats import AttainableNats
from ..metrics.calibrated_level import CalibratedLevel, category_calibration_errors_if_calibrated
from ..metrics.disagreement import Concordance, disagreement_concordance
from ..metrics.group_report import GroupReport, group_report
from ..metrics.held_out_votes import VotesCurve
from ..metrics.reliability_intervals import ReliabilityPoints
from ..metrics.sharpness import SharpnessComparison, compare_sharpness
from ..metrics.vote_pairs import has_pairs
from ..metrics.vote_share_coverage import VoteShareCoverage, vote_share_coverage
from ..metrics.votes_curve_intervals import AheadOfVotes
from .attainable import attainable_bracket
from .category_calibration import CategoryCalibration, calibration_by_category
from .fitted_intervals import fitted_intervals
from .intervals import (
    CROSSED,
    PANEL,
    Interval,
    Resampling,
    can_cross,
    concordance_interval,
    coverage_interval,
    differences,
    drawn_metrics,
    metric_intervals,
    reliability_with_intervals,
)
from .item_notes import item_notes
from .judged_items import JudgedItems
from .own_votes import OwnVotes
from .subjects import Firsts, ItemPredictions, ItemRewards, ModelForm, Subject, subjects_of, without_temperature
from .votes_and_judgments import refuse_other_judgments

_ROUNDING = 1e-6


@dataclass(frozen=True)
class ModelNumbers(ModelForm):
    """One row of the report.

    Attributes:
        name, temperature, read_out: as in [`ModelForm`].
        category_probs (`np.ndarray` of shape `(N, K)`): what was judged.
        metrics (`dict[str, float]`): as [`~trl_dprm.metrics.distribution_metrics`].
        intervals (`dict` of [`Interval`]): of `metrics`, by their names, and of `predicted_disagreement`,
            `observed_disagreement` (`pair_cost` of the sharpness), `contested_concordance` and `interval_coverage`,
            and of the `temperature` and `prior_strength` that were fitted on validation votes; what is not defined, or
            infinite, has none.
        differences (`dict`): by metric what the model's scores are minus those of the first model.
        fitted_differences (`dict`): of what was fitted on validation votes, recalibrated or read out, the same against
            the first model with the same help.
        constant_differences (`dict`): the same against the best constant, for the metrics of which that is the mean
            of the votes that chose it.
        sharpness (*optional*): predicted beside observed disagreement; `None` without two votes on an item.
        if_calibrated ([`~trl_dprm.metrics.CalibratedLevel`]): the expected calibration error that
            chance alone would give this model.
        contested (*optional*): does it know which items are contested?
        groups (`dict`): by variable the numbers of each group.
        prior_strength (`float`, *optional*), prior_strength_source (`str`): how many annotators it is worth.
        coverage (*optional*): of 90 % intervals for vote shares.
        votes_curve ([`VotesCurve`], *optional*): with 0, 1, 2, … votes of the item beside the model.
        ahead_of_votes ([`AheadOfVotes`], *optional*): the model without a vote, minus the estimate from 0, 1, 2, …
            votes alone, on the same items.
        reliability (`list` of [`ReliabilityPoints`]): for each category the curve, with intervals.
        by_category (`dict` of [`CategoryCalibration`]): by category its calibration errors.
    """

    category_probs: np.ndarray
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    differences: dict[str, PairedDifference]
    fitted_differences: dict[str, PairedDifference]
    constant_differences: dict[str, PairedDifference]
    sharpness: SharpnessComparison | None
    if_calibrated: CalibratedLevel
    contested: Concordance | None
    groups: dict[str, GroupReport]
    prior_strength: float | None
    prior_strength_source: str
    coverage: VoteShareCoverage | None
    votes_curve: VotesCurve | None
    ahead_of_votes: AheadOfVotes | None
    reliability: list[ReliabilityPoints]
    by_category: dict[str, CategoryCalibration]


@dataclass(frozen=True)
class ItemReport:
    """What [`item_report`] found; `tables`, `figures` and `page` show it.

    Attributes:
        items ([`JudgedItems`]): what was judged.
        models (`list[ModelNumbers]`): in the order given, each recalibrated one behind its own.
        constants (`dict[str, float]`): the best constant distribution per metric.
        constants_from (`str`): the votes that chose the constants, and the prior of the estimate from votes only.
        attainable ([`~trl_dprm.metrics.AttainableNats`], *optional*): what a perfect model could reach; `None` without
            two votes on an item, or where all are for one category.
        attainable_prior (`str`): the prior of that bracket, in words.
        votes_only (*optional*): the curve of the estimate from an item's votes alone, with the table's prior; `None`
            where that prior's strength is not known.
        interval_over (`str`): what the intervals speak of, unless an [`Interval`] says otherwise.
        level (`float`): of the intervals.
        notes (`list[str]`): what a reader must know.
    """

    items: JudgedItems
    models: list[ModelNumbers]
    constants: dict[str, float]
    constants_from: str
    attainable: AttainableNats | None
    attainable_prior: str
    votes_only: VotesCurve | None
    interval_over: str
    level: float
    notes: list[str] = field(default_factory=list)


def item_report(
    models: Mapping[str, ItemPredictions | ItemRewards | ArrayLike],
    items: JudgedItems,
    validation_counts: ArrayLike | None = None,
    reference_counts: ArrayLike | None = None,
    resampling: Resampling = Resampling(),  # noqa: B008 (frozen)
) -> ItemReport:
    """Judge models by the votes on the same items.

    Args:
        models (`dict` by name of [`ItemPredictions`], of arrays of shape `(N, K)`, or of [`ItemRewards`]): the first
            is what the others are compared with.
        items ([`JudgedItems`]): held-out items, which no model has seen.
        validation_counts (array of shape `(M, K)`, *optional*): votes on the validation items: whatever is fitted
            after training (a temperature, the prior strength) is fitted on these.
        reference_counts (array of shape `(L, K)`, *optional*): training votes, from which the best constants and the
            prior of the votes-only estimate are taken. Defaults to the validation votes, or else to the judged votes
            themselves, which favours the constants.
        resampling ([`Resampling`]): of the intervals.

    Returns:
        [`ItemReport`].

    Raises:
        ValueError: no model, predictions that are no distributions or of other shapes than the votes, rewards without
            validation votes, and judgments that are not those of the votes.

    Example:

    >>> from trl_dprm.preferences import PreferenceCategories
    >>> items = JudgedItems([[2, 1], [0, 3], [3, 0]], PreferenceCategories(["bad", "good"], [0.0, 1.0]))
    >>> report = item_report({"model": [[0.6, 0.4], [0.1, 0.9], [0.8, 0.2]]}, items)
    >>> round(report.models[0].metrics["nats_per_vote"], 4), report.interval_over
    (0.3248, 'other items, for this panel of annotators')
    """
    if not models:
        raise ValueError("models is empty; give the predictions of at least one model by its name")
    refuse_other_judgments(items)
    subjects = subjects_of(models, validation_counts)
    firsts = Firsts.of(subjects)
    reference, reference_name = _reference(items, validation_counts, reference_counts)
    constant = np.tile(best_constant(*_shares_and_votes(reference), "nats_per_vote"), (len(items), 1))
    own_votes, crossed = OwnVotes.of(items, reference, resampling), can_cross(items)
    drawn = drawn_metrics([_checked(subject, items) for subject in subjects], items, resampling)
    attainable, prior = _attainable(subjects, items, validation_counts)
    return ItemReport(
        items=items,
        models=[
            _numbers(subject, draws, firsts, constant, items, own_votes, validation_counts, resampling)
            for subject, draws in zip(subjects, drawn, strict=True)
        ],
        constants=best_constant_metrics(
            *_shares_and_votes(reference), items.target_probs, items.vote_weight, *items.geometry
        ),
        constants_from=reference_name,
        attainable=attainable,
        attainable_prior=prior,
        votes_only=own_votes.votes_only_curve(),
        interval_over=CROSSED if crossed else PANEL,
        level=resampling.level,
        notes=[
            *item_notes(items, validation_counts, reference, reference_name, own_votes, crossed),
            *without_temperature(subjects),
        ],
    )


def _checked(subject: Subject, items: JudgedItems) -> np.ndarray:
    return matching_distributions(subject.category_probs, items.target_probs)[0]


def _attainable(
    subjects: Sequence[Subject], items: JudgedItems, validation_counts: ArrayLike | None
) -> tuple[AttainableNats | None, str]:
    """The bracket of what can be attained, with the prior that the validation votes choose."""
    judged = {subject.title: subject.category_probs for subject in subjects}
    validation = {
        subject.title: subject.validation_probs for subject in subjects if subject.validation_probs is not None
    }
    return attainable_bracket(judged, validation, items.target_counts, validation_counts)


def _numbers(
    subject: Subject,
    drawn: np.ndarray | None,
    firsts: Firsts,
    constant: np.ndarray,
    items: JudgedItems,
    own_votes: OwnVotes,
    validation_counts: ArrayLike | None,
    resampling: Resampling,
) -> ModelNumbers:
    """Everything about one model."""
    probs, targets = matching_distributions(subject.category_probs, items.target_probs)
    metrics = distribution_metrics(probs, targets, items.vote_weight, *items.geometry)
    counts, strength = items.target_counts, subject.prior_strength
    whole, coverage = _whole(items), None
    if strength is not None and whole.any():
        coverage = vote_share_coverage(probs[whole], counts[whole].round(), strength)
    curve, ahead = own_votes.of_model(probs, strength)
    several = has_pairs(counts).any()
    sharpness = compare_sharpness(probs, counts, items.geometry[0], items.geometry[2]) if several else None
    fitted = fitted_intervals(subject.temperature, strength, subject.validation_probs, validation_counts, resampling)
    return ModelNumbers(
        name=subject.name,
        temperature=subject.temperature,
        read_out=subject.read_out,
        category_probs=probs,
        metrics=metrics,
        intervals=_intervals(metrics, sharpness, coverage, drawn, probs, items, resampling) | fitted,
        differences=_from_first(probs, firsts.raw, items, resampling),
        fitted_differences=_from_first(probs, firsts.fitted if subject.is_fitted else None, items, resampling),
        constant_differences=_from_constant(probs, constant, items, resampling),
        sharpness=sharpness,
        if_calibrated=category_calibration_errors_if_calibrated(
            probs, items.vote_weight, prior_strength=strength or np.inf, seed=resampling.seed
        ).mean_over_categories,
        contested=disagreement_concordance(probs[whole], counts[whole].round()) if whole.any() and several else None,
        groups=_groups(probs, items, resampling),
        prior_strength=strength,
        prior_strength_source=subject.prior_strength_source,
        coverage=coverage,
        votes_curve=curve,
        ahead_of_votes=ahead,
        reliability=reliability_with_intervals(probs, items, resampling),
        by_category=calibration_by_category(probs, items, resampling),
    )


def _intervals(
    metrics: dict[str, float],
    sharpness: SharpnessComparison | None,
    coverage: VoteShareCoverage | None,
    drawn: np.ndarray | None,
    probs: np.ndarray,
    items: JudgedItems,
    resampling: Resampling,
) -> dict[str, Interval]:
    """Of every number that has one, by the names that tables give them."""
    values = dict(metrics)
    if sharpness is not None:
        values["predicted_disagreement"] = sharpness.predicted.pair_cost
        values["observed_disagreement"] = sharpness.observed.pair_cost
    intervals = metric_intervals(values, drawn, probs, items, resampling)
    intervals["contested_concordance"] = concordance_interval(probs, _whole(items), items, resampling)
    if coverage is not None:
        intervals["interval_coverage"] = coverage_interval(coverage, _whole(items), items, resampling)
    return {name: interval for name, interval in intervals.items() if interval is not None}


def _from_first(
    probs: np.ndarray, first: np.ndarray | None, items: JudgedItems, resampling: Resampling
) -> dict[str, PairedDifference]:
    """Nothing where there is nothing to compare with, or it is the same."""
    return {} if first is None or (probs == first).all() else differences(probs, first, items, resampling)


def _from_constant(
    probs: np.ndarray, constant: np.ndarray, items: JudgedItems, resampling: Resampling
) -> dict[str, PairedDifference]:
    """Where the mean of the votes is the best constant: a cost that is not of negative type has another, unknown."""
    found = differences(probs, constant, items, resampling)
    return {
        name: difference
        for name, difference in found.items()
        if name != "energy_distance" or is_negative_type(items.categories.cost_matrix)
    }


def _whole(items: JudgedItems) -> np.ndarray:
    """The items without fractions of votes."""
    return (np.abs(items.target_counts - items.target_counts.round()) < _ROUNDING).all(axis=1)


def _groups(probs: np.ndarray, items: JudgedItems, resampling: Resampling) -> dict[str, GroupReport]:
    """For each variable the numbers of each group of annotators."""
    votes = items.single_votes
    if votes is None or not votes.weight.any():
        return {}
    return {
        variable: group_report(
            probs,
            votes.item,
            list(groups),
            votes.category,
            items.categories.rewards,
            annotator_ids=None if votes.groups_are_people(variable) else votes.annotator,
            cluster_ids=items.clusters,
            num_resamples=resampling.num_resamples,
            level=resampling.level,
            seed=resampling.seed,
            weight=votes.weight,
        )
        for variable, groups in votes.groups.items()
        if any(group is not None for group in groups)
    }


def _reference(items, validation_counts, reference_counts) -> tuple[np.ndarray, str]:
    """The votes that constants are chosen on, and what the report calls them."""
    if reference_counts is not None:
        return np.asarray(reference_counts, dtype=np.float64), "the training votes"
    if validation_counts is not None:
        return np.asarray(validation_counts, dtype=np.float64), "the validation votes"
    return items.target_counts, "the judged votes themselves"


def _shares_and_votes(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    votes = counts.sum(axis=1)
    return counts[votes > 0] / votes[votes > 0, None], votes[votes > 0]
