"""A map fitted to new votes, and what it is worth on votes that were held out."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import log_softmax

from ..metrics import PairedDifference
from ..preferences import fit_model_prior_strength
from .cross_validation import LEAST_ITEMS_TO_HOLD_OUT, choose_logit_map, held_out_log_probs
from .held_out_change import LEAST_ITEMS_FOR_VERDICT, change_in_words, nats_change, nats_per_vote
from .map_fitting import FittedLogitMap, checked_logits_and_counts, fit_logit_map

LEAST_ITEMS = 30
"""With several votes each: fewer leave a prior strength too vague to replace one that was fitted on more."""


@dataclass(frozen=True)
class Adaptation:
    """A map fitted to new votes, and how well it foretells votes that it was not fitted to.

    Attributes:
        fitted ([`FittedLogitMap`]): the map.
        nats_by_kind (`dict[str, float]`): nats per held-out vote of each kind tried, where the kind was chosen.
        dropped_kind (`str`, *optional*): the kind that had the fewest nats but gained nothing once the choice was held
            out too, so that the map is the identity.
        nats_before (`float`): nats per new vote of the model as it was.
        change ([`~trl_dprm.metrics.PairedDifference`], *optional*): nats per held-out vote of the whole procedure (of
            the dropped kind too) minus `nats_before`, with an interval over items; `None` below
            `LEAST_ITEMS_FOR_VERDICT` items with votes.
        category_log_probs (`np.ndarray` of shape `(N, K)`): of the items, each by a map of this kind that was fitted
            to others; with fewer items than can be held out those of the model as it was.
        prior_strength (`float`, *optional*): votes that these are worth, refitted; `None` where the votes cannot say.
    """

    fitted: FittedLogitMap
    nats_by_kind: dict[str, float]
    dropped_kind: str | None
    nats_before: float
    change: PairedDifference | None
    category_log_probs: np.ndarray
    prior_strength: float | None

    @property
    def verdict(self) -> str:
        """One honest sentence or two on whether the map pays."""
        change, chosen = self.change, bool(self.nats_by_kind)
        if self.dropped_kind is not None:
            numbers = "" if change is None else f" (nats per vote {change_in_words(change)})"
            return (
                f"The map with the fewest nats, {self.dropped_kind}, gains nothing on votes that had no part in its "
                f"choice and its fit{numbers}: the model is left as it was."
            )
        if self.fitted.kind == "identity":
            found = "No map foretells these votes better than none" if chosen else "No map was asked for"
            return f"{found}: the model is left as it was."
        if change is None:
            way_back = " The map stands because it was ahead on held-out votes; `--map identity` changes nothing."
            return (
                f"Whether the map pays is not known: too few texts have votes ({self.fitted.num_items}; a verdict "
                f"needs {LEAST_ITEMS_FOR_VERDICT}).{way_back if chosen else ''}"
            )
        if change.high < 0:
            judgment = "it pays."
        elif change.low > 0:
            judgment = "it does harm, do not use it."
        elif chosen:
            judgment = (
                "that is not told from zero. The map stands because it was ahead on held-out votes; `--map identity` "
                "changes nothing."
            )
        else:
            judgment = "these votes do not show that it pays."
        numbers = change_in_words(change)
        return f"On votes that it was not fitted to, the map changes nats per vote by {numbers}: {judgment}"


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

    With `"auto"` the kind is chosen by held-out votes, and then the choice is held out too (anew in every fold). If
    that honest estimate is no gain, nothing is changed. If it is a gain, the map stands, also where the interval holds
    zero: it is the best guess, and one that its prior holds to "nothing has changed". The verdict says which.

    Args:
        category_logits, target_counts, prior_weight, with_bias, prior_strength: as for [`fit_logit_map`].
        kind (`str`): one of `MAP_KINDS`, fitted whatever it is worth, or `"auto"` for the best by cross-validation.
        prior_strength (`float`, *optional*): of the model as it was, to discount several votes of one item.
        num_folds, seed (`int`): as for [`held_out_log_probs`].

    Returns:
        [`Adaptation`]

    Raises:
        ValueError: as [`fit_logit_map`]; with `"auto"` for fewer than `LEAST_ITEMS_TO_HOLD_OUT` items with votes.

    Source: [ours].

    >>> import numpy as np
    >>> logits = np.random.default_rng(0).normal(size=(60, 2))
    >>> adapt(logits, [[9, 1]] * 60, kind="bias").verdict.split(":")[-1]
    ' it pays.'
    """
    logits, counts = checked_logits_and_counts(category_logits, target_counts)
    options = {"prior_weight": prior_weight, "with_bias": with_bias, "prior_strength": prior_strength}
    folds = {"num_folds": num_folds, "seed": seed}
    before = log_softmax(logits, axis=1)
    nats_by_kind, dropped_kind = {}, None
    if kind == "auto":
        chosen = choose_logit_map(logits, counts, **options, **folds)
        fitted, nats_by_kind = chosen.fitted, chosen.nats_by_kind
    else:
        fitted = fit_logit_map(logits, counts, kind, **options)

    log_probs = held_out = before
    if fitted.num_items >= LEAST_ITEMS_TO_HOLD_OUT:
        log_probs = held_out = held_out_log_probs(logits, counts, fitted.kind, **options, **folds)
        if kind == "auto":
            held_out = held_out_log_probs(logits, counts, kind, **options, **folds)
    nats_before = nats_per_vote(before, counts)
    if kind == "auto" and fitted.kind != "identity" and nats_per_vote(held_out, counts) >= nats_before:
        dropped_kind, log_probs = fitted.kind, before
        fitted = fit_logit_map(logits, counts, "identity", **options)
    return Adaptation(
        fitted,
        nats_by_kind,
        dropped_kind,
        nats_before,
        nats_change(held_out, before, counts),
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
