"""The enumeration of dual vertices against brute force over all bases, and its counts against the theory."""

import itertools
import math

import numpy as np
import pytest
import torch

from trl_dprm.losses.arguments import frozen_matrix
from trl_dprm.losses.dual_vertices import MAX_CATEGORIES, dual_vertices

CPU = torch.device("cpu")


def random_cost(size, seed=0):
    cost = np.random.default_rng(seed).uniform(0.1, 2.0, (size, size))
    np.fill_diagonal(cost, 0.0)
    return cost


def line_cost(size):
    return np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(float)


def centred_rows(array):
    return np.round(array - array.mean(axis=1, keepdims=True), 9) + 0.0


def vertices_by_brute_force(cost):
    """Every choice of 2K - 1 tight constraints that determines the potentials, kept if feasible."""
    size = len(cost)
    found = []
    for edges in itertools.combinations(itertools.product(range(size), repeat=2), 2 * size - 1):
        system = np.zeros((2 * size, 2 * size))
        for row, (i, j) in enumerate(edges):
            system[row, i] = system[row, size + j] = 1
        system[-1, 0] = 1  # u_0 = 0
        if abs(np.linalg.det(system)) < 0.5:
            continue
        potentials = np.linalg.solve(system, [*(cost[i][j] for i, j in edges), 0.0])
        if (potentials[:size, None] + potentials[size:] <= cost + 1e-12).all():
            found.append(potentials[:size])
    return np.unique(centred_rows(np.array(found)), axis=0)


@pytest.mark.parametrize("cost", [random_cost(3), random_cost(4), line_cost(3), line_cost(4), np.zeros((3, 3))])
def test_same_vertices_as_brute_force(cost):
    ours = np.unique(centred_rows(dual_vertices(frozen_matrix(cost.tolist()), CPU).category.numpy()), axis=0)
    np.testing.assert_allclose(ours, vertices_by_brute_force(cost), rtol=0, atol=1e-8)


@pytest.mark.parametrize("size", range(1, 9))
def test_generic_costs_have_as_many_vertices_as_the_product_of_simplices_has_cells(size):
    vertices = dual_vertices(frozen_matrix(random_cost(size).tolist()), CPU)
    assert len(vertices.offset) == math.comb(2 * size - 2, size - 1)


@pytest.mark.parametrize("size", range(2, 9))
def test_on_a_line_a_vertex_is_a_sign_per_gap(size):
    vertices = dual_vertices(frozen_matrix(line_cost(size).tolist()), CPU)
    signs = vertices.category.diff(dim=-1)
    torch.testing.assert_close(signs.abs(), torch.ones_like(signs))
    assert len(signs) == 2 ** (size - 1)


def test_every_vertex_is_feasible_and_tight_in_every_row_and_column():
    cost = random_cost(6, seed=3)
    category, target, offset = (part.numpy() for part in dual_vertices(frozen_matrix(cost.tolist()), CPU))
    slack = cost - category[:, :, None] - target[:, None, :] - offset[:, None, None]
    assert slack.min() > -1e-12
    assert np.abs(slack.min(axis=1)).max() < 1e-12 and np.abs(slack.min(axis=2)).max() < 1e-12


def test_too_many_categories_are_refused_with_the_remedy():
    cost = frozen_matrix(line_cost(MAX_CATEGORIES + 1).tolist())
    with pytest.raises(
        ValueError, match=rf"limited to {MAX_CATEGORIES} categories, got 11; give the categories positions"
    ):
        dual_vertices(cost, CPU)
