"""Transport on a line and for a cost matrix against scipy, POT and a linear program."""

import numpy as np
import ot
import pytest
import scipy.optimize
import scipy.stats
import torch

from trl_dprm.losses import optimal_transport_distance, wasserstein_distance

GRID = [[abs(i // 2 - j // 2) + abs(i % 2 - j % 2) for j in range(6)] for i in range(6)]
POSITIONS = {
    "sorted": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    "unequal": [-3.0, -1.5, -1.0, 0.0, 0.5, 1.0],
    "unsorted and tied": [1.0, 0.5, -1.0, -1.0, -1.5, -3.0],
    "all tied": [2.0] * 6,
}


def random_probs(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1]))


def random_shares(votes, *shape, seed=0):
    """Vote shares: many zeros and equal cumulative sums."""
    counts = np.random.default_rng(seed).multinomial(votes, np.full(shape[-1], 1 / shape[-1]), shape[:-1])
    return torch.from_numpy(counts / votes)


def random_cost(size, seed=0):
    cost = np.random.default_rng(seed).uniform(0.1, 2.0, (size, size))
    np.fill_diagonal(cost, 0.0)
    return cost


def transport_by_linear_program(q, p, cost):
    size = len(q)
    marginals = np.concatenate([np.kron(np.eye(size), np.ones(size)), np.kron(np.ones(size), np.eye(size))]).reshape(
        2 * size, size * size
    )
    return scipy.optimize.linprog(cost.ravel(), A_eq=marginals[:-1], b_eq=np.concatenate([q, p])[:-1]).fun


def close(ours, reference):
    torch.testing.assert_close(ours, torch.as_tensor(reference, dtype=torch.float64), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
def test_first_wasserstein_equals_scipy(positions):
    q, p = random_probs(40, 6, seed=1), random_probs(40, 6, seed=2)
    reference = [scipy.stats.wasserstein_distance(positions, positions, a, b) for a, b in zip(q, p, strict=True)]
    close(wasserstein_distance(q, p, positions), reference)


@pytest.mark.parametrize("exponent", [1, 1.5, 2, 3])
@pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
@pytest.mark.parametrize("draw", [random_probs, lambda *shape, seed: random_shares(4, *shape, seed=seed)])
def test_every_exponent_equals_pot(positions, exponent, draw):
    q, p, line = draw(20, 6, seed=3), draw(20, 6, seed=4), np.array(positions)
    pairs = list(zip(q.numpy(), p.numpy(), strict=True))
    cost = np.abs(line[:, None] - line) ** exponent
    ours = wasserstein_distance(q, p, positions, p=exponent)
    close(ours, [ot.emd2_1d(line, line, a, b, metric="minkowski", p=exponent) for a, b in pairs])
    close(ours, [ot.emd2(a, b, cost) for a, b in pairs])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 8])
def test_any_cost_equals_linear_program_and_pot(size):
    """Neither symmetric nor a metric: the direction (from prediction to target) shows too."""
    cost, q, p = random_cost(size, seed=size), random_probs(10, size, seed=5), random_probs(10, size, seed=6)
    pairs = list(zip(q.numpy(), p.numpy(), strict=True))
    ours = optimal_transport_distance(q, p, cost.tolist())
    close(ours, [transport_by_linear_program(a, b, cost) for a, b in pairs])
    close(ours, [ot.emd2(a, b, cost) for a, b in pairs])


@pytest.mark.parametrize("draw", [random_probs, lambda *shape, seed: random_shares(3, *shape, seed=seed)])
def test_tied_costs_equal_linear_program_and_pot(draw):
    q, p, cost = draw(30, 6, seed=7), draw(30, 6, seed=8), np.array(GRID, dtype=float)
    pairs = list(zip(q.numpy(), p.numpy(), strict=True))
    ours = optimal_transport_distance(q, p, GRID)
    close(ours, [transport_by_linear_program(a, b, cost) for a, b in pairs])
    close(ours, [ot.emd2(a, b, cost) for a, b in pairs])


