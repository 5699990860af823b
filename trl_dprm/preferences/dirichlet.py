"""The Bayesian updater of DPRM: next month's votes continue from last month's state."""

import os
from collections.abc import Sequence

import numpy as np

from .dirichlet_distribution import DirichletDistribution
from .state_file import read_state, write_state
from .vote_arrays import (
    as_category_names,
    as_counts,
    as_item_ids,
    as_probs,
    as_timestamps,
    positive_number,
    refuse_votes_without_prior,
    unit_number,
)

STATE_FIELDS = {"prior_probs", "prior_strength", "retention", "item_ids", "evidence", "clock", "timed"}
LATER_FIELDS = {"category_names": None}  # not in the files of earlier releases


class DirichletUpdater:
    """Keeps one Dirichlet distribution over category shares per item, and updates it as votes arrive.

    An item's concentration is `prior_strength · prior_probs + evidence`. Evidence is the sum of its votes, each
    discounted by `retention ** age`; the prior never decays. All items age together, *also those without new votes*:
    their annotators drift just the same, so an item that nobody votes on returns to its prior. Evidence stays below
    `n / (1 - retention)` for n votes per unit of time.

    Age is measured in the unit of the timestamps that are passed (days, say: then `retention` is per day), or, if none
    are ever passed, in calls to [`~DirichletUpdater.update`]. With `retention=1` nothing is forgotten, and any order
    or batching of the votes gives the same state. With timestamps that also holds for `retention < 1`, because a vote
    that arrives late enters with the discount of its age.

    Args:
        prior_probs (array of shape `(K,)` or `(N, K)`): prior mean for every item, or one per item of `item_ids`. Each
            category that can occur needs a positive probability.
        prior_strength (`float`, above 0): the votes that the prior is worth; see
            [`~trl_dprm.preferences.estimate_prior_strength`].
        item_ids (sequence of N `str` or `int`, *optional*): the items, needed with a prior per item. Under a shared
            prior new items also enter with their first votes.
        retention (`float` in [0, 1]): share of the evidence that is left after one unit of time; see
            [`~trl_dprm.preferences.fit_retention`].
        category_names (sequence of K distinct `str`, *optional*): what the columns of the votes stand for. Kept in the
            saved state, so that nobody continues it with other categories, or with the same ones in another order.

    Raises:
        ValueError: naming value, place and remedy, for probabilities that are negative, NaN or do not sum to 1, a
            strength that is not positive and finite, a retention outside [0, 1], missing, doubled or
            non-string/integer ids, and names that are not one distinct text per category.

    Source: DPRM v3 (2402.09764), Bayesian updater of the categorical crowd distribution [paper]; conjugate form, decay
    of the evidence and late votes [ours].

    >>> updater = DirichletUpdater(prior_probs=[0.5, 0.3, 0.2], prior_strength=10)
    >>> updater.update(["a", "b"], [[0, 2, 8], [4, 0, 0]])
    >>> updater.update(["b"], [[6, 0, 0]])
    >>> updater.posterior(["b", "a"]).mean()
    array([[0.75, 0.15, 0.1 ],
           [0.25, 0.25, 0.5 ]])

    With retention, votes one unit of time old count half here:

    >>> forgetful = DirichletUpdater([0.5, 0.5], prior_strength=2, retention=0.5)
    >>> forgetful.update(["a"], [[4, 0]], timestamp=0)
    >>> forgetful.update(["b"], [[0, 4]], timestamp=1)
    >>> forgetful.posterior().concentration
    array([[3., 1.],
           [1., 5.]])
    """

    def __init__(
        self,
        prior_probs,
        prior_strength: float,
        item_ids: Sequence[str | int] | None = None,
        retention: float = 1.0,
        category_names: Sequence[str] | None = None,
    ):
        probs = as_probs(prior_probs)
        if probs.ndim == 2 and item_ids is None:
            raise ValueError("prior_probs has one row per item but item_ids is missing; give one id per row.")
        self.prior_strength = positive_number(
            prior_strength, "prior_strength", "the number of votes the prior is worth"
        )
        self.retention = unit_number(retention, "retention", "the share of evidence left after one unit of time")
        self.category_names = None if category_names is None else as_category_names(category_names, probs.shape[-1])
        self._prior_probs = probs if probs.ndim == 1 else probs[:0]
        self._index: dict[str | int, int] = {}
        self._evidence = np.zeros((0, probs.shape[-1]))
        self._clock: float | None = None
        self._timed: bool | None = None
        if item_ids is not None:
            self.add_items(item_ids, probs if probs.ndim == 2 else None)

    @property
    def item_ids(self) -> list[str | int]:
        """The items, in the order of `posterior()`'s rows."""
        return list(self._index)

    @property
    def num_categories(self) -> int:
        """K."""
        return self._evidence.shape[1]

    @property
    def clock(self) -> float | None:
        """The latest timestamp seen (or the updates before the latest one); `None` before the first votes."""
        return self._clock

    @property
    def has_prior_per_item(self) -> bool:
        """Whether each item has its own prior mean."""
        return self._prior_probs.ndim == 2

    def add_items(self, item_ids: Sequence[str | int], prior_probs=None) -> None:
        """Enter items that have no votes yet.

        Args:
            item_ids (sequence of M `str` or `int`): new ids, each once.
            prior_probs (array of shape `(M, K)`): their prior means, if this updater has a prior per item, else
                `None`.

        Raises:
            ValueError: for ids known already or given twice, and a prior that is missing, superfluous or of wrong
                shape.
        """
        ids = as_item_ids(item_ids)
        seen = set(self._index)
        for row, item in enumerate(ids):
            if item in seen:
                raise ValueError(f"item_ids has {item!r} at row {row}, which is there already; give each item once.")
            seen.add(item)
        if self.has_prior_per_item:
            self._prior_probs = np.concatenate([self._prior_probs, self._prior_rows(prior_probs, len(ids))])
        elif prior_probs is not None:
            raise ValueError("prior_probs was given, but this updater has one prior for all items; leave it out.")
        self._register(ids)

    def update(self, item_ids: Sequence[str | int], target_counts, timestamp=None) -> None:
        """Add votes; nothing is changed if any of them is refused.

        Args:
            item_ids (sequence of M `str` or `int`): the item of each row; an item may have several rows.
            target_counts (array of shape `(M, K)`): votes, not negative; effective (fractional) votes are welcome.
            timestamp (`float` or array of shape `(M,)`, *optional*): when the votes were cast, in any fixed unit.
                Votes older than the state enter with the discount of their age. Either every update has timestamps or
                none: then one unit passes per update.

        Raises:
            ValueError: for no rows, bad votes, ids or timestamps, unknown ids under a prior per item, votes in a
                category of prior probability 0, and timestamps given only sometimes.
        """
        counts = as_counts(target_counts, self.num_categories)
        if not len(counts):
            raise ValueError(
                "the update has no rows; skip it (posterior(timestamp=...) lets time pass without votes)."
            )
        ids = as_item_ids(item_ids, len(counts))
        times, clock = self._times(timestamp, len(counts))
        if self.has_prior_per_item:
            refuse_votes_without_prior(counts, self._prior_probs[self._rows(ids)])
        else:
            refuse_votes_without_prior(counts, self._prior_probs)
            self._register(ids)
        rows = self._rows(ids)
        if self._clock is not None:
            self._evidence *= self.retention ** (clock - self._clock)
        weighted = counts * (self.retention ** (clock - times))[:, None]
        for k, votes in enumerate(weighted.T):
            self._evidence[:, k] += np.bincount(rows, weights=votes, minlength=len(self._index))
        self._clock, self._timed = clock, timestamp is not None

    def posterior(
        self, item_ids: Sequence[str | int] | None = None, timestamp: float | None = None
    ) -> DirichletDistribution:
        """What is known now about each item.

        Args:
            item_ids (sequence of M `str` or `int`, *optional*): the items to read, default all.
            timestamp (`float`, *optional*): the time to read at, default and earliest the latest one seen.

        Returns:
            [`~trl_dprm.preferences.DirichletDistribution`] of M items: concentration, mean, variance, credible
            intervals, expected reward, and the predictive distribution of further votes.

        Raises:
            ValueError: for an unknown id, or a time before the state's.
        """
        rows = slice(None) if item_ids is None else self._rows(as_item_ids(item_ids))
        prior = self._prior_probs[rows] if self.has_prior_per_item else self._prior_probs
        return DirichletDistribution(self.prior_strength * prior + self._decay_until(timestamp) * self._evidence[rows])

    def save(self, path: str | os.PathLike) -> None:
        """Write the state as JSON, whole or not at all; `load` continues from it bit by bit.

        Raises:
            OSError: if the folder is missing or cannot be written.
        """
        write_state(path, type(self).__name__, self._state())

    @classmethod
    def load(cls, path: str | os.PathLike, category_names: Sequence[str] | None = None) -> "DirichletUpdater":
        """Read a saved state.

        Args:
            path (`str` or `PathLike`): what [`~DirichletUpdater.save`] wrote.
            category_names (sequence of K `str`, *optional*): the categories of the votes to come, in the order of
                their columns. They must be those of the state; a state without names takes them over.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: naming the file and the remedy, if it is incomplete, damaged, of another class or version, or
                of other categories.
        """
        state = read_state(path, cls.__name__, STATE_FIELDS, LATER_FIELDS)
        try:
            updater = cls._from_state(state)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is damaged: {error} Restore a backup or rebuild the state from the annotations."
            ) from error
        updater._continue_with(category_names, path)
        return updater

    def _state(self) -> dict:
        """Everything that `load` needs to go on, as JSON values."""
        return {
            "prior_probs": self._prior_probs.tolist(),
            "prior_strength": self.prior_strength,
            "retention": self.retention,
            "item_ids": self.item_ids,
            "evidence": self._evidence.tolist(),
            "clock": self._clock,
            "timed": self._timed,
            "category_names": self.category_names,
        }

    @classmethod
    def _from_state(cls, state: dict) -> "DirichletUpdater":
        """The inverse of `_state`; a `ValueError` or `TypeError` where the values do not belong together."""
        arguments = ("prior_probs", "prior_strength", "item_ids", "retention", "category_names")
        updater = cls(*(state[name] for name in arguments))
        # normalising twice can move the last bit
        updater._prior_probs = np.array(state["prior_probs"], dtype=np.float64)
        empty = np.zeros((0, updater.num_categories))
        evidence = as_counts(state["evidence"] or empty, updater.num_categories, name="evidence")
        if len(evidence) != len(updater._index):
            raise ValueError(f"evidence has {len(evidence)} rows for {len(updater._index)} items.")
        refuse_votes_without_prior(evidence, updater._prior_probs)
        if (state["clock"] is None) != (state["timed"] is None) or state["timed"] not in (None, True, False):
            raise ValueError(f"clock is {state['clock']} but timed is {state['timed']}.")
        updater._evidence, updater._timed = evidence, state["timed"]
        updater._clock = None if state["clock"] is None else float(state["clock"])
        return updater

    def _continue_with(self, category_names: Sequence[str] | None, path: str | os.PathLike) -> None:
        """Take names over where there are none; refuse others than those of the state in `path`."""
        if category_names is None:
            return
        names = as_category_names(category_names, self.num_categories)
        if self.category_names not in (None, names):
            raise ValueError(
                f"{path} holds votes on the categories {self.category_names}, not on {names}; bring the columns of "
                "the new votes into that order, or start another updater for other categories."
            )
        self.category_names = names

    def _prior_rows(self, prior_probs, num_rows: int) -> np.ndarray:
        """The prior means of new items, `(num_rows, K)`."""
        if prior_probs is None:
            raise ValueError(
                "prior_probs is missing, but this updater has a prior per item; give one row per new item."
            )
        probs = as_probs(prior_probs)
        if probs.shape != (num_rows, self.num_categories):
            raise ValueError(
                f"prior_probs has shape {probs.shape} for {num_rows} items and {self.num_categories} categories; "
                "give one row per item and one column per category."
            )
        return probs

    def _register(self, ids: list[str | int]) -> None:
        """Give ids that are new a row of evidence."""
        for item in ids:
            self._index.setdefault(item, len(self._index))
        new = np.zeros((len(self._index) - len(self._evidence), self.num_categories))
        self._evidence = np.concatenate([self._evidence, new])

    def _rows(self, ids: list[str | int]) -> np.ndarray:
        """Row of each id; a `ValueError` for an unknown one."""
        try:
            return np.fromiter(map(self._index.__getitem__, ids), dtype=np.intp, count=len(ids))
        except KeyError as error:
            item = error.args[0]
            raise ValueError(
                f"item {item!r} at row {ids.index(item)} is unknown; enter it with add_items first."
            ) from None

    def _times(self, timestamp, num_rows: int) -> tuple[np.ndarray, float]:
        """When each row was cast and the clock after the update, `(num_rows,)` and a number."""
        if self._timed is not None and self._timed != (timestamp is not None):
            given = "had timestamps" if self._timed else "had no timestamps"
            raise ValueError(
                f"earlier updates {given}, this one differs; give timestamps with every update or with none."
            )
        if timestamp is None:
            clock = 0.0 if self._clock is None else self._clock + 1
            return np.full(num_rows, clock), clock
        times = as_timestamps(timestamp, num_rows)
        return times, float(times.max(initial=-np.inf if self._clock is None else self._clock))

    def _decay_until(self, timestamp: float | None) -> float:
        """Share of the evidence that is left at that time."""
        if timestamp is None or self._clock is None:
            return 1.0
        time = float(as_timestamps(timestamp, 1)[0])
        if time < self._clock:
            raise ValueError(
                f"timestamp is {timestamp}, before the state's clock {self._clock:g}; what was forgotten is gone: "
                "load the state that was saved then."
            )
        return self.retention ** (time - self._clock)
