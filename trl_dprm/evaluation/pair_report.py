"""The numbers of a report on pairs: models beside each other, on the same pairs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..metrics import CalibratedLevel, PairedDifference, mean_interval, pair_metrics, paired_difference
from ..metrics.averages import weighted_mean
from ..metrics.pair_calibration import pair_reliability_points
from ..metrics.reliability_intervals import ReliabilityPoints
from .intervals import Interval, Resampling, few_clusters_note
from .judged_pairs import OTHER_PAIRS, JudgedPairs
from .pair_calibration import OF_SCALE, OF_WIN, pair_calibration
from .pair_constants import PairConstant, pair_constant
from .pair_forms import PairForm, PairPredictions, PairSubject, pair_subjects
from .pair_scores import PAIR_REPORT_METRICS, PairScore


@dataclass(frozen=True)
class PairNumbers(PairForm):
    """One row of the report.

    Attributes:
        name, scale, refitted, davidson: as in [`PairForm`].
        win_probs (`np.ndarray` of shape `(N,)`): `σ(κΔ)`.
        metrics (`dict[str, float]`): of `PAIR_REPORT_METRICS` those that are defined for the model and the pairs.
        intervals (`dict` of [`Interval`]): of `metrics`, over other pairs; none where there is one pair (or cluster),
            and where the number is not finite.
        differences (`dict`): by metric what the model's scores are minus those of the first model.
        fitted_differences (`dict`): of a model with its links fitted, the same against the first model with its own
            fitted.
        constant_differences (`dict`): the same against the best constant.
        if_calibrated (`dict` of [`~trl_dprm.metrics.CalibratedLevel`]): the calibration errors that chance alone
            would give this model, by the names of [`~trl_dprm.evaluation.pair_calibration.CalibrationNames`].
        reliability ([`ReliabilityPoints`]): the curve of `win_probs`, both orders counted, with intervals.
    """

    win_probs: np.ndarray
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    differences: dict[str, PairedDifference]
    fitted_differences: dict[str, PairedDifference]
    constant_differences: dict[str, PairedDifference]
    if_calibrated: dict[str, CalibratedLevel]
    reliability: ReliabilityPoints


@dataclass(frozen=True)
class PairReport:
    """What [`pair_report`] found.

    Attributes:
        pairs ([`JudgedPairs`]): what was judged.
        models (`list[PairNumbers]`): in the order given.
        constant ([`PairConstant`]): what says the same of every pair.
        level (`float`): of the intervals, which are over other pairs, for this panel of annotators.
        notes (`list[str]`): what a reader must know.
    """

    pairs: JudgedPairs
    models: list[PairNumbers]
    constant: PairConstant
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
    subjects, fitting_notes = pair_subjects(models, validation_pairs)
    firsts = [subject.scores(pairs) for subject in subjects if subject.name == subjects[0].name]
    constant = pair_constant(pairs, validation_pairs)
    return PairReport(
        pairs,
        [_numbers(subject, firsts, constant, pairs, resampling) for subject in subjects],
        constant,
        resampling.level,
        [*_notes(pairs), *fitting_notes, *constant.notes],
    )


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


def _numbers(
    subject: PairSubject,
    firsts: list[dict[str, PairScore]],
    constant: PairConstant,
    pairs: JudgedPairs,
    resampling: Resampling,
) -> PairNumbers:
    """Everything about one model; `firsts` are the first model's scores as it is and, where they are, fitted."""
    scores, probs, win_probs = subject.scores(pairs), subject.three_way_probs, subject.win_probs
    chosen, rejected = np.asarray(subject.rewards, dtype=np.float64).T
    metrics = pair_metrics(chosen, rejected, pairs.chosen_vote_share, pairs.pair_weight, subject.scale)
    for name in scores.keys() - metrics.keys():
        values, weight = scores[name]
        metrics[name] = weighted_mean(values, weight) if weight.any() else float("nan")
    intervals = {name: _mean_interval(score, pairs, resampling) for name, score in scores.items()}
    calibration = [pair_calibration(win_probs, OF_SCALE, pairs, resampling)]
    if probs is not None:
        wins = np.asarray(probs, dtype=np.float64) @ [1.0, 0.5, 0.0]
        calibration.append(pair_calibration(wins, OF_WIN, pairs, resampling))
    for found in calibration:
        metrics |= found.metrics
        intervals |= found.intervals
    return PairNumbers(
        name=subject.name,
        scale=subject.scale,
        refitted=subject.refitted,
        davidson=subject.davidson,
        win_probs=win_probs,
        metrics={name: metrics[name] for name in PAIR_REPORT_METRICS if name in metrics},
        intervals={name: intervals[name] for name in PAIR_REPORT_METRICS if intervals.get(name) is not None},
        differences=_differences(scores, firsts[0], pairs, resampling),
        fitted_differences=_differences(scores, firsts[1], pairs, resampling)
        if subject.refitted and len(firsts) > 1
        else {},
        constant_differences=_differences(scores, constant.scores, pairs, resampling),
        if_calibrated={name: level for found in calibration for name, level in found.if_calibrated.items()},
        reliability=pair_reliability_points(
            win_probs, pairs.chosen_vote_share, pairs.pair_weight, pairs.units, *_how(resampling)
        ),
    )


def _can_draw(score: PairScore, pairs: JudgedPairs) -> bool:
    """Whether several pairs (or clusters) count, with finite scores."""
    counted = score.weight > 0
    return len(np.unique(pairs.units[counted])) > 1 and bool(np.isfinite(score.values[counted]).all())


def _mean_interval(score: PairScore, pairs: JudgedPairs, resampling: Resampling) -> Interval | None:
    if not _can_draw(score, pairs):
        return None
    return Interval(*mean_interval(*score, pairs.units, *_how(resampling))[1:], OTHER_PAIRS)


def _how(resampling: Resampling) -> tuple[int, float, int]:
    return resampling.num_resamples, resampling.level, resampling.seed


def _differences(
    scores: dict[str, PairScore], others: dict[str, PairScore], pairs: JudgedPairs, resampling: Resampling
) -> dict[str, PairedDifference]:
    """Of every mean that differs; margins are in each model's own unit and are not compared."""
    return {
        name: paired_difference(score.values, others[name].values, score.weight, pairs.units, *_how(resampling))
        for name, score in scores.items()
        if name != "margin"
        and name in others
        and not (score.values == others[name].values)[score.weight > 0].all()
        and _can_draw(score, pairs)
        and _can_draw(others[name], pairs)
    }
