"""The numbers of a report against direct calls and counts by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from trl_dprm.evaluation.intervals import CROSSED, PANEL, Resampling
from trl_dprm.evaluation.item_report import ItemPredictions, item_report
from trl_dprm.evaluation.judged_items import JudgedItems, SingleVotes
from trl_dprm.metrics import (
    best_constant_metrics,
    crossed_interval,
    crossed_paired_difference,
    distribution_metrics,
    group_report,
    item_scores,
    paired_difference,
    vote_share_coverage,
)
from trl_dprm.metrics.held_out_votes import curve_items, held_out_votes_curve
from trl_dprm.preferences import PreferenceCategories, fit_model_prior_strength

FEW = Resampling(num_resamples=200, seed=5)


@pytest.fixture(scope="module")
def validation():
    """Votes on 40 items, and what a model that is too sure says of them."""
    draw = np.random.default_rng(2)
    logits = draw.normal(size=(40, 3))
    counts = np.array([draw.multinomial(6, draw.dirichlet(8 * softmax(row))) for row in logits])
    return counts, softmax(3 * logits, axis=1)


@pytest.fixture(scope="module")
def report(items, models):
    return item_report(models, items, resampling=FEW)


def test_metrics_are_those_of_training(report, items, models):
    for model, (name, probs) in zip(report.models, models.items(), strict=True):
        assert model.name == name and model.temperature is None
        expected = distribution_metrics(probs, items.target_probs, items.vote_weight, *items.geometry)
        assert model.metrics == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_intervals_are_over_items_crossed_with_annotators(report, items, models):
    assert report.interval_over == CROSSED
    votes = items.single_votes
    scores = {name: -np.log(probs[votes.item, votes.category]) for name, probs in models.items()}
    ids = votes.item, votes.annotator, np.ones(len(votes.item)), np.asarray(items.clusters)[votes.item], 200, 0.95, 5
    for model in report.models:
        assert model.nats_interval == crossed_interval(scores[model.name], *ids)
        assert model.nats_interval.mean == pytest.approx(model.metrics["nats_per_vote"], rel=1e-10)
    got = report.models[1].differences["nats_per_vote"]
    expected = crossed_paired_difference(scores["flat"], scores["good"], *ids)
    assert (got.difference, got.low, got.high) == (expected.difference, expected.low, expected.high)
    assert report.models[0].differences == {}


def test_differences_over_annotators_are_those_of_the_metrics(report):
    good, flat = (model.metrics for model in report.models)
    for name in ("nats_per_vote", "brier_score", "energy_distance"):
        assert report.models[1].differences[name].difference == pytest.approx(flat[name] - good[name], rel=1e-9)


def test_without_annotators_intervals_speak_of_this_panel(items, models):
    panel = item_report(models, replace(items, single_votes=None), resampling=FEW)
    assert panel.interval_over == PANEL and panel.models[0].groups == {}
    assert any("this panel of annotators" in note for note in panel.notes)
    targets = items.target_probs
    scores = [item_scores(probs, targets, *items.geometry)["brier_score"] for probs in models.values()]
    expected = paired_difference(scores[1], scores[0], items.vote_weight, items.clusters, 200, 0.95, 5)
    got = panel.models[1].differences["brier_score"]
    assert (got.difference, got.low, got.high) == (expected.difference, expected.low, expected.high)


def test_groups_are_judged_by_their_own_votes(report, items, models):
    votes = items.single_votes
    expected = group_report(
        models["good"],
        votes.item,
        list(votes.groups["age"]),
        votes.category,
        items.categories.rewards,
        annotator_ids=votes.annotator,
        cluster_ids=items.clusters,
        num_resamples=200,
        seed=5,
    )
    assert report.models[0].groups["age"] == expected
    young = [place for place, group in enumerate(votes.groups["age"]) if group == "young"]
    by_hand = np.mean([-math.log(models["good"][votes.item[place], votes.category[place]]) for place in young])
    assert expected.groups[1].nats_per_vote.mean == pytest.approx(by_hand, rel=1e-12)


def test_annotators_as_groups_have_intervals_over_items(items, models):
    votes = items.single_votes
    alone = replace(items, single_votes=replace(votes, groups={"annotator": votes.annotator}))
    report = item_report({"good": models["good"]}, alone, resampling=FEW)
    rows = report.models[0].groups["annotator"].groups
    assert any("single annotators: their intervals are over items alone" in note for note in report.notes)
    assert len(rows) == 6 and all(math.isfinite(row.nats_per_vote.low) for row in rows)


def test_constants_are_chosen_on_the_best_votes_there_are(report, items, models, validation):
    def constants(reference):
        shares = reference / reference.sum(axis=1, keepdims=True)
        votes = reference.sum(axis=1)
        return best_constant_metrics(shares, votes, items.target_probs, items.vote_weight, *items.geometry)

    counts, probs = validation
    training = np.array([[5, 1, 1], [0, 2, 9]])
    predictions = {"good": ItemPredictions(models["good"], validation_probs=probs[:40])}
    validated = item_report(predictions, items, counts, resampling=FEW)
    trained = item_report(predictions, items, counts, training, FEW)
    for got, reference, name in (
        (report, items.target_counts, "the judged votes themselves"),
        (validated, counts, "the validation votes"),
        (trained, training, "the training votes"),
    ):
        assert got.constants == constants(reference) and got.constants_from == name


def test_a_temperature_and_a_strength_are_fitted_on_validation_votes_alone(items, models, validation):
    counts, probs = validation
    predictions = {"good": ItemPredictions(models["good"], prior_strength=99.0, validation_probs=probs)}
    raw, recalibrated = item_report(predictions, items, counts, resampling=FEW).models
    loss = minimize_scalar(
        lambda t: -(counts * np.log(softmax(np.log(probs) / t, axis=1))).sum(), bounds=(0.1, 20), method="bounded"
    )
    assert recalibrated.temperature == pytest.approx(loss.x, rel=1e-4) and loss.x > 2
    after = softmax(np.log(models["good"]) / loss.x, axis=1)
    np.testing.assert_allclose(recalibrated.category_probs, after, rtol=1e-3)
    assert (raw.category_probs == models["good"]).all()
    assert raw.prior_strength == fit_model_prior_strength(probs, counts).prior_strength
    assert raw.prior_strength_source == "fitted on validation votes"
    other = replace(items, target_counts=items.target_counts[::-1], single_votes=None)
    assert item_report(predictions, other, counts, resampling=FEW).models[1].temperature == recalibrated.temperature


def test_coverage_and_the_curve_in_votes_go_by_the_prior_strength(items, models):
    (model,) = item_report({"good": ItemPredictions(models["good"], 4.0)}, items, resampling=FEW).models
    assert model.prior_strength == 4.0 and model.prior_strength_source == "stored with the model"
    expected = vote_share_coverage(models["good"], items.target_counts, 4.0)
    assert (model.coverage.covered == expected.covered).all()
    rows, steps = curve_items(items.target_counts)
    cost = items.categories.cost_matrix
    assert model.votes_curve == held_out_votes_curve(models["good"][rows], items.target_counts[rows], 4.0, cost, steps)
    (unknown,) = item_report({"good": models["good"]}, items, resampling=FEW).models
    assert unknown.coverage is None and unknown.votes_curve is None and unknown.prior_strength_source == "not known"


def test_split_votes_are_left_out_where_whole_ones_are_needed(items, models):
    counts = items.target_counts.copy()
    counts[0] = [1.5, 1.5, 1.0]
    split = replace(items, target_counts=counts, single_votes=None)
    (model,) = item_report({"good": ItemPredictions(models["good"], 4.0)}, split, resampling=FEW).models
    assert len(model.coverage.covered) == 11 and model.contested.num_items <= 11
    assert model.metrics == distribution_metrics(
        models["good"], split.target_probs, split.vote_weight, *split.geometry
    )


@pytest.mark.filterwarnings("error")
def test_single_votes_and_impossible_votes_are_reported_as_what_they_are():
    categories = PreferenceCategories(["bad", "good"], [0.0, 1.0])
    single = item_report({"m": [[0.5, 0.5], [0.2, 0.8]]}, JudgedItems([[1, 0], [0, 1]], categories), resampling=FEW)
    assert single.attainable is None and single.models[0].sharpness is None and single.votes_only is None
    assert any("No item has two votes" in note for note in single.notes)
    impossible = item_report(
        {"m": [[1.0, 0.0], [0.2, 0.8]]}, JudgedItems([[1, 1], [0, 2]], categories), resampling=FEW
    )
    assert impossible.models[0].metrics["nats_per_vote"] == math.inf and impossible.models[0].nats_interval is None


def test_judgments_that_do_not_make_the_votes_are_said_to(items, models):
    other = replace(items, target_counts=items.target_counts * 2)
    assert any("other votes than" in note for note in item_report(models, other, resampling=FEW).notes)
    assert not any("other votes than" in note for note in item_report(models, items, resampling=FEW).notes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda items: item_report({}, items), "models is empty"),
        (
            lambda items: item_report({"m": np.ones((11, 3)) / 3}, items),
            r"shape \(11, 3\) but target_probs has \(12, 3\)",
        ),
        (lambda items: replace(items, clusters=["a"]), "clusters has 1 entries for 12 items"),
        (lambda items: replace(items, target_counts=np.ones((12, 2))), "2 columns for 3 categories"),
        (lambda items: SingleVotes([0, 1], ["a"], [0, 0]), r"annotator has shape \(1,\) for 2 judgments"),
        (
            lambda items: replace(items, single_votes=SingleVotes([0, 12], ["a", "b"], [0, 0])),
            "item 12 in row 1; give 0 to 11",
        ),
    ],
)
def test_what_does_not_fit_is_refused(items, make, message):
    with pytest.raises(ValueError, match=message):
        make(items)
