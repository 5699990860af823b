"""Do predictive intervals for vote shares hold what they promise? The model as prior, against held-out votes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..preferences import dirichlet_multinomial_log_probs, model_as_prior
from .arrays import matching_whole_counts, vote_shares


class VoteShareCoverage(NamedTuple):
    """Per item and category: was the share inside its interval, how probable was that, and how wide was it?

    Attributes:
        covered (`np.ndarray` of `bool` of shape `(num_items, num_categories)`): the observed share lies in its
            interval, ends included.
        probability (`np.ndarray` of shape `(num_items, num_categories)`): the chance of that under the model, exactly.
            Shares of few votes are coarse, so it exceeds the level, and may be 1.
        width (`np.ndarray` of shape `(num_items, num_categories)`): upper end - lower end, in shares.
        level (`float`): the nominal coverage.
    """

    covered: np.ndarray
    probability: np.ndarray
    width: np.ndarray
    level: float

    @property
    def observed(self) -> np.ndarray:
        """Share of items whose interval covered, per category, shape `(num_categories,)`."""
        return self.covered.mean(axis=0)

    @property
    def expected(self) -> np.ndarray:
        """What `observed` is on average if the model is right, shape `(num_categories,)`; compare with this."""
        return self.probability.mean(axis=0)

    @property
    def expected_std(self) -> np.ndarray:
        """Standard deviation of `observed` if the model is right and items are independent, per category."""
        return np.sqrt((self.probability * (1 - self.probability)).sum(axis=0)) / len(self.probability)

    @property
    def mean_width(self) -> np.ndarray:
        """Mean width of the intervals, per category, shape `(num_categories,)`."""
        return self.width.mean(axis=0)

    @property
    def overall_observed(self) -> float:
        """Mean of `observed` over categories. For an interval: `mean_interval(coverage.covered.mean(1), ...)`."""
        return float(self.covered.mean())

    @property
    def overall_expected(self) -> float:
        """Mean of `expected` over categories."""
        return float(self.probability.mean())

    @property
    def overall_mean_width(self) -> float:
        """Mean of `mean_width` over categories."""
        return float(self.width.mean())


def vote_share_coverage(
    category_probs: ArrayLike, target_counts: ArrayLike, prior_strength: float, level: float = 0.9
) -> VoteShareCoverage:
    """Coverage of the intervals that the model as prior gives for the vote shares of each item.

    A bare softmax has no interval; a Dirichlet prior worth `prior_strength` votes around it has
    (`DirichletDistribution.vote_share_interval`). Coverage below the expected one: intervals too narrow, the model is
    surer of the shares than it may be (its strength was fitted on other items, or some predictions are off). Above:
    too wide.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        target_counts (array of shape `(num_items, num_categories)`): held-out votes, whole, at least one per item.
        prior_strength (`float`, above 0): what the model is worth in votes (`fit_model_prior_strength` on validation
            votes, `DPRMConfig.prior_strength`).
        level (`float`, between 0 and 1): nominal coverage of each interval.

    Returns:
        [`VoteShareCoverage`].

    Raises:
        ValueError: tables of different shapes or that are no distributions, votes that are not whole, an item without
            votes, or a strength or level out of range.

    Source: [ours]; beta-binomial marginals of the Dirichlet-multinomial.

    Example:

    >>> coverage = vote_share_coverage([[0.5, 0.5], [0.9, 0.1]], [[6, 4], [2, 8]], prior_strength=10)
    >>> coverage.covered.tolist(), coverage.overall_observed, round(coverage.overall_expected, 4)
    ([[True, True], [False, False]], 0.5, 0.9396)
    """
    probs, counts = matching_whole_counts(category_probs, target_counts)
    _, votes = vote_shares(counts)
    prior = model_as_prior(probs, prior_strength)
    lower, upper = prior.vote_share_interval(votes, level)
    low, high = (np.rint(end * votes[:, None]) for end in (lower, upper))
    return VoteShareCoverage(
        (low <= counts) & (counts <= high),
        _interval_probability(prior.concentration, votes, low, high),
        upper - lower,
        float(level),
    )


def _interval_probability(
    concentration: np.ndarray, votes: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """`P(low <= count <= high)` under the beta-binomial marginal of each category."""
    probability = np.zeros_like(concentration)
    others = concentration.sum(axis=1, keepdims=True) - concentration
    pairs = np.stack([concentration, others.clip(min=0)], axis=-1)
    for count in range(int(votes.max()) + 1):
        inside = (low <= count) & (count <= high)
        outcome = np.stack([np.full(len(votes), count), (votes - count).clip(min=0)], axis=-1)
        mass = np.exp(dirichlet_multinomial_log_probs(pairs, outcome[:, None, :]))
        probability += np.where(inside, mass, 0.0)
    return probability.clip(max=1)
