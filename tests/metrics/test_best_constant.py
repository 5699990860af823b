"""Best constants: nothing on a fine grid of the simplex is better, nor what a linear program finds."""

import itertools

import numpy as np
import ot
import pytest
from scipy.optimize import linprog

from trl_dprm.metrics import CONSTANT_METRICS, best_constant, best_constant_metrics, item_scores, vote_shares

RNG = np.random.default_rng(5)
LINE = [0.5, -1.0, 2.0]  # not in the order of the categories
LINE_COST = np.abs(np.subtract.outer(LINE, LINE))
REWARDS = [1.0, -1.0, 0.25]
ASYMMETRIC = np.array([[0.0, 1.0, 4.0], [0.5, 0.0, 2.0], [1.0, 3.0, 0.0]])
TARGETS, VOTES = vote_shares(np.array([RNG.multinomial(n, [0.5, 0.2, 0.3]) for n in RNG.integers(1, 5, 15)]))
SIMPLEX = np.array([(a, b, 24 - a - b) for a, b in itertools.product(range(25), repeat=2) if a + b <= 24]) / 24


def mean_score(constant, metric, positions, cost):
    scores = item_scores(np.tile(constant, (len(TARGETS), 1)), TARGETS, REWARDS, positions, cost)
    return float(np.average(scores[metric], weights=VOTES))


@pytest.mark.parametrize("metric", CONSTANT_METRICS)
def test_no_distribution_on_a_grid_is_better(metric):
    constant = best_constant(TARGETS, VOTES, metric, REWARDS, LINE, LINE_COST)
    assert constant.sum() == pytest.approx(1, rel=1e-12) and (constant >= 0).all()
    reached = mean_score(constant, metric, LINE, LINE_COST)
    others = [mean_score(other, metric, LINE, LINE_COST) for other in SIMPLEX]
    assert reached <= min(others) + 1e-12
    assert reached < np.median(others)


def test_proper_scores_are_minimised_by_the_share_of_all_votes():
    counts = TARGETS * VOTES[:, None]
    for metric in ("nats_per_vote", "brier_score", "ranked_probability_score", "energy_distance"):
        constant = best_constant(TARGETS, VOTES, metric, cost_matrix=LINE_COST)
        np.testing.assert_allclose(constant, counts.sum(0) / counts.sum(), rtol=1e-10)


@pytest.mark.parametrize("cost", [LINE_COST, ASYMMETRIC], ids=["line", "asymmetric"])
def test_transport_for_a_matrix_is_the_minimum_over_the_lattice_of_its_corners(cost):
    # The objective is linear between hyperplanes "some q_k = some sum of vote shares", multiples of 1/12 for at most
    # four votes: with three categories every corner, and so the minimum, lies on a lattice of twelfths.
    def objective(q):
        return np.average([ot.emd2(q, p, cost) for p in TARGETS], weights=VOTES)

    constant = best_constant(TARGETS, VOTES, "wasserstein_distance", cost_matrix=cost)
    twelfths = SIMPLEX[(SIMPLEX * 24 % 2 == 0).all(axis=1)]
    assert len(twelfths) == 91
    assert objective(constant) == pytest.approx(min(map(objective, twelfths)), rel=1e-10)


