"""Contested items against double loops over annotators and over pairs of items."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from trl_dprm.metrics import (
    contested_auroc,
    disagreement_concordance,
    disagreement_correlation,
    pairwise_disagreement,
    predicted_disagreement,
)

RNG = np.random.default_rng(12)
PROBS = RNG.dirichlet(np.ones(3) / 2, 80).round(1)  # rounded: with ties
PROBS[:, 2] = 1 - PROBS[:, 0] - PROBS[:, 1]
PROBS = PROBS.clip(0)
VOTES = RNG.integers(1, 5, 80)
COUNTS = np.array([RNG.multinomial(n, 0.7 * q / q.sum() + 0.1) for n, q in zip(VOTES, PROBS, strict=True)])
COST = [[0.0, 1.0, 3.0], [1.0, 0.0, 1.0], [3.0, 1.0, 0.0]]
DIFFER = 1 - np.eye(3)


@pytest.mark.parametrize("cost", [None, COST], ids=["differ", "cost"])
def test_disagreement_is_the_mean_over_pairs_of_annotators(cost):
    table = DIFFER if cost is None else cost
    for counts, value in zip(COUNTS, pairwise_disagreement(COUNTS, cost), strict=True):
        answers = np.repeat(range(3), counts)
        pairs = [table[a][b] for a, b in itertools.combinations(answers, 2)]
        assert math.isnan(value) if not pairs else value == pytest.approx(sum(pairs) / len(pairs), rel=1e-12)


@pytest.mark.parametrize("cost", [None, COST], ids=["differ", "cost"])
def test_predicted_disagreement_is_the_expectation_of_the_observed(cost):
    table = np.asarray(DIFFER if cost is None else cost)
    probs = PROBS[5] / PROBS[5].sum()
    total = 0.0
    for answers in itertools.product(range(3), repeat=3):
        counts = np.bincount(answers, minlength=3)
        total += np.prod(probs[list(answers)]) * pairwise_disagreement([counts], cost)[0]
    assert predicted_disagreement([probs], cost)[0] == pytest.approx(total, rel=1e-12)
    loop = sum(probs[a] * probs[b] * table[a, b] for a in range(3) for b in range(3))
    assert total == pytest.approx(loop, rel=1e-12)


def loop_over_pairs(predicted, observed):
    """Concordance over pairs of items with equally many votes, and how many pairs and items there are."""
    wins, pairs, items = 0.0, 0, set()
    for i, j in itertools.permutations(range(80), 2):
        if VOTES[i] == VOTES[j] and VOTES[i] > 1 and observed[i] > observed[j]:
            wins += 1.0 if predicted[i] > predicted[j] else 0.5 if predicted[i] == predicted[j] else 0.0
            pairs += 1
            items |= {i, j}
    return wins / pairs, pairs, len(items)


@pytest.mark.parametrize("cost", [None, COST], ids=["differ", "cost"])
def test_auroc_and_concordance_equal_a_double_loop(cost):
    predicted = predicted_disagreement(PROBS, cost)
    observed = pairwise_disagreement(COUNTS, cost).round(12)
    for result, target in (
        (contested_auroc(PROBS, COUNTS, cost), observed > 0),
        (disagreement_concordance(PROBS, COUNTS, cost), observed),
    ):
        expected = loop_over_pairs(predicted, target)
        assert result.probability == pytest.approx(expected[0], rel=1e-12)
        assert (result.num_pairs, result.num_items) == expected[1:]
        assert 0.5 < result.probability < 1  # the case says something


def test_auroc_pools_the_mann_whitney_statistics_of_the_strata():
    predicted, split, total, pairs = predicted_disagreement(PROBS), (COUNTS > 0).sum(axis=1) > 1, 0.0, 0
    for n in (2, 3, 4):
        one, other = predicted[(n == VOTES) & split], predicted[(n == VOTES) & ~split]
        total, pairs = total + mannwhitneyu(one, other).statistic, pairs + len(one) * len(other)
    result = contested_auroc(PROBS, COUNTS)
    assert (result.probability, result.num_pairs) == (pytest.approx(total / pairs, rel=1e-12), pairs)


def test_counting_votes_earns_nothing():
    # The prediction knows only how many votes an item has, which a plain AUROC would reward.
    votes = np.repeat([2, 6], 500)
    counts = np.random.default_rng(0).multinomial(votes, [0.8, 0.2])
    knows_votes = np.where(votes[:, None] == 2, [[0.9, 0.1]], [[0.6, 0.4]])
    result = contested_auroc(knows_votes, counts)
    assert result.probability == 0.5 and result.num_pairs > 10_000
    split = (counts > 0).all(axis=1)
    assert mannwhitneyu(votes[split], votes[~split]).statistic / (split.sum() * (~split).sum()) > 0.7


def test_correlation_weights_items_by_votes_minus_one():
    predicted, observed = predicted_disagreement(PROBS, COST), pairwise_disagreement(COUNTS, COST)
    rows = np.repeat(np.arange(80), VOTES - 1)  # as often as it has votes, less one
    expected = np.corrcoef(predicted[rows], observed[rows])[0, 1]
    assert disagreement_correlation(PROBS, COUNTS, COST) == pytest.approx(expected, rel=1e-10)


def test_without_pairs_there_is_no_number():
    result = contested_auroc([[0.5, 0.5]] * 3, [[1, 1], [2, 1], [1, 0]])
    assert math.isnan(result.probability) and result[1:] == (0, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: pairwise_disagreement([[1, 1]], np.zeros((3, 3))),
            r"cost_matrix has shape \(3, 3\) for 2 categories",
        ),
        (lambda: pairwise_disagreement([[1, 1]], [[0, -1], [1, 0]]), r"cost_matrix\[0\]\[1\] is -1"),
        (lambda: pairwise_disagreement([[1, 1]], [[1, 1], [1, 0]]), r"cost_matrix\[0\]\[0\] is 1"),
        (lambda: contested_auroc([[0.5, 0.5]], [[1.5, 0.5]]), r"target_counts row 0, category 0 is 1.5; give whole"),
        (
            lambda: contested_auroc([[0.5, 0.5]], [[1, 1], [2, 0]]),
            r"category_probs has shape \(1, 2\) but target_count",
        ),
        (lambda: disagreement_correlation([[0.5, 0.5]], [[1, 0]]), r"target_counts has no item with two votes"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
