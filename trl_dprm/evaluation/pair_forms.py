"""What is judged on pairs: each model as it is, and with links fitted on validation pairs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from ..metrics import DavidsonLink, davidson_probs, fit_davidson
from ..metrics.pair_links import fit_bradley_terry_scale
from .judged_pairs import JudgedPairs
from .pair_scores import PairScore, pair_scores


@dataclass(frozen=True)
class PairPredictions:
    """What one model says of the pairs of a report.

    Args:
        rewards (array of shape `(N, 2)`): of the chosen and the rejected response.
        bradley_terry_scale (`float`): κ in `σ(κΔ)`, stored with the model.
        validation_rewards (array of shape `(M, 2)`, *optional*): of the validation pairs, on which κ is fitted anew.
        three_way_probs (array of shape `(N, 3)`, *optional*): of chosen, tie, rejected, as the model was trained: for
            distributions [`~trl_dprm.metrics.win_tie_probs`].
    """

    rewards: ArrayLike
    bradley_terry_scale: float = 1.0
    validation_rewards: ArrayLike | None = None
    three_way_probs: ArrayLike | None = None


@dataclass(frozen=True)
class PairForm:
    """A model as it is, or with its links fitted.

    Args:
        name (`str`): of the model.
        scale (`float`): κ of `σ(κΔ)`.
        refitted (`bool`): whether κ was fitted on validation pairs; otherwise it is the one stored with the model.
        davidson ([`~trl_dprm.metrics.DavidsonLink`], *optional*): fitted on validation pairs, where `refitted` and
            their ties are known.
    """

    name: str
    scale: float
    refitted: bool
    davidson: DavidsonLink | None

    @property
    def title(self) -> str:
        """What sentences, tables and figures call it."""
        return f"{self.name}, κ fitted" if self.refitted else self.name

    @property
    def is_fitted(self) -> bool:
        """Whether validation pairs have had a say in the probabilities."""
        return self.refitted


@dataclass(frozen=True)
class PairSubject(PairForm):
    """A form of a model before it is measured.

    Args:
        name, scale, refitted, davidson: As in [`PairForm`].
        rewards (array of shape `(N, 2)`): Of the chosen and the rejected response.
        three_way_probs (array of shape `(N, 3)`, *optional*): Of chosen, tie, rejected.
    """

    rewards: ArrayLike
    three_way_probs: ArrayLike | None

    @property
    def win_probs(self) -> np.ndarray:
        """`σ(κΔ)`, of shape `(N,)`."""
        chosen, rejected = np.asarray(self.rewards, dtype=np.float64).T
        return expit(self.scale * (chosen - rejected))

    def scores(self, pairs: JudgedPairs) -> dict[str, PairScore]:
        """Of the pairs that it speaks of, as [`pair_scores`]."""
        return pair_scores(self.rewards, self.scale, self.three_way_probs, pairs)


def pair_subjects(
    models: Mapping[str, PairPredictions], validation_pairs: JudgedPairs | None
) -> tuple[list[PairSubject], list[str]]:
    """Each model as it is and, where there are validation pairs, with its links fitted on them.

    Args:
        models, validation_pairs: As in [`pair_report`].

    Returns:
        The forms, a fitted one behind its own raw one, and notes on links that could not be fitted.
    """
    subjects, notes = [], []
    for name, predictions in models.items():
        scale, probs = predictions.bradley_terry_scale, predictions.three_way_probs
        subjects.append(PairSubject(name, scale, False, None, predictions.rewards, probs))
        if validation_pairs is not None and predictions.validation_rewards is not None:
            subjects += _refitted(name, predictions, validation_pairs, notes)
    return subjects, notes


def _refitted(name: str, predictions: PairPredictions, pairs: JudgedPairs, notes: list[str]) -> list[PairSubject]:
    """With κ by the validation pairs; none, with a note, where these do not determine it."""
    chosen, rejected = np.asarray(predictions.validation_rewards, dtype=np.float64).T
    unequal = (chosen != rejected) & (pairs.pair_weight > 0)
    if not unequal.any():
        notes.append(f"{name}: equal rewards in every validation pair, so κ was not fitted anew.")
        return []
    link = fit_bradley_terry_scale(chosen, rejected, pairs.chosen_vote_share, pairs.pair_weight)
    if link.boundary is not None:
        notes.append(f"{name}: the validation pairs put κ at {link.boundary}, so it was not fitted anew.")
        return []
    davidson, probs, known = None, None, pairs.with_ties
    if (unequal & known).any():
        davidson = fit_davidson(chosen[known], rejected[known], pairs.vote_counts[known])
        if davidson.boundaries:
            where = " and ".join(davidson.boundaries)
            notes.append(
                f"{name}: the validation pairs put Davidson's model at a boundary ({where}); it was left out."
            )
            davidson = None
    if davidson is not None:
        probs = davidson_probs(*np.asarray(predictions.rewards).T, davidson.scale, davidson.tie_propensity)
    return [PairSubject(name, link.scale, True, davidson, predictions.rewards, probs)]