def test_weighted_medians_of_the_cumulative_distributions_solve_the_linear_program():
    size, positions = 5, np.array([0.0, 1.0, 1.0, 2.5, 4.0])  # with a tie
    targets, weight = RNG.dirichlet(np.ones(size) / 2, 12), RNG.uniform(0.2, 3.0, 12)
    constant = best_constant(targets, weight, "wasserstein_distance", category_positions=positions)
    gaps, cdf = np.diff(positions), targets.cumsum(1)[:, :-1]
    # Variables: q (5), then t_ik >= |Q_k - P_ik| for every item and cut.
    num_cuts = cdf.size
    cumulate = np.tril(np.ones((size - 1, size)))
    above = np.hstack([np.tile(cumulate, (12, 1)), -np.eye(num_cuts)])
    below = np.hstack([-np.tile(cumulate, (12, 1)), -np.eye(num_cuts)])
    program = linprog(
        np.concatenate([np.zeros(size), np.outer(weight / weight.sum(), gaps).ravel()]),
        A_ub=np.vstack([above, below]),
        b_ub=np.concatenate([cdf.ravel(), -cdf.ravel()]),
        A_eq=np.concatenate([np.ones(size), np.zeros(num_cuts)])[None],
        b_eq=[1.0],
    )
    reached = np.average(np.abs(constant.cumsum()[:-1] - cdf) @ gaps, weights=weight)
    assert reached == pytest.approx(program.fun, rel=1e-10)


def test_line_and_matrix_reach_the_same_transport():
    on_line = best_constant(TARGETS, VOTES, "wasserstein_distance", category_positions=LINE)
    by_matrix = best_constant(TARGETS, VOTES, "wasserstein_distance", cost_matrix=LINE_COST)
    values = [mean_score(constant, "wasserstein_distance", LINE, LINE_COST) for constant in (on_line, by_matrix)]
    assert values[0] == pytest.approx(values[1], rel=1e-9)


def test_single_votes_make_the_median_category_certain():
    votes = np.eye(3)[[0, 0, 0, 2, 1]]
    constant = best_constant(votes, None, "wasserstein_distance", category_positions=[0, 1, 2])
    np.testing.assert_array_equal(constant, [1, 0, 0])


def test_the_row_of_a_table_is_chosen_on_training_targets_and_judged_on_others():
    train, test = slice(0, 9), slice(9, 15)
    geometry = REWARDS, LINE, LINE_COST
    row = best_constant_metrics(TARGETS[train], VOTES[train], TARGETS[test], VOTES[test], *geometry)
    assert tuple(sorted(row)) == tuple(sorted(CONSTANT_METRICS))
    for metric, value in row.items():
        constant = best_constant(TARGETS[train], VOTES[train], metric, *geometry)
        scores = item_scores(np.tile(constant, (6, 1)), TARGETS[test], *geometry)[metric]
        by_hand = sum(s * n for s, n in zip(scores, VOTES[test], strict=True)) / sum(VOTES[test])
        assert value == pytest.approx(by_hand, rel=1e-10)


def test_the_row_without_positions_has_no_rps_and_without_negative_type_no_energy():
    matrix = np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 1.0], [9.0, 1.0, 0.0]])
    row = best_constant_metrics(TARGETS, VOTES, TARGETS, VOTES, REWARDS, None, matrix)
    assert set(CONSTANT_METRICS) - set(row) == {"ranked_probability_score", "energy_distance"}


@pytest.mark.parametrize(
    ("metric", "arguments", "message"),
    [
        (
            "expected_reward_correlation",
            {},
            r'metric "expected_reward_correlation" has no best constant; choose one of',
        ),
        ("expected_reward_mae", {}, r'metric "expected_reward_mae" needs category_rewards; give one reward per'),
        ("wasserstein_distance", {}, r'"wasserstein_distance" needs category_positions or cost_matrix; give one of'),
        ("wasserstein_distance", {"cost_matrix": np.zeros((2, 2))}, r"cost_matrix has shape \(2, 2\); give 3 x 3"),
        (
            "wasserstein_distance",
            {"category_positions": [0, 1]},
            r"category_positions has 2 entries where 3 are needed",
        ),
        (
            "energy_distance",
            {"cost_matrix": [[0, 1, 9], [1, 0, 1], [9, 1, 0]]},
            r"cost_matrix is not of negative type, so the mean of the targets does not minimise",
        ),
    ],
)
def test_what_has_no_best_constant_is_refused(metric, arguments, message):
    with pytest.raises(ValueError, match=message):
        best_constant(TARGETS, VOTES, metric, **arguments)
