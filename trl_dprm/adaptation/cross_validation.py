"""What a map is worth on votes that it was not fitted to, and which kind of map is worth most."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import log_softmax

from .map_fitting import MAP_KINDS, FittedLogitMap, checked_logits_and_counts, fit_logit_map

LEAST_ITEMS_TO_HOLD_OUT = 3
"""With votes: then a kind can be chosen among those that a fold is fitted to, by holding these out in turn."""
FOLDS_WITHIN = 5
"""At most, of a choice within what a fold is fitted to."""


@dataclass(frozen=True)
class ChosenLogitMap:
    """The kind of map with the fewest nats by cross-validation, fitted to all votes.

    Attributes:
        fitted ([`FittedLogitMap`]): the map of the best kind.
        nats_by_kind (`dict[str, float]`): nats per held-out vote of every kind that was tried.
    """

    fitted: FittedLogitMap
    nats_by_kind: dict[str, float]


def choose_logit_map(
    category_logits,
    target_counts,
    prior_weight: float | Literal["auto"] = "auto",
    with_bias: bool = True,
    prior_strength: float | None = None,
    num_folds: int = 10,
    seed: int = 0,
) -> ChosenLogitMap:
    """Choose among identity, temperature, biases and matrix by cross-validated nats, and fit the choice to all votes.

    The least nats of four are a little too good: for an honest number of the whole procedure take
    [`held_out_log_probs`] with `kind="auto"`, which chooses anew for each fold.

    Args:
        category_logits, target_counts, prior_weight, with_bias, prior_strength: as for [`fit_logit_map`]; without
            biases the kind `"bias"` is left out.
        num_folds, seed (`int`): as for [`held_out_log_probs`].

    Returns:
        [`ChosenLogitMap`]; equal kinds go to the simpler one.

    Raises:
        ValueError: as [`held_out_log_probs`].

    Source: [ours].

    >>> import numpy as np
    >>> chosen = choose_logit_map(np.zeros((40, 2)), [[1, 0]] * 36 + [[0, 1]] * 4)
    >>> chosen.fitted.kind
    'bias'
    """
    logits, counts = checked_logits_and_counts(category_logits, target_counts)
    check_held_out(counts, num_folds)
    options = {"prior_weight": prior_weight, "with_bias": with_bias, "prior_strength": prior_strength}
    nats = _nats_by_kind(logits, counts, options, num_folds, seed)
    return ChosenLogitMap(fit_logit_map(logits, counts, least_nats(nats), **options), nats)


def held_out_log_probs(
    category_logits,
    target_counts,
    kind: Literal["identity", "temperature", "bias", "matrix", "auto"] = "auto",
    prior_weight: float | Literal["auto"] = "auto",
    with_bias: bool = True,
    prior_strength: float | None = None,
    num_folds: int = 10,
    seed: int = 0,
) -> np.ndarray:
    """Log-probabilities of each item by a map that was fitted to the votes of other items.

    Items with votes are dealt at random into folds; an item without votes was in no fit, so the map of all votes
    serves it. Annotators may be in several folds: the numbers hold for new items of this panel of annotators.

    Args:
        category_logits, target_counts, prior_weight, with_bias, prior_strength: as for [`fit_logit_map`].
        kind (`str`): one of `MAP_KINDS`, or `"auto"`: chosen by cross-validation within what each fold is fitted to.
        num_folds (`int`): at least 2; fewer where fewer items have votes.
        seed (`int`): of the deal.

    Returns:
        `np.ndarray` of shape `(N, K)`, float64.

    Raises:
        ValueError: as [`fit_logit_map`]; for fewer than `LEAST_ITEMS_TO_HOLD_OUT` items with votes.

    Source: [ours].

    >>> held_out_log_probs([[0.0, 0.0]] * 3, [[4, 0], [0, 4], [1, 1]], kind="identity").round(3)[0]
    array([-0.693, -0.693])
    """
    logits, counts = checked_logits_and_counts(category_logits, target_counts)
    check_held_out(counts, num_folds)
    options = {"prior_weight": prior_weight, "with_bias": with_bias, "prior_strength": prior_strength}
    return _held_out(logits, counts, kind, options, num_folds, seed)


def kinds_tried(with_bias: bool) -> list[str]:
    """The kinds that a choice is among, simplest first.

    Args:
        with_bias (`bool`): see [`fit_logit_map`].
    """
    return [kind for kind in MAP_KINDS if with_bias or kind != "bias"]


def least_nats(nats_by_kind: dict[str, float]) -> str:
    """The kind with the fewest nats; equal ones go to the simpler, which comes first.

    Args:
        nats_by_kind (`dict[str, float]`): nats per vote.
    """
    return min(nats_by_kind, key=lambda kind: round(nats_by_kind[kind], 9))  # rounding does not decide between equals


def check_held_out(target_counts: np.ndarray, num_folds: int) -> None:
    """Refuse what cannot be cross-validated.

    Args:
        target_counts (`np.ndarray` of shape `(N, K)`): votes.
        num_folds (`int`): of the cross-validation.

    Raises:
        ValueError: for fewer than two folds, and for fewer items with votes than `LEAST_ITEMS_TO_HOLD_OUT`.
    """
    if num_folds < 2:
        raise ValueError(f"num_folds is {num_folds}; cross-validation needs at least 2.")
    voted = int((target_counts.sum(1) > 0).sum())
    if voted < LEAST_ITEMS_TO_HOLD_OUT:
        raise ValueError(
            f"{voted} of {len(target_counts)} texts have votes, and cross-validation over texts needs "
            f"{LEAST_ITEMS_TO_HOLD_OUT}: give votes on more texts, or name the kind of map (`--map temperature`, "
            "`bias` or `matrix`) and no groups, which needs no cross-validation."
        )


def folds(target_counts: np.ndarray, num_folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit to, and rows to predict; all rows are predicted once, those without votes from all the others.

    Args:
        target_counts (`np.ndarray` of shape `(N, K)`): votes; items are dealt whole.
        num_folds (`int`): fewer where fewer items have votes.
        seed (`int`): of the deal.
    """
    voted = np.flatnonzero(target_counts.sum(1) > 0)
    for fold in np.array_split(np.random.default_rng(seed).permutation(voted), min(num_folds, len(voted))):
        yield np.setdiff1d(voted, fold), fold
    without_votes = np.setdiff1d(np.arange(len(target_counts)), voted)
    if len(without_votes):
        yield voted, without_votes


def _held_out(logits, counts, kind, options, num_folds, seed) -> np.ndarray:
    """[`held_out_log_probs`] of checked arrays, however few items have votes."""
    log_probs = log_softmax(logits, axis=1)
    for others, fold in folds(counts, num_folds, seed):
        arrays, fold_kind = (logits[others], counts[others]), kind
        if kind == "auto":
            fold_kind = least_nats(_nats_by_kind(*arrays, options, min(num_folds, FOLDS_WITHIN), seed))
        log_probs[fold] = fit_logit_map(*arrays, fold_kind, **options).logit_map.log_probs(logits[fold])
    return log_probs


def _nats_by_kind(logits, counts, options, num_folds, seed) -> dict[str, float]:
    """Nats per held-out vote of every kind."""
    return {
        kind: float(-(counts * _held_out(logits, counts, kind, options, num_folds, seed)).sum() / counts.sum())
        for kind in kinds_tried(options["with_bias"])
    }
