"""Means over trainings of one method, against Student's formula by hand."""

import math

import numpy as np
import pytest

from trl_dprm.evaluation.intervals import Resampling
from trl_dprm.evaluation.item_report import ItemPredictions, ItemRewards, item_report
from trl_dprm.evaluation.judged_pairs import JudgedPairs
from trl_dprm.evaluation.pair_report import PairPredictions, pair_report
from trl_dprm.evaluation.trainings import over_trainings, unpaired_note

FEW = Resampling(num_resamples=20)
T_OF_TWO = 4.302652729911275  # 97.5 % quantile of Student's distribution with two degrees of freedom


def by_hand(values):
    """Mean and ends of the interval of three numbers."""
    mean = sum(values) / 3
    half = T_OF_TWO * math.sqrt(sum((value - mean) ** 2 for value in values) / 2) / math.sqrt(3)
    return mean, mean - half, mean + half


@pytest.fixture(scope="module")
def report(items):
    """Three trainings of a method, given in another order than their names, three of a scalar and one of a third."""
    draw = np.random.default_rng(0)
    validation = draw.dirichlet(np.ones(3), size=30)
    counts = np.array([draw.multinomial(4, row) for row in validation])

    def trained():
        return ItemPredictions(draw.dirichlet(np.ones(3), size=12), validation_probs=validation ** draw.uniform(1, 3))

    models = {}
    for number in (2, 0, 1):
        models[f"ours {number}"] = trained()
        models[f"bt {number}"] = ItemRewards(draw.normal(size=12), validation @ [-1, 0, 2] + draw.normal(size=30))
    models["once"] = trained()
    normalised = {
        name: ItemPredictions(
            given.category_probs, None, given.validation_probs / given.validation_probs.sum(1, keepdims=True)
        )
        if isinstance(given, ItemPredictions)
        else given
        for name, given in models.items()
    }
    return item_report(normalised, items, counts, resampling=FEW)


METHODS = {
    "ours": ["ours 0", "ours 1", "ours 2"],
    "bt": ["bt 0", "bt 1", "bt 2"],
    "once": ["once"],
}


def test_means_and_paired_differences_are_students(report):
    of = {model.title: model.metrics["nats_per_vote"] for model in report.models}
    found = {method.name: method for method in over_trainings(report.models, METHODS)}
    assert list(found) == ["ours", "ours, recalibrated", "bt, read out"]
    assert all(method.num_trainings == 3 for method in found.values())
    for name, suffix in (("ours", ""), ("ours, recalibrated", ", recalibrated"), ("bt, read out", ", read out")):
        values = [of[f"{name.split(',')[0]} {number}{suffix}"] for number in range(3)]
        assert found[name].means["nats_per_vote"] == pytest.approx(by_hand(values))
    paired = [of[f"bt {number}, read out"] - of[f"ours {number}, recalibrated"] for number in range(3)]
    assert found["bt, read out"].differences["nats_per_vote"] == pytest.approx(by_hand(paired))
    assert found["bt, read out"].compared_with == "ours, recalibrated"
    assert "expected_reward_correlation_ceiling" not in found["bt, read out"].differences
    assert found["ours"].differences == found["ours, recalibrated"].differences == {}


def test_other_numbers_of_trainings_are_not_paired(report):
    methods = {"ours": ["ours 0", "ours 1"], "bt": ["bt 0", "bt 1", "bt 2"]}
    (bt,) = [method for method in over_trainings(report.models, methods) if method.name == "bt, read out"]
    assert bt.differences == {} and bt.num_trainings == 3
    assert unpaired_note(methods) == [
        "Trainings are compared in pairs: bt has another number of them than ours (2), and is not."
    ]
    assert unpaired_note({}) == [] and len(unpaired_note(METHODS)) == 1


def test_methods_of_one_training_each_have_no_mean(report):
    assert over_trainings(report.models, {"ours": ["ours 0"], "bt": ["bt 0"]}) == []
    assert over_trainings(report.models, {}) == []


def test_pairs_have_them_too_but_for_margins():
    draw = np.random.default_rng(1)
    pairs = JudgedPairs(draw.integers(0, 6, 20) / 5, np.full(20, 5.0))
    models = {name: PairPredictions(draw.normal(size=(20, 2))) for name in ("a1", "b1", "a2", "b2", "a3", "b3")}
    report = pair_report(models, pairs, resampling=FEW)
    a, b = over_trainings(report.models, {"a": ["a1", "a2", "a3"], "b": ["b1", "b2", "b3"]})
    loss = {model.name: model.metrics["pair_log_loss"] for model in report.models}
    assert b.differences["pair_log_loss"] == pytest.approx(by_hand([loss[f"b{k}"] - loss[f"a{k}"] for k in (1, 2, 3)]))
    assert "margin" in a.means and "margin" not in b.differences
