"""The preference categories that people choose from: names, rewards, and what it costs to confuse two of them."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Real

import numpy as np

LINE_COSTS = ("rewards", "ranks")


@dataclass(frozen=True)
class PreferenceCategories:
    """K preference outcomes, in the order of every vector of counts or probabilities.

    Rewards need not increase and may be tied (the paper's categories 3 and 4 share one), so the geometry is stated
    apart from them.

    Args:
        names (sequence of K distinct `str`): K ≥ 2.
        rewards (sequence of K `float`): finite; in the unit of the reward that a policy will maximise.
        ground_cost (`str` or array of shape `(K, K)`): what it costs to move one unit of probability from one category
            to another: `"rewards"` (distance between their rewards), `"ranks"` (distance between their places in
            `names`), or an explicit matrix, finite, not negative, zero on the diagonal.

    Raises:
        ValueError: naming value, place and remedy, for fewer than two categories, names and rewards of different
            length, repeated or empty names, rewards that are not finite, and a matrix that is not as above.

    Source: DPRM (2402.09764) for categories with rewards [paper]; the ground cost as a field [ours].

    >>> quality = PreferenceCategories(names=["bad", "fair", "good"], rewards=[-1.0, 0.0, 2.0])
    >>> quality.cost_matrix
    array([[0., 1., 3.],
           [1., 0., 2.],
           [3., 2., 0.]])
    >>> PreferenceCategories.from_dict(quality.to_dict()) == quality
    True
    """

    names: Sequence[str]
    rewards: Sequence[float]
    ground_cost: str | Sequence[Sequence[float]] = "rewards"

    def __post_init__(self):
        object.__setattr__(self, "names", _distinct_names(self.names))
        object.__setattr__(self, "rewards", _finite_rewards(self.rewards, len(self.names)))
        if not isinstance(self.ground_cost, str):
            object.__setattr__(self, "ground_cost", _cost_rows(self.ground_cost, len(self.names)))
        elif self.ground_cost not in LINE_COSTS:
            raise ValueError(f'ground_cost is {self.ground_cost!r}; give "rewards", "ranks" or a K × K matrix.')

    def __len__(self) -> int:
        return len(self.names)

    @property
    def positions(self) -> np.ndarray | None:
        """Place of each category on a line, shape `(K,)`; `None` where the cost is an explicit matrix."""
        if self.ground_cost == "rewards":
            return np.array(self.rewards)
        return np.arange(len(self), dtype=np.float64) if self.ground_cost == "ranks" else None

    @property
    def cost_matrix(self) -> np.ndarray:
        """Cost of moving one unit of probability from category i to category j, shape `(K, K)`."""
        positions = self.positions
        return np.array(self.ground_cost) if positions is None else np.abs(positions[:, None] - positions)

    def to_dict(self) -> dict:
        """Plain lists under the keys of `DPRMConfig` and `DPRMTrainingArguments`, for JSON and YAML."""
        cost = self.ground_cost if isinstance(self.ground_cost, str) else [list(row) for row in self.ground_cost]
        return {"category_names": list(self.names), "category_rewards": list(self.rewards), "ground_cost": cost}

    @classmethod
    def from_dict(cls, fields: Mapping) -> "PreferenceCategories":
        """The inverse of `to_dict`; `ground_cost` may be left out.

        Raises:
            ValueError: for a key that is missing or unknown.
        """
        known = {"category_names": "names", "category_rewards": "rewards", "ground_cost": "ground_cost"}
        unknown = sorted(set(fields) - set(known))
        missing = sorted({"category_names", "category_rewards"} - set(fields))
        if unknown or missing:
            raise ValueError(f"categories have the keys {list(known)}; unknown: {unknown}, missing: {missing}.")
        return cls(**{known[key]: value for key, value in fields.items()})


def likert_categories(size: int, low: float = -1.0, high: float = 1.0) -> PreferenceCategories:
    """A Likert scale: categories `"1"` … `"size"` with evenly spaced rewards.

    The names are the points of the scale, so that judgments written as the numbers 1 … size are read as names.

    Args:
        size (`int`): number of points, at least 2.
        low (`float`): reward of point 1.
        high (`float`): reward of the last point; above `low`.

    Raises:
        ValueError: for a size below 2, and bounds that are not finite or not increasing.

    >>> likert_categories(5).rewards
    (-1.0, -0.5, 0.0, 0.5, 1.0)
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 2:
        raise ValueError(f"size is {size!r}; a Likert scale has a whole number of points, at least 2.")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low is {low} and high is {high}; give finite rewards with low < high.")
    names = [str(point) for point in range(1, size + 1)]
    return PreferenceCategories(names, np.linspace(low, high, size).tolist())


def ready_made_categories(name: str) -> PreferenceCategories:
    """The categories of a short name: `"dprm"` (the paper's six) or `"likert-5"`, a Likert scale of any size.

    Raises:
        ValueError: for any other name.

    >>> ready_made_categories("likert-3").names
    ('1', '2', '3')
    """
    if name == "dprm":
        return DPRM_CATEGORIES
    likert = re.fullmatch(r"likert-(\d+)", name)
    if likert is None:
        raise ValueError(
            f'categories is {name!r}; give "dprm" (the paper\'s six), "likert-<size>" such as "likert-5", or '
            "category_names with category_rewards."
        )
    return likert_categories(int(likert[1]))


def _distinct_names(names) -> tuple[str, ...]:
    """The names as a tuple, if there are at least two, all of them text and distinct."""
    if isinstance(names, str):
        raise ValueError(f"names is {names!r}; give a list of names, one per category.")
    names = tuple(names)
    if len(names) < 2:
        raise ValueError(f"names is {names}; a distribution needs at least 2 categories.")
    for place, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"names[{place}] is {name!r}; give text, in quotes where YAML would read a number.")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        places = [place for place, name in enumerate(names) if name == repeated[0]]
        raise ValueError(f"names has {repeated[0]!r} at places {places}; give each category its own name.")
    return names


