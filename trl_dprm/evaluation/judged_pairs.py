"""The pairs of a data set with the votes on them: what every model of a report is judged by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..metrics.arrays import share_vector, weight_vector

OTHER_PAIRS = "other pairs, for this panel of annotators"  # what intervals speak of
_ROUNDING = 1e-6


@dataclass(frozen=True)
class JudgedPairs:
    """N pairs of responses with the votes on them.

    Args:
        chosen_vote_share (array of shape `(N,)`): share of the annotators who preferred the chosen response, a tie as
            half a vote.
        pair_weight (array of shape `(N,)`): votes of each pair.
        clusters (sequence of length N, *optional*): which pairs belong together, such as prompts.
        tie_vote_share (array of shape `(N,)`, *optional*): share of the annotators who called it a tie; NaN where that
            is not known.

    Raises:
        ValueError: shares outside [0, 1], negative weights, lengths that differ, and ties that `chosen_vote_share`
            leaves no room for.

    Example:

    >>> JudgedPairs([0.6, 0.5], [5, 3], tie_vote_share=[0.4, float("nan")]).vote_counts.round(6).tolist()
    [[2.0, 2.0, 1.0], [nan, nan, nan]]
    """

    chosen_vote_share: ArrayLike
    pair_weight: ArrayLike
    clusters: Sequence | None = None
    tie_vote_share: ArrayLike | None = None

    def __post_init__(self):
        share = share_vector("chosen_vote_share", self.chosen_vote_share)
        object.__setattr__(self, "chosen_vote_share", share)
        object.__setattr__(self, "pair_weight", weight_vector("pair_weight", self.pair_weight, len(share)))
        if self.clusters is not None and len(self.clusters) != len(share):
            raise ValueError(f"clusters has {len(self.clusters)} entries for {len(share)} pairs; give one for each")
        ties = np.full(len(share), np.nan)
        if self.tie_vote_share is not None:
            ties = np.asarray(self.tie_vote_share, dtype=np.float64)
        object.__setattr__(self, "tie_vote_share", ties)
        if ties.shape != share.shape:
            raise ValueError(f"tie_vote_share has shape {ties.shape} for {len(share)} pairs; give one for each")
        bad = (ties < 0) | (ties > 2 * np.minimum(share, 1 - share) + _ROUNDING)
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(
                f"tie_vote_share[{row}] is {ties[row]:g} beside a chosen_vote_share of {share[row]:g}; a tie is half "
                "a vote for either response, so it lies between 0 and twice the smaller side's share"
            )

    def __len__(self) -> int:
        return len(self.chosen_vote_share)

    @property
    def units(self) -> np.ndarray:
        """What intervals draw, one id per pair, shape `(N,)`."""
        return np.arange(len(self)) if self.clusters is None else np.asarray(self.clusters)

    @property
    def with_ties(self) -> np.ndarray:
        """Which pairs have votes of three known kinds, shape `(N,)`."""
        return np.isfinite(self.tie_vote_share) & (self.pair_weight > 0)

    @property
    def with_majority(self) -> np.ndarray:
        """In which pairs one response has more than half of all votes, shape `(N,)`.

        Without known ties these are the pairs whose share is not one half.
        """
        side = np.maximum(self.chosen_vote_share, 1 - self.chosen_vote_share)
        return (side - np.nan_to_num(self.tie_vote_share) / 2 > 0.5 + _ROUNDING) & (self.pair_weight > 0)

    @property
    def vote_counts(self) -> np.ndarray:
        """Votes for chosen, tie, rejected, shape `(N, 3)`; NaN where the ties are not known."""
        share, ties = self.chosen_vote_share, self.tie_vote_share
        shares = np.stack([share - ties / 2, ties, 1 - share - ties / 2], axis=1).clip(min=0)
        return self.pair_weight[:, None] * shares
