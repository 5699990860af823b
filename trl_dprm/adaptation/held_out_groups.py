"""What maps of groups are worth on votes that they were not fitted to, and which kind of map the groups get."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .cross_validation import FOLDS_WITHIN, check_held_out, folds, kinds_tried, least_nats
from .groups import fit_group_maps
from .map_fitting import checked_logits_and_counts


@dataclass(frozen=True)
class ChosenGroupKind:
    """The kind of own map with the fewest nats on held-out votes of all groups.

    Attributes:
        kind (`str`): one of `MAP_KINDS`; `"identity"`: all groups do best with the shared map.
        nats_by_kind (`dict[str, float]`): nats per held-out vote of every kind that was tried, over all groups.
    """

    kind: str
    nats_by_kind: dict[str, float]


def choose_group_kind(
    category_logits,
    group_counts,
    group_names: Sequence[str],
    shared_kind: Literal["identity", "temperature", "bias", "matrix"] = "bias",
    prior_weight: float | Literal["auto"] = "auto",
    with_bias: bool = True,
    prior_strength: float | None = None,
    num_folds: int = 10,
    seed: int = 0,
) -> ChosenGroupKind:
    """Choose by held-out votes which kind of own map the groups get on top of the shared one, "none" among them.

    What suits everybody together says nothing of this: two groups that differ by opposite biases may together need no
    map at all. The kind is one for all groups, by the nats of all their votes: a small group has too few to choose by,
    and borrows the kind from the larger ones. How far its map goes is its own affair: it is held to the shared one
    until the group's votes speak against that ([`fit_group_maps`]).

    Args:
        category_logits, group_counts, group_names, prior_weight, with_bias, prior_strength: as for
            [`fit_group_maps`]; without biases the kind `"bias"` is left out.
        shared_kind (`str`): of the shared map, one of `MAP_KINDS`.
        num_folds, seed (`int`): as for [`held_out_log_probs`].

    Returns:
        [`ChosenGroupKind`]; equal kinds go to the simpler one.

    Raises:
        ValueError: as [`held_out_group_probs`].

    Source: [ours].

    >>> import numpy as np
    >>> unlike = [[[3, 1]] * 20, [[1, 3]] * 20]
    >>> choose_group_kind(np.zeros((20, 2)), unlike, ["a", "b"], shared_kind="identity").kind
    'bias'
    """
    logits, counts = _checked(category_logits, group_counts, num_folds)
    options = {"prior_weight": prior_weight, "with_bias": with_bias, "prior_strength": prior_strength}
    nats = _nats_by_kind(logits, counts, group_names, shared_kind, options, num_folds, seed)
    return ChosenGroupKind(least_nats(nats), nats)


def held_out_group_probs(
    category_logits,
    group_counts,
    group_names: Sequence[str],
    kind: Literal["identity", "temperature", "bias", "matrix", "auto"] = "bias",
    prior_weight: float | Literal["auto"] = "auto",
    with_bias: bool = True,
    prior_strength: float | None = None,
    num_folds: int = 10,
    seed: int = 0,
    shared_kind: Literal["identity", "temperature", "bias", "matrix"] | None = None,
) -> np.ndarray:
    """What each group would say of each item, by maps that were fitted to the votes of other items.

    Args:
        category_logits, group_counts, group_names, prior_weight, with_bias, prior_strength: as for
            [`fit_group_maps`].
        kind (`str`): of the groups' own maps, one of `MAP_KINDS`, or `"auto"`: chosen as by
            [`choose_group_kind`] within what each fold is fitted to.
        num_folds, seed (`int`): as for [`held_out_log_probs`].
        shared_kind (`str`, *optional*): of the shared map; by default `kind`, unless that is `"auto"`.

    Returns:
        `np.ndarray` of shape `(G, N, K)`, float64.

    Raises:
        ValueError: as [`fit_group_maps`]; for fewer than `LEAST_ITEMS_TO_HOLD_OUT` items with votes; for `"auto"`
            without `shared_kind`.

    Source: [ours].
    """
    logits, counts = _checked(category_logits, group_counts, num_folds)
    if kind == "auto" and shared_kind is None:
        raise ValueError("kind is 'auto' for the groups' own maps: say of which shared_kind the shared map is.")
    options = {"prior_weight": prior_weight, "with_bias": with_bias, "prior_strength": prior_strength}
    return _held_out(logits, counts, group_names, kind, shared_kind or kind, options, num_folds, seed)


def _checked(category_logits, group_counts, num_folds) -> tuple[np.ndarray, np.ndarray]:
    """Logits `(N, K)` and votes `(G, N, K)`, float64, enough of them to hold some out."""
    counts = np.asarray(group_counts, dtype=np.float64)
    logits, pooled = checked_logits_and_counts(category_logits, counts.sum(0))
    check_held_out(pooled, num_folds)
    return logits, counts


def _held_out(logits, counts, names, kind, shared_kind, options, num_folds, seed) -> np.ndarray:
    """[`held_out_group_probs`] of checked arrays, however few items have votes."""
    probs = np.empty(counts.shape)
    for others, fold in folds(counts.sum(0), num_folds, seed):
        arrays, fold_kind = (logits[others], counts[:, others], names), kind
        if kind == "auto":
            nats = _nats_by_kind(*arrays, shared_kind, options, min(num_folds, FOLDS_WITHIN), seed)
            fold_kind = least_nats(nats)
        maps = fit_group_maps(*arrays, fold_kind, **options, shared_kind=shared_kind)
        probs[:, fold] = maps.group_probs(logits[fold])
    return probs


def _nats_by_kind(logits, counts, names, shared_kind, options, num_folds, seed) -> dict[str, float]:
    """Nats per held-out vote of every kind, over all groups."""
    return {
        kind: float(
            -(counts * np.log(_held_out(logits, counts, names, kind, shared_kind, options, num_folds, seed))).sum()
            / counts.sum()
        )
        for kind in kinds_tried(options["with_bias"])
    }
