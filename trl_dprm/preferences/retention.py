"""How fast a crowd changes: retention fitted by predicting each batch of votes from the earlier ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from .dirichlet_multinomial import dirichlet_multinomial_log_probs
from .vote_arrays import (
    as_counts,
    as_item_ids,
    as_probs,
    as_timestamps,
    positive_number,
    refuse_votes_without_prior,
    unit_number,
)

SEARCHED_RETENTIONS = np.sort(np.concatenate([np.linspace(0, 1, 21), 1 - np.geomspace(1e-5, 0.03, 12)]))


@dataclass(frozen=True)
class RetentionEstimate:
    """The fitted retention beside its two extremes.

    Attributes:
        retention (`float` in [0, 1]): per unit of the timestamps; exactly 1.0 or 0.0 if an extreme predicts best.
        log_likelihood (`float`): one-step-ahead log-likelihood in nats at `retention`.
        log_likelihood_without_forgetting (`float`): the same at retention 1.
        log_likelihood_with_full_forgetting (`float`): the same at retention 0.
        num_votes (`float`): votes that had earlier votes of their item to be predicted from.
    """

    retention: float
    log_likelihood: float
    log_likelihood_without_forgetting: float
    log_likelihood_with_full_forgetting: float
    num_votes: float


def fit_retention(
    item_ids: Sequence[str | int], target_counts, timestamp, prior_probs, prior_strength: float
) -> RetentionEstimate:
    """Find the retention λ under which earlier votes predict later ones best.

    Each item's votes at one time are scored by the Dirichlet-multinomial predictive of its state just before
    (prequential likelihood): no vote is used to predict itself, so the fit cannot choose to remember too much.
    λ is searched per typical step (the median time between an item's batches), so any unit of time works.

    Args:
        item_ids (sequence of M `str` or `int`): the item of each row.
        target_counts (array of shape `(M, K)`): votes, not negative.
        timestamp (array of shape `(M,)`): when they were cast, in the unit that λ shall have; rows of one item at one
            time are one batch.
        prior_probs (array of shape `(K,)` or `(M, K)`): prior mean for all items, or of each row's item.
        prior_strength (`float`, above 0): the votes that the prior is worth.

    Returns:
        [`RetentionEstimate`]

    Raises:
        ValueError: for bad arrays, and if no item has votes at two different times.

    Source: [ours]; prequential likelihood after Dawid (1984).

    >>> days, votes = [0, 1, 2, 3, 4, 5], [[9, 1], [9, 1], [1, 9], [1, 9], [9, 1], [9, 1]]
    >>> estimate = fit_retention(["a"] * 6, votes, days, prior_probs=[0.5, 0.5], prior_strength=2)
    >>> 0 < estimate.retention < 1
    True
    """
    stream = _VoteStream(item_ids, target_counts, timestamp, prior_probs, prior_strength)
    step = stream.typical_gap()

    def score(retention_per_step: float) -> float:
        """Log-likelihood of a retention per typical gap."""
        return float(stream.log_probs(retention_per_step ** (1 / step)).sum())

    scores = [score(x) for x in SEARCHED_RETENTIONS]
    best = int(np.argmax(scores))
    bounds = SEARCHED_RETENTIONS[max(best - 1, 0)], SEARCHED_RETENTIONS[min(best + 1, len(scores) - 1)]
    found = minimize_scalar(lambda x: -score(x), bounds=bounds, method="bounded", options={"xatol": 1e-8})
    candidates = [(scores[best], SEARCHED_RETENTIONS[best]), (-float(found.fun), float(found.x))]
    log_likelihood, retention_per_step = max(candidates)
    return RetentionEstimate(
        float(retention_per_step ** (1 / step)), log_likelihood, scores[-1], scores[0], stream.num_predicted_votes()
    )


def prequential_log_probs(
    item_ids: Sequence[str | int], target_counts, timestamp, prior_probs, prior_strength: float, retention: float
) -> np.ndarray:
    """One-step-ahead log probability of every batch of votes at a given retention: what [`fit_retention`] maximises.

    Args:
        item_ids, target_counts, timestamp, prior_probs, prior_strength: as in [`fit_retention`].
        retention (`float` in [0, 1]): share of the evidence left after one unit of time.

    Returns:
        `np.ndarray` of shape `(B,)`: nats per batch (votes of one item at one time), by item, then by time. The first
        batch of an item is predicted from the prior.

    Raises:
        ValueError: as [`fit_retention`], and for a retention outside [0, 1].

    Source: [ours].

    >>> prequential_log_probs(["a", "a"], [[1, 0], [1, 0]], [0, 1], [0.5, 0.5], 2.0, retention=1.0)  # log 1/2, log 2/3
    array([-0.69314718, -0.40546511])
    """
    retention = unit_number(retention, "retention", "the share of evidence left after one unit of time")
    return _VoteStream(item_ids, target_counts, timestamp, prior_probs, prior_strength).log_probs(retention)


class _VoteStream:
    """Votes merged into batches (one item, one time) and sorted by item, then time.

    `gaps` holds the time since the item's previous batch (NaN for its first); `ranks` lists, for the second, third, …
    batch of every item that has one, their rows: evidence is carried along all items at once.
    """

    def __init__(self, item_ids, target_counts, timestamp, prior_probs, prior_strength):
        counts = as_counts(target_counts)
        strength = positive_number(prior_strength, "prior_strength", "the number of votes that the prior is worth")
        probs = self._probs_per_row(prior_probs, counts)
        codes, times = _codes(as_item_ids(item_ids, len(counts))), as_timestamps(timestamp, len(counts))
        order = np.lexsort((times, codes))
        codes, times = codes[order], times[order]
        starts = np.flatnonzero(np.diff(codes, prepend=-1) | (np.diff(times, prepend=np.nan) != 0))
        self.counts = np.add.reduceat(counts[order], starts) if len(starts) else counts
        self.prior = strength * probs[order][starts]
        first = np.diff(codes[starts], prepend=-1) != 0
        self.gaps = np.where(first, np.nan, np.diff(times[starts], prepend=np.nan))
        self.ranks = _rows_by_rank(first)

    @staticmethod
    def _probs_per_row(prior_probs, counts: np.ndarray) -> np.ndarray:
        """The prior mean of each row, `(M, K)`."""
        probs = as_probs(prior_probs)
        if probs.shape not in (counts.shape, counts.shape[1:]):
            raise ValueError(
                f"prior_probs has shape {probs.shape} but target_counts has {counts.shape}; "
                "give one distribution (K,) or one per row (M, K)."
            )
        refuse_votes_without_prior(counts, probs)
        return np.broadcast_to(probs, counts.shape)

    def log_probs(self, retention: float) -> np.ndarray:
        """Log probability of each batch's votes given the earlier ones of its item."""
        decay = retention**self.gaps
        evidence = np.zeros_like(self.counts)
        for rows in self.ranks:
            evidence[rows] = decay[rows, None] * (evidence[rows - 1] + self.counts[rows - 1])
        return dirichlet_multinomial_log_probs(self.prior + evidence, self.counts)

    def typical_gap(self) -> float:
        """Median time between two batches of an item; a `ValueError` where there is none."""
        gaps = self.gaps[~np.isnan(self.gaps)]
        if not len(gaps):
            raise ValueError(
                "retention cannot be fitted: no item has votes at two different times, so change is never seen; "
                "give votes on the same items at later times, or set retention by hand."
            )
        return float(np.median(gaps))

    def num_predicted_votes(self) -> float:
        """Votes in batches that are not their item's first."""
        return float(self.counts[~np.isnan(self.gaps)].sum())


def _codes(ids: list[str | int]) -> np.ndarray:
    """Numbers of the ids, in the order of their first appearance."""
    index: dict[str | int, int] = {}
    return np.fromiter((index.setdefault(item, len(index)) for item in ids), dtype=np.intp, count=len(ids))


def _rows_by_rank(first: np.ndarray) -> list[np.ndarray]:
    """Rows of every item's second batch, of every item's third, …, from the mask of first batches."""
    rows = np.arange(len(first))
    rank = rows - np.maximum.accumulate(np.where(first, rows, 0))
    order = np.argsort(rank, kind="stable")
    return np.split(order, np.cumsum(np.bincount(rank)))[1:-1] if len(first) else []