def _finite_rewards(rewards, num_categories: int) -> tuple[float, ...]:
    """The rewards as a tuple of K finite numbers."""
    rewards = tuple(rewards)
    if len(rewards) != num_categories:
        raise ValueError(
            f"names has {num_categories} entries and rewards has {len(rewards)}; give one reward per name."
        )
    return tuple(_finite(reward, f"rewards[{place}]") for place, reward in enumerate(rewards))


def _cost_rows(cost, num_categories: int) -> tuple[tuple[float, ...], ...]:
    """The matrix as tuples, if it is square, finite, not negative and zero on the diagonal."""
    rows = tuple(tuple(row) for row in cost)
    lengths = [len(row) for row in rows]
    if lengths != [num_categories] * num_categories:
        raise ValueError(
            f"ground_cost has rows of lengths {lengths}; give a square matrix, {num_categories} rows of "
            f"{num_categories} costs, in the order of names."
        )
    rows = tuple(tuple(_finite(x, f"ground_cost[{i}][{j}]") for j, x in enumerate(row)) for i, row in enumerate(rows))
    for i, j in product(range(num_categories), repeat=2):
        if rows[i][j] < 0:
            raise ValueError(f"ground_cost[{i}][{j}] is {rows[i][j]}; costs are not negative: correct it.")
        if i == j and rows[i][j] != 0:
            raise ValueError(f"ground_cost[{i}][{i}] is {rows[i][i]}; staying in a category is free: set it to 0.")
    return rows


def _finite(value, place: str) -> float:
    """The value as a finite `float`; `place` names it in the refusal."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{place} is {value!r}; give a finite number.")
    return float(value)


def _dprm_categories() -> PreferenceCategories:
    """The paper's six, with the Euclidean cost of their grid."""
    places = list(product(range(2), range(3)))  # (harmlessness, helpfulness)
    helpfulness, harmlessness = ("helpful", "neutrally helpful", "not helpful"), ("harmless", "harmful")
    return PreferenceCategories(
        names=[f"{helpfulness[j]}, {harmlessness[i]}" for i, j in places],
        rewards=[1.0, 0.5, -1.0, -1.0, -1.5, -3.0],
        ground_cost=[[math.hypot(i - a, j - b) for a, b in places] for i, j in places],
    )


DPRM_CATEGORIES = _dprm_categories()
"""The paper's six categories and rewards. They form a 3 × 2 grid, helpfulness × harmlessness; the ground cost is the
Euclidean distance on it, with steps of length 1 along either axis. With the distance of rewards "not helpful,
harmless" and "helpful, harmful" would be interchangeable; with steps counted along the axes (Manhattan) the energy
distance would compare the two marginals only. Source: DPRM (2402.09764), categories, rewards [paper]; cost [ours]."""
