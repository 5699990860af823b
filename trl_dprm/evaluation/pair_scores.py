"""What each pair says of a model: scores whose weighted means are the rows of a report on pairs."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_expit

from ..metrics import PAIR_METRICS, MetricDescription, pair_vote_scores
from ..metrics.arrays import distribution_table, finite_vector
from .judged_pairs import JudgedPairs

PAIR_REPORT_METRICS = {
    "majority_accuracy": MetricDescription(
        "Share of the pairs with a strict majority (one response has more than half of all votes; every such pair "
        "counts alike) whose winner has the higher reward; equal rewards are a loss",
        0,
        1,
        1,
    ),
    "majority_accuracy_ties_half": MetricDescription("The same; equal rewards are half a win", 0, 1, 1),
    **PAIR_METRICS,
    "pair_expected_calibration_error_equal_mass": MetricDescription(
        "The same with ten bins that hold equally many votes", 0, 1, 0
    ),
    "pair_debiased_calibration_error": MetricDescription(
        "Root mean square calibration error of σ(κΔ), both orders counted, ten bins of equal width, without what "
        "finite votes add; it may be above the plain error",
        0,
        1,
        0,
    ),
    "win_calibration_error": MetricDescription(
        "Calibration error of P(win) + P(tie)/2 against the vote shares, both orders counted, ten bins of equal "
        "width: as trained, of two independent draws from the two distributions; with κ fitted, of Davidson's model",
        0,
        1,
        0,
    ),
    "win_calibration_error_equal_mass": MetricDescription(
        "The same with ten bins that hold equally many votes", 0, 1, 0
    ),
    "win_debiased_calibration_error": MetricDescription(
        "Root mean square calibration error of P(win) + P(tie)/2, as that of σ(κΔ) without what finite votes add",
        0,
        1,
        0,
    ),
    "three_way_nats": MetricDescription(
        "Where the share of ties is known: minus the mean log-probability of a vote for chosen, tie or rejected. As "
        "trained: of two independent draws from the two distributions; with κ fitted: by Davidson's model, its scale "
        "and tie propensity fitted on the validation pairs. 1.099 says nothing",
        0,
        math.inf,
        0,
    ),
    "decisive_nats": MetricDescription(
        "The same of the votes that are no ties, the two probabilities rescaled to sum to 1; 0.693 says nothing",
        0,
        math.inf,
        0,
    ),
}


class PairScore(NamedTuple):
    """Scores of N pairs; the mean by `weight` is the metric.

    Attributes:
        values (`np.ndarray` of shape `(N,)`): one score per pair; anything where the weight is 0.
        weight (`np.ndarray` of shape `(N,)`): how much each counts, at least 0.
    """

    values: np.ndarray
    weight: np.ndarray


def pair_scores(
    rewards: ArrayLike, scale: float, three_way_probs: ArrayLike | None, pairs: JudgedPairs
) -> dict[str, PairScore]:
    """Every row of a report on pairs that is a mean over pairs.

    Args:
        rewards (array of shape `(N, 2)`): of the chosen and the rejected response, finite.
        scale (`float`): κ of `σ(κΔ)`.
        three_way_probs (array of shape `(N, 3)`, *optional*): of chosen, tie, rejected.
        pairs ([`JudgedPairs`]): N of them.

    Returns:
        `dict` of [`PairScore`] by names of `PAIR_REPORT_METRICS`; three ways only where probabilities are given and
        the ties of some pair are known.

    Raises:
        ValueError: rewards that are not finite or of another number of pairs, and probabilities that are none.

    Example:

    >>> scores = pair_scores([[0.0, 1.0], [1.0, 0.0]], 1.0, None, JudgedPairs([0.2, 0.4], [5, 5]))
    >>> scores["majority_accuracy"].values, scores["accuracy"].values  # the first "chosen" response lost by the votes
    (array([1., 0.]), array([0., 1.]))
    """
    chosen, rejected = (finite_vector("rewards", side, len(pairs)) for side in np.asarray(rewards).T)
    share, log_odds = pairs.chosen_vote_share, scale * (chosen - rejected)
    wins = np.heaviside(chosen - rejected, 0.5)
    winner = np.where(share > 0.5, wins, 1 - wins)
    majority = pairs.with_majority.astype(np.float64)
    of_votes = {
        "accuracy": (wins == 1).astype(np.float64),
        "accuracy_ties_half": wins,
        "vote_agreement": share * wins + (1 - share) * (1 - wins),
        "margin": chosen - rejected,
        "pair_log_loss": -share * log_expit(log_odds) - (1 - share) * log_expit(-log_odds),
    }
    return {
        "majority_accuracy": PairScore((winner == 1).astype(np.float64), majority),
        "majority_accuracy_ties_half": PairScore(winner, majority),
        **{name: PairScore(values, pairs.pair_weight) for name, values in of_votes.items()},
        **_three_ways(three_way_probs, pairs),
    }


def _three_ways(three_way_probs: ArrayLike | None, pairs: JudgedPairs) -> dict[str, PairScore]:
    known = pairs.with_ties
    if three_way_probs is None or not known.any():
        return {}
    probs = distribution_table("three_way_probs", three_way_probs)
    if probs.shape != (len(pairs), 3):
        raise ValueError(f"three_way_probs has shape {probs.shape} for {len(pairs)} pairs; give chosen, tie, rejected")
    scores = pair_vote_scores(probs[known], pairs.vote_counts[known])
    return {
        "three_way_nats": _spread(scores.three_way_nats, scores.votes, known),
        "decisive_nats": _spread(scores.decisive_nats, scores.decisive_votes, known),
    }


def _spread(values: np.ndarray, weight: np.ndarray, known: np.ndarray) -> PairScore:
    """Scores of some pairs as scores of all, the others without weight."""
    columns = np.zeros((2, len(known)))
    columns[:, known] = np.where(weight > 0, values, 0.0), weight
    return PairScore(*columns)
