"""Transport losses against POT on one batch of 4,096 x 6, forward and backward: `pytest -m benchmark -s`."""

import math
import statistics
import time

import numpy as np
import ot
import pytest
import torch

from trl_dprm.losses import MAX_CATEGORIES, optimal_transport_distance, wasserstein_distance
from trl_dprm.losses.arguments import frozen_matrix
from trl_dprm.losses.dual_vertices import dual_vertices

pytestmark = pytest.mark.benchmark

BATCH, POSITIONS = 4096, [-3.0, -1.5, -1.0, 0.0, 0.5, 1.0]
LINE_COST = [[abs(a - b) for a in POSITIONS] for b in POSITIONS]
GRID = [[math.hypot(i // 2 - j // 2, i % 2 - j % 2) for j in range(6)] for i in range(6)]


def random_cost(size):
    return (np.random.default_rng(0).uniform(0.1, 2.0, (size, size)) * (1 - np.eye(size))).tolist()


def median_ratio(slow, fast, rounds):
    """How many times longer `slow` takes, the median of interleaved rounds, and both median times in seconds."""
    slow(), fast()  # warm up
    times = np.array([[seconds(slow), seconds(fast)] for _ in range(rounds)])
    return statistics.median(times[:, 0] / times[:, 1]), *np.median(times, axis=0)


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def report(name, ratio, theirs, ours):
    print(f"\n{name}: {ratio:,.1f} x (POT {theirs * 1e3:,.2f} ms, ours {ours * 1e3:,.3f} ms)", end="")


@pytest.fixture(scope="module")
def batch():
    generator = torch.manual_seed(0)
    q, p = (torch.randn(BATCH, 6, dtype=torch.float64, generator=generator).softmax(-1) for _ in range(2))
    return q.requires_grad_(), p


def backward(loss, q):
    q.grad = None
    loss.sum().backward()


def loop_over_exact_solver(q, p, cost):
    """The most favourable to POT: NumPy arrays, values only, no gradient."""
    cost = np.array(cost)
    return lambda: [ot.emd2(a, b, cost) for a, b in zip(q.detach().numpy(), p.numpy(), strict=True)]


def loop_over_exact_solver_on_torch(q, p, cost):
    cost = torch.tensor(cost, dtype=torch.float64)
    return lambda: backward(torch.stack([ot.emd2(a, b, cost) for a, b in zip(q, p, strict=True)]), q)


def test_line_transport_against_the_exact_solver_in_a_loop(batch):
    q, p = batch
    ours = lambda: backward(wasserstein_distance(q, p, POSITIONS), q)  # noqa: E731
    values = median_ratio(loop_over_exact_solver(q, p, LINE_COST), ours, rounds=5)
    report("line transport, forward + backward, against POT's emd2 in a loop, forward only", *values)
    with_gradients = median_ratio(loop_over_exact_solver_on_torch(q, p, LINE_COST), ours, rounds=3)
    report("line transport against POT's emd2 in a loop, both forward + backward", *with_gradients)
    assert values[0] >= 100 and with_gradients[0] >= 100


@pytest.mark.parametrize("p_exponent", [1, 2])
def test_line_transport_against_the_batched_one_dimensional_solver(batch, p_exponent):
    """POT's layout is (categories, batch): it gets contiguous weights in that layout, and need not sort."""
    q, p = batch
    values = torch.tensor(POSITIONS, dtype=torch.float64)[:, None].expand(-1, BATCH).contiguous()
    weights, target_weights = q.detach().T.contiguous().requires_grad_(), p.T.contiguous()

    def theirs():
        backward(ot.wasserstein_1d(values, values, weights, target_weights, p=p_exponent, require_sort=False), weights)

    ratio, *times = median_ratio(theirs, lambda: backward(wasserstein_distance(q, p, POSITIONS, p=p_exponent), q), 51)
    report(f"line transport, p = {p_exponent}, against POT's batched wasserstein_1d", ratio, *times)
    assert ratio >= 1
    torch.testing.assert_close(weights.grad.T - weights.grad.mean(0)[:, None], q.grad - q.grad.mean(1, keepdim=True))


@pytest.mark.parametrize("cost", [GRID, random_cost(6)], ids=["grid", "generic"])
def test_matrix_transport_against_the_exact_solver_in_a_loop(batch, cost):
    q, p = batch
    ours = lambda: backward(optimal_transport_distance(q, p, cost), q)  # noqa: E731
    ratio, *times = median_ratio(loop_over_exact_solver(q, p, cost), ours, rounds=5)
    report("exact transport, forward + backward, against POT's emd2 in a loop, forward only", ratio, *times)
    assert ratio >= 1


@pytest.mark.parametrize("size", [6, 8, MAX_CATEGORIES])
def test_listing_the_vertices_once(size):
    cost = frozen_matrix(random_cost(size))
    dual_vertices.cache_clear()
    elapsed = seconds(lambda: dual_vertices(cost, torch.device("cpu")))
    print(
        f"\n{size} categories: {len(dual_vertices(cost, torch.device('cpu')).offset)} vertices in {elapsed:.3f} s",
        end="",
    )
    assert elapsed < 30
