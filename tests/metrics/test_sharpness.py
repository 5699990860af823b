"""Predicted disagreement against loops and stock functions, observed disagreement against a known population."""

import numpy as np
import pytest
import scipy.stats
import torch

from trl_dprm.metrics import attainable_nats, compare_sharpness, sharpness
from trl_dprm.models.distributions import reward_variance

REWARDS = [-2.0, 0.5, 1.0]
COST = np.array([[0.0, 1.0, 2.5], [1.0, 0.0, 3.0], [2.5, 3.0, 0.0]])
RNG = np.random.default_rng(4)
PROBS = np.concatenate([RNG.dirichlet(np.ones(3), 30), [[1.0, 0.0, 0.0]]])


@pytest.mark.parametrize("weight", [None, RNG.integers(0, 4, 31)])
def test_sharpness_against_other_code(weight):
    of_draws = [sum(q[i] * q[j] * COST[i][j] for i in range(3) for j in range(3)) for q in PROBS]
    per_item = [
        scipy.stats.entropy(PROBS, axis=1),
        reward_variance(torch.from_numpy(PROBS), REWARDS).numpy(),
        of_draws,
    ]
    expected = [np.average(values, weights=weight) for values in per_item]
    np.testing.assert_allclose(sharpness(PROBS, REWARDS, COST, weight), expected, rtol=1e-10)


def population(num_items=6000):
    generator = np.random.default_rng(5)
    truth = generator.dirichlet([0.7, 1.2, 0.6], num_items)
    return truth, generator.multinomial(generator.integers(1, 6, num_items), truth)


def test_the_truth_is_as_sharp_as_it_looks():
    truth, counts = population()
    comparison = compare_sharpness(truth, counts, REWARDS, COST)
    np.testing.assert_allclose(comparison.observed, comparison.predicted, atol=0.02)


def test_overconfidence_lies_below_and_ignorance_above_what_is_observed():
    truth, counts = population()
    sharpened = truth**2 / (truth**2).sum(axis=1, keepdims=True)
    over = compare_sharpness(sharpened, counts, REWARDS, COST)
    ignorant = compare_sharpness(np.tile(truth.mean(axis=0), (len(truth), 1)), counts, REWARDS, COST)
    for predicted, observed in zip(over.predicted, over.observed, strict=True):
        assert predicted < observed - 0.1
    for predicted, observed in zip(ignorant.predicted, ignorant.observed, strict=True):
        assert predicted > observed + 0.1
    assert over.observed == ignorant.observed


def test_both_sides_speak_of_the_items_with_two_votes():
    truth, counts = population(300)
    several = counts.sum(axis=1) > 1
    votes = counts[several].sum(axis=1)
    comparison = compare_sharpness(truth, counts, REWARDS, COST)
    assert comparison == compare_sharpness(truth[several], counts[several], REWARDS, COST)
    assert comparison.predicted == sharpness(truth[several], REWARDS, COST, votes)
    variances = [np.repeat(REWARDS, row).var(ddof=1) for row in counts[several]]
    assert comparison.observed.reward_variance == pytest.approx(np.average(variances, weights=votes), rel=1e-10)
    assert comparison.observed.entropy == attainable_nats(counts[several]).dirichlet_multinomial


@pytest.mark.parametrize(
    ("counts", "rewards", "cost", "message"),
    [
        (
            [[1, 0]],
            [0, 1],
            [[0, 1], [1, 0]],
            "target_counts has no item with two votes; one vote shows no disagreement",
        ),
        ([[1, 1]], [0], [[0, 1], [1, 0]], "category_rewards has 1 entries where 2 are needed"),
        ([[1, 1]], [0, 1], [[0]], r"cost_matrix has shape \(1, 1\) for 2 categories"),
    ],
)
def test_bad_input_is_refused(counts, rewards, cost, message):
    with pytest.raises(ValueError, match=message):
        compare_sharpness([[0.5, 0.5]], counts, rewards, cost)
