"""Optimal transport between the predicted and the target distribution: how much mass must travel, and how far?"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .arguments import check_cost_size, comparable, frozen_matrix
from .dual_vertices import DualVertices, dual_vertices
from .line import Line, line_through

_SCORES_AT_ONCE = 2**23  # bounds the memory of the search for the best vertex (64 MiB of float64)


def wasserstein_distance(
    category_probs: Tensor, target_probs: Tensor, positions: Sequence[float] | Tensor, p: float = 1
) -> Tensor:
    r"""Wasserstein distance between distributions over points on a line, in closed form.

    On a line it is optimal to match equal quantiles, so that only the cumulative distributions `Q` and `P` matter.
    With `g_k = s_(k+1) - s_k` the gaps between neighbours and `(x)^+ = max(x, 0)`,

        W_p^p = sum_k |Q_k - P_k| g_k^p  +  sum_(k<l) w_kl ((Q_k - P_l)^+ + (P_k - Q_l)^+),

    where the second sum is mass that crosses both gap `k` and gap `l`, and the weight `w_kl >= 0` (a second difference
    of `|s_i - s_j|^p`) is what such a move costs beyond its parts. It vanishes for `p = 1`, the area between `Q` and
    `P`. The *p-th power* is returned: its root has no gradient where the distributions agree.

    The loss is **not proper**: for targets that are single votes its optimum is one certain category (the median for
    `p = 1`). Aggregate the votes of an item first, or add cross-entropy.

    Args:
        category_probs (`Tensor` of shape `(..., num_categories)`): prediction, sums to 1; gradients flow.
        target_probs (`Tensor` of shape `(..., num_categories)`): sums to 1; gradients flow.
        positions (sequence of `float` or `Tensor`, length `num_categories`): where the categories lie (their rewards
            or ranks), in any order and unit. Categories at the same position are interchangeable at no cost.
        p (`float`, at least 1): the exponent.

    Returns:
        `Tensor` of shape `(...)`, the broadcast leading dimensions: `W_p^p`, in units of positions to the power `p`.
        Half-precision inputs are computed in float32.

    Raises:
        ValueError: shapes that do not fit, a position that is not finite, or `p` below 1.

    Source: Peyré & Cuturi, *Computational Optimal Transport* (2019), section 2.6. DPRM (arXiv 2402.09764) trains with
        transport and states neither cost nor solver: cost and closed form are [ours].

    Example:

    >>> certain, split = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.5, 0.0, 0.5])
    >>> wasserstein_distance(certain, split, positions=[-1.0, 0.0, 1.0])
    tensor(1.)
    >>> wasserstein_distance(certain, split, positions=[-1.0, 0.0, 1.0], p=2)
    tensor(2.)
    """
    if not (math.isfinite(p) and p >= 1):
        raise ValueError(f"p is {p}; the exponent must be a finite number of at least 1")
    category_probs, target_probs = comparable(category_probs, target_probs)
    line = line_through(positions, category_probs)
    category_cdf, target_cdf = line.cdf(category_probs), line.cdf(target_probs)
    distance = ((category_cdf - target_cdf).abs() * line.gaps**p).sum(-1)
    if p == 1:
        return distance
    crossing = category_cdf[..., :, None] - target_cdf[..., None, :]
    return distance + (crossing * _long_move_weights(line, p)).relu().sum((-2, -1))


def _long_move_weights(line: Line, p: float) -> Tensor:
    """What mass pays, beyond `gap^p` for each gap, for crossing gaps `k` and `l` in one move.

    Returns:
        `Tensor` of shape `(num_categories - 1, num_categories - 1)`: `w_kl` above the diagonal (mass that moves
        right), `-w_kl` below it (left), zero on it.

    Example: over two gaps of 1 at once, squared, costs 4 instead of 1 + 1.

    >>> _long_move_weights(line_through([0.0, 1.0, 2.0], torch.ones(3)), p=2)
    tensor([[ 0.,  2.],
            [-2.,  0.]])
    """
    cost = (line.positions[:, None] - line.positions).abs() ** p
    weights = -cost.diff(dim=0).diff(dim=1)
    return weights.triu(1) - weights.tril(-1)


def optimal_transport_distance(
    category_probs: Tensor, target_probs: Tensor, cost: Sequence[Sequence[float]] | Tensor
) -> Tensor:
    r"""Exact optimal transport for any ground cost between at most `MAX_CATEGORIES` categories.

        OT_C(q, p) = min { sum_ij T_ij C_ij : T >= 0, T 1 = q, T^T 1 = p }
                   = max { u·q + v·p : u_i + v_j <= C_ij }

    The second line is a maximum over the vertices of a polyhedron that depends on `C` only; they are listed at the
    first call for a matrix (see `dual_vertices`: milliseconds for six categories, a few seconds for ten) and
    remembered. The gradient is the optimal potential, centred to mean zero: `u` for the prediction, `v` for the
    target.

    Not proper, like every transport cost: see `wasserstein_distance`, which is cheaper and without a limit where the
    categories lie on a line.

    Args:
        category_probs (`Tensor` of shape `(..., num_categories)`): prediction, sums to 1; gradients flow.
        target_probs (`Tensor` of shape `(..., num_categories)`): sums to 1; gradients flow.
        cost (nested sequence or `Tensor` of shape `(num_categories, num_categories)`): `cost[i][j] >= 0` is the price
            of moving mass from predicted category `i` to target category `j`, `cost[i][i] = 0`. It need be neither
            symmetric nor a metric. Prefer lists: a CUDA tensor is read back at every call.

    Returns:
        `Tensor` of shape `(...)`, the broadcast leading dimensions. Half-precision inputs are computed in float32; the
        best vertex is chosen in float64.

    Raises:
        ValueError: shapes that do not fit, a matrix that is no ground cost, or more than `MAX_CATEGORIES` categories.

    Source: DPRM (arXiv 2402.09764) for the loss; enumeration of the dual vertices [ours].

    Example:

    >>> grid = [[0, 1, 1, 2], [1, 0, 2, 1], [1, 2, 0, 1], [2, 1, 1, 0]]
    >>> optimal_transport_distance(torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([0.5, 0.25, 0.0, 0.25]), grid)
    tensor(0.7500)
    """
    category_probs, target_probs = comparable(category_probs, target_probs)
    cost = frozen_matrix(cost)
    check_cost_size(cost, category_probs.shape[-1])
    vertices = dual_vertices(cost, category_probs.device)
    best = _best_vertex(category_probs.detach(), target_probs.detach(), vertices)
    category, target, offset = (part[best].to(category_probs.dtype) for part in vertices)
    return (category_probs * category).sum(-1) + (target_probs * target).sum(-1) + offset


def _best_vertex(category_probs: Tensor, target_probs: Tensor, vertices: DualVertices) -> Tensor:
    """Index of the vertex with the largest dual value, of shape `(...)`; in float64, safe from autocast and TF32."""
    marginals = torch.cat(torch.broadcast_tensors(category_probs, target_probs), dim=-1).double()
    potentials = torch.cat([vertices.category, vertices.target], dim=-1).T
    rows = max(1, _SCORES_AT_ONCE // len(vertices.offset))
    chunks = marginals.reshape(-1, marginals.shape[-1]).split(rows)
    best = [torch.addmm(vertices.offset, chunk, potentials).argmax(-1) for chunk in chunks]
    return torch.cat(best).reshape(marginals.shape[:-1])
