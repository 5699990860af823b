"""The numbers of a report on pairs: models beside each other, on the same pairs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from ..metrics import (
    DavidsonLink,
    PairedDifference,
    davidson_probs,
    expected_calibration_error,
    fit_davidson,
    mean_interval,
    pair_metrics,
    paired_difference,
)
from ..metrics.averages import weighted_mean
from ..metrics.pair_links import fit_bradley_terry_scale
from ..metrics.statistic_bootstrap import statistic_interval
from .intervals import MOST_DRAWS, Interval, Resampling, few_clusters_note
from .judged_pairs import JudgedPairs
from .pair_scores import PAIR_REPORT_METRICS, PairScore, pair_scores

OTHER_PAIRS = "other pairs, for this panel of annotators"


@dataclass(frozen=True)
class PairPredictions:
    """What one model says of the pairs of a report.

    Args:
        rewards (array of shape `(N, 2)`): of the chosen and the rejected response.
        bradley_terry_scale (`float`): κ in `σ(κΔ)`, stored with the model.
        validation_rewards (array of shape `(M, 2)`, *optional*): of the validation pairs, on which κ is fitted anew.
        three_way_probs (array of shape `(N, 3)`, *optional*): of chosen, tie, rejected, as the model was trained: for
            distributions [`~trl_dprm.metrics.win_tie_probs`].
    """

    rewards: ArrayLike
    bradley_terry_scale: float = 1.0
    validation_rewards: ArrayLike | None = None
    three_way_probs: ArrayLike | None = None


@dataclass(frozen=True)
class PairNumbers:
    """One row of the report.

    Attributes:
        name (`str`): of the model.
        scale (`float`): κ of `σ(κΔ)`.
        refitted (`bool`): whether κ was fitted on validation pairs; otherwise it is the one stored with the model.
        win_probs (`np.ndarray` of shape `(N,)`): `σ(κΔ)`.
        davidson ([`~trl_dprm.metrics.DavidsonLink`], *optional*): fitted on validation pairs, where `refitted` and
            their ties are known.
        metrics (`dict[str, float]`): of `PAIR_REPORT_METRICS` those that are defined for the model and the pairs.
        intervals (`dict` of [`Interval`]): of `metrics`, over other pairs; none where there is one pair (or cluster),
            and where the number is not finite.
        differences (`dict`): by metric what the model's scores are minus those of the first model.
    """

    name: str
    scale: float
    refitted: bool
    win_probs: np.ndarray
    davidson: DavidsonLink | None
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    differences: dict[str, PairedDifference]

    @property
    def title(self) -> str:
        """What sentences, tables and figures call it."""
        return f"{self.name}, κ fitted" if self.refitted else self.name

    @property
    def is_fitted(self) -> bool:
        """Whether validation pairs have had a say in the probabilities."""
        return self.refitted


@dataclass(frozen=True)
class PairReport:
    """What [`pair_report`] found.

    Attributes:
        pairs ([`JudgedPairs`]): what was judged.
        models (`list[PairNumbers]`): in the order given.
        level (`float`): of the intervals, which are over other pairs, for this panel of annotators.
        notes (`list[str]`): what a reader must know.
    """

    pairs: JudgedPairs
    models: list[PairNumbers]
    level: float
    notes: list[str] = field(default_factory=list)


def pair_report(
    models: Mapping[str, PairPredictions],
    pairs: JudgedPairs,
    validation_pairs: JudgedPairs | None = None,
    resampling: Resampling = Resampling(),  # noqa: B008 (frozen)
) -> PairReport:
    """Judge models by the votes on the same pairs.

    Args:
        models (`dict` of [`PairPredictions`] by name): the first is what the others are compared with.
        pairs ([`JudgedPairs`]): held-out pairs.
        validation_pairs ([`JudgedPairs`], *optional*): where given, a second row per model has κ fitted on them, the
            temperature scaling of a reward model; where their ties are known, Davidson's model, too.
        resampling ([`Resampling`]): of the intervals.

    Returns:
        [`PairReport`].

    Raises:
        ValueError: no model, or rewards that are not finite or of another number of pairs.

    Example:

    >>> pairs = JudgedPairs([1.0, 0.6, 0.2], [3, 5, 5])
    >>> report = pair_report({"model": PairPredictions([[1.0, 0.0], [0.5, 0.2], [0.0, 0.3]])}, pairs)
    >>> round(report.models[0].metrics["vote_agreement"], 4)
    0.7692
    """
    if not models:
        raise ValueError("models is empty; give the predictions of at least one model by its name")
    notes, subjects = _notes(pairs), []
    for name, predictions in models.items():
        rewards = predictions.rewards
        subjects.append(
            _Subject(name, rewards, predictions.bradley_terry_scale, three_way_probs=predictions.three_way_probs)
        )
        if validation_pairs is not None and predictions.validation_rewards is not None:
            subjects += _refitted(name, predictions, validation_pairs, notes)
    first = subjects[0].scores(pairs)
    return PairReport(
        pairs, [_numbers(subject, first, pairs, resampling) for subject in subjects], resampling.level, notes
    )


@dataclass(frozen=True)
class _Subject:
    """A model, as it is or with its links fitted, before it is measured."""

    name: str
    rewards: ArrayLike
    scale: float
    refitted: bool = False
    davidson: DavidsonLink | None = None
    three_way_probs: ArrayLike | None = None

    def scores(self, pairs: JudgedPairs) -> dict[str, PairScore]:
        return pair_scores(self.rewards, self.scale, self.three_way_probs, pairs)


def _notes(pairs: JudgedPairs) -> list[str]:
    """What the numbers do not say of themselves."""
    notes = few_clusters_note(pairs.clusters)
    voted = pairs.pair_weight > 0
    lost = int((pairs.chosen_vote_share[voted] < 0.5).sum())
    if lost:
        notes.append(
            f"In {lost:,} of {int(voted.sum()):,} pairs the votes are against the response in the column of chosen "
            "ones: `accuracy` goes by the columns, `majority_accuracy` and `vote_agreement` by the votes."
        )
    known = int(pairs.with_ties.sum())
    if 0 < known < voted.sum():
        notes.append(f"The share of ties is known for {known:,} pairs: the nats of three ways are of these alone.")
    return notes


def _refitted(name: str, predictions: PairPredictions, pairs: JudgedPairs, notes: list[str]) -> list[_Subject]:
    """With κ by the validation pairs; none, with a note, where these do not determine it."""
    chosen, rejected = np.asarray(predictions.validation_rewards, dtype=np.float64).T
    unequal = (chosen != rejected) & (pairs.pair_weight > 0)
    if not unequal.any():
        notes.append(f"{name}: equal rewards in every validation pair, so κ was not fitted anew.")
        return []
    link = fit_bradley_terry_scale(chosen, rejected, pairs.chosen_vote_share, pairs.pair_weight)
    if link.boundary is not None:
        notes.append(f"{name}: the validation pairs put κ at {link.boundary}, so it was not fitted anew.")
        return []
    davidson, probs, known = None, None, pairs.with_ties
    if (unequal & known).any():
        davidson = fit_davidson(chosen[known], rejected[known], pairs.vote_counts[known])
        if davidson.boundaries:
            where = " and ".join(davidson.boundaries)
            notes.append(
                f"{name}: the validation pairs put Davidson's model at a boundary ({where}); it was left out."
            )
            davidson = None
    if davidson is not None:
        probs = davidson_probs(*np.asarray(predictions.rewards).T, davidson.scale, davidson.tie_propensity)
    return [_Subject(name, predictions.rewards, link.scale, True, davidson, probs)]


def _numbers(
    subject: _Subject, first: dict[str, PairScore], pairs: JudgedPairs, resampling: Resampling
) -> PairNumbers:
    """Everything about one model."""
    scores, probs = subject.scores(pairs), subject.three_way_probs
    chosen, rejected = np.asarray(subject.rewards, dtype=np.float64).T
    metrics = pair_metrics(chosen, rejected, pairs.chosen_vote_share, pairs.pair_weight, subject.scale)
    for name in scores.keys() - metrics.keys():
        values, weight = scores[name]
        metrics[name] = weighted_mean(values, weight) if weight.any() else float("nan")
    win_probs = expit(subject.scale * (chosen - rejected))
    calibrated = {"pair_expected_calibration_error": win_probs}
    if probs is not None:
        calibrated["win_calibration_error"] = np.asarray(probs, dtype=np.float64) @ [1.0, 0.5, 0.0]
        metrics["win_calibration_error"] = _calibration_error(calibrated["win_calibration_error"], pairs)
    intervals = {name: _mean_interval(score, pairs, resampling) for name, score in scores.items()}
    intervals |= {name: _calibration_interval(probs, pairs, resampling) for name, probs in calibrated.items()}
    return PairNumbers(
        name=subject.name,
        scale=subject.scale,
        refitted=subject.refitted,
        win_probs=win_probs,
        davidson=subject.davidson,
        metrics={name: metrics[name] for name in PAIR_REPORT_METRICS if name in metrics},
        intervals={name: intervals[name] for name in PAIR_REPORT_METRICS if intervals.get(name) is not None},
        differences=_differences(scores, first, pairs, resampling),
    )


def _can_draw(score: PairScore, pairs: JudgedPairs) -> bool:
    """Whether several pairs (or clusters) count, with finite scores."""
    counted = score.weight > 0
    return len(np.unique(pairs.units[counted])) > 1 and bool(np.isfinite(score.values[counted]).all())


def _mean_interval(score: PairScore, pairs: JudgedPairs, resampling: Resampling) -> Interval | None:
    if not _can_draw(score, pairs):
        return None
    how = resampling.num_resamples, resampling.level, resampling.seed
    return Interval(*mean_interval(*score, pairs.units, *how)[1:], OTHER_PAIRS)


def _calibration_error(win_probs: np.ndarray, pairs: JudgedPairs, rows: np.ndarray | slice = slice(None)) -> float:
    columns = win_probs, pairs.chosen_vote_share, pairs.pair_weight
    return expected_calibration_error(*(column[rows] for column in columns), both_orders=True)


def _calibration_interval(win_probs: np.ndarray, pairs: JudgedPairs, resampling: Resampling) -> Interval | None:
    voted = np.flatnonzero(pairs.pair_weight > 0)
    if len(np.unique(pairs.units[voted])) < 2:
        return None
    error = statistic_interval(
        lambda rows: _calibration_error(win_probs, pairs, voted[rows]),
        len(voted),
        pairs.units[voted],
        min(resampling.num_resamples, MOST_DRAWS),
        resampling.level,
        resampling.seed,
    )
    return Interval(max(error.low, 0.0), min(error.high, 1.0), OTHER_PAIRS)


def _differences(
    scores: dict[str, PairScore], first: dict[str, PairScore], pairs: JudgedPairs, resampling: Resampling
) -> dict[str, PairedDifference]:
    """Of every mean that differs; margins are in each model's own unit and are not compared."""
    how = resampling.num_resamples, resampling.level, resampling.seed
    return {
        name: paired_difference(score.values, first[name].values, score.weight, pairs.units, *how)
        for name, score in scores.items()
        if name != "margin"
        and name in first
        and not (score.values == first[name].values)[score.weight > 0].all()
        and _can_draw(score, pairs)
        and _can_draw(first[name], pairs)
    }
