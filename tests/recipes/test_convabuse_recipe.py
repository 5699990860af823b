"""`recipes/convabuse-minilm`: pairs, their likelihoods, readouts, recalibration, intervals, and a whole tiny run."""

import doctest
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recipe_modules import recipe_modules
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit
from scipy.stats import norm
from transformers.modeling_outputs import SequenceClassifierOutput

from trl_dprm.metrics import fit_davidson


@pytest.fixture(scope="module")
def recipe():
    """The modules as attributes."""
    with recipe_modules("convabuse-minilm") as modules:
        yield modules


def random_votes(rng, num_items=40, num_annotators=5):
    """Single votes of two to four annotators per item, shape (items, annotators, 5)."""
    votes = np.zeros((num_items, num_annotators, 5))
    for item in range(num_items):
        panel = rng.choice(num_annotators, rng.integers(2, 5), replace=False)
        votes[item, panel, np.clip(item % 5 + rng.integers(-1, 2, len(panel)), 0, 4)] = 1.0
    return votes


@pytest.fixture
def item_votes(recipe):
    return recipe.judgments.ItemVotes(random_votes(np.random.default_rng(0)), [f"a{k}" for k in range(5)])


@pytest.fixture
def judged(recipe, item_votes):
    """As many items with their votes, two to a conversation."""
    counts = item_votes.votes.sum(axis=1)
    items = pd.DataFrame({"vote_weight": counts.sum(axis=1), "conv_id": np.arange(len(counts)) // 2})
    items["target_probs"] = list(counts / counts.sum(axis=1, keepdims=True))
    return recipe.evaluation.JudgedItems(items, item_votes)


def test_judgments_become_votes_of_annotators(recipe):
    judgments = pd.DataFrame(
        {"item_id": list("xxxyy"), "annotator_id": list("babab"), "category": [4, 0, 2, 3, 3]}, index=range(5)
    )
    votes = recipe.judgments.votes_of_items(judgments, pd.DataFrame({"item_id": ["y", "x"]}))
    assert votes.annotators == ["a", "b"]
    np.testing.assert_array_equal(votes.votes[1, 0], [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(votes.votes[1, 1], [0, 0, 0.5, 0, 0.5])  # two answers of one person
    np.testing.assert_array_equal(votes.votes[0], [[0, 0, 0, 1, 0]] * 2)


def test_items_meet_those_of_the_same_annotators(recipe):
    judged = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]], dtype=bool)
    for seed in range(20):
        pairs = recipe.pairs.match_items(judged, np.random.default_rng(seed))
        met = {tuple(sorted(pair)) for pair in pairs.tolist()}
        assert (1, 3) in met, "nobody else shares an annotator with item 3 but item 1"
        assert met - {(1, 3)} <= {(0, 2), (0, 4), (2, 4)}
        assert len(met) == 2
    judged = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]], dtype=bool)
    for seed in range(20):
        pairs = recipe.pairs.match_items(judged, np.random.default_rng(seed)).tolist()
        assert sorted(map(sorted, pairs)) == [[0, 1], [2, 3]], "two common annotators come before one"


def test_votes_on_pairs_by_hand_count(recipe, item_votes):
    rng = np.random.default_rng(1)
    item_votes.votes[0] = 0.0
    item_votes.votes[0, 2] = [0.5, 0, 0, 0.5, 0]
    first, second = rng.integers(40, size=200), rng.integers(40, size=200)
    counted = np.zeros((200, 5, 3))
    for pair, (one, other) in enumerate(zip(first, second, strict=True)):
        for annotator in range(5):
            for a, share in enumerate(item_votes.votes[one, annotator]):
                for b, other_share in enumerate(item_votes.votes[other, annotator]):
                    counted[pair, annotator, 0 if a > b else 1 if a == b else 2] += share * other_share
    np.testing.assert_allclose(recipe.pairs.compare(item_votes, first, second), counted)


