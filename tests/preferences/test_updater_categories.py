"""A saved updater knows what its columns of votes stand for."""

import json

import pytest

from trl_dprm.preferences import BetaUpdater, DirichletUpdater

NAMES = ["bad", "fair", "good"]


@pytest.fixture
def saved(tmp_path):
    updater = DirichletUpdater([0.5, 0.3, 0.2], prior_strength=4, category_names=NAMES)
    updater.update(["a"], [[1, 0, 2]])
    updater.save(tmp_path / "state.json")
    return tmp_path / "state.json"


def without_names(path):
    """The file as releases before the names wrote it."""
    state = json.loads(path.read_text())
    del state["category_names"]
    path.write_text(json.dumps(state))
    return path


@pytest.mark.parametrize("names", [None, NAMES, tuple(NAMES)])
def test_the_names_come_back(saved, names):
    assert DirichletUpdater.load(saved, names).category_names == NAMES


@pytest.mark.parametrize("names", [["good", "fair", "bad"], ["bad", "fair", "great"]])
def test_other_names_or_another_order_are_refused(saved, names):
    with pytest.raises(
        ValueError, match=r"state.json holds votes on the categories \['bad', 'fair', 'good'\], not on"
    ):
        DirichletUpdater.load(saved, names)


def test_an_earlier_file_is_read_and_takes_the_names_over(saved):
    votes = DirichletUpdater.load(saved).posterior().concentration.tolist()
    without_names(saved)
    assert DirichletUpdater.load(saved).category_names is None
    updater = DirichletUpdater.load(saved, NAMES)
    assert updater.posterior().concentration.tolist() == votes
    updater.save(saved)
    assert DirichletUpdater.load(saved).category_names == NAMES


def test_names_are_optional(tmp_path):
    DirichletUpdater([0.5, 0.5], prior_strength=4).save(tmp_path / "state.json")
    assert json.loads((tmp_path / "state.json").read_text())["category_names"] is None
    assert DirichletUpdater.load(tmp_path / "state.json").category_names is None


def test_two_outcomes(tmp_path):
    updater = BetaUpdater(category_names=["first", "second"])
    updater.update(["pair"], [3], [1])
    updater.save(tmp_path / "state.json")
    again = BetaUpdater.load(tmp_path / "state.json", ["first", "second"])
    assert (again.category_names, again.posterior().alpha.tolist()) == (["first", "second"], [4.0])
    with pytest.raises(ValueError, match=r"categories \['first', 'second'\], not on \['second', 'first'\]"):
        BetaUpdater.load(tmp_path / "state.json", ["second", "first"])
    without_names(tmp_path / "state.json")
    assert BetaUpdater.load(tmp_path / "state.json").category_names is None


@pytest.mark.parametrize(
    "names, message",
    [
        (["bad", "good"], "category_names has 2 names for 3 categories; give one per column"),
        ("bad", "category_names has 1 names for 3 categories"),
        (["bad", "good", "bad"], r"category_names\[2\] is 'bad'; give each category its own name, as text"),
        (["bad", 2, "good"], r"category_names\[1\] is 2; give each category its own name, as text"),
    ],
)
def test_refused_names(saved, names, message):
    with pytest.raises(ValueError, match=message):
        DirichletUpdater([0.5, 0.3, 0.2], prior_strength=4, category_names=names)
    with pytest.raises(ValueError, match=message):
        DirichletUpdater.load(saved, names)


def test_damaged_names_are_refused(saved):
    state = json.loads(saved.read_text())
    saved.write_text(json.dumps({**state, "category_names": ["bad", "good"]}))
    with pytest.raises(ValueError, match=r"state.json is damaged: category_names has 2 names for 3 categories"):
        DirichletUpdater.load(saved)
