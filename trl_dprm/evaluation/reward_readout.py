"""Distributions for models that give one number: what the votes say of texts with that number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax

from ..adaptation.map_fitting import sum_zero_basis
from ..adaptation.penalised_likelihood import PenalisedLikelihood
from ..metrics.arrays import finite_vector
from ..preferences.vote_arrays import as_counts

DEGREES = (1, 2, 3)
_PRIOR_WEIGHT = 0.01  # log-odds change by about ten per standard deviation of the rewards, beforehand
_NUM_FOLDS = 5


@dataclass(frozen=True)
class RewardReadout:
    """`P(k | reward) ∝ exp(Σ_d coefficients[k, d] u^d)`, `u` the reward in standard deviations from its mean.

    Args:
        coefficients (`np.ndarray` of shape `(K, degree + 1)`): columns sum to zero.
        centre, unit (`float`): mean and standard deviation of the rewards that it was fitted on.
        low, high (`float`): the least and the largest of them; rewards beyond are read as these, for nothing is known
            of what goes with them.
    """

    coefficients: np.ndarray
    centre: float
    unit: float
    low: float
    high: float

    @property
    def degree(self) -> int:
        """Of the polynomials: 1 is a multinomial logit."""
        return self.coefficients.shape[1] - 1

    def category_probs(self, rewards: ArrayLike) -> np.ndarray:
        """Distributions of texts by their rewards.

        Args:
            rewards (array of shape `(N,)`): finite.

        Returns:
            `np.ndarray` of shape `(N, K)`, rows sum to 1.
        """
        rewards = finite_vector("rewards", rewards).clip(self.low, self.high)
        powers = _powers((rewards - self.centre) / self.unit, self.degree)
        return np.exp(log_softmax(powers @ self.coefficients.T, axis=1))


def fit_reward_readout(
    rewards: ArrayLike, target_counts: ArrayLike, degrees: Sequence[int] = DEGREES, seed: int = 0
) -> RewardReadout:
    """Fit a multinomial logit of the votes on polynomials of the reward, of the degree that held-out votes like best.

    A model that gives one number says nothing of how votes spread, and would be blamed for it. So the *validation*
    votes say which distribution goes with which number. The categories need no order. The unit of a reward means
    little, so a straight line may be the wrong form: its degree is chosen by five-fold cross-validation over the
    items. With two categories and degree 1 this is Platt scaling. The likelihood is concave; a weak prior keeps it
    finite where no vote contradicts the rewards.

    Args:
        rewards (array of shape `(M,)`): of the validation items, finite, in any unit.
        target_counts (array of shape `(M, K)`): votes on them.
        degrees (sequence of `int`, at least 1): to choose from; one alone is taken as it is.
        seed (`int`): of the folds.

    Returns:
        [`RewardReadout`].

    Raises:
        ValueError: for rewards that are not finite or of another number of items, bad votes, or none.

    Source: Platt, *Probabilistic Outputs for Support Vector Machines* (1999), for two categories and a line; the rest
        [ours]. On the scalar methods of `recipes/convabuse-minilm` a line and the ordered logit predict validation
        votes equally well.

    Example:

    >>> readout = fit_reward_readout([-1.0, -1.0, 1.0, 1.0], [[3, 1], [3, 1], [1, 3], [1, 3]], degrees=[1])
    >>> readout.category_probs([1.0]).round(3)
    array([[0.25, 0.75]])
    """
    counts = as_counts(target_counts)
    rewards = finite_vector("rewards", rewards, len(counts))
    if counts.sum() == 0:
        raise ValueError(f"target_counts holds no votes in its {len(counts)} rows: no readout can be fitted to them.")
    centre, unit = float(rewards.mean()), float(rewards.std()) or 1.0
    standardised = (rewards - centre) / unit
    degree = degrees[0]
    if len(degrees) > 1:
        folds = np.random.default_rng(seed).permutation(len(rewards)) % _NUM_FOLDS
        degree = max(degrees, key=lambda choice: _held_out_log_likelihood(standardised, counts, choice, folds))
    coefficients = _fitted(standardised, counts, degree)
    return RewardReadout(coefficients, centre, unit, float(rewards.min()), float(rewards.max()))


def _powers(standardised: np.ndarray, degree: int) -> np.ndarray:
    return np.vander(standardised, degree + 1, increasing=True)


def _fitted(standardised: np.ndarray, counts: np.ndarray, degree: int) -> np.ndarray:
    """Coefficients of largest likelihood, nearly, of shape `(K, degree + 1)`."""
    basis = sum_zero_basis(counts.shape[1])
    design = np.einsum("kj,if->ikjf", basis, _powers(standardised, degree)).reshape(*counts.shape, -1)
    fitted = PenalisedLikelihood(np.zeros(counts.shape), counts, design).maximise(_PRIOR_WEIGHT)
    return basis @ fitted.reshape(-1, degree + 1)


def _held_out_log_likelihood(standardised: np.ndarray, counts: np.ndarray, degree: int, folds: np.ndarray) -> float:
    """Of all votes, each by a fit to the other folds."""
    total = 0.0
    for fold in np.unique(folds):
        held_out = folds == fold
        learned = ~held_out if counts[~held_out].sum() > 0 else held_out  # a single item can only foretell itself
        coefficients = _fitted(standardised[learned], counts[learned], degree)
        here = standardised[held_out].clip(standardised[learned].min(), standardised[learned].max())
        total += float((counts[held_out] * log_softmax(_powers(here, degree) @ coefficients.T, axis=1)).sum())
    return total
