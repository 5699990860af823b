"""Exact expectations over every possible outcome of the votes, against distances by double loops."""

import itertools

import numpy as np
import pytest

from trl_dprm.metrics import item_scores, unbiased_brier_score, unbiased_energy_distance

TRUTH = np.array([0.5, 0.2, 0.3])
PREDICTION = np.array([0.1, 0.6, 0.3])
COST = np.array([[0.0, 1.0, 2.5], [1.0, 0.0, 3.0], [2.5, 3.0, 0.0]])
LINE = [0.0, 1.0, 3.0]
LINE_COST = np.abs(np.subtract.outer(LINE, LINE))


def all_outcomes(num_votes, weights=None):
    """Every sequence of votes as counts, with its probability; weighted annotators as Kish's effective votes."""
    weights = np.ones(num_votes) if weights is None else np.asarray(weights)
    scale = weights.sum() / (weights**2).sum()
    answers = list(itertools.product(range(3), repeat=num_votes))
    counts = [scale * sum(weight * np.eye(3)[k] for weight, k in zip(weights, row, strict=True)) for row in answers]
    return np.array(counts), np.array([np.prod(TRUTH[list(row)]) for row in answers])


def true_brier_score(prediction):
    return sum((prediction[k] - TRUTH[k]) ** 2 for k in range(3))


def true_energy_distance(prediction, cost):
    pairs = [(i, j) for i in range(3) for j in range(3)]
    across = sum(prediction[i] * TRUTH[j] * (cost[i][j] + cost[j][i]) for i, j in pairs)
    return across - sum((prediction[i] * prediction[j] + TRUTH[i] * TRUTH[j]) * cost[i][j] for i, j in pairs)


@pytest.mark.parametrize("num_votes", [2, 3, 4])
@pytest.mark.parametrize("prediction", [PREDICTION, TRUTH, np.array([0.0, 0.0, 1.0])])
def test_the_expectation_is_the_distance_to_the_truth(num_votes, prediction):
    counts, probability = all_outcomes(num_votes)
    predictions = np.tile(prediction, (len(counts), 1))
    brier = probability @ unbiased_brier_score(predictions, counts)
    assert brier == pytest.approx(true_brier_score(prediction), abs=1e-12)
    for cost in (COST, LINE_COST):
        energy = probability @ unbiased_energy_distance(predictions, counts, cost)
        assert energy == pytest.approx(true_energy_distance(prediction, cost), abs=1e-12)


def test_an_asymmetric_cost_counts_by_the_mean_of_its_directions():
    counts, probability = all_outcomes(3)
    cost = np.triu(COST)
    energy = probability @ unbiased_energy_distance(np.tile(PREDICTION, (len(counts), 1)), counts, cost)
    assert energy == pytest.approx(true_energy_distance(PREDICTION, cost), abs=1e-12)


@pytest.mark.parametrize("weights", [[1.0, 0.3], [2.0, 1.0, 0.7], [1.0, 4.0, 0.1, 0.6]])
def test_weighted_annotators_are_unbiased_too(weights):
    counts, probability = all_outcomes(len(weights), weights)
    predictions = np.tile(PREDICTION, (len(counts), 1))
    brier = probability @ unbiased_brier_score(predictions, counts)
    energy = probability @ unbiased_energy_distance(predictions, counts, COST)
    assert brier == pytest.approx(true_brier_score(PREDICTION), abs=1e-12)
    assert energy == pytest.approx(true_energy_distance(PREDICTION, COST), abs=1e-12)


def test_an_annotator_split_over_two_answers_is_unbiased_too():
    """Two whole annotators and one who answered twice, with the mean of two answers as vote."""
    counts, probability = [], []
    for first, second, *twice in itertools.product(range(3), repeat=4):
        counts.append(np.eye(3)[first] + np.eye(3)[second] + np.eye(3)[twice].mean(axis=0))
        probability.append(np.prod(TRUTH[[first, second, *twice]]))
    predictions = np.tile(PREDICTION, (len(counts), 1))
    brier = np.array(probability) @ unbiased_brier_score(predictions, counts)
    energy = np.array(probability) @ unbiased_energy_distance(predictions, counts, COST)
    assert brier == pytest.approx(true_brier_score(PREDICTION), abs=1e-12)
    assert energy == pytest.approx(true_energy_distance(PREDICTION, COST), abs=1e-12)


def test_the_formula_of_the_docstring():
    counts = np.array([3.0, 1.0, 2.0])
    share, votes = counts / 6, 6
    expected = PREDICTION @ PREDICTION - 2 * PREDICTION @ share + (counts * (counts - 1)).sum() / (votes * (votes - 1))
    np.testing.assert_allclose(unbiased_brier_score([PREDICTION], [counts]), expected, rtol=1e-12)


def test_models_differ_by_as_much_as_in_the_plain_scores():
    generator = np.random.default_rng(0)
    first, second = generator.dirichlet(np.ones(3), (2, 40))
    counts = generator.multinomial(4, TRUTH, 40)
    scores, others = (item_scores(probs, counts / 4, LINE, LINE, LINE_COST) for probs in (first, second))
    brier = unbiased_brier_score(first, counts) - unbiased_brier_score(second, counts)
    np.testing.assert_allclose(brier, scores["brier_score"] - others["brier_score"], rtol=1e-9, atol=1e-12)
    energy = unbiased_energy_distance(first, counts, LINE_COST) - unbiased_energy_distance(second, counts, LINE_COST)
    np.testing.assert_allclose(energy, scores["energy_distance"] - others["energy_distance"], rtol=1e-9, atol=1e-12)


def test_with_unit_costs_the_energy_distance_is_the_brier_score():
    counts = np.random.default_rng(1).multinomial(3, TRUTH, 20)
    predictions = np.tile(PREDICTION, (20, 1))
    energy = unbiased_energy_distance(predictions, counts, 1 - np.eye(3))
    np.testing.assert_allclose(energy, unbiased_brier_score(predictions, counts), rtol=1e-9)


def test_items_with_fewer_than_two_votes_have_no_score():
    counts = [[0, 0, 0], [0, 1, 0], [0.5, 0.5, 0], [1, 1, 0]]
    predictions = np.tile(PREDICTION, (4, 1))
    for scores in (unbiased_brier_score(predictions, counts), unbiased_energy_distance(predictions, counts, COST)):
        np.testing.assert_array_equal(np.isnan(scores), [True, True, True, False])


@pytest.mark.parametrize(
    ("probs", "counts", "message"),
    [
        ([[0.5, 0.5]], [[1, 1], [2, 0]], r"category_probs has shape \(1, 2\) but target_counts has \(2, 2\)"),
        ([[0.5, 0.2]], [[1, 1]], "category_probs row 0 sums to 0.7, not 1"),
        ([[0.5, 0.5]], [[1, -2]], "target_counts row 0, category 1 is -2"),
    ],
)
def test_bad_input_is_refused(probs, counts, message):
    with pytest.raises(ValueError, match=message):
        unbiased_brier_score(probs, counts)
    with pytest.raises(ValueError, match=message):
        unbiased_energy_distance(probs, counts, [[0, 1], [1, 0]])
