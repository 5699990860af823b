"""Dirichlet distributions over the category shares of many items at once: what is known of each item."""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from .dirichlet_multinomial import dirichlet_multinomial_log_probs
from .vote_arrays import (
    as_counts,
    as_probs,
    as_rewards,
    level_number,
    positive_number,
    refuse_first,
    refuse_votes_without_prior,
)


@dataclass(frozen=True)
class DirichletDistribution:
    """One Dirichlet distribution per item: the population's shares of the K categories and how surely they are known.

    Two uncertainties must not be mixed: `mean` is the expected share of each category (people disagree), while
    `variance` and the credible intervals say how well that share is known (few votes were seen).

    Args:
        concentration (`np.ndarray` of shape `(N, K)`): prior and votes together, not negative, each row's sum
            positive.

    Source: DPRM v3 (2402.09764) names a Bayesian updater [paper]; the conjugate Dirichlet form [ours].

    >>> prior = DirichletDistribution.from_mean([[0.5, 0.3, 0.2]], prior_strength=10)
    >>> posterior = prior.updated([[0, 2, 8]])
    >>> posterior.mean()
    array([[0.25, 0.25, 0.5 ]])
    >>> lower, upper = posterior.credible_interval(level=0.9)
    >>> lower.round(3), upper.round(3)
    (array([[0.11, 0.11, 0.32]]), array([[0.419, 0.419, 0.68 ]]))
    """

    concentration: np.ndarray

    def __post_init__(self):
        concentration = as_counts(self.concentration, name="concentration")
        if (concentration.sum(-1) <= 0).any():
            row = int(np.argmax(concentration.sum(-1) <= 0))
            raise ValueError(f"concentration of row {row} sums to 0; give it a prior.")
        object.__setattr__(self, "concentration", concentration)

    @classmethod
    def from_mean(cls, prior_probs, prior_strength: float) -> "DirichletDistribution":
        """The distribution with mean `prior_probs` of shape `(N, K)`, or `(K,)`, worth `prior_strength` votes.

        Raises:
            ValueError: for probabilities that are negative, NaN or do not sum to 1, and a strength that is not a
                finite number above 0.
        """
        strength = positive_number(prior_strength, "prior_strength", "the number of votes that the prior is worth")
        return cls(strength * np.atleast_2d(as_probs(prior_probs)))

    def updated(self, target_counts) -> "DirichletDistribution":
        """The posterior after votes `target_counts` of shape `(N, K)`; a row of zeros leaves its item as it was.

        Raises:
            ValueError: for bad counts, another shape, and votes in a category of concentration 0.
        """
        counts = as_counts(target_counts, self.concentration.shape[1])
        self._refuse_other_rows(len(counts), "target_counts")
        refuse_votes_without_prior(counts, self.concentration, name="the concentration")
        return DirichletDistribution(self.concentration + counts)

    def strength(self) -> np.ndarray:
        """Total concentration, shape `(N,)`: prior strength plus votes."""
        return self.concentration.sum(-1)

    def mean(self) -> np.ndarray:
        """Expected shares, shape `(N, K)`."""
        return self.concentration / self.strength()[:, None]

    def variance(self) -> np.ndarray:
        """Variance of each share, shape `(N, K)`: `m (1 - m) / (A + 1)`."""
        mean = self.mean()
        return mean * (1 - mean) / (self.strength()[:, None] + 1)

    def credible_interval(self, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Equal-tailed interval of each category's share: lower and upper end, each of shape `(N, K)`.

        The quantiles of the beta marginals; a category of concentration 0 has the interval [0, 0].

        Raises:
            ValueError: for a level outside (0, 1).
        """
        others = self.strength()[:, None] - self.concentration
        return _beta_interval(self.concentration, others, level)

    def expected_reward(self, category_rewards) -> np.ndarray:
        """Expected reward under the mean shares, shape `(N,)`, in the unit of `category_rewards` (shape `(K,)`)."""
        return self.mean() @ as_rewards(category_rewards, self.concentration.shape[1])

    def expected_reward_variance(self, category_rewards) -> np.ndarray:
        """How surely the expected reward is known, shape `(N,)`: `Var_m(r) / (A + 1)`, not the spread among people."""
        rewards = as_rewards(category_rewards, self.concentration.shape[1])
        deviations = rewards - self.expected_reward(rewards)[:, None]
        return (self.mean() * deviations**2).sum(-1) / (self.strength() + 1)

    def expected_reward_interval(self, category_rewards, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Credible interval of the expected reward: lower and upper end, each of shape `(N,)`.

        A weighted sum of Dirichlet shares has no closed form; here a beta distribution between the smallest and the
        largest reward is given its mean and variance, which is exact for two categories and never leaves the range.

        Source: [ours] (moment matching).
        """
        rewards = as_rewards(category_rewards, self.concentration.shape[1])
        low, width = rewards.min(), np.ptp(rewards)
        if width == 0:
            return np.full(len(self.concentration), low), np.full(len(self.concentration), low)
        mean = np.clip((self.expected_reward(rewards) - low) / width, 0, 1)
        variance = self.expected_reward_variance(rewards) / width**2
        certain = variance == 0
        strength = np.where(certain, 1.0, mean * (1 - mean) / np.where(certain, 1.0, variance) - 1)
        lower, upper = _beta_interval(strength * mean, strength * (1 - mean), level)
        return low + width * np.where(certain, mean, lower), low + width * np.where(certain, mean, upper)

    def predictive_log_probs(self, target_counts) -> np.ndarray:
        """Log probability of future votes `target_counts` of shape `(N, K)`, shape `(N,)`, in nats.

        See [`~trl_dprm.preferences.dirichlet_multinomial_log_probs`]; `-inf` for votes in a category of concentration
        0.
        """
        counts = as_counts(target_counts, self.concentration.shape[1])
        self._refuse_other_rows(len(counts), "target_counts")
        return dirichlet_multinomial_log_probs(self.concentration, counts)

    def predictive_mean(self, num_votes) -> np.ndarray:
        """Expected counts among `num_votes` future votes (a number or one per item), shape `(N, K)`."""
        return self._votes(num_votes)[:, None] * self.mean()

    def predictive_covariance(self, num_votes) -> np.ndarray:
        """Covariance of the counts among `num_votes` future votes, shape `(N, K, K)`.

        `n (n + A) / (1 + A) · (diag(m) - m mᵀ)`: multinomial noise, inflated by the unknown shares.
        """
        votes, strength, mean = self._votes(num_votes), self.strength(), self.mean()
        multinomial = mean[:, :, None] * np.eye(mean.shape[1]) - mean[:, :, None] * mean[:, None, :]
        return (votes * (votes + strength) / (1 + strength))[:, None, None] * multinomial

    def vote_share_interval(self, num_votes, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Interval for the shares that `num_votes` future annotators will show: lower and upper, each `(N, K)`.

        Equal-tailed quantiles of the beta-binomial marginals, divided by the number of votes. Counts are whole, so the
        interval covers at least `level`. Time and memory grow with `N · max(num_votes)`.

        Args:
            num_votes (`int` or array of shape `(N,)`): future votes per item, whole and at least 1.
            level (`float`): coverage in (0, 1).

        Raises:
            ValueError: for a number of votes that is not whole or below 1, or a level outside (0, 1).

        >>> DirichletDistribution([[1.0, 1.0]]).vote_share_interval(num_votes=9, level=0.8)  # ten equal outcomes
        (array([[0., 0.]]), array([[0.88888889, 0.88888889]]))
        """
        votes, tail = self._votes(num_votes), (1 - level_number(level)) / 2
        columns = [_beta_binomial_cdf(self.concentration[:, k], self.strength(), votes) for k in range(self._size)]
        ends = [np.stack([_first_reaching(cdf, q) for cdf in columns], axis=-1) for q in (tail, 1 - tail)]
        return ends[0] / votes[:, None], ends[1] / votes[:, None]

    @property
    def _size(self) -> int:
        """K."""
        return self.concentration.shape[1]

    def _votes(self, num_votes) -> np.ndarray:
        """Numbers of future votes, one whole number of at least 1 per item."""
        votes = np.asarray(num_votes, dtype=np.float64)
        if votes.shape not in ((), (len(self.concentration),)):
            raise ValueError(
                f"num_votes has shape {votes.shape} for {len(self.concentration)} items; "
                "give one number, or one per item."
            )
        refuse_first(
            np.atleast_1d(~(votes >= 1) | (votes != np.floor(votes)) | np.isinf(votes)),
            np.atleast_1d(votes),
            "num_votes",
            "it counts future annotators: give a whole number of at least 1",
        )
        return np.broadcast_to(votes, len(self.concentration))

    def _refuse_other_rows(self, num_rows: int, name: str) -> None:
        """Refuse arrays of another number of rows than there are items."""
        if num_rows != len(self.concentration):
            raise ValueError(f"{name} has {num_rows} rows for {len(self.concentration)} items; give one row per item.")


def _beta_interval(alpha: np.ndarray, beta: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Equal-tailed interval of Beta(alpha, beta), with point masses at 0 and 1 where a parameter is 0."""
    tail = (1 - level_number(level)) / 2
    empty, full = alpha <= 0, beta <= 0
    alpha, beta = np.where(empty | full, 1.0, alpha), np.where(empty | full, 1.0, beta)
    quantiles = (betaincinv(alpha, beta, q) for q in (tail, 1 - tail))
    lower, upper = (np.where(empty, 0.0, np.where(full, 1.0, quantile)) for quantile in quantiles)
    return lower, upper


def _beta_binomial_cdf(alpha: np.ndarray, strength: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Cumulative probabilities of 0, 1, … votes for a category; beyond an item's `votes` they stay at 1."""
    yes = np.arange(votes.max() + 1)
    no = np.maximum(votes[:, None] - yes, 0)
    alpha, beta = np.broadcast_arrays(alpha[:, None], np.maximum(strength - alpha, 0)[:, None])
    pairs = np.stack(np.broadcast_arrays(alpha, beta), -1), np.stack(np.broadcast_arrays(yes, no), -1)
    probs = np.where(yes <= votes[:, None], np.exp(dirichlet_multinomial_log_probs(*pairs)), 0.0)
    return probs.cumsum(-1)


def _first_reaching(cdf: np.ndarray, level: float) -> np.ndarray:
    """The quantile: the first count at which the cumulative probability reaches `level`, rounding errors forgiven."""
    return (cdf >= level - 1e-12).argmax(-1).astype(np.float64)
