"""Groups of annotators in `trl-dprm adapt`: what each would say, other populations, and the group worst served."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset, Value

from ..adaptation import GroupMaps, post_stratified_probs, worst_group_reward
from ..models.distributions import PROBABILITY_TOLERANCE

GROUPS_FILE = "group_predictions.parquet"
EQUAL_REWARDS = 1e-9
"""Expected rewards of groups that differ by no more are equal: rounding does not name the worst-off group."""


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
    maps: GroupMaps,
    category_logits: np.ndarray,
    category_rewards: Sequence[float],
    shares: np.ndarray | None,
) -> None:
    """Write what each group would say of each text, the worst-off one, and the population of given shares.

    Where several groups are equally badly off no name is written.

    Args:
        path (`Path`): The Parquet file.
        texts ([`~datasets.Dataset`] of N rows): The texts.
        maps ([`~trl_dprm.adaptation.GroupMaps`]): One per group.
        category_logits (`np.ndarray` of shape `(N, K)`): The model's, of the texts.
        category_rewards (sequence of K floats): Of the model.
        shares (`np.ndarray` of shape `(G,)`, *optional*): Of the groups in the population.
    """
    probs = maps.group_probs(category_logits)
    worst, place = worst_group_reward(probs, category_rewards)
    tied = np.isclose(probs @ np.array(category_rewards), worst, rtol=0, atol=EQUAL_REWARDS).sum(0) > 1
    columns = {
        "group_names": [maps.group_names] * len(texts),
        "group_probs": probs.swapaxes(0, 1).tolist(),
        "worst_group": _names(maps.group_names, place, tied),
        "worst_group_reward": worst.tolist(),
    }
    if shares is not None:
        mixed = post_stratified_probs(probs, shares)
        columns |= {
            "post_stratified_probs": mixed.tolist(),
            "post_stratified_reward": (mixed @ np.array(category_rewards)).tolist(),
        }
    for name, values in columns.items():
        texts = texts.add_column(name, values, feature=Value("string") if name == "worst_group" else None)
    texts.to_parquet(path)


def _names(group_names: Sequence[str], place: np.ndarray, tied: np.ndarray) -> list[str | None]:
    """The worst-off group of each text, `None` where several are."""
    return [None if several else group_names[g] for g, several in zip(place, tied, strict=True)]
