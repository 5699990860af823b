"""The numbers of a report on pairs: models beside each other, on the same pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_expit

from ..metrics import PairedDifference, expected_calibration_error, mean_interval, pair_metrics, paired_difference
from ..metrics.arrays import finite_vector, share_vector, weight_vector
from ..metrics.pair_links import fit_bradley_terry_scale
from ..metrics.statistic_bootstrap import statistic_interval
from .intervals import MOST_DRAWS, Interval, Resampling

OTHER_PAIRS = "other pairs, for this panel of annotators"


@dataclass(frozen=True)
class JudgedPairs:
    """N pairs of responses with the votes on them.

    Args:
        chosen_vote_share (array of shape `(N,)`): share of the annotators who preferred the chosen response.
        pair_weight (array of shape `(N,)`): votes of each pair.
        clusters (sequence of length N, *optional*): which pairs belong together, such as prompts.
    """

    chosen_vote_share: ArrayLike
    pair_weight: ArrayLike
    clusters: Sequence | None = None

    def __post_init__(self):
        share = share_vector("chosen_vote_share", self.chosen_vote_share)
        object.__setattr__(self, "chosen_vote_share", share)
        object.__setattr__(self, "pair_weight", weight_vector("pair_weight", self.pair_weight, len(share)))
        if self.clusters is not None and len(self.clusters) != len(share):
            raise ValueError(f"clusters has {len(self.clusters)} entries for {len(share)} pairs; give one for each")

    def __len__(self) -> int:
        return len(self.chosen_vote_share)


@dataclass(frozen=True)
class PairPredictions:
    """What one model says of the pairs of a report.

    Args:
        rewards (array of shape `(N, 2)`): of the chosen and the rejected response.
        bradley_terry_scale (`float`): κ in `σ(κΔ)`, stored with the model.
        validation_rewards (array of shape `(M, 2)`, *optional*): of the validation pairs, on which κ is fitted anew.
    """

    rewards: ArrayLike
    bradley_terry_scale: float = 1.0
    validation_rewards: ArrayLike | None = None


@dataclass(frozen=True)
class PairNumbers:
    """One row of the report.

    Attributes:
        name (`str`): of the model.
        scale (`float`): κ of `σ(κΔ)`.
        refitted (`bool`): whether κ was fitted on validation pairs; otherwise it is the one stored with the model.
        win_probs (`np.ndarray` of shape `(N,)`): `σ(κΔ)`.
        metrics (`dict[str, float]`): as [`~trl_dprm.metrics.pair_metrics`].
        intervals (`dict` of [`Interval`]): of `metrics`, over other pairs; empty where there is one pair (or cluster).
        differences (`dict`): by metric what the model's scores are minus those of the first model.
    """

    name: str
    scale: float
    refitted: bool
    win_probs: np.ndarray
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    differences: dict[str, PairedDifference]


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
            temperature scaling of a reward model.
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
    subjects, notes = [], []
    for name, predictions in models.items():
        subjects.append((name, predictions.bradley_terry_scale, False, predictions.rewards))
        if validation_pairs is not None and predictions.validation_rewards is not None:
            scale = _refitted(name, predictions, validation_pairs, notes)
            subjects += [] if scale is None else [(name, scale, True, predictions.rewards)]
    first = _scores(subjects[0][3], subjects[0][1], pairs)
    return PairReport(
        pairs, [_numbers(*subject, first, pairs, resampling) for subject in subjects], resampling.level, notes
    )


def _refitted(name, predictions, pairs, notes) -> float | None:
    """κ by the validation pairs; `None`, with a note, where these do not determine it."""
    chosen, rejected = np.asarray(predictions.validation_rewards, dtype=np.float64).T
    link = fit_bradley_terry_scale(chosen, rejected, pairs.chosen_vote_share, pairs.pair_weight)
    if link.boundary is None:
        return link.scale
    notes.append(f"{name}: the validation pairs put κ at {link.boundary}, so it was not fitted anew.")
    return None


def _scores(rewards: ArrayLike, scale: float, pairs: JudgedPairs) -> dict[str, np.ndarray]:
    """Per pair what intervals are drawn of."""
    chosen, rejected = (finite_vector("rewards", side, len(pairs)) for side in np.asarray(rewards).T)
    share, log_odds = pairs.chosen_vote_share, scale * (chosen - rejected)
    wins = np.heaviside(chosen - rejected, 0.5)
    return {
        "accuracy": (wins == 1).astype(np.float64),
        "accuracy_ties_half": wins,
        "vote_agreement": share * wins + (1 - share) * (1 - wins),
        "margin": chosen - rejected,
        "pair_log_loss": -share * log_expit(log_odds) - (1 - share) * log_expit(-log_odds),
    }


def _numbers(name, scale, refitted, rewards, first, pairs, resampling) -> PairNumbers:
    """Everything about one model."""
    scores = _scores(rewards, scale, pairs)
    chosen, rejected = np.asarray(rewards, dtype=np.float64).T
    metrics = pair_metrics(chosen, rejected, pairs.chosen_vote_share, pairs.pair_weight, scale)
    win_probs = np.exp(log_expit(scale * (chosen - rejected)))
    several = len(set(_clusters(pairs)[pairs.pair_weight > 0])) > 1
    return PairNumbers(
        name=name,
        scale=scale,
        refitted=refitted,
        win_probs=win_probs,
        metrics=metrics,
        intervals=_intervals(scores, win_probs, pairs, resampling) if several else {},
        differences=_differences(scores, first, pairs, resampling) if several else {},
    )


def _intervals(scores, win_probs, pairs, resampling) -> dict[str, Interval]:
    """Of every metric: means over pairs, and the calibration error."""
    weight, clusters, how = pairs.pair_weight, _clusters(pairs), (resampling.level, resampling.seed)
    intervals = {
        metric: Interval(*mean_interval(values, weight, clusters, resampling.num_resamples, *how)[1:], OTHER_PAIRS)
        for metric, values in scores.items()
    }
    voted = weight > 0
    columns = win_probs[voted], pairs.chosen_vote_share[voted], weight[voted]
    error = statistic_interval(
        lambda rows: expected_calibration_error(*(column[rows] for column in columns), both_orders=True),
        int(voted.sum()),
        clusters[voted],
        min(resampling.num_resamples, MOST_DRAWS),
        *how,
    )
    intervals["pair_expected_calibration_error"] = Interval(max(error.low, 0.0), min(error.high, 1.0), OTHER_PAIRS)
    return intervals


def _differences(scores, first, pairs, resampling) -> dict[str, PairedDifference]:
    """Of every mean that differs; margins are in each model's own unit and are not compared."""
    drawn = (pairs.pair_weight, _clusters(pairs), resampling.num_resamples, resampling.level, resampling.seed)
    return {
        metric: paired_difference(values, first[metric], *drawn)
        for metric, values in scores.items()
        if metric != "margin" and not (values == first[metric]).all()
    }


def _clusters(pairs: JudgedPairs) -> np.ndarray:
    """What is drawn, one id per pair."""
    return np.arange(len(pairs)) if pairs.clusters is None else np.asarray(pairs.clusters)
