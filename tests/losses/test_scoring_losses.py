"""Scoring rules against scipy, double loops and each other; which of them are proper, shown on single votes."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from trl_dprm.losses import (
    brier_score,
    cross_entropy_loss,
    energy_distance,
    is_negative_type,
    ranked_probability_score,
)

UNEQUAL, TIED = [-3.0, -1.5, -1.0, 0.0, 0.5, 1.0], [1.0, 0.5, -1.0, -1.0, -1.5, -3.0]
GRID = [[abs(i // 2 - j // 2) + abs(i % 2 - j % 2) for j in range(6)] for i in range(6)]
EUCLIDEAN_GRID = [[math.hypot(i // 2 - j // 2, i % 2 - j % 2) for j in range(6)] for i in range(6)]
NOT_NEGATIVE_TYPE = [[0, 1, 8], [1, 0, 1], [8, 1, 0]]

LOSSES = {
    "cross_entropy": lambda logits, p: cross_entropy_loss(logits, p),
    "brier": lambda logits, p: brier_score(logits.softmax(-1), p),
    "rps": lambda logits, p: ranked_probability_score(logits.softmax(-1), p, UNEQUAL),
    "rps tied": lambda logits, p: ranked_probability_score(logits.softmax(-1), p, TIED),
    "energy": lambda logits, p: energy_distance(logits.softmax(-1), p, EUCLIDEAN_GRID),
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
each_strictly_proper_loss = pytest.mark.parametrize("name", ["cross_entropy", "brier", "rps", "energy"])


def random_probs(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1]))


def random_logits(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def distances(positions):
    line = np.array(positions)
    return np.abs(line[:, None] - line)


def close(ours, reference):
    torch.testing.assert_close(ours, torch.as_tensor(reference, dtype=torch.float64), rtol=1e-10, atol=1e-14)


def test_cross_entropy_equals_scipy():
    logits, p = random_logits(30, 6), random_probs(30, 6)
    q = scipy.special.softmax(logits.numpy(), axis=-1)
    close(cross_entropy_loss(logits, p), scipy.stats.entropy(p, axis=-1) + scipy.stats.entropy(p, q, axis=-1))


def test_brier_equals_loop():
    q, p = random_probs(5, 6, seed=1), random_probs(5, 6, seed=2)
    close(brier_score(q, p), [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x, y in zip(q, p, strict=True)])


@pytest.mark.parametrize("positions", [UNEQUAL, TIED])
def test_ranked_probability_score_is_the_squared_area_between_cumulative_distributions(positions):
    """scipy's energy distance on a line is sqrt(2 * integral (Q - P)^2)."""
    q, p = random_probs(30, 6, seed=1), random_probs(30, 6, seed=2)
    reference = [scipy.stats.energy_distance(positions, positions, a, b) ** 2 / 2 for a, b in zip(q, p, strict=True)]
    close(ranked_probability_score(q, p, positions), reference)


def test_ranked_probability_score_of_a_vote_is_the_crps():
    """CRPS(q, y) = E|X - y| - E|X - X'| / 2."""
    q, cost = random_probs(6, seed=3).numpy(), distances(UNEQUAL)
    reference = cost @ q - q @ cost @ q / 2
    close(ranked_probability_score(torch.from_numpy(q), torch.eye(6, dtype=torch.float64), UNEQUAL), reference)


@pytest.mark.parametrize("cost", [GRID, distances(TIED), NOT_NEGATIVE_TYPE], ids=["grid", "line", "not negative type"])
def test_energy_distance_equals_its_definition(cost):
    cost = np.array(cost, dtype=float)
    q, p = random_probs(30, len(cost), seed=1), random_probs(30, len(cost), seed=2)
    reference = [2 * a @ cost @ b - a @ cost @ a - b @ cost @ b for a, b in zip(q.numpy(), p.numpy(), strict=True)]
    torch.testing.assert_close(energy_distance(q, p, cost.tolist()), torch.tensor(reference), rtol=1e-10, atol=1e-13)


def test_energy_distance_of_an_asymmetric_cost_is_that_of_the_mean_of_both_directions():
    cost = np.random.default_rng(0).uniform(0, 1, (6, 6)) * (1 - np.eye(6))
    q, p = random_probs(30, 6, seed=1), random_probs(30, 6, seed=2)
    close(energy_distance(q, p, cost), energy_distance(q, p, (cost + cost.T) / 2))


@each_loss
def test_gradients_through_logits_of_both_sides(loss):
    logits = random_logits(2, 5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z[0], z[1].softmax(-1)), logits)


@pytest.mark.parametrize("name", ["brier", "rps", "energy"])
def test_zero_only_between_equals(name):
    logits, p = random_logits(50, 6), random_probs(50, 6)
    assert (LOSSES[name](logits, logits.softmax(-1)) == 0).all()
    assert (LOSSES[name](logits, p) > 1e-4).all()


