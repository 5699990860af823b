"""Groups of annotators in `trl-dprm adapt`: a map for each, other populations, and the group worst served."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset

from ..adaptation import (
    Adaptation,
    GroupMaps,
    VotedItems,
    fit_group_maps,
    held_out_group_probs,
    post_stratified_probs,
    worst_group_reward,
)
from ..models.distributions import PROBABILITY_TOLERANCE

GROUPS_FILE = "group_predictions.parquet"


@dataclass(frozen=True)
class AdaptedGroups:
    """The groups' maps, and what they are worth.

    Attributes:
        maps ([`~trl_dprm.adaptation.GroupMaps`]): one per group.
        nats (`dict[str, tuple]`): by group its votes, and nats per vote of the model as it was, and on held-out votes
            of the map of all groups and of the group's own.
    """

    maps: GroupMaps
    nats: dict[str, tuple[float, float, float, float]]


def adapt_groups(
    category_logits: np.ndarray, voted: VotedItems, adaptation: Adaptation, kind: str, options: dict
) -> AdaptedGroups:
    """Fit a map for each group, and hold votes out to see what it is worth.

    Args:
        category_logits (`np.ndarray` of shape `(N, K)`): Of the model.
        voted ([`~trl_dprm.adaptation.VotedItems`]): With groups.
        adaptation ([`~trl_dprm.adaptation.Adaptation`]): The map of all.
        kind (`str`): As asked for. With `"auto"` the groups' maps are of the kind chosen for all; where that is none,
            biases, or a matrix without them.
        options (`dict`): The other arguments of [`~trl_dprm.adaptation.adapt`].

    Raises:
        ValueError: for a group whose rows hold no votes.
    """
    silent = [name for name, counts in zip(voted.group_names, voted.group_counts, strict=True) if not counts.any()]
    if silent:
        raise ValueError(f"The group {silent[0]!r} has rows but no votes: remove them.")
    if kind == "auto":
        kind = adaptation.fitted.kind
        if kind == "identity":
            kind = "bias" if options["with_bias"] else "matrix"
    fit = {name: value for name, value in options.items() if name not in ("num_folds", "seed")}
    arguments = category_logits, voted.group_counts, voted.group_names, kind
    own = np.log(held_out_group_probs(*arguments, **options))
    before = category_logits - np.log(np.exp(category_logits).sum(1, keepdims=True))
    nats = {}
    for place, name in enumerate(voted.group_names):
        counts = voted.group_counts[place]
        predictions = before, adaptation.category_log_probs, own[place]
        nats[name] = (counts.sum(), *(-(counts * log_probs).sum() / counts.sum() for log_probs in predictions))
    return AdaptedGroups(
        fit_group_maps(*arguments, **fit), {name: tuple(map(float, numbers)) for name, numbers in nats.items()}
    )


def population_shares(text: str | None, group_names: Sequence[str]) -> np.ndarray | None:
    """Shares of the groups, in their order, from `GROUP=SHARE,GROUP=SHARE`.

    Args:
        text (`str`, *optional*): The option's.
        group_names (sequence of `str`): Of the groups in the votes.

    Raises:
        ValueError: without groups, for a share that is no number or below 0, shares that do not sum to 1, and for
            other groups than those of the votes.

    >>> population_shares("young=0.75, old=0.25", ["old", "young"])
    array([0.25, 0.75])
    """
    if text is None:
        return None
    if not group_names:
        raise ValueError("`population_shares` is of groups: say by `group_column` which column names them.")
    shares = {}
    for part in text.split(","):
        name, _, share = part.rpartition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise ValueError(
                f"`population_shares` has the part {part!r}: write GROUP=SHARE, such as `young=0.4,old=0.6`."
            ) from None
    if set(shares) != set(group_names):
        raise ValueError(
            f"`population_shares` is of {sorted(shares)} and the votes are of {sorted(group_names)}: give each of "
            "these groups a share, 0 where it has none."
        )
    total = sum(shares.values())
    if not (min(shares.values()) >= 0 and abs(total - 1) <= PROBABILITY_TOLERANCE):
        raise ValueError(
            f"`population_shares` {text!r} are not shares: they sum to {total:g}; give parts of 1, none below 0."
        )
    return np.array([shares[name] for name in group_names])


def write_group_predictions(
    path: Path,
    texts: Dataset,
    groups: AdaptedGroups,
    category_logits: np.ndarray,
    category_rewards: Sequence[float],
    shares: np.ndarray | None,
) -> None:
    """Write what each group would say of each text, the worst-off one, and the population of given shares.

    Args:
        path (`Path`): The Parquet file.
        texts ([`~datasets.Dataset`] of N rows): The texts.
        groups ([`AdaptedGroups`]): The maps.
        category_logits (`np.ndarray` of shape `(N, K)`): The model's, of the texts.
        category_rewards (sequence of K floats): Of the model.
        shares (`np.ndarray` of shape `(G,)`, *optional*): Of the groups in the population.
    """
    probs = groups.maps.group_probs(category_logits)
    worst, place = worst_group_reward(probs, category_rewards)
    columns = {
        "group_names": [groups.maps.group_names] * len(texts),
        "group_probs": probs.swapaxes(0, 1).tolist(),
        "worst_group": [groups.maps.group_names[g] for g in place],
        "worst_group_reward": worst.tolist(),
    }
    if shares is not None:
        mixed = post_stratified_probs(probs, shares)
        columns |= {
            "post_stratified_probs": mixed.tolist(),
            "post_stratified_reward": (mixed @ np.array(category_rewards)).tolist(),
        }
    for name, values in columns.items():
        texts = texts.add_column(name, values)
    texts.to_parquet(path)