def test_ten_categories_in_a_grid():
    cost = np.array([[abs(i // 5 - j // 5) + abs(i % 5 - j % 5) for j in range(10)] for i in range(10)], dtype=float)
    q, p = random_probs(5, 10, seed=1), random_probs(5, 10, seed=2)
    reference = [ot.emd2(a, b, cost) for a, b in zip(q.numpy(), p.numpy(), strict=True)]
    close(optimal_transport_distance(q, p, cost.tolist()), reference)


@pytest.mark.parametrize("exponent", [1, 2])
@pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
def test_matrix_and_line_agree_in_value_and_gradient(positions, exponent):
    line = torch.tensor(positions, dtype=torch.float64)
    cost = (line[:, None] - line).abs() ** exponent
    logits = torch.randn(30, 6, dtype=torch.float64, generator=torch.manual_seed(0), requires_grad=True)
    p = random_probs(30, 6, seed=9)
    on_line = wasserstein_distance(logits.softmax(-1), p, positions, p=exponent)
    on_matrix = optimal_transport_distance(logits.softmax(-1), p, cost)
    close(on_line, on_matrix)
    close(torch.autograd.grad(on_line.sum(), logits)[0], torch.autograd.grad(on_matrix.sum(), logits)[0])


@pytest.mark.parametrize("exponent", [1, 1.5, 2, 3])
@pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
def test_line_gradients_through_logits(positions, exponent):
    logits = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda z: wasserstein_distance(z[0].softmax(-1), z[1].softmax(-1), positions, p=exponent), logits
    )


@pytest.mark.parametrize("cost", [GRID, random_cost(6), random_cost(3)], ids=["grid", "generic", "three"])
def test_matrix_gradients_through_logits(cost):
    logits = torch.randn(2, 5, len(cost), dtype=torch.float64, generator=torch.manual_seed(2), requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda z: optimal_transport_distance(z[0].softmax(-1), z[1].softmax(-1), cost), logits
    )


def test_gradient_is_the_centred_dual_potential():
    q, p = (random_probs(6, seed=seed).requires_grad_() for seed in (1, 2))
    value = optimal_transport_distance(q, p, random_cost(6))
    value.backward()
    u, v = q.grad, p.grad
    torch.testing.assert_close(torch.stack([u.sum(), v.sum()]), torch.zeros(2, dtype=torch.float64))
    offset = value.detach() - u @ q.detach() - v @ p.detach()
    assert (u[:, None] + v + offset <= torch.from_numpy(random_cost(6)) + 1e-12).all()


@pytest.mark.parametrize("exponent", [1, 2])
def test_line_distance_is_zero_only_between_equals(exponent):
    q, p = random_probs(50, 6, seed=1), random_probs(50, 6, seed=2)
    assert (wasserstein_distance(q, q, POSITIONS["unequal"], p=exponent) == 0).all()
    assert (wasserstein_distance(q, p, POSITIONS["unequal"], p=exponent) > 1e-3).all()


def test_matrix_distance_is_zero_only_between_equals():
    q, p = random_probs(50, 6, seed=1), random_probs(50, 6, seed=2)
    assert optimal_transport_distance(q, q, GRID).abs().max() < 1e-15
    assert (optimal_transport_distance(q, p, GRID) > 1e-3).all()


def test_gradient_is_a_subgradient_where_prediction_equals_target():
    """At the kink the distance cannot fall: the gradient through the logits must be bounded, here it is zero."""
    for exponent in (1, 2):
        q = random_probs(6, seed=3).requires_grad_()
        wasserstein_distance(q, q.detach(), POSITIONS["unequal"], p=exponent).backward()
        assert (q.grad == 0).all()


@pytest.mark.parametrize("exponent", [1, 2])
def test_moving_mass_between_tied_positions_costs_nothing(exponent):
    q, p = torch.tensor([0.0, 0.0, 0.7, 0.3, 0.0, 0.0]), torch.tensor([0.0, 0.0, 0.1, 0.9, 0.0, 0.0])
    assert wasserstein_distance(q, p, POSITIONS["unsorted and tied"], p=exponent) == 0


@pytest.mark.parametrize("exponent", [1, 2])
def test_renumbering_the_categories_changes_nothing(exponent):
    q, p, order = random_probs(20, 6, seed=1), random_probs(20, 6, seed=2), [3, 0, 5, 1, 4, 2]
    positions, cost = POSITIONS["unequal"], random_cost(6)
    renumbered = [positions[k] for k in order]
    close(
        wasserstein_distance(q[:, order], p[:, order], renumbered, p=exponent),
        wasserstein_distance(q, p, positions, p=exponent),
    )
    close(
        optimal_transport_distance(q[:, order], p[:, order], cost[np.ix_(order, order)]),
        optimal_transport_distance(q, p, cost),
    )


def losses_of_two():
    yield "W1", lambda q, p: wasserstein_distance(q, p, POSITIONS["unsorted and tied"])
    yield "W2", lambda q, p: wasserstein_distance(q, p, POSITIONS["unequal"], p=2)
    yield "matrix", lambda q, p: optimal_transport_distance(q, p, GRID)


@pytest.mark.parametrize("loss", [loss for _, loss in losses_of_two()], ids=[name for name, _ in losses_of_two()])
def test_batch_equals_loop_and_leading_dimensions_broadcast(loss):
    q, p = random_probs(4, 1, 6, seed=1), random_probs(3, 6, seed=2)
    batch = loss(q, p)
    assert batch.shape == (4, 3)
    for i in range(4):
        for j in range(3):
            close(batch[i, j], loss(q[i, 0], p[j]))
    assert loss(q[:0], p[:1]).shape == (0, 1)


def test_more_rows_than_are_scored_at_once(monkeypatch):
    q, p = random_probs(50, 6, seed=1), random_probs(50, 6, seed=2)
    at_once = optimal_transport_distance(q, p, GRID)
    monkeypatch.setattr("trl_dprm.losses.transport._SCORES_AT_ONCE", 40)
    assert torch.equal(optimal_transport_distance(q, p, GRID), at_once)


@pytest.mark.parametrize("loss", [loss for _, loss in losses_of_two()], ids=[name for name, _ in losses_of_two()])
def test_half_precision_under_autocast_is_computed_in_float32(loss):
    q, p = random_probs(64, 6, seed=1).bfloat16(), random_probs(64, 6, seed=2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = loss(q, p)
    assert autocast.dtype == torch.float32
    assert torch.equal(autocast, loss(q.float(), p.float()))


@pytest.mark.parametrize("loss", [loss for _, loss in losses_of_two()], ids=[name for name, _ in losses_of_two()])
def test_float32_is_accurate(loss):
    q, p = random_probs(500, 6, seed=1), random_probs(500, 6, seed=2)
    torch.testing.assert_close(loss(q.float(), p.float()).double(), loss(q, p), rtol=1e-5, atol=1e-6)


def test_constants_first_made_in_inference_mode_serve_training():
    q, p = random_probs(3, 4, seed=1), random_probs(3, 4, seed=2)
    positions, cost = [0.0, 17.25, 3.0, 1.0], random_cost(4, seed=1725)
    with torch.inference_mode():
        wasserstein_distance(q, p, positions)
        optimal_transport_distance(q, p, cost)
    q.requires_grad_()
    (wasserstein_distance(q, p, positions) + optimal_transport_distance(q, p, cost)).sum().backward()
    assert q.grad.abs().sum() > 0


def test_single_votes_make_transport_prefer_the_median_and_no_distribution():
    """Transport is not proper: against single votes drawn from `p`, a certain category beats `p` itself."""
    p, votes = torch.tensor([0.2, 0.2, 0.6]), torch.eye(3)
    for loss in (
        lambda q: wasserstein_distance(q, votes, [0.0, 1.0, 2.0]),
        lambda q: optimal_transport_distance(q, votes, [[0, 1, 2], [1, 0, 1], [2, 1, 0]]),
    ):
        expected_at = {name: float(p @ loss(q)) for name, q in {"p": p, "median": votes[2]}.items()}
        assert expected_at["median"] == pytest.approx(0.6) and expected_at["p"] == pytest.approx(0.8)


HALVES = torch.tensor([0.5, 0.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((HALVES, HALVES, [0.0, 1.0], 0.5), r"p is 0\.5; the exponent must be a finite number of at least 1"),
        ((HALVES, HALVES, [0.0, 1.0], float("inf")), r"p is inf"),
        ((HALVES, HALVES, [0.0, 1.0, 2.0]), r"positions has 3 entries for 2 categories; give one per category"),
        ((HALVES, HALVES, [0.0, float("nan")]), r"positions\[1\] is nan; give a finite number"),
        ((HALVES, torch.ones(3) / 3, [0.0, 1.0]), r"has 2 categories \(last dimension\) but target_probs has 3"),
        (
            (HALVES.expand(2, 2), HALVES.expand(3, 2), [0.0, 1.0]),
            r"category_probs, \(2,\), and of target_probs, \(3,\)",
        ),
        ((torch.tensor(1.0), torch.tensor(1.0), [0.0]), r"category_probs has 0 categories"),
    ],
)
def test_line_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        wasserstein_distance(*arguments)


def test_lists_are_refused():
    with pytest.raises(TypeError, match=r"target_probs is a list, not a torch\.Tensor; wrap it in torch\.tensor"):
        wasserstein_distance(HALVES, [0.5, 0.5], [0.0, 1.0])


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        ([[0, 1, 1], [1, 0, 1], [1, 1, 0]], r"cost is 3 x 3 but there are 2 categories"),
        ([[0, 1], [1]], r"cost has 2 rows but row 1 has 1 entries; give a square matrix"),
        ([[0, -1], [1, 0]], r"cost\[0\]\[1\] is -1\.0; give finite, non-negative costs"),
        ([[0, 1], [float("nan"), 0]], r"cost\[1\]\[0\] is nan; give finite"),
        ([[0, 1], [1, 0.5]], r"cost\[1\]\[1\] is 0\.5; staying in a category costs nothing, set it to 0"),
    ],
)
def test_matrix_refuses(cost, message):
    with pytest.raises(ValueError, match=message):
        optimal_transport_distance(HALVES, HALVES, cost)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("loss", [loss for _, loss in losses_of_two()], ids=[name for name, _ in losses_of_two()])
def test_cuda_equals_cpu(loss):
    q, p = random_probs(100, 6, seed=1), random_probs(100, 6, seed=2)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        on_cuda = loss(q.float().cuda().requires_grad_(), p.float().cuda())
        on_cuda.sum().backward()
    torch.testing.assert_close(on_cuda.double().cpu(), loss(q, p), rtol=1e-5, atol=1e-6)
