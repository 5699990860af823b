import json

import numpy as np
import pytest

from trl_dprm.models import DPRMConfig
from trl_dprm.preferences import DPRM_CATEGORIES, PreferenceCategories, likert_categories, ready_made_categories


def test_papers_six_categories():
    expected = {
        "helpful, harmless": 1.0,
        "neutrally helpful, harmless": 0.5,
        "not helpful, harmless": -1.0,
        "helpful, harmful": -1.0,
        "neutrally helpful, harmful": -1.5,
        "not helpful, harmful": -3.0,
    }
    assert dict(zip(DPRM_CATEGORIES.names, DPRM_CATEGORIES.rewards, strict=True)) == expected


def test_papers_grid_cost_is_the_distance_on_the_grid():
    helpful = {"helpful": 0, "neutrally helpful": 1, "not helpful": 2}
    harmful = {"harmless": 0, "harmful": 1}
    for i, name in enumerate(DPRM_CATEGORIES.names):
        for j, other in enumerate(DPRM_CATEGORIES.names):
            (help_i, harm_i), (help_j, harm_j) = name.split(", "), other.split(", ")
            squared = (helpful[help_i] - helpful[help_j]) ** 2 + (harmful[harm_i] - harmful[harm_j]) ** 2
            assert DPRM_CATEGORIES.cost_matrix[i, j] ** 2 == pytest.approx(squared, rel=1e-12)


def test_rewards_of_any_order_with_ties_give_the_costs_of_the_model_configuration():
    for cost in ("rewards", "ranks", [[0, 1, 2], [1, 0, 4], [2, 5, 0]]):
        categories = PreferenceCategories(["a", "b", "c"], [1.0, -2.0, 1.0], cost)
        config = DPRMConfig(**categories.to_dict())
        np.testing.assert_array_equal(categories.cost_matrix, config.cost_matrix)
        positions = None if categories.positions is None else categories.positions.tolist()
        assert positions == config.category_positions


def test_dictionary_survives_json():
    for categories in (DPRM_CATEGORIES, likert_categories(7, low=0.0, high=3.0)):
        assert PreferenceCategories.from_dict(json.loads(json.dumps(categories.to_dict()))) == categories


def test_likert_rewards_are_evenly_spaced():
    assert likert_categories(4, low=0.0, high=6.0).rewards == (0.0, 2.0, 4.0, 6.0)
    assert likert_categories(4).names == ("1", "2", "3", "4")
    assert ready_made_categories("likert-4") == likert_categories(4)
    assert ready_made_categories("dprm") is DPRM_CATEGORIES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a"], [1.0]), "at least 2 categories"),
        (("ab", [1.0, 2.0]), "list of names"),
        ((["a", "b"], [1.0]), "names has 2 entries and rewards has 1; give one reward per name"),
        ((["a", "b", "a"], [1.0, 2.0, 3.0]), r"'a' at places \[0, 2\]; give each category its own name"),
        ((["a", " "], [1.0, 2.0]), r"names\[1\] is ' '"),
        ((["a", 3], [1.0, 2.0]), r"names\[1\] is 3; give text"),
        ((["a", "b"], [1.0, float("nan")]), r"rewards\[1\] is nan; give a finite number"),
        ((["a", "b"], [float("inf"), 1.0]), r"rewards\[0\] is inf"),
        ((["a", "b"], ["high", 1.0]), r"rewards\[0\] is 'high'"),
        ((["a", "b"], [0.0, 1.0], "grid"), "ground_cost is 'grid'"),
        ((["a", "b"], [0.0, 1.0], [[0, 1]]), r"rows of lengths \[2\]; give a square matrix"),
        ((["a", "b"], [0.0, 1.0], [[0, 1], [1]]), r"rows of lengths \[2, 1\]"),
        ((["a", "b"], [0.0, 1.0], [[0, 1], [-1, 0]]), r"ground_cost\[1\]\[0\] is -1.0; costs are not negative"),
        ((["a", "b"], [0.0, 1.0], [[0, float("nan")], [1, 0]]), r"ground_cost\[0\]\[1\] is nan"),
        ((["a", "b"], [0.0, 1.0], [[0, 1], [1, 2]]), r"ground_cost\[1\]\[1\] is 2.0; staying .* set it to 0"),
    ],
)
def test_refused_categories(arguments, message):
    with pytest.raises(ValueError, match=message):
        PreferenceCategories(*arguments)


def test_refused_scales_names_and_keys():
    with pytest.raises(ValueError, match="size is 1"):
        likert_categories(1)
    with pytest.raises(ValueError, match=r"low is 2.0 and high is 1.0"):
        likert_categories(3, low=2.0)
    with pytest.raises(ValueError, match="categories is 'likert'; give \"dprm\""):
        ready_made_categories("likert")
    with pytest.raises(ValueError, match=r"unknown: \['names'\], missing: \['category_names'\]"):
        PreferenceCategories.from_dict({"names": ["a", "b"], "category_rewards": [0.0, 1.0]})
