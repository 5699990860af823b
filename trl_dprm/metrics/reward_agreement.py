"""Do expected rewards follow the mean rewards that people gave, and how well could they at best?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import finite_vector, matching_counts
from .averages import weighted_correlation, weighted_mean, weighted_variance
from .vote_pairs import has_pairs, vote_reward_variance


class RewardAgreement(NamedTuple):
    """Expected rewards against the mean rewards of the votes; NaN where undefined.

    Attributes:
        correlation (`float`): Pearson correlation, weighted by votes.
        correlation_ceiling (`float`): the correlation that the *true* expected rewards would have with the mean
            rewards of so few votes: the square root of the means' reliability.
        slope (`float`): of mean reward on expected reward; 1 for calibrated means, below 1 for exaggerated ones.
        intercept (`float`): of the same line; 0 for calibrated means.
    """

    correlation: float
    correlation_ceiling: float
    slope: float
    intercept: float


def reward_agreement(
    category_probs: ArrayLike, target_counts: ArrayLike, category_rewards: Sequence[float]
) -> RewardAgreement:
    """Correlation of expected and mean reward beside its ceiling, and the calibration of the mean.

    With shares `s_i = n_i / sum n` as weights, the observed variance of the mean rewards is that of the true means
    plus noise, `sum_i s_i (1 - s_i) σ_i² / n_i` in expectation; so `ceiling² = 1 - noise / observed variance`. The
    variance `σ_i²` of the reward within an item is half the mean squared difference of two distinct annotators,
    without bias for `n_i >= 2`; an item of one vote is given the mean of the others (weighted by `n_i - 1`). The
    ceiling is 0 where the means differ no more than noise alone would let them; a correlation may exceed it by chance.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        target_counts (array of shape `(num_items, num_categories)`): raw votes, non-negative; rows without votes do
            not count, for fractional ones see [`vote_pair_cost`].
        category_rewards (sequence of `float`, length `num_categories`): reward of each category.

    Returns:
        [`RewardAgreement`]: `correlation` is NaN where one side is constant; `correlation_ceiling` where the mean
        rewards are, or where no item has two votes; `slope` and `intercept` where the expected rewards are constant.

    Raises:
        ValueError: predictions that are no distributions, bad counts, no votes at all, or rewards for another number
            of categories.

    Source: Spearman (1904), correction for attenuation; Mincer & Zarnowitz (1969) for slope and intercept. The noise
        of weighted means [ours].

    Example:

    >>> agreement = reward_agreement([[0.9, 0.1], [0.1, 0.9]], [[3, 1], [1, 3]], [0.0, 1.0])
    >>> [round(value, 4) for value in agreement]
    [1.0, 0.7071, 0.625, 0.1875]
    """
    predictions, counts = matching_counts(category_probs, target_counts)
    rewards = finite_vector("category_rewards", category_rewards, counts.shape[1])
    voted = counts.sum(axis=1) > 0
    if not voted.any():
        raise ValueError("target_counts has no votes at all; give the votes of at least one item")
    predictions, counts = predictions[voted], counts[voted]
    votes = counts.sum(axis=1)
    expected, mean = predictions @ rewards, counts @ rewards / votes
    slope = _slope(expected, mean, votes)
    return RewardAgreement(
        weighted_correlation(expected, mean, votes),
        _correlation_ceiling(mean, counts, rewards),
        slope,
        weighted_mean(mean, votes) - slope * weighted_mean(expected, votes),
    )


def _slope(expected: np.ndarray, mean: np.ndarray, votes: np.ndarray) -> float:
    variance = weighted_variance(expected, votes)
    deviation = expected - weighted_mean(expected, votes)
    return weighted_mean(deviation * mean, votes) / variance if variance > 0 else float("nan")


def _correlation_ceiling(mean: np.ndarray, counts: np.ndarray, rewards: np.ndarray) -> float:
    observed = weighted_variance(mean, counts.sum(axis=1))
    if observed == 0 or not has_pairs(counts).any():
        return float("nan")
    return float(np.sqrt(max(0.0, 1 - _noise(counts, rewards) / observed)))


def _noise(counts: np.ndarray, rewards: np.ndarray) -> float:
    """Expected part of the weighted variance of mean rewards that is due to finite votes."""
    votes, several = counts.sum(axis=1), has_pairs(counts)
    within = vote_reward_variance(counts, rewards)
    within[~several] = np.average(within[several], weights=votes[several] - 1)
    share = votes / votes.sum()
    return float((share * (1 - share) * within / votes).sum())
