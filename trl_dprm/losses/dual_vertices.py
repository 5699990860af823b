r"""All vertices of the dual transport polyhedron of a small cost matrix, found without solving a linear program.

By duality the cost of moving `q` into `p` is a maximum of linear functions,

    OT(q, p) = max { u·q + v·p : u_i + v_j <= C_ij },

and the maximum is attained at a vertex. The vertices do not depend on `q` and `p`: list them once per cost matrix, and
a whole batch of transport problems is one matrix product and one maximum.

How they are listed. Give every column one unit of demand and let `A(b)` be the least cost of serving the `K` columns
from the rows when row `i` serves `b_i` of them, a recursion over the columns:

    A(b) = min_i  A(b - e_i, without the last column) + C[i, last column].

For every `a` of non-negative integers with `sum(a) = K - 1`, the problem with supplies `a_i + 1/K` has only
non-degenerate basic solutions (a partial sum of supplies is never a whole number), so its dual optimum `u(a)` is a
*unique* vertex. The same basis stays feasible when the spare unit goes to row `k` alone, therefore

    u(a)_k = A(a + e_k)  up to a constant,        v(a)_j = min_i C_ij - u(a)_i.

No vertex is missed: the tight constraints of any vertex contain a spanning tree, a tree whose row degrees are
`a_i + 1` carries a feasible flow for `a`, and so the vertex is `u(a)`. There are `binom(2K-2, K-1)` choices of `a`
(252 for K = 6); where costs are tied, several of them give the same vertex, and duplicates are dropped. Nothing is
asked of `C`: it need not be symmetric or a metric.

Source: duality as in Peyré & Cuturi, *Computational Optimal Transport* (2019), chapters 2 and 3; one tree per degree
    vector as in Postnikov, *Permutohedra, associahedra, and beyond* (2009), section 12. The recursion that reads the
    potentials off assignment costs: [ours].
"""

import functools
import math
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .arguments import Matrix, check_cost

MAX_CATEGORIES = 10


class DualVertices(NamedTuple):
    """The linear functions whose maximum is the transport cost: `category·q + target·p + offset`.

    Attributes:
        category (`Tensor` of shape `(num_vertices, num_categories)`): potentials of the prediction, mean zero per
            vertex.
        target (`Tensor` of shape `(num_vertices, num_categories)`): potentials of the target, mean zero per vertex.
        offset (`Tensor` of shape `(num_vertices,)`): the constant that centring took out.
    """

    category: Tensor
    target: Tensor
    offset: Tensor


@functools.lru_cache(maxsize=64)
def dual_vertices(cost: Matrix, device: torch.device) -> DualVertices:
    """The distinct dual vertices of `cost` in float64 on `device`, computed at the first call and remembered.

    Args:
        cost (nested tuples, `num_categories x num_categories`): cost of moving mass from row to column category.
        device (`torch.device`): where the vertices are kept.

    Raises:
        ValueError: not a ground cost, or more than `MAX_CATEGORIES` categories.

    Example:

    >>> dual_vertices(((0.0, 1.0), (3.0, 0.0)), torch.device("cpu")).category
    tensor([[-1.5000,  1.5000],
            [ 0.5000, -0.5000]], dtype=torch.float64)
    """
    check_cost(cost)
    if len(cost) > MAX_CATEGORIES:
        raise ValueError(
            f"exact transport for a cost matrix is limited to {MAX_CATEGORIES} categories, got {len(cost)}; give the "
            "categories positions on a line (wasserstein_distance has no limit), or train with energy_distance"
        )
    costs = np.array(cost)
    category = _distinct(_row_potentials(cost), costs.max())
    target = (costs - category[:, :, None]).min(axis=1)
    offset = category.mean(axis=1) + target.mean(axis=1)
    centred = [category - category.mean(axis=1, keepdims=True), target - target.mean(axis=1, keepdims=True)]
    with torch.inference_mode(False):  # a tensor born in inference mode could not be used for training later
        return DualVertices(*(torch.tensor(array, device=device) for array in (*centred, offset)))


def _row_potentials(cost: Matrix) -> np.ndarray:
    """`u(a)` of the module's docstring for every `a`, of shape `(binom(2K-2, K-1), K)`, centred."""
    size = len(cost)
    cheapest = _assignment_costs(cost)
    spares = combinations_with_replacement(range(size), size - 1)
    potentials = np.array([[cheapest[_insert(rows, spare)] for spare in range(size)] for rows in spares])
    return potentials - potentials.mean(axis=1, keepdims=True)


def _assignment_costs(cost: Matrix) -> dict[tuple[int, ...], float]:
    """`A(b)`: for every sorted tuple of K rows, the least cost of serving each column by one entry of the tuple.

    Example:

    >>> _assignment_costs(((0.0, 1.0), (3.0, 0.0)))
    {(0, 0): 1.0, (0, 1): 0.0, (1, 1): 3.0}
    """
    cheapest = {(): 0.0}
    for column in zip(*cost, strict=True):
        extended: dict[tuple[int, ...], float] = {}
        for rows, value in cheapest.items():
            for row, step in enumerate(column):
                longer = _insert(rows, row)
                extended[longer] = min(extended.get(longer, math.inf), value + step)
        cheapest = extended
    return cheapest


def _insert(rows: tuple[int, ...], row: int) -> tuple[int, ...]:
    return tuple(sorted((*rows, row)))


def _distinct(potentials: np.ndarray, scale: float) -> np.ndarray:
    """One representative, unrounded, of the vertices that agree up to rounding errors."""
    rounded = np.round(potentials / (scale or 1.0), 12) + 0.0  # + 0.0 turns -0.0 into 0.0
    return potentials[np.unique(rounded, axis=0, return_index=True)[1]]
