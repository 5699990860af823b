"""Pairs with votes of three kinds: for the chosen response, a tie, for the rejected response, in this order.

Davidson's probabilities and the win probability of two distributions come in the same order, so that every model of
pairs is judged by one function.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..losses import davidson_log_probs
from .arrays import distribution_table, finite_vector, vote_shares
from .averages import weighted_mean
from .calibration import NUM_BINS, expected_calibration_error
from .description import MetricDescription
from .item_scores import nats_per_vote

PAIR_VOTE_METRICS = {
    "three_way_nats": MetricDescription(
        "Minus the mean log-probability of a vote for chosen, tie or rejected; 1.099 says nothing", 0, math.inf, 0
    ),
    "decisive_nats": MetricDescription(
        "The same of the votes that are no ties, the two probabilities rescaled to sum to 1; 0.693 says nothing",
        0,
        math.inf,
        0,
    ),
    "majority_accuracy": MetricDescription(
        "Share of pairs with a strict majority (one response has more than half of all votes) whose winner has the "
        "higher probability; equal probabilities are a loss",
        0,
        1,
        1,
    ),
    "majority_accuracy_ties_half": MetricDescription("The same; equal probabilities are half a win", 0, 1, 1),
    "majority_pairs": MetricDescription("Number of pairs with a strict majority", 0, math.inf, math.inf),
    "win_calibration_error": MetricDescription(
        "Calibration error of P(chosen) + P(tie)/2 against the vote shares (a tie is half a vote), both orders "
        "counted, ten bins of equal width",
        0,
        1,
        0,
    ),
    "win_calibration_error_equal_mass": MetricDescription(
        "The same with ten bins that hold equally many votes", 0, 1, 0
    ),
    "decisive_calibration_error": MetricDescription(
        "Calibration error of P(chosen) / (P(chosen) + P(rejected)) against the decisive votes, both orders counted, "
        "ten bins of equal width",
        0,
        1,
        0,
    ),
    "decisive_calibration_error_equal_mass": MetricDescription(
        "The same with ten bins that hold equally many votes", 0, 1, 0
    ),
    "tie_calibration_error": MetricDescription(
        "Calibration error of P(tie) against the share of ties, ten bins of equal width", 0, 1, 0
    ),
}


class PairVoteScores(NamedTuple):
    """Nats of each pair and the votes behind them: for `mean_interval` and `paired_difference`.

    For `crossed_paired_difference` take the single votes: `judgment_nats(pair_probs, judged_pairs, outcomes)`.

    Attributes:
        three_way_nats (`np.ndarray` of shape `(num_pairs,)`): mean of `-log q` over the votes of the pair.
        votes (`np.ndarray` of shape `(num_pairs,)`): its weight.
        decisive_nats (`np.ndarray` of shape `(num_pairs,)`): the same over votes that are no ties, with rescaled
            probabilities; 0 where all votes are ties.
        decisive_votes (`np.ndarray` of shape `(num_pairs,)`): its weight; 0 where all votes are ties.
    """

    three_way_nats: np.ndarray
    votes: np.ndarray
    decisive_nats: np.ndarray
    decisive_votes: np.ndarray


def pair_vote_scores(pair_probs: ArrayLike, vote_counts: ArrayLike) -> PairVoteScores:
    """Nats per vote of each pair, three ways and decisive only.

    Args:
        pair_probs (array of shape `(num_pairs, 3)`): predicted probabilities of chosen, tie, rejected; rows sum to 1.
        vote_counts (array of shape `(num_pairs, 3)`): votes in the same order, at least one per pair.

    Returns:
        [`PairVoteScores`]; `inf` where an outcome with votes got probability 0.

    Raises:
        ValueError: tables of another shape or that are no distributions, or a pair without votes.

    Source: standard.

    Example:

    >>> scores = pair_vote_scores([[0.5, 0.25, 0.25]], [[1, 1, 0]])
    >>> scores.three_way_nats.round(4), scores.decisive_nats.round(4), scores.decisive_votes
    (array([1.0397]), array([0.4055]), array([1.]))
    """
    probs, counts = _three_ways(pair_probs, vote_counts)
    shares, votes = vote_shares(counts)
    return PairVoteScores(
        nats_per_vote(probs, shares),
        votes,
        nats_per_vote(_decisive(probs), np.nan_to_num(_decisive(counts))),
        counts[:, ::2].sum(axis=1),
    )


def pair_vote_metrics(pair_probs: ArrayLike, vote_counts: ArrayLike, num_bins: int = NUM_BINS) -> dict[str, float]:
    """How well predicted probabilities of chosen, tie and rejected match the votes on pairs.

    `PAIR_VOTE_METRICS` says what each number means, its range and its best value. Calibration counts every pair in
    both orders, as [`pair_metrics`] does.

    Args:
        pair_probs (array of shape `(num_pairs, 3)`): predicted probabilities of chosen, tie, rejected; rows sum to 1.
            A model without ties has a middle column of zeros: its three-way nats are infinite once a tie was voted.
        vote_counts (array of shape `(num_pairs, 3)`): votes in the same order, at least one per pair. Which response
            is called chosen does not matter: every number is the same with the columns of both tables reversed.
        num_bins (`int`, at least 1): bins of probability.

    Returns:
        `dict[str, float]`: the keys of `PAIR_VOTE_METRICS`; NaN for accuracies without a strict majority and for
        decisive numbers without decisive votes.

    Raises:
        ValueError: as [`pair_vote_scores`], or no bins.

    Source: ties as losses in RewardBench v1 (arXiv 2403.13787); both orders and three ways [ours].

    Example:

    >>> metrics = pair_vote_metrics([[0.6, 0.2, 0.2], [0.3, 0.4, 0.3]], [[4, 1, 0], [0, 2, 3]])
    >>> round(metrics["three_way_nats"], 4), metrics["majority_accuracy"], metrics["majority_accuracy_ties_half"]
    (0.9097, 0.5, 0.75)
    """
    probs, counts = _three_ways(pair_probs, vote_counts)
    scores = pair_vote_scores(probs, counts)
    shares, votes = vote_shares(counts)
    lead = np.sign(counts[:, 0] - counts[:, 2])
    strict = counts[:, ::2].max(axis=1) > votes / 2
    wins = np.heaviside(lead * (probs[:, 0] - probs[:, 2]), 0.5)[strict]
    decisive = scores.decisive_votes > 0
    metrics = {
        "three_way_nats": weighted_mean(scores.three_way_nats, votes),
        "decisive_nats": weighted_mean(scores.decisive_nats, scores.decisive_votes) if decisive.any() else math.nan,
        "majority_accuracy": float((wins == 1).mean()) if strict.any() else math.nan,
        "majority_accuracy_ties_half": float(wins.mean()) if strict.any() else math.nan,
        "majority_pairs": float(strict.sum()),
    }
    win = probs[:, 0] + probs[:, 1] / 2, shares[:, 0] + shares[:, 1] / 2, votes
    only = _decisive(probs)[decisive, 0], _decisive(counts)[decisive, 0], scores.decisive_votes[decisive]
    for suffix, binning in (("", "equal_width"), ("_equal_mass", "equal_mass")):
        metrics[f"win_calibration_error{suffix}"] = expected_calibration_error(
            *win, num_bins, binning, both_orders=True
        )
        metrics[f"decisive_calibration_error{suffix}"] = (
            expected_calibration_error(*only, num_bins, binning, both_orders=True) if decisive.any() else math.nan
        )
    metrics["tie_calibration_error"] = expected_calibration_error(probs[:, 1], shares[:, 1], votes, num_bins)
    return metrics


def davidson_probs(
    chosen_rewards: ArrayLike, rejected_rewards: ArrayLike, scale: float, tie_propensity: float
) -> np.ndarray:
    """Davidson's probabilities of chosen, tie and rejected from the rewards of two responses.

    Args:
        chosen_rewards (array of shape `(num_pairs,)`): finite.
        rejected_rewards (array of shape `(num_pairs,)`): finite.
        scale (`float`, finite, at least 0): κ, log-odds per unit of reward.
        tie_propensity (`float`, finite, at least 0): ν; two equal responses tie with probability `ν / (ν + 2)`, and 0
            is Bradley–Terry, without ties.

    Returns:
        `np.ndarray` of shape `(num_pairs, 3)`, rows sum to 1.

    Raises:
        ValueError: rewards that are not finite, lengths that differ, or a scale or propensity that is negative or not
            finite (`fit_davidson` at a boundary).

    Source: Davidson (1970), equation 2.1, by `losses.davidson_log_probs`.

    Example:

    >>> davidson_probs([0.0, 1.0], [0.0, 0.0], scale=1.0, tie_propensity=1.0).round(4)
    array([[0.3333, 0.3333, 0.3333],
           [0.5065, 0.3072, 0.1863]])
    """
    chosen = finite_vector("chosen_rewards", chosen_rewards)
    rejected = finite_vector("rejected_rewards", rejected_rewards, len(chosen))
    for name, value in (("scale", scale), ("tie_propensity", tie_propensity)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}; give a finite number of at least 0")
    numbers = (torch.tensor(value, dtype=torch.float64) for value in (tie_propensity, scale))
    return davidson_log_probs(torch.from_numpy(chosen), torch.from_numpy(rejected), *numbers).exp().numpy()


def win_tie_probs(
    chosen_category_probs: ArrayLike, rejected_category_probs: ArrayLike, category_rewards: Sequence[float]
) -> np.ndarray:
    """Probabilities that of two independent annotators' ratings the chosen one is higher, equal, or lower.

    One annotator's two ratings correlate, so that votes on pairs are more decided than this, and equal ratings are not
    yet a tie: fit a link on validation pairs (`fit_davidson`) before judging it.

    Args:
        chosen_category_probs (array of shape `(num_pairs, num_categories)`): prediction for the chosen response, rows
            sum to 1.
        rejected_category_probs (array of shape `(num_pairs, num_categories)`): for the rejected response.
        category_rewards (sequence of `float`, length `num_categories`): only their order and ties matter.

    Returns:
        `np.ndarray` of shape `(num_pairs, 3)`: chosen, tie, rejected. The first and half of the second sum to
        `win_probability`.

    Raises:
        ValueError: tables of different shapes or that are no distributions, or another number of rewards.

    Source: DPL (arXiv 2312.08358), categorical model; ties kept apart [ours].

    Example:

    >>> win_tie_probs([[0.0, 1.0]], [[0.5, 0.5]], category_rewards=[-1.0, 1.0])
    array([[0.5, 0.5, 0. ]])
    """
    chosen = distribution_table("chosen_category_probs", chosen_category_probs)
    rejected = distribution_table("rejected_category_probs", rejected_category_probs)
    if chosen.shape != rejected.shape:
        raise ValueError(
            f"chosen_category_probs has shape {chosen.shape} but rejected_category_probs has {rejected.shape}; give "
            "one row per pair in both"
        )
    rewards = finite_vector("category_rewards", category_rewards, chosen.shape[1])
    order = np.sign(rewards[:, None] - rewards)
    return np.stack([((chosen @ (order == sign)) * rejected).sum(axis=1) for sign in (1, 0, -1)], axis=1)


def three_way_counts(vote_counts: ArrayLike, num_pairs: int) -> np.ndarray:
    """Votes for chosen, tie, rejected as float64 of shape `(num_pairs, 3)`, at least one per pair.

    Raises:
        ValueError: another shape, a count that is negative or not finite, or a pair without votes.

    Example:

    >>> three_way_counts([[2, 0, 1], [0, 0, 0]], num_pairs=2)
    Traceback (most recent call last):
    ValueError: vote_counts row 1 has no votes; leave out pairs that nobody judged
    """
    counts = np.asarray(vote_counts, dtype=np.float64)
    if counts.shape != (num_pairs, 3):
        raise ValueError(
            f"vote_counts has shape {counts.shape} for {num_pairs} pairs; give one row per pair and 3 columns: "
            "chosen, tie, rejected"
        )
    bad = ~(np.isfinite(counts) & (counts >= 0))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(f"vote_counts row {row}, column {column} is {counts[row, column]:g}; give a number >= 0")
    if not counts.any(axis=1).all():
        row = int((~counts.any(axis=1)).argmax())
        raise ValueError(f"vote_counts row {row} has no votes; leave out pairs that nobody judged")
    return counts


def _three_ways(pair_probs: ArrayLike, vote_counts: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    probs = distribution_table("pair_probs", pair_probs)
    if probs.shape[1] != 3:
        raise ValueError(f"pair_probs has {probs.shape[1]} columns; give 3: chosen, tie, rejected")
    return probs, three_way_counts(vote_counts, len(probs))


def _decisive(table: np.ndarray) -> np.ndarray:
    """Chosen and rejected, rescaled to sum to 1; NaN where both are 0."""
    sides = table[:, ::2]
    total = sides.sum(axis=1, keepdims=True)
    return np.divide(sides, total, out=np.full(sides.shape, np.nan), where=total > 0)
