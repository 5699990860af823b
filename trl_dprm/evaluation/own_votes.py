"""With some votes of the item beside the model: every model's curve, and whether it is ahead of votes alone."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from ..metrics.held_out_votes import HeldOutScores, VotesCurve, curve_items, held_out_scores, votes_only_scores
from ..metrics.votes_curve_intervals import AheadOfVotes, ahead_of_votes, curve_with_intervals
from .intervals import Resampling
from .judged_items import JudgedItems


@dataclass(frozen=True)
class OwnVotes:
    """The items on which a curve in votes can be drawn, and what votes alone say there. No model's scores are kept.

    Args:
        chosen (`np.ndarray` of `bool` of shape `(N,)`): which of the items, those with enough whole votes.
        steps (`list[int]`): numbers of votes seen; none where no item has two.
        items ([`JudgedItems`]): N of them.
        votes_only (*optional*): scores of the estimate that reads no item; `None` where its prior's strength is not
            known: the reference has no two votes on an item, or votes for one category only.
        resampling ([`Resampling`]): of the intervals, over items or their clusters, for this panel of annotators.
    """

    chosen: np.ndarray
    steps: list[int]
    items: JudgedItems
    votes_only: HeldOutScores | None
    resampling: Resampling

    @classmethod
    def of(cls, items: JudgedItems, reference_counts: np.ndarray, resampling: Resampling) -> Self:
        """Choose the items.

        Args:
            items ([`JudgedItems`]): what is judged.
            reference_counts (`np.ndarray` of shape `(L, K)`): votes that the prior of votes alone is fitted to.
            resampling ([`Resampling`]): how.
        """
        chosen, steps = curve_items(items.target_counts)
        alone = None
        if steps:
            cost = items.categories.cost_matrix
            alone = votes_only_scores(reference_counts, items.target_counts[chosen], cost, steps)
        return cls(chosen, steps, items, alone, resampling)

    def votes_only_curve(self) -> VotesCurve | None:
        """Of the estimate that reads no item, with intervals."""
        return None if self.votes_only is None else curve_with_intervals(self.votes_only, *self._drawn())

    def of_model(
        self, category_probs: np.ndarray, prior_strength: float | None
    ) -> tuple[VotesCurve | None, AheadOfVotes | None]:
        """The model's curve, and its scores without a vote minus those of votes alone.

        Args:
            category_probs (`np.ndarray` of shape `(N, K)`): its prediction.
            prior_strength (`float`, *optional*): how many annotators it is worth; without it there is no curve, but
                what it says without a vote can be compared.
        """
        if not self.steps:
            return None, None
        known = prior_strength is not None
        counts, cost = self.items.target_counts[self.chosen], self.items.categories.cost_matrix
        given = (prior_strength, cost, self.steps) if known else (np.inf, cost, [0])
        scores = held_out_scores(category_probs[self.chosen], counts, *given)
        ahead = None if self.votes_only is None else ahead_of_votes(scores, self.votes_only, *self._drawn())
        return curve_with_intervals(scores, *self._drawn()) if known else None, ahead

    def _drawn(self) -> tuple:
        """What is drawn, and how."""
        clusters = self.items.clusters
        units = None if clusters is None else np.asarray(clusters)[self.chosen]
        return units, self.resampling.num_resamples, self.resampling.level, self.resampling.seed
