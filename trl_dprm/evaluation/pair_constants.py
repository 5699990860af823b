"""What says the same of every pair: the two places are alike, and a share of the votes are ties."""

from dataclasses import dataclass

import numpy as np

from ..metrics import nats_per_vote, vote_shares
from ..metrics.averages import weighted_mean
from .judged_pairs import JudgedPairs
from .pair_scores import PairScore, pair_scores


@dataclass(frozen=True)
class PairConstant:
    """The best constant for pairs.

    Which response is called chosen is a name, so a constant that knows no pair gives both the same probability.

    Attributes:
        tie_share (`float`, *optional*): its P(tie), the share of ties among the votes that chose it; `None` where no
            ties are known.
        chosen_on (`str`): whose votes these are.
        scores (`dict` of [`PairScore`]): of the judged pairs: `pair_log_loss` and, where ties are known,
            `three_way_nats` and `decisive_nats`.
    """

    tie_share: float | None
    chosen_on: str
    scores: dict[str, PairScore]

    @property
    def metrics(self) -> dict[str, float]:
        """Means of the scores, infinite where something that got votes has probability 0; NaN without such votes."""
        return {
            name: weighted_mean(values, weight) if weight.any() else float("nan")
            for name, (values, weight) in self.scores.items()
        }

    @property
    def notes(self) -> list[str]:
        """What a reader must know of it."""
        if self.tie_share is None:
            return []
        return [
            f"The best constant of pairs calls {self.tie_share:.1%} of the votes ties, by {self.chosen_on}, and gives "
            "each response half of the rest."
        ]


def pair_constant(pairs: JudgedPairs, validation_pairs: JudgedPairs | None) -> PairConstant:
    """What a model that reads nothing would cost.

    Args:
        pairs ([`JudgedPairs`]): what is judged.
        validation_pairs ([`JudgedPairs`], *optional*): whose ties choose the constant; without known ties there it is
            chosen on the judged pairs, in its favour.

    Example:

    >>> pairs = JudgedPairs([0.75, 0.5], [4, 4], tie_vote_share=[0.5, 0.0])
    >>> constant = pair_constant(pairs, None)
    >>> constant.tie_share, {name: round(value, 4) for name, value in constant.metrics.items()}
    (0.25, {'pair_log_loss': 0.6931, 'three_way_nats': 1.0822, 'decisive_nats': 0.6931})
    """
    says_nothing = np.full((len(pairs), 3), 1 / 3)
    even = pair_scores(np.zeros((len(pairs), 2)), 1.0, says_nothing, pairs)
    scores = {"pair_log_loss": even["pair_log_loss"]}
    if not pairs.with_ties.any():
        return PairConstant(None, "no votes", scores)
    reference, chosen_on = pairs, "the judged votes themselves, in its favour"
    if validation_pairs is not None and validation_pairs.with_ties.any():
        reference, chosen_on = validation_pairs, "the validation votes"
    votes = reference.vote_counts[reference.with_ties].sum(axis=0)
    ties = float(votes[1] / votes.sum())
    scores["three_way_nats"] = _three_way_nats(ties, pairs)
    scores["decisive_nats"] = even["decisive_nats"]
    return PairConstant(ties, chosen_on, scores)


def _three_way_nats(tie_share: float, pairs: JudgedPairs) -> PairScore:
    known, values, weight = pairs.with_ties, np.zeros(len(pairs)), np.zeros(len(pairs))
    shares, weight[known] = vote_shares(pairs.vote_counts[known])
    side = (1 - tie_share) / 2
    values[known] = nats_per_vote(np.tile([side, tie_share, side], (len(shares), 1)), shares)
    return PairScore(values, weight)
