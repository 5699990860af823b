"""Maps of groups of annotators, and what each is worth on votes of the group that were held out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import log_softmax

from ..metrics import PairedDifference
from .groups import GroupMaps, fit_group_maps
from .held_out_change import LEAST_ITEMS_FOR_VERDICT, change_in_words, nats_change, nats_per_vote
from .held_out_groups import ChosenGroupKind, choose_group_kind, held_out_group_probs

ROUNDING = 1e-9
"""Nats per vote that are no change: the identity, computed on two ways."""


@dataclass(frozen=True)
class GroupWorth:
    """What one group's own map is worth on votes of the group that it was not fitted to.

    Attributes:
        name (`str`): of the group.
        kind (`str`): of its own map on top of that of all; `"identity"`: it keeps the map of all.
        chosen (`bool`): whether the kind was chosen by held-out votes, or asked for.
        dropped_kind (`str`, *optional*): the kind that was chosen for the groups, where it gains nothing for this one,
            which therefore keeps the map of all.
        num_items (`int`): items with votes of the group.
        num_votes (`float`): its votes.
        nats_before (`float`): nats per vote of the group, of the model as it was.
        nats_shared (`float`): the same of the map of all, on held-out votes.
        nats_own (`float`): the same of the group's own map (its kind chosen anew in every fold, if it was chosen).
        own_change ([`~trl_dprm.metrics.PairedDifference`], *optional*): `nats_own` minus `nats_shared`, with an
            interval over items; `None` below `LEAST_ITEMS_FOR_VERDICT` items.
        change ([`~trl_dprm.metrics.PairedDifference`], *optional*): what the group gets, its own map or that of all,
            against the model as it was, likewise.
        shared_change ([`~trl_dprm.metrics.PairedDifference`], *optional*): `nats_shared` minus `nats_before`,
            likewise: what the map of all, which the saved checkpoint holds, does to the group.
    """

    name: str
    kind: str
    chosen: bool
    dropped_kind: str | None
    num_items: int
    num_votes: float
    nats_before: float
    nats_shared: float
    nats_own: float
    own_change: PairedDifference | None
    change: PairedDifference | None
    shared_change: PairedDifference | None

    @property
    def shared_in_words(self) -> str:
        """What the saved checkpoint, which holds the map of all, changes for the group."""
        if abs(self.nats_shared - self.nats_before) < ROUNDING:
            return "nothing"
        return "not known (too few texts)" if self.shared_change is None else change_in_words(self.shared_change)

    @property
    def harm(self) -> str | None:
        """What the map of all does to the group in words, where it raises its nats on held-out votes."""
        change = self.shared_change
        if self.nats_shared - self.nats_before < ROUNDING:
            return None
        if change is None:
            risen = f"{self.nats_shared - self.nats_before:+.4f}, on too few texts for an interval"
            return f"{self.name} ({risen}: it may do harm)"
        return f"{self.name} ({change_in_words(change)}{'' if change.low > 0 else ': not told from zero'})"

    @property
    def verdict(self) -> str:
        """One honest sentence on whether the group's own map pays over that of all."""
        change = self.own_change
        if self.dropped_kind is not None:
            return f"keeps the map of all: one of its own ({self.dropped_kind}) gains nothing on held-out votes."
        if self.kind == "identity":
            return f"keeps the map of all{': no map of its own foretells its votes better' if self.chosen else ''}."
        if change is None:
            ahead = ", ahead on held-out votes" if self.chosen else ""
            return (
                f"own map ({self.kind}{ahead}). Whether it pays is not known: too few texts have votes of the group "
                f"({self.num_items}; a verdict needs {LEAST_ITEMS_FOR_VERDICT})."
            )
        if change.high < 0:
            judgment = "it pays."
        elif change.low > 0:
            judgment = "it does harm, do not use it."
        elif self.chosen:
            judgment = "that is not told from zero. It stands because it was ahead on held-out votes."
        else:
            judgment = "these votes do not show that it pays."
        numbers = change_in_words(change)
        return f"own map ({self.kind}), which changes nats per held-out vote of the group by {numbers}: {judgment}"