def test_every_method_reads_one_stream_of_pairs(recipe, item_votes):
    everything = recipe.pairs.pairs_of_passes(item_votes, seed=3, num_passes=6)
    assert len(everything) <= 6 * 20
    assert np.bincount(np.concatenate([everything.first[:20], everything.second[:20]])).max() <= 2
    some = recipe.pairs.first_pairs(item_votes, 3, 31)
    np.testing.assert_array_equal(some.first, everything.first[:31])
    np.testing.assert_array_equal(some.votes, everything.votes[:31])
    assert (some.votes.sum(axis=1) > 0).all(), "somebody judged both"

    decided = everything.votes[:, 0] != everything.votes[:, 2]
    winners = recipe.pairs.first_pairs(item_votes, 3, 31, majority=True)
    np.testing.assert_array_equal(winners.second, everything.second[decided][:31])
    for_first = (everything.votes[:, 0] > everything.votes[:, 2])[decided][:31]
    np.testing.assert_array_equal(winners.votes[:, 0] == 1, for_first)
    np.testing.assert_array_equal(winners.votes.sum(axis=1), 1)
    assert not (recipe.pairs.first_pairs(item_votes, 4, 31).first == some.first).all(), "seeds have other partners"


class FixedOutputs(torch.nn.Module):
    """A classifier that says what it is told."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = torch.nn.Parameter(outputs)

    def forward(self, input_ids, attention_mask):
        return SequenceClassifierOutput(logits=self.outputs)


def loss_of(model_class, outputs, votes, **changes):
    model = model_class(FixedOutputs(torch.tensor(outputs)), equal_share=0.4)
    for name, value in changes.items():
        getattr(model, name).data.fill_(value)
    return model(None, None, torch.tensor(votes)).loss.item()


def double_loop(probs, votes):
    """Mean nats of all votes, one by one."""
    cells = [(probs[pair][kind], votes[pair, kind]) for pair in range(len(votes)) for kind in range(3)]
    return sum(-count * np.log(prob) for prob, count in cells if count) / votes.sum()


@pytest.fixture
def pair_votes():
    return np.array([[2.0, 0, 1], [0, 3, 0], [0.5, 0.5, 1], [1, 1, 0]])


def test_davidson_likelihood_against_a_double_loop(recipe, pair_votes):
    scores = np.random.default_rng(0).normal(size=(8, 1))
    log_propensity = 0.7
    probs = []
    for first, second in zip(scores[:4, 0], scores[4:, 0], strict=True):
        weights = [np.exp(first), np.exp(log_propensity) * np.exp((first + second) / 2), np.exp(second)]
        probs.append([weight / sum(weights) for weight in weights])
    speed = recipe.pair_models.PROPENSITY_SPEED
    loss = loss_of(recipe.pair_models.Davidson, scores, pair_votes, scaled_log_propensity=log_propensity / speed)
    assert loss == pytest.approx(double_loop(probs, pair_votes), rel=1e-7)
    start = recipe.pair_models.Davidson(torch.nn.Identity(), equal_share=0.4).scaled_log_propensity.item() * speed
    assert np.exp(start) / (np.exp(start) + 2) == pytest.approx(0.4), "two equal items tie as often as all pairs do"
    outputs = np.column_stack([scores, np.full(8, log_propensity)])
    np.testing.assert_allclose(recipe.pair_probs.davidson(outputs[:4], outputs[4:]), probs)


def test_equal_votes_are_half_a_vote_for_either_side(recipe, pair_votes):
    scores = np.random.default_rng(1).normal(size=(8, 1))
    probs = np.array([[expit(a - b), 0, expit(b - a)] for a, b in zip(scores[:4, 0], scores[4:, 0], strict=True)])
    halves = pair_votes[:, [0, 0, 2]] * [1, 0, 1] + pair_votes[:, 1:2] / 2 * [1, 0, 1]
    loss = loss_of(recipe.pair_models.BradleyTerry, scores, pair_votes)
    assert loss == pytest.approx(double_loop(probs, halves))
    np.testing.assert_allclose(recipe.pair_probs.bradley_terry(scores[:4], scores[4:]), probs)


def test_mean_variance_head_against_scipy_and_monte_carlo(recipe, pair_votes):
    outputs = np.random.default_rng(2).normal(size=(8, 2))
    first, second = outputs[:4], outputs[4:]
    deviation = np.log1p(np.exp(outputs[:, 1]))
    lead = (first[:, 0] - second[:, 0]) / np.sqrt(deviation[:4] ** 2 + deviation[4:] ** 2)
    probs = np.stack([norm.cdf(lead), np.zeros(4), norm.sf(lead)], axis=1)
    np.testing.assert_allclose(recipe.pair_probs.normal_utilities(first, second), probs)
    halves = (pair_votes + pair_votes[:, [1, 1, 1]] / 2) * [1, 0, 1]
    assert loss_of(recipe.pair_models.MeanVariance, outputs, pair_votes) == pytest.approx(double_loop(probs, halves))

    drawn = np.random.default_rng(3).normal(outputs[:, 0], deviation, size=(200_000, 8))
    np.testing.assert_allclose((drawn[:, :4] > drawn[:, 4:]).mean(axis=0), probs[:, 0], atol=5e-3)


def test_categorical_head_against_a_double_loop_and_monte_carlo(recipe, pair_votes):
    outputs = 2 * np.random.default_rng(4).normal(size=(8, recipe.pair_models.NUM_ATOMS))
    atoms = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    wins = np.zeros(4)
    for pair in range(4):
        for i, q in enumerate(atoms[pair]):
            for j, p in enumerate(atoms[4 + pair]):
                wins[pair] += q * p * (1.0 if i > j else 0.5 if i == j else 0.0)
    probs = np.stack([wins, np.zeros(4), 1 - wins], axis=1)
    np.testing.assert_allclose(recipe.pair_probs.utility_atoms(outputs[:4], outputs[4:]), probs)
    halves = (pair_votes + pair_votes[:, [1, 1, 1]] / 2) * [1, 0, 1]
    mean = atoms.mean(axis=0)
    expected = double_loop(probs, halves) + recipe.pair_models.ENTROPY_BONUS * (mean * np.log(mean)).sum()
    assert loss_of(recipe.pair_models.Categorical, outputs, pair_votes) == pytest.approx(expected)

    rng = np.random.default_rng(5)
    first, second = (rng.choice(10, 100_000, p=atoms[row]) for row in (0, 4))
    assert (first > second).mean() + (first == second).mean() / 2 == pytest.approx(wins[0], abs=6e-3)


def test_a_batch_of_pairs_is_all_first_then_all_second_items(recipe, tokenizer):
    pairs = recipe.pairs.Pairs(np.array([0, 2]), np.array([1, 0]), np.array([[1.0, 0, 0], [0, 1, 1]]))
    columns = recipe.pair_training.pair_rows(pairs, [[5], [6, 7, 8], [9, 9]])
    rows = [{name: values[row] for name, values in columns.items()} for row in range(2)]
    batch = recipe.pair_training.collate(tokenizer, rows)
    texts = zip(batch["input_ids"], batch["attention_mask"], strict=True)
    assert [ids[mask.bool()].tolist() for ids, mask in texts] == [[5], [9, 9], [6, 7, 8], [5]]
    assert columns["length"] == [3, 2]
    assert batch["pair_votes"].tolist() == pairs.votes.tolist()


def readout_by_loop(parameters, place, log_spread):
    first, gaps, slope, power = parameters[0], np.exp(parameters[1:-2]), *parameters[-2:]
    thresholds, probs = first + np.append(0, gaps.cumsum()), []
    for at, spread in zip(place, log_spread, strict=True):
        below = [expit((threshold - slope * at) / np.exp(spread) ** power) for threshold in thresholds]
        probs.append(np.diff([0, *below, 1]))
    return np.array(probs)


def test_readout_is_the_likeliest_of_its_kind(recipe):
    rng = np.random.default_rng(6)
    truth = np.array([-2.0, 0.1, -0.3, 0.2, 1.5, 0.8])
    place, log_spread = rng.normal(size=300), rng.normal(0, 0.5, size=300)
    probs = readout_by_loop(truth, place, log_spread)
    ours = recipe.readout.readout_log_probs(*map(torch.tensor, (truth, place, log_spread)))
    np.testing.assert_allclose(ours.exp(), probs, rtol=1e-9)

    counts = np.array([rng.multinomial(6, row) for row in probs])
    shares, votes = counts / 6, np.full(300, 6.0)

    def nats(parameters):
        return -(shares * np.log(readout_by_loop(parameters, place, log_spread))).sum(axis=1).mean()

    fitted = recipe.readout.fit_readout(torch.tensor(place), torch.tensor(log_spread), shares, votes)
    reference = minimize(nats, truth, method="Nelder-Mead", options={"maxiter": 4000, "fatol": 1e-10, "xatol": 1e-6})
    assert nats(fitted) == pytest.approx(reference.fun, abs=1e-7)
    np.testing.assert_allclose(fitted, reference.x, atol=2e-3)


def test_readout_of_a_score_is_the_ordered_logit(recipe):
    score = torch.linspace(-2, 2, 7, dtype=torch.float64)
    thresholds = torch.tensor([-1.0, 0.3, -0.2, 0.1], dtype=torch.float64)
    ordered = recipe.ordered_logit.ordered_log_probs(score[:, None], thresholds)
    parameters = torch.cat([thresholds, torch.tensor([1.0, 5.0], dtype=torch.float64)])
    np.testing.assert_allclose(recipe.readout.readout_log_probs(parameters, score, 0 * score), ordered, rtol=1e-12)
    numbers = recipe.readout.moments_of_atoms(np.log([[0.5] + [1e-300] * 8 + [0.5], [0.1] * 10]))
    np.testing.assert_allclose(numbers.place, [0.5, 0.5])
    np.testing.assert_allclose(np.exp(numbers.log_spread), [0.5, np.linspace(0, 1, 10).std()])


def test_readouts_see_validation_votes_only_and_keep_the_order(recipe, judged):
    rng = np.random.default_rng(7)
    levels = judged.counts @ np.arange(5) / judged.votes
    scores = levels + rng.normal(0, 0.5, 40)
    outputs = recipe.predictions.PairOutputs(scores[:, None], np.linspace(-1, 6, 9)[:, None])
    read = recipe.readout.read_out("bradley_terry_majority", outputs, judged.items)
    assert read.test_probs.shape == (9, 5)
    np.testing.assert_allclose(read.test_probs.sum(axis=1), 1)
    assert (np.diff(read.test_rewards) > 0).all()
    rescaled = recipe.predictions.PairOutputs(3 * outputs.validation_outputs + 2, 3 * outputs.test_outputs + 2)
    again = recipe.readout.read_out("bradley_terry_majority", rescaled, judged.items)
    np.testing.assert_allclose(read.test_probs, again.test_probs, atol=1e-6)  # so a temperature changes nothing


def test_readout_of_a_bent_score_is_chosen_by_held_out_votes_and_is_the_straight_one_of_its_curve(recipe):
    rng = np.random.default_rng(9)
    straight = np.array([-2.0, 0.1, -0.3, 0.2, 1.5, 0.0])
    place, even = torch.tensor(rng.normal(size=300)), torch.zeros(300, dtype=torch.float64)
    curve = place + 0.8 * place**2 - 0.1 * place**3
    bent = torch.tensor([*straight, 1.5 * 0.8, -1.5 * 0.1])
    log_probs = recipe.readout.readout_log_probs(bent, place, even, 3)
    expected = recipe.readout.readout_log_probs(torch.tensor(straight), curve, even)
    np.testing.assert_allclose(log_probs, expected, rtol=1e-12)
    for truth, degrees in (
        (recipe.readout.readout_log_probs(torch.tensor(straight), place, even), {1}),
        (expected, {3}),
    ):
        shares = np.array([rng.multinomial(6, row) for row in truth.softmax(-1).numpy()]) / 6
        votes = shares, np.full(300, 6.0)
        assert recipe.readout.choose_degree(place, even, *votes, [1, 3]) in degrees
    fitted = recipe.readout.fit_readout(place, even, *votes, 3)
    nats = [
        -(votes[0] * recipe.readout.readout_log_probs(torch.tensor(values), place, even, 3).numpy()).sum()
        for values in (fitted, bent.numpy())
    ]
    assert nats[0] <= nats[1]


def test_temperature_is_that_of_least_validation_nats(recipe, judged):
    probs = np.random.default_rng(8).dirichlet([1.0] * 5, size=40)
    run = recipe.predictions.Predictions.of_distributions(probs, probs[:3], recipe.data.CATEGORIES.rewards)
    calibrated = recipe.recalibration.with_temperature(run, judged.items)

    def nats(exponent):
        return recipe.votes.mean_score(recipe.sharpening.sharpen(probs, exponent), judged.items, "nats_per_vote")

    best = minimize_scalar(nats, bounds=(1e-3, 20), method="bounded", options={"xatol": 1e-9})
    assert nats(calibrated.fitted) == pytest.approx(best.fun, abs=1e-9)
    np.testing.assert_allclose(calibrated.test_probs, recipe.sharpening.sharpen(probs[:3], calibrated.fitted))


@pytest.mark.parametrize(("with_ties", "certainty"), [(True, 1.0), (False, 1.0), (False, 1e-4)])
def test_pair_link_is_the_likeliest_and_davidsons_without_ties(recipe, with_ties, certainty):
    rng = np.random.default_rng(9)
    probs = rng.dirichlet([2.0, 3.0, 2.0], size=200)
    votes = np.array([rng.multinomial(3, row) for row in 0.5 * probs + 0.5 * np.array([0.3, 0.4, 0.3])]).astype(float)
    if not with_ties:
        odds = certainty * np.log(probs[:, 0] / probs[:, 2])
        probs = np.stack([expit(odds), np.zeros(200), expit(-odds)], axis=1)

    def mapped(link):
        higher, equal, lower = probs.T
        tie = (equal / np.sqrt(higher * lower)) ** link[0] if with_ties else np.ones(200)
        raw = [(higher / lower) ** (link[0] / 2), np.exp(link[1]) * tie, (lower / higher) ** (link[0] / 2)]
        return np.stack(raw, axis=1) / np.sum(raw, axis=0)[:, None]

    link = recipe.recalibration.fit_pair_link(probs, votes)
    np.testing.assert_allclose(recipe.recalibration.apply_pair_link(probs, link), mapped(link), rtol=1e-9)
    reference = minimize(
        lambda values: -(votes * np.log(mapped(values / [certainty, 1]))).sum() / votes.sum(),
        [0.5, 0.5],
        method="Nelder-Mead",
        options={"fatol": 1e-12, "xatol": 1e-8},
    )
    np.testing.assert_allclose(np.multiply(link, [certainty, 1]), reference.x, atol=1e-4)
    if with_ties:
        np.testing.assert_allclose(recipe.recalibration.apply_pair_link(probs, (1.0, 0.0)), probs, rtol=1e-9)
    else:
        davidson = np.exp([[link[0] * d / 2, link[1], -link[0] * d / 2] for d in odds])
        np.testing.assert_allclose(mapped(link), davidson / davidson.sum(axis=1, keepdims=True))
        theirs = fit_davidson(odds, np.zeros(200), votes)
        np.testing.assert_allclose([theirs.scale, theirs.tie_propensity], [link[0], np.exp(link[1])], rtol=1e-5)


def test_recalibrated_decisive_probabilities_have_their_own_temperature(recipe):
    rng = np.random.default_rng(10)
    odds = rng.normal(size=400)
    votes = np.stack([rng.binomial(4, expit(0.3 * odds)), np.full(400, 2), np.zeros(400)], axis=1).astype(float)
    votes[:, 2] = 4 - votes[:, 0]
    probs = np.stack([expit(odds), np.zeros(400), expit(-odds)], axis=1)
    speech = recipe.pair_table.recalibrated(probs, votes, probs)

    def nats(scale):
        return -(votes[:, 0] * np.log(expit(scale * odds)) + votes[:, 2] * np.log(expit(-scale * odds))).sum()

    scale = minimize_scalar(nats, bounds=(0, 3), method="bounded", options={"xatol": 1e-9}).x
    np.testing.assert_allclose(speech.decisive[:, 0], expit(scale * odds), rtol=1e-5)
    assert (speech.three_way[:, 1] > 0).all()


def test_pair_intervals_against_a_loop_over_votes(recipe, judged):
    pairs = recipe.pairs.pairs_of_passes(judged.judgments, 0, 3)
    rng = np.random.default_rng(11)
    costs = rng.normal(size=(len(pairs), 3))
    compared = recipe.pairs.compare(judged.judgments, pairs.first, pairs.second)
    differences = recipe.pair_table.PairDifferences(judged, pairs, num_resamples=30, seed=5)
    for name, counted in (("three_way_nats", (0, 1, 2)), ("decisive_nats", (0, 2))):
        kept = np.isin(np.arange(3), counted)
        table = differences._sum_votes(costs * kept)
        draws = []
        rng = np.random.default_rng(5)
        conversations, annotators = rng.multinomial(20, [1 / 20] * 20, 30), rng.multinomial(5, [1 / 5] * 5, 30)
        for of_conversation, of_annotator in zip(conversations, annotators, strict=True):
            total = number = 0.0
            for pair, (one, other) in enumerate(zip(pairs.first // 2, pairs.second // 2, strict=True)):
                times = of_conversation[one] * (1 if one == other else of_conversation[other])
                for annotator in range(5):
                    votes = compared[pair, annotator]
                    for kind in counted:
                        number += times * of_annotator[annotator] * votes[kind]
                        total += times * of_annotator[annotator] * votes[kind] * costs[pair, kind]
            draws += [total / number] if number else []
        mean = (pairs.votes * costs)[:, kept].sum() / pairs.votes[:, kept].sum()
        np.testing.assert_allclose(differences.interval(table, name), [mean, *np.quantile(draws, [0.025, 0.975])])


def test_pair_rows_compare_with_the_reference(recipe, judged):
    rng = np.random.default_rng(12)

    def run():
        return recipe.predictions.Predictions.of_distributions(
            *rng.dirichlet([2.0] * 5, size=(2, 40)), recipe.data.CATEGORIES.rewards
        )

    outputs = recipe.predictions.PairOutputs(rng.normal(size=(40, 1)), rng.normal(size=(40, 1)))
    runs = {"cross_entropy": [run(), run()], "ordered_logit": [run()], "bradley_terry_majority": [outputs]}
    votes = judged.judgments
    rows = recipe.pair_table.pair_rows(runs, votes, votes, judged, "cross_entropy", num_resamples=20)
    table = pd.DataFrame(rows).set_index(["method", "recalibrated"])
    assert len(table) == 6 + 1
    shares = recipe.pairs.pairs_of_passes(votes, 0, recipe.pair_table.NUM_PASSES).votes.sum(axis=0)
    decisive, equal = (shares[0] + shares[2]) / shares.sum(), shares[1] / shares.sum()
    constant = table.loc[("best_constant_for_nats_per_vote", False)]
    assert constant["three_way_nats"] == pytest.approx(-decisive * np.log(decisive / 2) - equal * np.log(equal))
    assert constant["decisive_nats"] == pytest.approx(np.log(2))
    assert np.isinf(table.loc[("bradley_terry_majority", False), "three_way_nats"]), "it calls ties impossible"
    assert np.isfinite(table.loc[("bradley_terry_majority", True), "three_way_nats"])
    assert table.loc["cross_entropy"]["three_way_nats_difference"].isna().all()
    for method, recalibrated in (("ordered_logit", True), ("bradley_terry_majority", True), ("ordered_logit", False)):
        for name in ("three_way_nats", "decisive_nats"):
            row = table.loc[(method, recalibrated)]
            difference = row[name] - table.loc[("cross_entropy", recalibrated), name]
            assert row[f"{name}_difference"] == pytest.approx(difference, abs=1e-12)


def changed(judged, item):
    """The votes with another one on an item."""
    votes = judged.judgments.votes.copy()
    votes[item, :, 0] += 1
    return votes


def test_worst_annotator_and_nats_difference_against_loops(recipe, judged):
    rng = np.random.default_rng(13)
    one, other = rng.dirichlet([2.0] * 5, size=(2, 40))
    own = {}
    for annotator in range(5):
        chosen = np.argwhere(judged.judgments.votes[:, annotator])
        own[f"a{annotator}"] = np.mean([-np.log(one[item, level]) for item, level in chosen])
    assert judged.nats_of_annotators(one) == pytest.approx(own)
    report = judged.evaluate(one)
    assert report["worst_annotator_nats"] == pytest.approx(max(own.values()))
    result = judged.nats_difference([one], [other], num_resamples=50)
    assert result.difference == pytest.approx(report["nats_per_vote"] - judged.evaluate(other)["nats_per_vote"])
    assert result.low < result.difference < result.high
    with pytest.raises(ValueError, match="the judgments of item 7 are not its votes; remove the data folder"):
        recipe.evaluation.JudgedItems(judged.items, recipe.judgments.ItemVotes(changed(judged, 7), ["a"] * 5))


def test_options_for_sharing_the_work_keep_old_runs_valid(recipe, tmp_path):
    arguments = recipe.arguments.RecipeArguments("data", "backbone", str(tmp_path), methods=["dpl_categorical"])
    assert list(recipe.run.chosen_methods(arguments)) == ["dpl_categorical"]
    arguments.methods = ["dpl"]
    with pytest.raises(ValueError, match="methods has dpl; choose from cross_entropy, optimal_transport"):
        recipe.run.chosen_methods(arguments)
    recipe.run.check_same_run(arguments)
    facts = json.loads(tmp_path.joinpath("arguments.json").read_text())
    assert "methods" not in facts
    assert sorted(facts) == [
        "backbone", "batch_size", "context", "dataset", "dataset_split", "disable_dropout", "learning_rate",
        "max_length", "num_resamples", "num_train_epochs", "warmup_share", "weight_decay",
    ]  # fmt: skip


def test_a_method_may_have_its_own_rate(recipe, tmp_path):
    for module in (recipe.arguments, recipe.rates):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed
    arguments = recipe.arguments.RecipeArguments("data", "backbone", str(tmp_path), learning_rates=["dpl=1e-3"])
    with pytest.raises(ValueError, match="learning_rates has 'dpl=1e-3'; give METHOD=RATE, of these methods: cross"):
        recipe.run.check_rates(arguments)
    arguments.learning_rates = ["dpl_categorical=1e-3"]
    recipe.run.check_rates(arguments)
    recipe.run.check_same_run(arguments)
    arguments.learning_rates = []
    with pytest.raises(ValueError, match="holds a run with other learning_rates"):
        recipe.run.check_same_run(arguments)


def write_judgments(file, rng, num_conversations=60):
    """A table in ConvAbuse's form, in which the first word says how abusive a turn is."""
    rows = []
    for number in range(2 * num_conversations):
        level = rng.integers(5)
        turn = {"conv_id": number // 2, "prev_agent": "Hi.", "prev_user": "Hi.", "agent": f"Yes, {number}?"}
        turn["user"] = f"{'abcde'[level] * 3} words {number}"
        for annotator in rng.choice(5, 3, replace=False):
            judged = np.clip(level + rng.integers(-1, 2), 0, 4)
            one_hot = {f"is_abuse.{k - 3}": int(k == judged) for k in range(5)}
            rows.append({"example_no": len(rows), "annotator_id": f"Annotator{annotator}", **turn, **one_hot})
    pd.DataFrame(rows).to_csv(file, index=False)


@pytest.mark.slow
def test_one_command_trains_everything_and_opens_the_test_votes_last(recipe, backbone_folder, tmp_path, monkeypatch):
    write_judgments(tmp_path / "judgments.csv", np.random.default_rng(14))
    arguments = recipe.arguments.RecipeArguments(
        dataset=str(tmp_path / "judgments.csv"),
        backbone=backbone_folder("bert"),
        output_dir=str(tmp_path / "run"),
        seeds=[0, 1],
        transport_weights=[0.5],
        num_train_epochs=1,
        max_length=64,
        num_resamples=50,
    )
    with monkeypatch.context() as patch:
        for module, name in ((recipe.data, "read_test_votes"), (recipe.judgments, "read_test_judgments")):
            patch.setattr(module, name, lambda arguments: pytest.fail("the test votes were opened in training"))
            patch.setattr(recipe.table, name, lambda arguments: pytest.fail("the test votes were opened in training"))
        recipe.run.train_all(arguments)
    files = sorted(Path(arguments.output_dir, "predictions").rglob("*.npz"))
    assert len(files) == 2 * len(recipe.run.trained_methods(arguments)) == 2 * 12
    with monkeypatch.context() as patch:
        nothing = dict.fromkeys(recipe.pair_training.PAIR_METHODS)
        patch.setattr(recipe.run, "trained_methods", lambda arguments: nothing)
        recipe.run.train_all(arguments)  # finds everything done

    rate, nats = recipe.rates.validation_nats(arguments.output_dir, [0], arguments.transport_weights)
    assert rate == arguments.learning_rate
    assert len(nats) == 12  # bag of words has no rate, the regression is read out in two ways
    assert all(0.3 < value < 2 for value in nats.values())

    markdown = recipe.table.write_table(arguments)
    rows = pd.read_csv(tmp_path / "run" / "table.csv").set_index(["subset", "method", "recalibrated"])
    assert len(rows.loc["all items"]) == 2 * 15 + 2  # the constants are not recalibrated
    for method in (*recipe.pair_training.PAIR_METHODS, "scalar_regression_readout", "bag_of_words"):
        assert np.isfinite(rows.loc[("all items", method, True), "nats_per_vote_difference"])
        assert f"| {recipe.presentation.NAMES.get(method, method.replace('_', ' '))} |" in markdown
    pairs = pd.read_csv(tmp_path / "run" / "pairs.csv")
    assert len(pairs) == 2 * (15 + len(recipe.pair_training.PAIR_METHODS)) + 1  # these also by their readouts
    assert np.isfinite(pairs[pairs["recalibrated"]]["three_way_nats"]).all()
    report = json.loads(tmp_path.joinpath("run", "table.json").read_text())
    assert 0 < report["attainable_nats"]["all items"]["low"] < report["attainable_nats"]["all items"]["high"]
    prior = report["prior_of_attainable_nats"]
    assert prior in rows.loc["all items"].index.get_level_values("method") and not prior.startswith("best_constant")
    assert f", around {recipe.presentation.NAMES.get(prior, prior.replace('_', ' '))}; correlation" in markdown
    assert tmp_path.joinpath("run", "table.png").stat().st_size > 0
