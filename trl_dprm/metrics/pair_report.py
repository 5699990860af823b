"""The standard report on pairs: does the preferred response get the higher reward, and is its lead honest?"""

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import expit

from ..losses import bradley_terry_loss
from .arrays import finite_vector, share_vector, weight_vector
from .averages import weighted_mean
from .calibration import expected_calibration_error
from .description import MetricDescription

PAIR_METRICS = {
    "accuracy": MetricDescription("Share of pairs with chosen reward > rejected reward; a tie is a loss", 0, 1, 1),
    "accuracy_ties_half": MetricDescription("The same; a tie is half a win", 0, 1, 1),
    "vote_agreement": MetricDescription(
        "Share of annotators who prefer what the rewards prefer; a tie of rewards agrees with half of them", 0, 1, 1
    ),
    "margin": MetricDescription("Mean of chosen reward − rejected reward", -math.inf, math.inf, math.inf),
    "pair_log_loss": MetricDescription(
        "Cross-entropy of σ(κΔ) against the vote shares, in nats; 0.693 says nothing", 0, math.inf, 0
    ),
    "pair_expected_calibration_error": MetricDescription(
        "Calibration error of σ(κΔ) against the vote shares, both orders counted, ten bins of equal width", 0, 1, 0
    ),
}


def pair_metrics(
    chosen_rewards: ArrayLike,
    rejected_rewards: ArrayLike,
    chosen_vote_share: ArrayLike | None = None,
    pair_weight: ArrayLike | None = None,
    bradley_terry_scale: float = 1.0,
) -> dict[str, float]:
    """How well rewards predict which of two responses people prefer.

    `PAIR_METRICS` says what each number means, its range and its best value. Calibration counts every pair in both
    orders (probability `σ(κΔ)` against share `s`, and `1 - σ(κΔ)` against `1 - s`): where the preferred response
    always comes first, one order alone would call every honest model underconfident.

    Args:
        chosen_rewards (array of shape `(num_pairs,)`): finite.
        rejected_rewards (array of shape `(num_pairs,)`): finite.
        chosen_vote_share (array of shape `(num_pairs,)`, *optional*): share of annotators who preferred the chosen
            response, between 0 and 1, a tie as half a vote; 1 if not given. A share below one half makes "chosen" a
            mere name: read `vote_agreement` then, not `accuracy`.
        pair_weight (array of shape `(num_pairs,)`, *optional*): how much each pair counts; equal if not given.
        bradley_terry_scale (`float`, positive): κ (`DPRMConfig.bradley_terry_scale`).

    Returns:
        `dict[str, float]`: the keys of `PAIR_METRICS`.

    Raises:
        ValueError: rewards that are not finite, lengths that differ, shares outside [0, 1], weights that are negative
            or all zero, or a scale that is not positive and finite.

    Source: ties as losses in RewardBench v1 (arXiv 2403.13787); both orders [ours].

    Example:

    >>> metrics = pair_metrics([1.0, 0.5, 0.0], [0.0, 0.5, 1.0], chosen_vote_share=[1.0, 0.5, 0.6])
    >>> {name: round(value, 4) for name, value in metrics.items()}
    {'accuracy': 0.3333, 'accuracy_ties_half': 0.5, 'vote_agreement': 0.6333, 'margin': 0.0, 'pair_log_loss': 0.6399, \
'pair_expected_calibration_error': 0.0207}
    """
    chosen = finite_vector("chosen_rewards", chosen_rewards)
    rejected = finite_vector("rejected_rewards", rejected_rewards, len(chosen))
    share = np.ones(len(chosen))
    if chosen_vote_share is not None:
        share = share_vector("chosen_vote_share", chosen_vote_share, len(chosen))
    weight = weight_vector("pair_weight", pair_weight, len(chosen))
    if not (math.isfinite(bradley_terry_scale) and bradley_terry_scale > 0):
        raise ValueError(f"bradley_terry_scale is {bradley_terry_scale}; give a positive, finite number")
    wins = np.heaviside(chosen - rejected, 0.5)
    probability = expit(bradley_terry_scale * (chosen - rejected))
    per_pair = {
        "accuracy": wins == 1,
        "accuracy_ties_half": wins,
        "vote_agreement": share * wins + (1 - share) * (1 - wins),
        "margin": chosen - rejected,
        "pair_log_loss": _log_loss(chosen, rejected, bradley_terry_scale, share),
    }
    metrics = {name: weighted_mean(values, weight) for name, values in per_pair.items()}
    metrics["pair_expected_calibration_error"] = expected_calibration_error(
        _both_orders(probability), _both_orders(share), np.concatenate([weight, weight])
    )
    return metrics


def _log_loss(chosen: np.ndarray, rejected: np.ndarray, scale: float, share: np.ndarray) -> np.ndarray:
    loss = bradley_terry_loss(
        torch.from_numpy(chosen), torch.from_numpy(rejected), scale, chosen_vote_share=torch.from_numpy(share)
    )
    return loss.numpy()


def _both_orders(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, 1 - values])
