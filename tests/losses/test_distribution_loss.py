"""The configured sum of losses: each term is the public function, and every mistake is found at construction."""

import warnings

import pytest
import torch

from trl_dprm.losses import (
    DISTRIBUTION_LOSSES,
    DistributionLoss,
    brier_score,
    cross_entropy_loss,
    energy_distance,
    optimal_transport_distance,
    ranked_probability_score,
    wasserstein_distance,
)

LINE = [0.0, 1.0, 3.0, 3.0]
LINE_COST = [[abs(a - b) for a in LINE] for b in LINE]
GRID = [[0, 1, 1, 2], [1, 0, 2, 1], [1, 2, 0, 1], [2, 1, 1, 0]]
LOGITS = torch.randn(5, 4, dtype=torch.float64, generator=torch.manual_seed(0))
PROBS = LOGITS.softmax(-1)
TARGETS = torch.randn(5, 4, dtype=torch.float64, generator=torch.manual_seed(1)).softmax(-1)


def test_terms_on_a_line_are_the_public_functions():
    terms = DistributionLoss(DISTRIBUTION_LOSSES, [1.0] * 5, LINE, LINE_COST, exponent=2).terms(LOGITS, TARGETS)
    expected = {
        "cross_entropy": cross_entropy_loss(LOGITS, TARGETS),
        "optimal_transport": wasserstein_distance(PROBS, TARGETS, LINE, p=2),
        "ranked_probability_score": ranked_probability_score(PROBS, TARGETS, LINE),
        "energy_distance": energy_distance(PROBS, TARGETS, LINE_COST),
        "brier_score": brier_score(PROBS, TARGETS),
    }
    assert list(terms) == list(expected) == list(DISTRIBUTION_LOSSES)
    torch.testing.assert_close(terms, expected, rtol=1e-10, atol=0)


def test_without_positions_transport_is_exact_for_the_matrix():
    loss = DistributionLoss(["optimal_transport"], [1.0], None, GRID)
    torch.testing.assert_close(loss(LOGITS, TARGETS), optimal_transport_distance(PROBS, TARGETS, GRID))


def test_weighted_sum_and_its_gradient():
    loss = DistributionLoss(["cross_entropy", "optimal_transport", "brier_score"], [1.0, 2.0, 0.0], LINE, LINE_COST)
    expected = cross_entropy_loss(LOGITS, TARGETS) + 2 * wasserstein_distance(PROBS, TARGETS, LINE)
    torch.testing.assert_close(loss(LOGITS, TARGETS), expected, rtol=1e-10, atol=0)
    assert torch.autograd.gradcheck(lambda z: loss(z, TARGETS), LOGITS.clone().requires_grad_())


def test_half_precision_logits_under_autocast():
    loss = DistributionLoss(DISTRIBUTION_LOSSES, [1.0] * 5, LINE, LINE_COST)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = loss(LOGITS.bfloat16(), TARGETS.float())
    assert autocast.dtype == torch.float32 and autocast.shape == (5,)
    assert torch.equal(autocast, loss(LOGITS.bfloat16().float(), TARGETS.float()))


def test_lists_that_are_changed_later_do_not_change_the_cost():
    cost = [row[:] for row in GRID]
    loss = DistributionLoss(["energy_distance"], [1.0], None, cost)
    before = loss(LOGITS, TARGETS)
    cost[0][1] = 100
    assert torch.equal(loss(LOGITS, TARGETS), before)


def eleven(value=1):
    return [[0 if i == j else value for i in range(11)] for j in range(11)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([], [], LINE, LINE_COST),
            r"loss_type is \[\]; give a list of names among: cross_entropy, optimal_transport,",
        ),
        (("brier_score", [1.0], LINE, LINE_COST), r"loss_type is 'brier_score'; give a list of names"),
        (
            (["wasserstein"], [1.0], LINE, LINE_COST),
            r"unknown loss 'wasserstein'; choose among: cross_entropy, .*brier_score",
        ),
        ((["brier_score"] * 2, [1.0, 1.0], LINE, LINE_COST), r"names 'brier_score' more than once"),
        ((["brier_score"], [1.0, 2.0], LINE, LINE_COST), r"loss_weights has 2 entries for 1 losses"),
        (
            (["brier_score"], [-1.0], LINE, LINE_COST),
            r"the weight of 'brier_score' is -1\.0; give finite, non-negative",
        ),
        ((["brier_score"], [float("nan")], LINE, LINE_COST), r"the weight of 'brier_score' is nan"),
        ((["brier_score"], [0.0], LINE, LINE_COST), r"loss_weights are all 0"),
        ((["brier_score"], [1.0], LINE[:3], LINE_COST), r"category_positions has 3 entries for 4 categories"),
        ((["brier_score"], [1.0], LINE, [[0, 1], [1, 1]]), r"cost\[1\]\[1\] is 1\.0; staying in a category"),
        ((["ranked_probability_score"], [1.0], None, GRID), r"needs categories on a line.*use energy_distance"),
        (
            (["optimal_transport"], [1.0], LINE, LINE_COST, 0.5),
            r"exponent is 0\.5; give a finite number of at least 1",
        ),
        ((["optimal_transport"], [1.0], None, GRID, 2), r"exponent is 2, but without category_positions"),
        ((["optimal_transport"], [1.0], None, eleven()), r"limited to 10 categories, got 11"),
    ],
)
def test_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        DistributionLoss(*arguments)


def test_a_position_that_is_not_finite_is_refused_at_construction():
    with pytest.raises(ValueError, match=r"category_positions\[3\] is inf; give a finite number"):
        DistributionLoss(["optimal_transport"], [1.0], [0.0, 1.0, 2.0, float("inf")], GRID)


def test_energy_distance_warns_where_it_is_not_proper():
    with pytest.warns(UserWarning, match=r"not a proper score for this cost_matrix.*optimal_transport"):
        DistributionLoss(["energy_distance"], [1.0], None, [[0, 1, 8], [1, 0, 1], [8, 1, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DistributionLoss(["energy_distance"], [1.0], None, GRID)
