import numpy as np
import pytest

from trl_dprm.preferences import DPRM_CATEGORIES, likert_categories, smooth_towards_runner_up, smooth_uniformly


def by_hand(probs, amount, guide, cost):
    """One row at a time, the candidates narrowed down step by step."""
    smoothed = []
    for row, p in enumerate(probs):
        first = int(np.argmax(p))
        others = [k for k in range(len(p)) if k != first]
        second = max(p[k] for k in others)
        candidates = [k for k in others if p[k] == second]
        if guide is not None:
            candidates = [k for k in candidates if guide[row][k] == max(guide[row][j] for j in candidates)]
        if cost is not None:
            candidates = [k for k in candidates if cost[first][k] == min(cost[first][j] for j in candidates)]
        new = list(p)
        new[first] -= amount * (p[first] - second)
        for k in candidates:
            new[k] += amount * (p[first] - second) / len(candidates)
        smoothed.append(new)
    return smoothed


def test_runner_up_equals_a_loop_over_rows():
    rng = np.random.default_rng(0)
    votes = np.vstack([rng.multinomial(4, rng.dirichlet(np.ones(6))) for _ in range(200)]) + 0.0
    probs, guide = votes / 4, rng.multinomial(3, np.ones(6) / 6, size=200) / 3
    cost = DPRM_CATEGORIES.cost_matrix
    for tie_breakers in ((guide, cost), (None, cost), (guide, None)):
        smoothed = smooth_towards_runner_up(probs, 0.2, *tie_breakers)
        np.testing.assert_allclose(smoothed, by_hand(probs, 0.2, *tie_breakers), rtol=1e-10, atol=1e-15)


def test_persona_choice_leaks_to_the_priors_second_choice_only():
    one_hot, prior = [[0.0, 0.0, 1.0, 0.0]], [[0.4, 0.1, 0.3, 0.2]]
    np.testing.assert_allclose(smooth_towards_runner_up(one_hot, 0.1, prior), [[0.1, 0.0, 0.9, 0.0]], rtol=1e-10)


def test_middle_of_a_likert_scale_leaks_to_both_neighbours():
    smoothed = smooth_towards_runner_up(np.eye(5), 0.2, cost=likert_categories(5).cost_matrix)
    np.testing.assert_allclose(smoothed[2], [0, 0.1, 0.8, 0.1, 0], rtol=1e-10)
    np.testing.assert_allclose(smoothed[0], [0.8, 0.2, 0, 0, 0], rtol=1e-10)


def test_order_never_turns_and_tied_leaders_stay():
    probs = np.random.default_rng(1).dirichlet(np.ones(4), size=100)
    smoothed = smooth_towards_runner_up(probs, 0.5)
    first = probs.argmax(axis=1)[:, None]
    leaders = np.take_along_axis(smoothed, first, 1)
    assert (leaders >= smoothed - 1e-12).all()
    np.testing.assert_allclose(smoothed.sum(axis=1), 1.0, rtol=1e-10)
    tied = [[0.5, 0.5, 0.0]]
    np.testing.assert_array_equal(smooth_towards_runner_up(tied, 0.3), tied)


def test_amount_zero_changes_nothing_and_uniform_mixes():
    probs = np.random.default_rng(2).dirichlet(np.ones(4), size=10)
    np.testing.assert_allclose(smooth_towards_runner_up(probs, 0.0), probs, rtol=1e-10)
    np.testing.assert_allclose(smooth_uniformly(probs, 0.2), 0.8 * probs + 0.05, rtol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([[1.0, 0.0]], 0.1),
            "target_probs row 0 is certain of category 0: it has no runner-up .* Give runner_up_probs",
        ),
        (([[0.6, 0.4]], 0.6), "amount is 0.6; give a number from 0 to 0.5"),
        (([[0.6, 0.5]], 0.1), "target_probs in row 0 sums to 1.1"),
        (([[0.6, 0.4]], 0.1, [[0.2, 0.3, 0.5]]), r"runner_up_probs has shape \(1, 3\)"),
        (([[0.6, 0.4]], 0.1, None, [[0.0]]), r"cost has shape \(1, 1\); give \(2, 2\)"),
        (([0.6, 0.4], 0.1), r"target_probs has shape \(2,\)"),
    ],
)
def test_refused_runner_up(arguments, message):
    with pytest.raises(ValueError, match=message):
        smooth_towards_runner_up(*arguments)


def test_refused_uniform():
    with pytest.raises(ValueError, match=r"amount is -0.1; give a number from 0 to 1"):
        smooth_uniformly([[1.0, 0.0]], -0.1)
