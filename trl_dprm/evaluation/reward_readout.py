"""Distributions for models that give one number: what the votes say of texts with that number."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax

from ..adaptation.map_fitting import sum_zero_basis
from ..adaptation.penalised_likelihood import PenalisedLikelihood
from ..metrics.arrays import finite_vector
from ..preferences.vote_arrays import as_counts

_PRIOR_WEIGHT = 0.01  # log-odds change by about ten per standard deviation of the rewards, beforehand


@dataclass(frozen=True)
class RewardReadout:
    """`P(k | reward) ∝ exp(intercepts[k] + slopes[k] * reward)`.

    Args:
        intercepts, slopes (`np.ndarray` of shape `(K,)`): of the categories' log-probabilities; each sums to zero.
    """

    intercepts: np.ndarray
    slopes: np.ndarray

    def category_probs(self, rewards: ArrayLike) -> np.ndarray:
        """Distributions of texts by their rewards.

        Args:
            rewards (array of shape `(N,)`): finite.

        Returns:
            `np.ndarray` of shape `(N, K)`, rows sum to 1.
        """
        rewards = finite_vector("rewards", rewards)
        return softmax(self.intercepts + rewards[:, None] * self.slopes, axis=1)


def fit_reward_readout(rewards: ArrayLike, target_counts: ArrayLike) -> RewardReadout:
    """Fit a multinomial logit of the votes on the reward: the most that a sceptic can ask for a scalar model.

    A model that gives one number says nothing of how votes spread, and would be blamed for it. So the *validation*
    votes say which distribution goes with which number. The categories need no order; with two of them this is Platt
    scaling. The likelihood is concave; a weak prior keeps it finite where no vote contradicts the rewards.

    Args:
        rewards (array of shape `(M,)`): of the validation items, finite, in any unit.
        target_counts (array of shape `(M, K)`): votes on them.

    Returns:
        [`RewardReadout`].

    Raises:
        ValueError: for rewards that are not finite or of another number of items, bad votes, or none.

    Source: Platt, *Probabilistic Outputs for Support Vector Machines* (1999), for two categories; with more of them
        [ours]. On the three scalar methods of `recipes/convabuse-minilm` it and the ordered logit predict validation
        votes equally well.

    Example:

    >>> readout = fit_reward_readout([-1.0, -1.0, 1.0, 1.0], [[3, 1], [3, 1], [1, 3], [1, 3]])
    >>> readout.category_probs([1.0]).round(3)
    array([[0.25, 0.75]])
    """
    counts = as_counts(target_counts)
    rewards = finite_vector("rewards", rewards, len(counts))
    if counts.sum() == 0:
        raise ValueError(f"target_counts holds no votes in its {len(counts)} rows: no readout can be fitted to them.")
    centre, unit = rewards.mean(), rewards.std() or 1.0
    features = np.stack([np.ones(len(rewards)), (rewards - centre) / unit], axis=1)
    basis = sum_zero_basis(counts.shape[1])
    design = np.einsum("kj,if->ikjf", basis, features).reshape(*counts.shape, -1)
    fitted = PenalisedLikelihood(np.zeros(counts.shape), counts, design).maximise(_PRIOR_WEIGHT)
    at_centre, per_unit = (basis @ fitted.reshape(-1, 2)).T
    return RewardReadout(at_centre - per_unit * centre / unit, per_unit / unit)
