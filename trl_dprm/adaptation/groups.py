"""A map for each group of annotators, and what follows: another mix of the groups, and the group worst served."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..models.distributions import PROBABILITY_TOLERANCE
from ..preferences.vote_arrays import as_probs, as_rewards
from .logit_map import LogitMap
from .map_fitting import MAP_KINDS, fit_logit_map


@dataclass(frozen=True)
class GroupMaps:
    """Maps of the model's logits to what each group of annotators would say.

    Attributes:
        group_names (`list[str]`): G names.
        kinds (`list[str]`): of each group's own map on top of the shared one; `"identity"` keeps the shared one.
        shared ([`LogitMap`]): fitted to the votes of all groups together.
        maps (`list` of [`LogitMap`]): one per group, from the model's logits.
        num_votes (`np.ndarray` of shape `(G,)`): votes that each rests on.
    """

    group_names: list[str]
    kinds: list[str]
    shared: LogitMap
    maps: list[LogitMap]
    num_votes: np.ndarray

    @property
    def are_alike(self) -> bool:
        """Whether several groups have one map, so that no mix of them differs from another."""
        first = self.maps[0]
        return len(self.maps) > 1 and all(
            np.array_equal(other.matrix, first.matrix) and np.array_equal(other.bias, first.bias)
            for other in self.maps
        )

    def group_probs(self, category_logits) -> np.ndarray:
        """What each group would say of items, with votes or without.

        Args:
            category_logits (array of shape `(N, K)`): the model's.

        Returns:
            `np.ndarray` of shape `(G, N, K)`, float64.
        """
        return np.stack([logit_map.probs(category_logits) for logit_map in self.maps])


def fit_group_maps(
    category_logits,
    group_counts,
    group_names: Sequence[str],
    kind: Literal["identity", "temperature", "bias", "matrix"] | Sequence[str] = "bias",
    prior_weight: float | Literal["auto"] = "auto",
    with_bias: bool = True,
    prior_strength: float | None = None,
    shared_kind: Literal["identity", "temperature", "bias", "matrix"] | None = None,
) -> GroupMaps:
    """Fit one map to all votes, and on top of it one to each group's, shrunk towards the shared one.

    The prior of a group's map lies around the shared map as that of [`fit_logit_map`] lies around the identity: a
    group with few votes is predicted as everybody is, one without votes exactly so.

    Args:
        category_logits (array of shape `(N, K)`): the model's logits or log-probabilities.
        group_counts (array of shape `(G, N, K)`): each group's votes; rows of zeros are allowed.
        group_names (sequence of `str`): G distinct names.
        kind (`str`, or sequence of G `str`): of the groups' own maps, one for all groups or one for each; a group of
            kind `"identity"` keeps the shared map.
        prior_weight, with_bias, prior_strength: as for [`fit_logit_map`], of the shared map and of the groups'.
        shared_kind (`str`, *optional*): of the shared map; by default `kind`, if that is one for all groups.

    Returns:
        [`GroupMaps`]

    Raises:
        ValueError: for bad arrays or options, other numbers of names or kinds than groups, or no votes at all.

    Source: [ours].

    >>> maps = fit_group_maps([[0.0, 0.0]], [[[30, 10]], [[10, 30]]], ["a", "b"], prior_weight=0)
    >>> maps.group_probs([[0.0, 0.0]]).round(3)[:, 0]
    array([[0.75, 0.25],
           [0.25, 0.75]])
    """
    counts = np.asarray(group_counts, dtype=np.float64)
    names = list(group_names)
    if counts.ndim != 3 or len(counts) != len(names) or len(set(names)) != len(names):
        raise ValueError(
            f"group_counts has shape {counts.shape} for the groups {names}; give (G, N, K), and one distinct name per "
            "group."
        )
    kinds = [kind] * len(names) if isinstance(kind, str) else list(kind)
    if len(kinds) != len(names) or (shared_kind is None and not isinstance(kind, str)):
        raise ValueError(
            f"kind is {kind!r} for the groups {names}, and shared_kind {shared_kind!r}; give one of "
            f"{', '.join(MAP_KINDS)}, or one of them for each group and a shared_kind."
        )
    options = {"prior_weight": prior_weight, "with_bias": with_bias, "prior_strength": prior_strength}
    shared = fit_logit_map(category_logits, counts.sum(0), shared_kind or kind, **options).logit_map
    logits = shared.apply(category_logits)

    def own(votes, kind) -> LogitMap:
        if kind == "identity" or not votes.any():
            return shared
        return fit_logit_map(logits, votes, kind, **options).logit_map.after(shared)

    return GroupMaps(names, kinds, shared, list(map(own, counts, kinds)), counts.sum((1, 2)))


def post_stratified_probs(group_probs, shares) -> np.ndarray:
    r"""What a population of given shares of the groups would say: \\(\sum_g s_g\, q(x, g)\\).

    Args:
        group_probs (array of shape `(G, N, K)`): what each group would say of each item.
        shares (array of shape `(G,)`): of the groups in the population, summing to 1.

    Returns:
        `np.ndarray` of shape `(N, K)`.

    Raises:
        ValueError: for bad probabilities, or shares that are negative or do not sum to 1.

    Source: post-stratification: Gelman and Little 1997, "Poststratification into many categories".

    >>> post_stratified_probs([[[1.0, 0.0]], [[0.5, 0.5]]], [0.5, 0.5])
    array([[0.75, 0.25]])
    """
    probs = _as_group_probs(group_probs)
    weights = np.asarray(shares, dtype=np.float64)
    if weights.shape != probs.shape[:1] or not (weights >= 0).all():
        raise ValueError(f"shares is {weights.tolist()}; give a number of at least 0 for each of {len(probs)} groups.")
    if abs(weights.sum() - 1) > PROBABILITY_TOLERANCE:
        raise ValueError(f"shares sums to {weights.sum():.6g}, not to 1; divide by the sum.")
    return np.tensordot(weights / weights.sum(), probs, axes=1)


def worst_group_reward(group_probs, category_rewards) -> tuple[np.ndarray, np.ndarray]:
    r"""The expected reward of the group that likes an item least, \\(\min_g \sum_k q_k(x, g) r_k\\).

    Unlike a lower tail of ratings it speaks of people: of the same group for every item where it is the worst off.

    Args:
        group_probs (array of shape `(G, N, K)`): what each group would say of each item.
        category_rewards (array of shape `(K,)`): reward of each category.

    Returns:
        The rewards `(N,)`, and the place of the group `(N,)`, `int`; the first of several equal ones.

    Raises:
        ValueError: for bad probabilities or rewards.

    >>> rewards, group = worst_group_reward([[[1.0, 0.0]], [[0.5, 0.5]]], [-1.0, 1.0])
    >>> rewards, group
    (array([-1.]), array([0]))
    """
    probs = _as_group_probs(group_probs)
    rewards = probs @ as_rewards(category_rewards, probs.shape[2])
    return rewards.min(0), rewards.argmin(0)


def _as_group_probs(group_probs) -> np.ndarray:
    """`(G, N, K)`, float64, checked."""
    probs = np.asarray(group_probs, dtype=np.float64)
    if probs.ndim != 3 or len(probs) == 0:
        raise ValueError(f"group_probs has shape {probs.shape}; give (G, N, K) with at least one group.")
    return as_probs(probs.reshape(-1, probs.shape[2]), "group_probs").reshape(probs.shape)
