"""The two-outcome updater of DPRM's first version: pair votes and yes/no labels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc

from .dirichlet import DirichletUpdater
from .dirichlet_distribution import DirichletDistribution
from .vote_arrays import unit_number


@dataclass(frozen=True)
class BetaDistribution:
    """One beta distribution per item over the share of votes *for*: the first response preferred, or the label true.

    Args:
        alpha (`np.ndarray` of shape `(N,)`): votes for, prior included.
        beta (`np.ndarray` of shape `(N,)`): votes against, prior included.

    Source: DPRM v1 (2402.09764) [paper]; conjugate form [ours].

    >>> known = BetaDistribution(alpha=np.array([8.0]), beta=np.array([2.0]))
    >>> known.mean(), known.variance().round(4), known.majority_probability().round(4)
    (array([0.8]), array([0.0145]), array([0.9805]))
    """

    alpha: np.ndarray
    beta: np.ndarray

    def as_dirichlet(self) -> DirichletDistribution:
        """The same knowledge over the two categories (for, against)."""
        return DirichletDistribution(np.stack([self.alpha, self.beta], axis=-1))

    def mean(self) -> np.ndarray:
        """Expected share for, shape `(N,)`."""
        return self.as_dirichlet().mean()[:, 0]

    def variance(self) -> np.ndarray:
        """Variance of the share for, shape `(N,)`."""
        return self.as_dirichlet().variance()[:, 0]

    def credible_interval(self, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Equal-tailed interval of the share for: lower and upper end, each of shape `(N,)`."""
        lower, upper = self.as_dirichlet().credible_interval(level)
        return lower[:, 0], upper[:, 0]

    def majority_probability(self) -> np.ndarray:
        """Probability that more than half of the population is for, shape `(N,)`."""
        return 1 - betainc(self.alpha, self.beta, 0.5)

    def predictive_log_probs(self, votes_for, votes_against) -> np.ndarray:
        """Beta-binomial log probability of future votes (arrays of shape `(N,)`), shape `(N,)`, in nats."""
        return self.as_dirichlet().predictive_log_probs(np.stack(_columns(votes_for, votes_against, None), axis=-1))

    def vote_share_interval(self, num_votes, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Interval for the share for among `num_votes` future votes: lower and upper end, each of shape `(N,)`."""
        lower, upper = self.as_dirichlet().vote_share_interval(num_votes, level)
        return lower[:, 0], upper[:, 0]


class BetaUpdater:
    """Keeps a beta distribution per item over the share of votes for it: [`DirichletUpdater`] with two outcomes.

    An item is a pair (votes for its first response, votes against) or a statement (labels true, false). `a` votes for
    and `b` against turn Beta(α, β) into Beta(α + a, β + b); a tie is half a vote to each side. Time, retention, ids
    and files work as in [`DirichletUpdater`].

    Args:
        prior_mean (`float` in [0, 1] or array of shape `(N,)`): prior share for; 0.5 for pairs in random order.
        prior_strength (`float`, above 0): the votes that the prior is worth; 2 at mean 0.5 is the uniform
            distribution.
        item_ids (sequence of N `str` or `int`, *optional*): needed with a prior mean per item.
        retention (`float` in [0, 1]): share of the evidence left after one unit of time.
        category_names (two distinct `str`, *optional*): what a vote for and a vote against stand for; see
            [`DirichletUpdater`].

    Raises:
        ValueError: as [`DirichletUpdater`].

    Source: DPRM v1 (2402.09764) [paper]; ties as half votes [ours] (a third outcome is [`DirichletUpdater`] with K =
    3).

    >>> updater = BetaUpdater(prior_mean=0.5, prior_strength=2)
    >>> updater.update(["pair"], votes_for=[5], votes_against=[1], ties=[2])
    >>> updater.posterior().alpha, updater.posterior().beta
    (array([7.]), array([3.]))
    >>> updater.update_labels(["pair", "pair"], [True, False])
    >>> updater.posterior(["pair"]).mean().round(4)
    array([0.6667])
    """

    def __init__(
        self,
        prior_mean=0.5,
        prior_strength: float = 2.0,
        item_ids: Sequence[str | int] | None = None,
        retention: float = 1.0,
        category_names: Sequence[str] | None = None,
    ):
        self._dirichlet = DirichletUpdater(
            _two_columns(prior_mean), prior_strength, item_ids, retention, category_names
        )

    @property
    def item_ids(self) -> list[str | int]:
        """The items, in the order of `posterior()`'s rows."""
        return self._dirichlet.item_ids

    @property
    def prior_strength(self) -> float:
        """The votes that the prior is worth."""
        return self._dirichlet.prior_strength

    @property
    def retention(self) -> float:
        """Share of the evidence left after one unit of time."""
        return self._dirichlet.retention

    @property
    def category_names(self) -> list[str] | None:
        """What a vote for and a vote against stand for, where that was given."""
        return self._dirichlet.category_names

    @property
    def clock(self) -> float | None:
        """The latest timestamp seen; see [`DirichletUpdater`]."""
        return self._dirichlet.clock

    def add_items(self, item_ids: Sequence[str | int], prior_mean=None) -> None:
        """Enter items that have no votes yet, with `prior_mean` of shape `(M,)` if each item has its own."""
        self._dirichlet.add_items(item_ids, None if prior_mean is None else _two_columns(prior_mean))

    def update(self, item_ids: Sequence[str | int], votes_for, votes_against, ties=None, timestamp=None) -> None:
        """Add votes: arrays of shape `(M,)`, not negative, one entry per entry of `item_ids`.

        Args:
            item_ids (sequence of M `str` or `int`): an item may have several rows.
            votes_for, votes_against (arrays of shape `(M,)`): votes for each outcome.
            ties (array of shape `(M,)`, *optional*): undecided votes, half to each side.
            timestamp (`float` or array of shape `(M,)`, *optional*): see [`DirichletUpdater.update`].

        Raises:
            ValueError: as [`DirichletUpdater.update`].
        """
        sides = np.stack(_columns(votes_for, votes_against, ties), axis=-1)
        self._dirichlet.update(item_ids, sides, timestamp)

    def update_labels(self, item_ids: Sequence[str | int], labels, timestamp=None) -> None:
        """Add two-outcome labels, one judgment per row: `labels` of shape `(M,)`, true/1 for and false/0 against.

        Raises:
            ValueError: for a label other than 0 and 1, and as [`DirichletUpdater.update`].
        """
        labels = np.asarray(labels)
        odd = ~np.isin(labels, (0, 1))
        if odd.any():
            row = int(np.argmax(odd))
            raise ValueError(
                f"labels is {labels[row]!r} at row {row}; labels are 1 (for) or 0 (against), map them first."
            )
        self.update(item_ids, labels == 1, labels == 0, timestamp=timestamp)

    def posterior(
        self, item_ids: Sequence[str | int] | None = None, timestamp: float | None = None
    ) -> BetaDistribution:
        """What is known now about each item: a [`BetaDistribution`]; see [`DirichletUpdater.posterior`]."""
        return BetaDistribution(*self._dirichlet.posterior(item_ids, timestamp).concentration.T)

    def save(self, path: str | os.PathLike) -> None:
        """Write the state as JSON, whole or not at all (the file of a two-category [`DirichletUpdater`])."""
        self._dirichlet.save(path)

    @classmethod
    def load(cls, path: str | os.PathLike, category_names: Sequence[str] | None = None) -> "BetaUpdater":
        """Read a state saved by this class or by a two-category [`DirichletUpdater`].

        Args:
            path (`str` or `PathLike`), category_names (two `str`, *optional*): see [`DirichletUpdater.load`].

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is damaged, or its state has other than two categories, or others than these.
        """
        dirichlet = DirichletUpdater.load(path)
        if dirichlet.num_categories != 2:
            raise ValueError(
                f"{path} holds {dirichlet.num_categories} categories, a BetaUpdater has 2; use DirichletUpdater.load."
            )
        updater = cls.__new__(cls)
        updater._dirichlet = dirichlet
        dirichlet._continue_with(category_names, path)
        return updater


def _two_columns(prior_mean) -> np.ndarray:
    """The prior share for and against as two columns, `(2,)` or `(N, 2)`."""
    mean = np.asarray(prior_mean, dtype=np.float64)
    if mean.ndim > 1:
        raise ValueError(f"prior_mean has shape {mean.shape}; give one number for all items, or one per item.")
    for value in np.atleast_1d(mean):
        unit_number(value, "prior_mean", "the prior share of votes for")
    return np.stack([mean, 1 - mean], axis=-1)


def _columns(votes_for, votes_against, ties) -> list[np.ndarray]:
    """Votes for and against with half of the ties on each side, each of shape `(M,)`."""
    given = {"votes_for": votes_for, "votes_against": votes_against} | ({} if ties is None else {"ties": ties})
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in given.items()}
    for name, values in columns.items():
        if values.shape != columns["votes_for"].shape or values.ndim != 1:
            raise ValueError(f"{name} has shape {values.shape}; give one number per row in every column of votes.")
        odd = ~(values >= 0) | np.isinf(values)
        if odd.any():
            row = int(np.argmax(odd))
            raise ValueError(
                f"{name} is {values[row]} at row {row}; votes are finite and not negative: correct the row."
            )
    half = columns.get("ties", 0) / 2
    return [columns["votes_for"] + half, columns["votes_against"] + half]
