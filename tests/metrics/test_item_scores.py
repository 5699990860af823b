"""Per-item scores against scipy, POT, explicit double loops and counts by hand."""

import math

import numpy as np
import ot
import pytest
from scipy.stats import energy_distance, entropy, wasserstein_distance

from trl_dprm.losses import MAX_CATEGORIES
from trl_dprm.metrics import item_scores, nats_per_vote, transport_cost, vote_shares

RNG = np.random.default_rng(0)
LINE = np.array([-1.0, 2.0, -1.0, 0.5])  # unsorted, with a tie
LINE_COST = np.abs(np.subtract.outer(LINE, LINE))
PREDICTIONS = RNG.dirichlet(np.ones(4), 7)
TARGETS, VOTES = vote_shares(RNG.multinomial(4, np.full(4, 0.25), 7))
REWARDS = [1.0, -1.0, -1.0, 0.5]


def scores_on_the_line():
    return item_scores(PREDICTIONS, TARGETS, REWARDS, LINE, LINE_COST)


def test_scores_on_a_line_equal_scipy():
    scores = scores_on_the_line()
    pairs = list(zip(PREDICTIONS, TARGETS, strict=True))
    expected_w1 = [wasserstein_distance(LINE, LINE, q, p) for q, p in pairs]
    half_energy = [energy_distance(LINE, LINE, q, p) ** 2 / 2 for q, p in pairs]  # scipy: root of 2 * RPS
    np.testing.assert_allclose(scores["wasserstein_distance"], expected_w1, rtol=1e-10)
    np.testing.assert_allclose(scores["ranked_probability_score"], half_energy, rtol=1e-10)
    np.testing.assert_allclose(scores["energy_distance"], 2 * np.array(half_energy), rtol=1e-10)


def test_nats_are_relative_entropy_plus_entropy():
    expected = [entropy(p, q) + entropy(p) for q, p in zip(PREDICTIONS, TARGETS, strict=True)]
    np.testing.assert_allclose(scores_on_the_line()["nats_per_vote"], expected, rtol=1e-10)


def test_brier_and_reward_error_equal_loops():
    scores = scores_on_the_line()
    for i in range(len(PREDICTIONS)):
        brier = sum((PREDICTIONS[i, k] - TARGETS[i, k]) ** 2 for k in range(4))
        reward = sum(PREDICTIONS[i, k] * REWARDS[k] for k in range(4)) - sum(
            TARGETS[i, k] * REWARDS[k] for k in range(4)
        )
        assert scores["brier_score"][i] == pytest.approx(brier, rel=1e-10)
        assert scores["expected_reward_mae"][i] == pytest.approx(abs(reward), rel=1e-10)


def test_without_positions_the_matrix_rules_and_rps_is_left_out():
    grid = [[0, 1, 1, 2], [1, 0, 2, 1], [1, 2, 0, 1], [2, 1, 1, 0]]
    scores = item_scores(PREDICTIONS, TARGETS, REWARDS, None, grid)
    assert set(scores_on_the_line()) - set(scores) == {"ranked_probability_score"}
    cost = np.array(grid, dtype=float)
    expected = [ot.emd2(q, p, cost) for q, p in zip(PREDICTIONS, TARGETS, strict=True)]
    np.testing.assert_allclose(scores["wasserstein_distance"], expected, rtol=1e-10)
    energy = [2 * q @ cost @ p - q @ cost @ q - p @ cost @ p for q, p in zip(PREDICTIONS, TARGETS, strict=True)]
    np.testing.assert_allclose(scores["energy_distance"], energy, rtol=1e-10)


def test_transport_beyond_the_limit_of_the_loss_equals_pot():
    size = MAX_CATEGORIES + 2
    cost = RNG.uniform(0.1, 1, (size, size)) * (1 - np.eye(size))
    predictions, targets = RNG.dirichlet(np.ones(size), 5), RNG.dirichlet(np.ones(size) / 4, 5)
    expected = [ot.emd2(q, p, cost) for q, p in zip(predictions, targets, strict=True)]
    rounded = predictions.astype(np.float32).astype(np.float64)  # sums to 1 only within 1e-7
    np.testing.assert_allclose(transport_cost(predictions, targets, cost), expected, rtol=1e-10)
    np.testing.assert_allclose(transport_cost(rounded, targets, cost), expected, rtol=1e-5)


def test_nats_by_hand_with_zeros():
    predictions = np.array([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    targets = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    np.testing.assert_allclose(nats_per_vote(predictions, targets), [math.log(4), 0.0, math.inf], rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_read_only_and_float32_arrays_are_welcome_and_left_alone():
    constant = np.broadcast_to(np.float32([0.25, 0.25, 0.25, 0.25]), TARGETS.shape)
    scores = item_scores(constant, TARGETS, REWARDS, LINE, LINE_COST)
    expected = item_scores(np.full(TARGETS.shape, 0.25), TARGETS, REWARDS, LINE, LINE_COST)
    for name, values in expected.items():
        assert scores[name].dtype == np.float64
        np.testing.assert_array_equal(scores[name], values)


def test_perfect_predictions_have_distance_zero():
    scores = item_scores(TARGETS, TARGETS, REWARDS, LINE, LINE_COST)
    for name in set(scores) - {"nats_per_vote"}:
        np.testing.assert_array_equal(scores[name], 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"category_probs": [0.5, 0.5]}, r"category_probs has shape \(2,\); give \(num_items, num_categories\)"),
        ({"category_probs": [[0.7, 0.7]]}, r"category_probs row 0 sums to 1.4, not 1; give probabilities"),
        ({"target_probs": [[1.5, -0.5]]}, r"target_probs row 0, category 1 is -0.5; give a finite number >= 0"),
        ({"target_probs": [[np.nan, 1.0]]}, r"target_probs row 0, category 0 is nan; give a finite number >= 0"),
        ({"target_probs": np.zeros((0, 2))}, r"target_probs has shape \(0, 2\); .* at least one of each"),
        ({"target_probs": [[1.0, 0.0]] * 2}, r"category_probs has shape \(1, 2\) but target_probs has \(2, 2\)"),
        ({"category_rewards": [1.0]}, r"category_rewards has 1 entries where 2 are needed; give one for each"),
        ({"category_rewards": [1.0, np.inf]}, r"category_rewards\[1\] is inf; give finite numbers"),
        ({"category_positions": [1.0, 2.0, 3.0]}, r"positions has 3 entries for 2 categories"),
        ({"cost_matrix": [[0.0]]}, r"cost is 1 x 1 but there are 2 categories"),
    ],
)
def test_bad_input_is_refused_with_its_place(arguments, message):
    good = {
        "category_probs": [[0.5, 0.5]],
        "target_probs": [[1.0, 0.0]],
        "category_rewards": [0.0, 1.0],
        "category_positions": [0.0, 1.0],
        "cost_matrix": [[0, 1], [1, 0]],
    }
    with pytest.raises(ValueError, match=message):
        item_scores(**{**good, **arguments})


def test_counts_become_shares_and_rows_without_votes_are_refused():
    shares, weight = vote_shares([[1, 2, 1], [0, 0.5, 0]])
    np.testing.assert_array_equal(shares, [[0.25, 0.5, 0.25], [0, 1, 0]])
    np.testing.assert_array_equal(weight, [4, 0.5])
    with pytest.raises(ValueError, match=r"target_counts row 1 has no votes; leave out items that nobody judged"):
        vote_shares([[1, 2], [0, 0]])
    with pytest.raises(ValueError, match=r"target_counts row 0, category 1 is -2; give a finite number >= 0"):
        vote_shares([[1, -2]])
