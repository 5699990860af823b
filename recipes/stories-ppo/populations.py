"""Simulated populations with known tastes.

Utilities are in the unit of the ratings (−1 terrible … 1 excellent), so that the true mean utility and an expected
reward speak of the same thing.
"""

from dataclasses import dataclass, field

import numpy as np
from tastes import story_quality


@dataclass(frozen=True)
class Group:
    """People of one taste.

    Args:
        share (`float`): Of the population.
        tastes (`dict[str, float]`): What a trait adds to the utility when fully present.
        base (`float`): Utility of a story of full quality without any of these traits.
    """

    share: float
    tastes: dict[str, float] = field(default_factory=dict)
    base: float = 0.0


QUALITY_WEIGHT = 1.0
POPULATIONS = {
    # settings are chosen here, and only here
    "tuning": {
        "animal lovers": Group(0.5, {"animals": 1.0, "family": 0.3}, base=-0.4),
        "family people": Group(0.5, {"animals": 0.3, "family": 1.0}, base=-0.4),
    },
    # (A) groups that agree on the direction
    "agreeing": {
        "cheerful": Group(0.4, {"joy": 1.0, "dialogue": 0.4}, base=-0.6),
        "moderate": Group(0.35, {"joy": 0.7, "dialogue": 0.6}, base=-0.5),
        "talkative": Group(0.25, {"joy": 0.5, "dialogue": 1.0}, base=-0.5),
    },
    # (B) a weak majority, which likes sweetness somewhat, against a strong minority, which cannot stand it
    "minority": {
        "sentimental": Group(0.65, {"joy": 0.5, "outdoors": 0.8}, base=-0.5),
        "ironical": Group(0.35, {"joy": -1.6, "outdoors": 0.8}, base=0.3),
    },
    # (C) the null population: everybody has the same taste, votes differ by noise alone
    "one_taste": {"everybody": Group(1.0, {"dialogue": 0.8, "outdoors": 0.8}, base=-0.5)},
}


def group_shares(population: str) -> np.ndarray:
    """Share of each group, shape *(num_groups,)*."""
    return np.array([group.share for group in POPULATIONS[population].values()])


def group_utilities(population: str, traits: dict[str, np.ndarray]) -> np.ndarray:
    """Utility of every story to every group: base + tastes · traits − what its quality lacks.

    Args:
        population (`str`): Name in `POPULATIONS`.
        traits (`dict[str, np.ndarray]` of shape *(num_stories,)*): From `tastes.story_traits`.

    Returns:
        `np.ndarray` of shape *(num_groups, num_stories)*.
    """
    lacking = QUALITY_WEIGHT * (1 - story_quality(traits))
    return np.stack(
        [
            group.base + sum(weight * traits[trait] for trait, weight in group.tastes.items()) - lacking
            for group in POPULATIONS[population].values()
        ]
    )


def mean_utility(population: str, utilities: np.ndarray) -> np.ndarray:
    """Mean over people of shape *(num_stories,)* from utilities of shape *(num_groups, num_stories)*."""
    return group_shares(population) @ utilities
