"""Links against scipy in another parametrisation, a grid, a logistic regression's condition, and known boundaries."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from trl_dprm.metrics import (
    davidson_probs,
    fit_bradley_terry_scale,
    fit_davidson,
    pair_metrics,
    pair_vote_metrics,
)

RNG = np.random.default_rng(15)
CHOSEN, REJECTED = RNG.normal(size=(2, 150))
VOTES = RNG.integers(1, 6, 150)
COUNTS = RNG.multinomial(VOTES, davidson_probs(CHOSEN, REJECTED, 1.3, 0.6))


def rao_kupper_free_nats(parameters):
    """Minus the log-likelihood, written out in the scale itself and the chance of a tie between equals."""
    scale, equal_tie = parameters
    nu = 2 * equal_tie / (1 - equal_tie)
    one, other = np.exp(scale * CHOSEN), np.exp(scale * REJECTED)
    tie = nu * np.sqrt(one * other)
    total = one + other + tie
    return -(COUNTS * np.log(np.stack([one, tie, other], axis=1) / total[:, None])).sum()


def test_davidson_equals_scipy_in_another_parametrisation():
    link = fit_davidson(CHOSEN, REJECTED, COUNTS)
    found = minimize(rao_kupper_free_nats, [1.0, 0.3], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9})
    assert link.boundaries == ()
    assert link.scale == pytest.approx(found.x[0], rel=1e-5)
    assert link.tie_propensity == pytest.approx(2 * found.x[1] / (1 - found.x[1]), rel=1e-5)


def test_no_link_on_a_grid_is_better():
    link = fit_davidson(CHOSEN, REJECTED, COUNTS)

    def nats(scale, tie_propensity):
        return pair_vote_metrics(davidson_probs(CHOSEN, REJECTED, scale, tie_propensity), COUNTS)["three_way_nats"]

    best = nats(link.scale, link.tie_propensity)
    grid = [nats(link.scale * a, link.tie_propensity * b) for a in (0.5, 0.99, 1.01, 2) for b in (0.5, 0.99, 1.01, 2)]
    assert best < min(grid)


def test_the_fit_matches_the_moments_of_the_votes():
    # First-order conditions of a multinomial logit: expected ties and expected lead are the observed ones.
    link = fit_davidson(CHOSEN, REJECTED, COUNTS)
    probs = davidson_probs(CHOSEN, REJECTED, link.scale, link.tie_propensity)
    assert VOTES @ probs[:, 1] == pytest.approx(COUNTS[:, 1].sum(), rel=1e-7)
    lead = (CHOSEN - REJECTED) @ (COUNTS[:, 0] - COUNTS[:, 2])
    assert (VOTES * (CHOSEN - REJECTED)) @ (probs[:, 0] - probs[:, 2]) == pytest.approx(lead, rel=1e-7)


def test_many_votes_find_the_truth():
    chosen, rejected = np.random.default_rng(0).normal(size=(2, 2000))
    counts = np.random.default_rng(1).multinomial(50, davidson_probs(chosen, rejected, 2.0, 0.4))
    link = fit_davidson(chosen, rejected, counts)
    assert (link.scale, link.tie_propensity) == pytest.approx((2.0, 0.4), rel=0.02)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_the_unit_of_the_rewards_does_not_matter(unit):
    link, other = fit_davidson(CHOSEN, REJECTED, COUNTS), fit_davidson(unit * CHOSEN, unit * REJECTED, COUNTS)
    assert other.scale * unit == pytest.approx(link.scale, rel=1e-7)
    assert other.tie_propensity == pytest.approx(link.tie_propensity, rel=1e-7)
    share = COUNTS[:, 0] / VOTES + COUNTS[:, 1] / VOTES / 2
    scale = fit_bradley_terry_scale(CHOSEN, REJECTED, share, VOTES).scale
    other = fit_bradley_terry_scale(unit * CHOSEN, unit * REJECTED, share, VOTES).scale
    assert other * unit == pytest.approx(scale, rel=1e-7)


def test_the_names_of_the_responses_do_not_matter():
    link, turned = fit_davidson(CHOSEN, REJECTED, COUNTS), fit_davidson(REJECTED, CHOSEN, COUNTS[:, ::-1])
    assert turned[:2] == pytest.approx(link[:2], rel=1e-7)


def test_bradley_terry_scale_minimises_the_log_loss():
    share = RNG.binomial(VOTES, 1 / (1 + np.exp(-0.8 * (CHOSEN - REJECTED)))) / VOTES
    link = fit_bradley_terry_scale(CHOSEN, REJECTED, share, VOTES)

    def loss(scale):
        return pair_metrics(CHOSEN, REJECTED, share, VOTES, scale)["pair_log_loss"]

    fitted = minimize(lambda log_scale: loss(float(np.exp(log_scale[0]))), [0.0], tol=1e-10).x[0]
    assert link.boundary is None and link.scale == pytest.approx(math.exp(fitted), rel=1e-5)
    assert loss(link.scale) < min(loss(0.98 * link.scale), loss(1.02 * link.scale))


def test_davidson_without_ties_is_the_bradley_terry_fit():
    counts = COUNTS * [1, 0, 1] + [1, 0, 1]
    votes = counts.sum(axis=1)
    link = fit_davidson(CHOSEN, REJECTED, counts)
    two_ways = fit_bradley_terry_scale(CHOSEN, REJECTED, counts[:, 0] / votes, votes)
    assert link == (two_ways.scale, 0.0, ("no ties",))


UP, ZERO = [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([[0, 1, 1], [0, 0, 2], [1, 1, 0]], (0.0, 1.0, ("zero scale",))),  # the votes run against the rewards
        ([[0, 3, 0], [1, 0, 0], [1, 0, 0]], (math.inf, math.nan, ("infinite scale",))),  # ties below, wins above
        ([[1, 1, 0], [1, 0, 0], [1, 0, 0]], (math.inf, math.nan, ("infinite scale",))),  # both at the same lead
        ([[0, 1, 0], [0, 2, 0], [0, 1, 0]], (math.nan, math.inf, ("only ties",))),
        ([[1, 0, 0], [1, 0, 0], [1, 0, 0]], (math.inf, 0.0, ("no ties", "infinite scale"))),
        ([[0, 0, 1], [0, 0, 1], [1, 0, 0]], (0.0, 0.0, ("no ties", "zero scale"))),
    ],
)
def test_boundaries_of_davidson_are_named(counts, expected):
    link = fit_davidson(UP, ZERO, counts)
    assert link.boundaries == expected[2]
    assert link[:2] == pytest.approx(expected[:2], nan_ok=True)


def test_at_an_infinite_scale_the_likelihood_really_grows_without_end():
    counts = np.array([[0, 3, 0], [1, 0, 0], [1, 0, 0]])
    nats = [
        pair_vote_metrics(davidson_probs(UP, ZERO, scale, math.exp(0.75 * scale)), counts)["three_way_nats"]
        for scale in (1.0, 10.0, 100.0)
    ]
    assert nats[0] > nats[1] > nats[2] and nats[2] < 1e-9


def test_a_tie_beyond_a_win_keeps_the_scale_finite():
    link = fit_davidson(UP, ZERO, [[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    assert link.boundaries == () and 0 < link.scale < 10


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ([1.0, 1.0, 1.0], (math.inf, "infinity")),
        ([0.5, 0.5, 0.5], (0.0, "zero")),
        ([0.0, 0.5, 0.2], (0.0, "zero")),
        ([0.5, 0.9, 1.0], None),
    ],
)
def test_boundaries_of_bradley_terry_are_named(share, expected):
    link = fit_bradley_terry_scale(UP, ZERO, share)
    assert link == expected if expected else (link.boundary is None and 0 < link.scale < math.inf)


def test_the_rejected_response_may_have_the_higher_reward():
    assert fit_bradley_terry_scale([1.0, 0.0], [0.0, 2.0], [1.0, 0.0]).boundary == "infinity"
    link = fit_bradley_terry_scale([1.0, 0.0], [0.0, 2.0], [1.0, 0.3])
    turned = fit_bradley_terry_scale([1.0, 2.0], [0.0, 0.0], [1.0, 0.7])
    assert link.boundary is None and link.scale == pytest.approx(turned.scale, rel=1e-9)


def test_pairs_without_weight_or_difference_do_not_make_a_scale_finite():
    link = fit_bradley_terry_scale([1.0, 2.0, 5.0], [0.0, 2.0, 0.0], [1.0, 0.5, 0.0], pair_weight=[1.0, 1.0, 0.0])
    assert link.boundary == "infinity"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_davidson(ZERO, ZERO, np.ones((3, 3))), r"chosen and rejected rewards are equal in every pair"),
        (lambda: fit_davidson(UP, ZERO, np.ones((3, 2))), r"vote_counts has shape \(3, 2\) for 3 pairs"),
        (lambda: fit_davidson(UP, ZERO, np.zeros((3, 3))), r"vote_counts row 0 has no votes"),
        (lambda: fit_davidson(UP, [0.0], np.ones((3, 3))), r"rejected_rewards has 1 entries where 3 are needed"),
        (lambda: fit_bradley_terry_scale(ZERO, ZERO), r"chosen and rejected rewards are equal in every pair"),
        (lambda: fit_bradley_terry_scale(UP, ZERO, [0, 1, 3]), r"chosen_vote_share\[2\] is 3; give a share"),
        (lambda: fit_bradley_terry_scale(UP, ZERO, None, [0, 0, 0]), r"pair_weight is zero everywhere"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
