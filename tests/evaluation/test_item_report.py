"""The numbers of a report against direct calls and counts by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from trl_dprm.evaluation.attainable import POOLED
from trl_dprm.evaluation.fitted_intervals import VALIDATION
from trl_dprm.evaluation.intervals import CROSSED, PANEL, Resampling, drawn_metrics, metric_intervals
from trl_dprm.evaluation.item_report import ItemPredictions, ItemRewards, item_report
from trl_dprm.evaluation.judged_items import JudgedItems, SingleVotes
from trl_dprm.evaluation.reward_readout import fit_reward_readout
from trl_dprm.metrics import (
    attainable_nats,
    best_constant_metrics,
    crossed_interval,
    crossed_paired_difference,
    crossed_statistic_interval,
    distribution_metrics,
    group_report,
    item_scores,
    mean_interval,
    paired_difference,
    reward_agreement,
    statistic_interval,
    unbiased_brier_score,
    vote_share_coverage,
    vote_shares,
)
from trl_dprm.metrics.held_out_votes import curve_items, held_out_scores, votes_only_scores
from trl_dprm.metrics.reliability_intervals import reliability_points
from trl_dprm.metrics.votes_curve_intervals import ahead_of_votes, curve_with_intervals
from trl_dprm.preferences import PreferenceCategories, fit_model_prior_strength

FEW = Resampling(num_resamples=200, seed=5)
_LOGITS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
TRUE_BRIER = float(
    2
    * _WEIGHTS
    @ (_WEIGHTS @ (1 / (1 + np.exp(-_LOGITS - 0.5 * _LOGITS[:, None]))) / _WEIGHTS.sum() - 0.5) ** 2
    / _WEIGHTS.sum()
)
"""Of the constant one half: twice the mean square of P(good) - 1/2, over items, annotators averaged first."""


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
        expected = crossed_interval(scores[model.name], *ids)
        assert model.intervals["nats_per_vote"] == (expected.low, expected.high, CROSSED)
        assert expected.mean == pytest.approx(model.metrics["nats_per_vote"], rel=1e-10)
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


def test_every_number_of_a_model_has_an_interval(items, models):
    predictions = {name: ItemPredictions(probs, 4.0) for name, probs in models.items()}
    good, flat = item_report(predictions, items, resampling=FEW).models
    numbers = good.metrics | {
        "predicted_disagreement": good.sharpness.predicted.pair_cost,
        "observed_disagreement": good.sharpness.observed.pair_cost,
        "contested_concordance": good.contested.probability,
        "interval_coverage": good.coverage.overall_observed,
    }
    assert set(good.intervals) == set(numbers)
    assert all(good.intervals[name].low <= value <= good.intervals[name].high for name, value in numbers.items())
    assert all(good.intervals[name].low < good.intervals[name].high for name in good.metrics)
    panel = {name for name, interval in good.intervals.items() if interval.over == PANEL}
    assert panel == {"contested_concordance", "interval_coverage"}
    assert set(good.intervals) - set(flat.intervals) == {
        f"expected_reward_{name}" for name in ("correlation", "slope", "intercept")
    }


def test_intervals_over_items_are_those_of_means_and_of_repeated_rows(items, models):
    """Widths of the quick draws beside the slow ways, for a mean, a correlation and a debiased mean."""
    panel = replace(items, single_votes=None, clusters=None)
    how = Resampling(num_resamples=1000)
    (model,) = item_report({"good": models["good"]}, panel, resampling=how).models
    probs, counts, votes = models["good"], items.target_counts, items.vote_weight
    scores = item_scores(probs, items.target_probs, *items.geometry)["wasserstein_distance"]
    mean = mean_interval(scores, votes, num_resamples=4000)
    debiased = mean_interval(unbiased_brier_score(probs, counts), votes, num_resamples=4000)
    repeated = statistic_interval(
        lambda rows: reward_agreement(probs[rows], counts[rows], items.categories.rewards).correlation, 12, seed=3
    )
    for name, expected in (
        ("wasserstein_distance", mean),
        ("unbiased_brier_score", debiased),
        ("expected_reward_correlation", repeated),
    ):
        got = model.intervals[name]
        assert got.over == PANEL
        limits = 1.0 if name == "expected_reward_correlation" else math.inf
        assert got.high - got.low == pytest.approx(min(expected.high, limits) - expected.low, rel=0.1)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """New items and new annotators each time: intervals of 95 % hold what endless votes would show, or more often."""
    draw = np.random.default_rng(7)
    categories, held, probs = PreferenceCategories(["bad", "good"], [0.0, 1.0]), 0, np.full((40, 2), 0.5)
    for _ in range(30):
        leniency, quality = draw.normal(0, 0.5, 12), draw.normal(0, 1, 40)
        item, who = np.repeat(np.arange(40), 4), np.concatenate([draw.permutation(12)[:4] for _ in range(40)])
        category = (draw.logistic(size=160) < quality[item] + leniency[who]).astype(int)
        counts = np.stack([np.bincount(item, 1 - category, 40), np.bincount(item, category, 40)], axis=1)
        judged = JudgedItems(counts, categories, single_votes=SingleVotes(item, who, category))
        value = unbiased_brier_score(probs, counts).mean()
        (drawn,) = drawn_metrics([probs], judged, FEW)
        interval = metric_intervals({"unbiased_brier_score": value}, drawn, probs, judged, FEW)["unbiased_brier_score"]
        held += interval.low <= TRUE_BRIER <= interval.high
    assert held >= 27


def test_a_calibrated_model_is_seldom_said_not_to_be():
    """Intervals of the debiased calibration error hold the 0 of a model that is right, and no 0 of one that is not."""
    draw = np.random.default_rng(3)
    categories, held, told = PreferenceCategories(["bad", "fair", "good"], [0.0, 1.0, 2.0]), 0, 0
    for _ in range(40):
        truth = draw.dirichlet([1, 1, 1], 100)
        items = JudgedItems([draw.multinomial(3, row) for row in truth], categories)
        wrong = truth**3 / (truth**3).sum(axis=1, keepdims=True)
        for number, probs in enumerate((truth, wrong)):
            values = distribution_metrics(probs, items.target_probs, items.vote_weight, *items.geometry)
            (drawn,) = drawn_metrics([probs], items, FEW)
            interval = metric_intervals(values, drawn, probs, items, FEW)["debiased_calibration_error"]
            assert interval.low <= values["debiased_calibration_error"] <= interval.high
            held += number == 0 and interval.low == 0
            told += number == 1 and interval.low > 0
    assert held >= 38 and told >= 38


def test_other_annotators_are_drawn_for_what_is_no_mean_over_judgments(report, items, models):
    votes, probs = items.single_votes, models["good"]
    ids = votes.item, votes.annotator, votes.category, 12, 3, np.asarray(items.clusters)[votes.item], 200, 0.95, 5
    for name in ("wasserstein_distance", "expected_calibration_error", "expected_reward_correlation"):
        expected = crossed_statistic_interval(
            lambda rows, counts, name=name: distribution_metrics(probs[rows], *vote_shares(counts), *items.geometry)[
                name
            ],
            *ids,
        )
        ends = (expected.low, min(expected.high, 1.0)) if name.endswith("correlation") else expected[1:3]
        got = report.models[0].intervals[name]
        assert (got.low, got.high) == pytest.approx((max(ends[0], 0.0), ends[1]), rel=1e-9)


def test_a_cost_matrix_leaves_transport_to_the_panel(items, models):
    cost = [[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]]
    categories = PreferenceCategories(items.categories.names, items.categories.rewards, cost)
    (model,) = item_report({"good": models["good"]}, replace(items, categories=categories), resampling=FEW).models
    scores = item_scores(models["good"], items.target_probs, categories.rewards, None, cost)["wasserstein_distance"]
    expected = mean_interval(scores, items.vote_weight, items.clusters, 200, 0.95, 5)
    assert model.intervals["wasserstein_distance"] == (expected.low, expected.high, PANEL)
    assert "ranked_probability_score" not in model.intervals and model.intervals["energy_distance"].over == CROSSED


def test_a_single_item_has_no_interval():
    votes = SingleVotes([0, 0], ["a", "b"], [0, 1])
    items = JudgedItems([[1, 1]], PreferenceCategories(["bad", "good"], [0.0, 1.0]), single_votes=votes)
    report = item_report({"m": [[0.5, 0.5]]}, items, resampling=FEW)
    assert report.models[0].intervals == {} and report.interval_over == PANEL


def test_the_validation_votes_choose_the_prior_of_what_is_attainable(items, models):
    known = np.array([[0.5, 0.35, 0.15], [0.15, 0.2, 0.65]])[np.arange(40) % 2]
    votes = np.array([[5, 3, 1], [1, 2, 6]])[np.arange(40) % 2]  # these make `good` right, and `flat` not
    predictions = {
        "flat": ItemPredictions(models["flat"], validation_probs=np.full((40, 3), 1 / 3)),
        "good": ItemPredictions(models["good"], validation_probs=known),
    }
    report = item_report(predictions, items, votes, resampling=FEW)
    (best,) = [model for model in report.models if model.name == "good" and model.temperature is not None]
    assert report.attainable_prior == "the predictions of good, recalibrated"
    assert report.attainable == attainable_nats(items.target_counts, best.category_probs)
    assert report.attainable.high < attainable_nats(items.target_counts).high
    misled = {**predictions, "good": ItemPredictions(models["good"], validation_probs=known[::-1])}
    without = item_report({"good": models["good"]}, items, resampling=FEW)
    for kept in (item_report(misled, items, votes, resampling=FEW), without):
        assert kept.attainable == attainable_nats(items.target_counts) and kept.attainable_prior == POOLED


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


def test_groups_that_share_out_the_annotators_average_to_the_votes(items, models):
    """Some judge an item twice, and are half as loud each time: votes are counted as annotators."""
    votes, twice = items.single_votes, np.arange(0, len(items.single_votes.item), 3)
    again = SingleVotes(
        np.append(votes.item, votes.item[twice]),
        np.append(votes.annotator, votes.annotator[twice]),
        np.append(votes.category, (votes.category[twice] + 1) % 3),
        np.append(np.where(np.isin(np.arange(len(votes.item)), twice), 0.5, 1.0), np.full(len(twice), 0.5)),
        {"age": np.append(votes.groups["age"], votes.groups["age"][twice])},
    )
    counts = np.zeros((12, 3))
    np.add.at(counts, (again.item, again.category), again.weight)
    for model in item_report(models, replace(items, target_counts=counts, single_votes=again), resampling=FEW).models:
        rows = model.groups["age"].groups
        assert sum(row.num_votes for row in rows) == pytest.approx(counts.sum(), rel=1e-12) != len(again.item)
        nats = np.average([row.nats_per_vote.mean for row in rows], weights=[row.num_votes for row in rows])
        assert nats == pytest.approx(model.metrics["nats_per_vote"], rel=1e-9)
        rewards = np.average([row.mean_reward for row in rows], weights=[row.num_votes for row in rows])
        assert rewards == pytest.approx((counts.sum(axis=0) / counts.sum()) @ items.categories.rewards, rel=1e-9)


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
    assert recalibrated.intervals["temperature"].low < loss.x < recalibrated.intervals["temperature"].high
    assert {"temperature", "prior_strength"} & set(raw.intervals) == {"prior_strength"}
    assert raw.intervals["prior_strength"].over == recalibrated.intervals["temperature"].over == VALIDATION
    other = replace(items, target_counts=items.target_counts[::-1], single_votes=None)
    assert item_report(predictions, other, counts, resampling=FEW).models[1].temperature == recalibrated.temperature


def test_coverage_and_the_curve_in_votes_go_by_the_prior_strength(items, models):
    (model,) = item_report({"good": ItemPredictions(models["good"], 4.0)}, items, resampling=FEW).models
    assert model.prior_strength == 4.0 and model.prior_strength_source == "stored with the model"
    expected = vote_share_coverage(models["good"], items.target_counts, 4.0)
    assert (model.coverage.covered == expected.covered).all()
    rows, steps = curve_items(items.target_counts)
    cost = items.categories.cost_matrix
    expected = held_out_scores(models["good"][rows], items.target_counts[rows], 4.0, cost, steps)
    assert model.votes_curve == curve_with_intervals(expected, np.asarray(items.clusters)[rows], 200, 0.95, 5)
    (unknown,) = item_report({"good": models["good"]}, items, resampling=FEW).models
    assert unknown.coverage is None and unknown.votes_curve is None and unknown.prior_strength_source == "not known"


def test_a_model_is_compared_with_votes_alone_whether_its_strength_is_known_or_not(items, models):
    rows, steps = curve_items(items.target_counts)
    counts, cost, talks = items.target_counts[rows], items.categories.cost_matrix, np.asarray(items.clusters)[rows]
    alone = votes_only_scores(items.target_counts, counts, cost, steps)
    expected = ahead_of_votes(
        held_out_scores(models["good"][rows], counts, 1.0, cost, [0]), alone, talks, 200, 0.95, 5
    )
    for strength in (None, 4.0):
        report = item_report({"good": ItemPredictions(models["good"], strength)}, items, resampling=FEW)
        assert report.models[0].ahead_of_votes == expected
    assert report.votes_only == curve_with_intervals(alone, talks, 200, 0.95, 5)
    assert report.models[0].ahead_of_votes.differences["unbiased_brier_score"][0].high < 0


def test_reliability_has_the_intervals_of_what_is_known_of_annotators(items, models):
    votes, counts, probs = items.single_votes, items.target_counts, models["good"]
    judged = votes.item, votes.category
    for judges, of_items in ((votes.annotator, items), (None, replace(items, single_votes=None))):
        (model,) = item_report({"good": probs}, of_items, resampling=FEW).models
        expected = reliability_points(probs, counts, *judged, judges, None, items.clusters, 200, 0.95, 5)
        for got, points in zip(model.reliability, expected, strict=True):
            np.testing.assert_allclose(got, points, rtol=1e-9)


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
    assert (
        impossible.models[0].metrics["nats_per_vote"] == math.inf
        and "nats_per_vote" not in impossible.models[0].intervals
    )


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


def test_rewards_are_read_out_by_the_validation_votes_and_compared_with_their_like(items, models, validation):
    counts, probs = validation
    rewards = np.linspace(-2.0, 3.0, 12)
    validation_rewards = probs @ [-1.0, 0.0, 2.0]
    given = {
        "good": ItemPredictions(models["good"], validation_probs=probs),
        "scalar": ItemRewards(rewards, validation_rewards),
    }
    raw, recalibrated, scalar = item_report(given, items, counts, resampling=FEW).models
    readout = fit_reward_readout(validation_rewards, counts)
    np.testing.assert_allclose(scalar.category_probs, readout.category_probs(rewards), rtol=1e-12)
    assert scalar.read_out and scalar.is_fitted and scalar.temperature is None and not raw.is_fitted
    strength = fit_model_prior_strength(readout.category_probs(validation_rewards), counts).prior_strength
    assert scalar.prior_strength == pytest.approx(strength)
    for name, difference in scalar.fitted_differences.items():
        expected = scalar.metrics[name] - recalibrated.metrics[name]
        assert difference.difference == pytest.approx(expected, abs=1e-9), name
    assert scalar.differences["brier_score"].difference == pytest.approx(
        scalar.metrics["brier_score"] - raw.metrics["brier_score"], abs=1e-9
    )
    assert raw.fitted_differences == recalibrated.fitted_differences == {}


def test_a_scalar_may_stand_first(items, models, validation):
    counts, probs = validation
    given = {
        "scalar": ItemRewards(np.linspace(-2.0, 3.0, 12), probs @ [-1.0, 0.0, 2.0]),
        "good": ItemPredictions(models["good"], validation_probs=probs),
    }
    scalar, raw, recalibrated = item_report(given, items, counts, resampling=FEW).models
    assert scalar.differences == scalar.fitted_differences == raw.fitted_differences == {}
    assert recalibrated.differences.keys() == recalibrated.fitted_differences.keys() != set()


def test_rewards_without_validation_votes_are_refused(items):
    with pytest.raises(ValueError, match="`scalar` gives one number for an item, and without validation votes"):
        item_report({"scalar": ItemRewards(np.zeros(12), np.zeros(3))}, items)