@each_strictly_proper_loss
def test_single_votes_are_best_answered_by_their_distribution(name):
    """Strictly proper: against votes drawn from `p` every other prediction is worse; the gradient vanishes at `p`."""
    p, votes, loss = random_probs(6, seed=4), torch.eye(6, dtype=torch.float64), LOSSES[name]

    def expected(logits):
        return (p * loss(logits.unsqueeze(-2), votes)).sum(-1)

    truth = p.log().requires_grad_()
    at_truth = expected(truth)
    assert torch.autograd.grad(at_truth, truth)[0].abs().max() < 1e-12
    assert (expected(truth.detach() + random_logits(500, 6)) > at_truth).all()


def test_tied_positions_make_the_ranked_probability_score_proper_but_not_strictly():
    q, p = torch.tensor([0.0, 0.0, 0.7, 0.3, 0.0, 0.0]), torch.tensor([0.0, 0.0, 0.1, 0.9, 0.0, 0.0])
    assert ranked_probability_score(q, p, TIED) == 0


def test_on_a_grid_city_block_costs_see_the_marginals_only():
    """Good on both axes or on neither, against good on exactly one: the same marginals, the opposite correlation."""
    q, p = torch.tensor([0.5, 0.0, 0.0, 0.5, 0.0, 0.0]), torch.tensor([0.0, 0.5, 0.5, 0.0, 0.0, 0.0])
    assert energy_distance(q, p, GRID) == 0
    assert energy_distance(q, p, EUCLIDEAN_GRID) > 0.2


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (GRID, True),
        (EUCLIDEAN_GRID, True),
        (distances(TIED), True),
        (distances(UNEQUAL) ** 2, True),
        (distances(UNEQUAL) ** 2.5, False),
        (NOT_NEGATIVE_TYPE, False),
        ([[0]], True),
        ([[0, 0], [0, 0]], True),
    ],
)
def test_negative_type(cost, expected):
    assert is_negative_type(cost) is expected


def test_energy_distance_can_be_negative_for_a_cost_that_is_not_of_negative_type():
    q, p = torch.tensor([0.5, 0.0, 0.5]), torch.tensor([0.0, 1.0, 0.0])
    assert energy_distance(q, p, NOT_NEGATIVE_TYPE) == 2 * 1 - 4


@each_loss
def test_batch_equals_loop_and_leading_dimensions_broadcast(loss):
    logits, p = random_logits(4, 1, 6), random_probs(3, 6)
    batch = loss(logits, p)
    assert batch.shape == (4, 3)
    close(batch, torch.stack([torch.stack([loss(z, t) for t in p]) for z in logits[:, 0]]))


@each_loss
def test_half_precision_under_autocast_is_computed_in_float32(loss):
    logits, p = random_logits(64, 6).bfloat16(), random_probs(64, 6).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = loss(logits.float(), p)
    assert autocast.dtype == torch.float32
    assert torch.equal(autocast, loss(logits.float(), p.float()))


def test_half_precision_logits_are_upcast_before_the_softmax():
    logits, p = random_logits(64, 6).bfloat16(), random_probs(64, 6).bfloat16()
    assert torch.equal(cross_entropy_loss(logits, p), cross_entropy_loss(logits.float(), p.float()))


@each_loss
@pytest.mark.parametrize("extreme", [1e4, 1e30])
def test_extreme_logits_give_finite_losses_and_gradients(loss, extreme):
    logits = torch.tensor([-extreme, extreme, 0.0, 1.0, 2.0, 3.0], requires_grad=True)
    value = loss(logits, torch.tensor([0.5, 0.0, 0.1, 0.1, 0.1, 0.2]))
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all()


def test_constants_first_made_in_inference_mode_serve_training():
    logits, p, cost = random_logits(3, 6), random_probs(3, 6), (np.array(GRID) * 17.25).tolist()
    positions = [17.25, *range(5)]
    with torch.inference_mode():
        energy_distance(logits.softmax(-1), p, cost)
        ranked_probability_score(logits.softmax(-1), p, positions)
    logits.requires_grad_()
    q = logits.softmax(-1)
    (energy_distance(q, p, cost) + ranked_probability_score(q, p, positions)).sum().backward()
    assert logits.grad.abs().sum() > 0


HALVES = torch.tensor([0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: cross_entropy_loss(HALVES, torch.ones(3) / 3),
            r"category_logits has 2 categories \(last dimension\)",
        ),
        (
            lambda: brier_score(HALVES, torch.ones(3) / 3),
            r"category_probs has 2 .* target_probs has 3; give both the same",
        ),
        (lambda: ranked_probability_score(HALVES, HALVES, [0.0]), r"positions has 1 entries for 2 categories"),
        (lambda: energy_distance(HALVES, HALVES, [[0]]), r"cost is 1 x 1 but there are 2 categories"),
        (lambda: energy_distance(HALVES, HALVES, [[0, 1], [1, 2]]), r"cost\[1\]\[1\] is 2\.0; staying in a category"),
        (lambda: is_negative_type([[0, -1], [1, 0]]), r"cost\[0\]\[1\] is -1\.0; give finite, non-negative costs"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@each_loss
def test_cuda_equals_cpu(loss):
    logits, p = random_logits(100, 6), random_probs(100, 6)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        on_cuda = loss(logits.float().cuda().requires_grad_(), p.float().cuda())
        on_cuda.sum().backward()
    torch.testing.assert_close(on_cuda.double().cpu(), loss(logits, p), rtol=1e-5, atol=1e-6)
