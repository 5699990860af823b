"""What a map is worth on votes that it was not fitted to, and which kind of map is worth most."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import log_softmax

from .groups import fit_group_maps
from .logit_map import LogitMap
from .map_fitting import MAP_KINDS, FittedLogitMap, checked_logits_and_counts, fit_logit_map


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
    nats = {}
    for kind in MAP_KINDS:
        if kind == "bias" and not with_bias:
            continue
        log_probs = held_out_log_probs(logits, counts, kind, prior_weight, with_bias, prior_strength, num_folds, seed)
        nats[kind] = float(-(counts * log_probs).sum() / counts.sum())
    best = min(nats, key=lambda kind: round(nats[kind], 9))  # so that rounding does not decide between equals
    return ChosenLogitMap(fit_logit_map(logits, counts, best, prior_weight, with_bias, prior_strength), nats)


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
        ValueError: as [`fit_logit_map`]; for fewer than two items with votes (three with `kind="auto"`).

    Source: [ours].

    >>> held_out_log_probs([[0.0, 0.0]] * 3, [[4, 0], [0, 4], [0, 0]], kind="identity").round(3)[0]
    array([-0.693, -0.693])
    """
    logits, counts = checked_logits_and_counts(category_logits, target_counts)
    _check_folds(counts, num_folds, needed=3 if kind == "auto" else 2)

    inner = min(num_folds, 5)  # of the choice within a fold

    def fitted(rows) -> LogitMap:
        arrays = logits[rows], counts[rows]
        if kind == "auto":
            return choose_logit_map(*arrays, prior_weight, with_bias, prior_strength, inner, seed).fitted.logit_map
        return fit_logit_map(*arrays, kind, prior_weight, with_bias, prior_strength).logit_map

    log_probs = log_softmax(logits, axis=1)
    for others, fold in _folds(counts, num_folds, seed):
        log_probs[fold] = fitted(others).log_probs(logits[fold])
    return log_probs


def held_out_group_probs(
    category_logits,
    group_counts,
    group_names: Sequence[str],
    kind: Literal["identity", "temperature", "bias", "matrix"] = "bias",
    prior_weight: float | Literal["auto"] = "auto",
    with_bias: bool = True,
    prior_strength: float | None = None,
    num_folds: int = 10,
    seed: int = 0,
) -> np.ndarray:
    """What each group would say of each item, by maps that were fitted to the votes of other items.

    Args:
        category_logits, group_counts, group_names, kind, prior_weight, with_bias, prior_strength: as for
            [`fit_group_maps`].
        num_folds, seed (`int`): as for [`held_out_log_probs`].

    Returns:
        `np.ndarray` of shape `(G, N, K)`, float64.

    Raises:
        ValueError: as [`fit_group_maps`]; for fewer than two items with votes.

    Source: [ours].
    """
    counts = np.asarray(group_counts, dtype=np.float64)
    logits, pooled = checked_logits_and_counts(category_logits, counts.sum(0))
    _check_folds(pooled, num_folds, needed=2)
    probs = np.empty(counts.shape)
    for others, fold in _folds(pooled, num_folds, seed):
        maps = fit_group_maps(
            logits[others], counts[:, others], group_names, kind, prior_weight, with_bias, prior_strength
        )
        probs[:, fold] = maps.group_probs(logits[fold])
    return probs


def _check_folds(counts: np.ndarray, num_folds: int, needed: int) -> None:
    """Refuse what cannot be cross-validated."""
    if num_folds < 2:
        raise ValueError(f"num_folds is {num_folds}; cross-validation needs at least 2.")
    voted = int((counts.sum(1) > 0).sum())
    if voted < needed:
        raise ValueError(
            f"{voted} of {len(counts)} items have votes, and cross-validation over items needs {needed}: give votes "
            "of more items, or fit a map of a given kind without it."
        )


def _folds(counts: np.ndarray, num_folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit to, and rows to predict; all rows are predicted once, those without votes from all the others."""
    voted = np.flatnonzero(counts.sum(1) > 0)
    for fold in np.array_split(np.random.default_rng(seed).permutation(voted), min(num_folds, len(voted))):
        yield np.setdiff1d(voted, fold), fold
    without_votes = np.setdiff1d(np.arange(len(counts)), voted)
    if len(without_votes):
        yield voted, without_votes
