"""A map fitted to new votes, and what it is worth on votes that were held out."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import log_softmax

from ..metrics import PairedDifference, paired_difference
from ..preferences import fit_model_prior_strength
from .cross_validation import choose_logit_map, held_out_log_probs
from .map_fitting import FittedLogitMap, checked_logits_and_counts, fit_logit_map

LEAST_ITEMS = 30
"""With several votes each: fewer leave a prior strength too vague to replace one that was fitted on more."""
LEAST_ITEMS_FOR_VERDICT = 30
"""With votes: on fewer the bootstrap's interval is far too narrow, and a verdict would be a guess."""


@dataclass(frozen=True)
class Adaptation:
    """A map fitted to new votes, and how well it foretells votes that it was not fitted to.

    Attributes:
        fitted ([`FittedLogitMap`]): the map.
        nats_by_kind (`dict[str, float]`): nats per held-out vote of each kind tried, where the kind was chosen.
        nats_before (`float`): nats per new vote of the model as it was.
        change ([`~trl_dprm.metrics.PairedDifference`], *optional*): nats per held-out vote of the whole procedure
            minus `nats_before`, with an interval over items; `None` below `LEAST_ITEMS_FOR_VERDICT` items with votes.
        category_log_probs (`np.ndarray` of shape `(N, K)`): of the items, each by a map of this kind that was fitted
            to others; with too few items by the map of all votes.
        prior_strength (`float`, *optional*): votes that these are worth, refitted; `None` where the votes cannot say.
    """

    fitted: FittedLogitMap
    nats_by_kind: dict[str, float]
    nats_before: float
    change: PairedDifference | None
    category_log_probs: np.ndarray
    prior_strength: float | None

    @property
    def verdict(self) -> str:
        """One honest sentence on whether the map pays."""
        if self.fitted.logit_map.is_identity:
            return "No map foretells these votes better than none: the model is left as it was."
        if self.change is None:
            return (
                f"Whether the map pays is not known: too few items have votes ({self.fitted.num_items}; a verdict "
                f"needs {LEAST_ITEMS_FOR_VERDICT})."
            )
        change = self.change
        numbers = f"{change.difference:+.4f} (95 % interval {change.low:+.4f} to {change.high:+.4f})"
        if change.high < 0:
            judgment = "it pays"
        elif change.low > 0:
            judgment = "it does harm, do not use it"
        else:
            judgment = "these votes do not show that it pays"
        return f"On votes that it was not fitted to, the map changes nats per vote by {numbers}: {judgment}."


def adapt(
    category_logits,
    target_counts,
    kind: Literal["identity", "temperature", "bias", "matrix", "auto"] = "auto",
    prior_weight: float | Literal["auto"] = "auto",
    with_bias: bool = True,
    prior_strength: float | None = None,
    num_folds: int = 10,
    seed: int = 0,
) -> Adaptation:
    """Fit a map, hold votes out to see what it is worth, and refit what the mapped model is worth in votes.

    Args:
        category_logits, target_counts, prior_weight, with_bias: as for [`fit_logit_map`].
        kind (`str`): one of `MAP_KINDS`, or `"auto"` for the best by cross-validation.
        prior_strength (`float`, *optional*): of the model as it was, to discount several votes of one item.
        num_folds, seed (`int`): as for [`held_out_log_probs`].

    Returns:
        [`Adaptation`]

    Raises:
        ValueError: as [`fit_logit_map`]; with `"auto"` for fewer than three items with votes.

    Source: [ours].

    >>> import numpy as np
    >>> logits = np.random.default_rng(0).normal(size=(60, 2))
    >>> adapt(logits, [[9, 1]] * 60, kind="bias").verdict.split(":")[-1]
    ' it pays.'
    """
    logits, counts = checked_logits_and_counts(category_logits, target_counts)
    options = {"prior_weight": prior_weight, "with_bias": with_bias, "prior_strength": prior_strength}
    folds = {"num_folds": num_folds, "seed": seed}
    if kind == "auto":
        chosen = choose_logit_map(logits, counts, **options, **folds)
        fitted, nats_by_kind = chosen.fitted, chosen.nats_by_kind
    else:
        fitted, nats_by_kind = fit_logit_map(logits, counts, kind, **options), {}
    before = log_softmax(logits, axis=1)
    if fitted.num_items == 1:
        log_probs, change = fitted.logit_map.log_probs(logits), None
    else:
        log_probs = held_out_log_probs(logits, counts, fitted.kind, **options, **folds)
        change = None
        if fitted.num_items >= LEAST_ITEMS_FOR_VERDICT:
            honest = held_out_log_probs(logits, counts, kind, **options, **folds) if kind == "auto" else log_probs
            change = _change(honest, before, counts)
    return Adaptation(
        fitted,
        nats_by_kind,
        float(-(counts * before).sum() / counts.sum()),
        change,
        log_probs,
        refitted_prior_strength(np.exp(log_probs), counts),
    )


def refitted_prior_strength(category_probs, target_counts) -> float | None:
    """How many votes the predictions are worth, where enough votes say so.

    Args:
        category_probs (array of shape `(N, K)`): predictions that these votes did not make.
        target_counts (array of shape `(N, K)`): votes.

    Returns:
        `float`; `None` with fewer than `LEAST_ITEMS` items of several votes, and where the estimate is at a boundary.
    """
    several = np.asarray(target_counts).sum(1) > 1
    if several.sum() < LEAST_ITEMS:
        return None
    estimate = fit_model_prior_strength(np.asarray(category_probs)[several], np.asarray(target_counts)[several])
    return None if estimate.boundary else estimate.prior_strength


def _change(log_probs, before, counts) -> PairedDifference:
    """Nats per vote after minus before, over the items with votes."""
    votes = counts.sum(1)
    voted = votes > 0
    nats = [-(counts * values).sum(1)[voted] / votes[voted] for values in (log_probs, before)]
    return paired_difference(*nats, weight=votes[voted])