@dataclass(frozen=True)
class GroupAdaptation:
    """The groups' maps, and what each is worth.

    Attributes:
        maps ([`GroupMaps`]): one per group.
        worth (`list` of [`GroupWorth`]): of each, in the same order.
        kind (`str`): of the groups' own maps; groups that gain nothing by one keep the map of all.
        nats_by_kind (`dict[str, float]`): nats per held-out vote, over all groups, of each kind of own map that was
            tried, where the kind was chosen.
    """

    maps: GroupMaps
    worth: list[GroupWorth]
    kind: str
    nats_by_kind: dict[str, float]

    @property
    def warning(self) -> str | None:
        """One plain sentence or two where the map of all, which the saved checkpoint holds, serves a group worse."""
        harmed = [worth.harm for worth in self.worth if worth.harm is not None]
        if not harmed:
            return None
        return (
            "Warning: the saved checkpoint holds the map of all, which foretells the held-out votes of these groups "
            f"worse than the old checkpoint did, in nats per vote: {'; '.join(harmed)}. For them keep the old "
            "checkpoint, or take `group_probs` where they have a map of their own."
        )

    @property
    def alike_note(self) -> str | None:
        """Where all groups have one map: that then no group and no population differs from another."""
        if not self.maps.are_alike:
            return None
        return (
            "All groups have the same map: `group_probs` says the same of each, `worst_group` is empty, and shares of "
            "the groups in a population change nothing."
        )


def adapt_groups(
    category_logits,
    group_counts,
    group_names: Sequence[str],
    shared_kind: Literal["identity", "temperature", "bias", "matrix"],
    kind: Literal["identity", "temperature", "bias", "matrix", "auto"] = "auto",
    prior_weight: float | Literal["auto"] = "auto",
    with_bias: bool = True,
    prior_strength: float | None = None,
    num_folds: int = 10,
    seed: int = 0,
) -> GroupAdaptation:
    """Fit a map for each group on top of that of all, and hold votes out to see what it is worth.

    With `"auto"` the rule is that of [`adapt`]: the kind, one for all groups, is the one with the fewest nats on their
    held-out votes ([`choose_group_kind`]); then the choice is held out too, and a group whose votes are foretold no
    better by its own map than by the map of all keeps the map of all. The kind of the map of all is taken as given;
    what that choice is worth, [`adapt`] says.

    Args:
        category_logits, group_counts, group_names, prior_weight, with_bias, prior_strength: as for
            [`fit_group_maps`].
        shared_kind (`str`): of the map of all, such as [`adapt`] chose it.
        kind (`str`): of the groups' own maps: one of `MAP_KINDS`, fitted whatever it is worth, or `"auto"`.
        num_folds, seed (`int`): as for [`held_out_log_probs`].

    Returns:
        [`GroupAdaptation`]

    Raises:
        ValueError: as [`held_out_group_probs`], and for a group without votes.

    Source: [ours].

    >>> import numpy as np
    >>> votes = [[[3, 1]] * 40, [[0, 4]] * 40]
    >>> groups = adapt_groups(np.zeros((40, 2)), votes, ["a", "b"], "bias", kind="bias")
    >>> groups.worth[1].verdict.split(":")[-1]
    ' it pays.'
    """
    counts, names = np.asarray(group_counts, dtype=np.float64), list(group_names)
    silent = [name for name, votes in zip(names, counts, strict=True) if not votes.any()]
    if silent:
        raise ValueError(f"The group {silent[0]!r} has rows but no votes: remove them.")
    options = {"prior_weight": prior_weight, "with_bias": with_bias, "prior_strength": prior_strength}
    folds = {"num_folds": num_folds, "seed": seed, "shared_kind": shared_kind}
    arrays = category_logits, counts, names

    before = log_softmax(np.asarray(category_logits, dtype=np.float64), axis=1)
    shared = np.log(held_out_group_probs(*arrays, "identity", **options, **folds))
    own = np.log(held_out_group_probs(*arrays, kind, **options, **folds))
    chosen = ChosenGroupKind(kind, {})
    if kind == "auto":
        chosen = choose_group_kind(*arrays, **options, **folds)
    worth = [
        _worth(name, chosen.kind, kind == "auto", votes, before, *predictions)
        for name, votes, *predictions in zip(names, counts, shared, own, strict=True)
    ]
    maps = fit_group_maps(*arrays, [group.kind for group in worth], **options, shared_kind=shared_kind)
    return GroupAdaptation(maps, worth, chosen.kind, chosen.nats_by_kind)


def _worth(name, kind, chosen, votes, before, shared, own) -> GroupWorth:
    """One group's numbers from its held-out log-probabilities, each of shape `(N, K)`."""
    nats_shared, nats_own = nats_per_vote(shared, votes), nats_per_vote(own, votes)
    dropped_kind = None
    if chosen and kind != "identity" and nats_own >= nats_shared:
        dropped_kind, kind = kind, "identity"
    return GroupWorth(
        name=name,
        kind=kind,
        chosen=chosen,
        dropped_kind=dropped_kind,
        num_items=int((votes.sum(1) > 0).sum()),
        num_votes=float(votes.sum()),
        nats_before=nats_per_vote(before, votes),
        nats_shared=nats_shared,
        nats_own=nats_own,
        own_change=nats_change(own, shared, votes),
        change=nats_change(shared if kind == "identity" else own, before, votes),
        shared_change=nats_change(shared, before, votes),
    )
