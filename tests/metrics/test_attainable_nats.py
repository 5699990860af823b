"""The bracket against populations whose truth is known, its closed forms against integrals and loops over votes."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import xlogy
from scipy.stats import beta

from trl_dprm.metrics import attainable_nats
from trl_dprm.preferences import estimate_prior_strength

COUNTS = np.array([[3, 0], [1, 4], [2, 2], [0, 1], [5, 1], [1, 1]])


def entropy(probs):
    return -xlogy(probs, probs).sum(axis=-1)


def population(kind, num_items, generator):
    if kind == "dirichlet":
        return generator.dirichlet([0.6, 1.5, 0.4], num_items)
    if kind == "two camps":  # far from any Dirichlet distribution: every item is one of two
        return np.array([[0.85, 0.1, 0.05], [0.3, 0.3, 0.4]])[generator.integers(2, size=num_items)]
    return np.tile([0.7, 0.2, 0.1], (num_items, 1))  # "one item"


@pytest.mark.parametrize("kind", ["dirichlet", "two camps", "one item"])
@pytest.mark.parametrize("most_votes", [2, 3, 10])
def test_the_truth_lies_in_the_bracket(kind, most_votes):
    generator = np.random.default_rng(7)
    truth = population(kind, 6000, generator)
    votes = generator.integers(1, most_votes + 1, 6000)
    counts = generator.multinomial(votes, truth)
    attained = np.average(entropy(truth), weights=votes)
    nats = attainable_nats(counts)
    assert nats.low < attained < nats.high + 0.005  # in "one item" the fitted prior leaves nothing to learn
    assert nats.low < nats.dirichlet_multinomial < nats.high + 0.005
    if kind == "dirichlet":
        assert nats.dirichlet_multinomial == pytest.approx(attained, abs=0.03)


def test_many_votes_close_the_bracket():
    generator = np.random.default_rng(8)
    truth = generator.dirichlet(np.ones(3), 500)
    low, middle, high, _ = attainable_nats(generator.multinomial(400, truth))
    assert low < middle < high < low + 0.01


def test_low_is_the_entropy_of_the_votes():
    expected = np.average(entropy(COUNTS / COUNTS.sum(axis=1, keepdims=True)), weights=COUNTS.sum(axis=1))
    assert attainable_nats(COUNTS).low == pytest.approx(expected, rel=1e-12)


def test_the_middle_is_the_entropy_integrated_over_the_posterior():
    prior = estimate_prior_strength(COUNTS)
    means = []
    for row in COUNTS:
        posterior = beta(*(prior.prior_strength * prior.prior_probs + row))
        means.append(quad(lambda p, of=posterior: of.pdf(p) * entropy(np.array([p, 1 - p])), 0, 1, epsabs=1e-12)[0])
    expected = np.average(means, weights=COUNTS.sum(axis=1))
    assert attainable_nats(COUNTS).dirichlet_multinomial == pytest.approx(expected, rel=1e-7)


def test_the_middle_for_three_categories_is_the_mean_of_drawn_entropies():
    counts = np.array([[4, 1, 0], [0, 2, 2], [3, 3, 1], [0, 0, 5]])
    prior = estimate_prior_strength(counts)
    generator = np.random.default_rng(9)
    drawn = [entropy(generator.dirichlet(prior.prior_strength * prior.prior_probs + row, 100_000)) for row in counts]
    expected = np.average(np.mean(drawn, axis=1), weights=counts.sum(axis=1))
    assert attainable_nats(counts).dirichlet_multinomial == pytest.approx(expected, abs=0.003)


def test_high_is_a_loop_over_votes_that_are_left_out():
    prior = estimate_prior_strength(COUNTS)
    surprises = []
    for row in COUNTS:
        votes = np.repeat(np.arange(2), row)
        for left_out in range(len(votes)):
            others = np.delete(votes, left_out)
            seen = sum(vote == votes[left_out] for vote in others)
            share = prior.prior_probs[votes[left_out]]
            surprises.append(-math.log((seen + prior.prior_strength * share) / (len(others) + prior.prior_strength)))
    nats = attainable_nats(COUNTS)
    assert nats.high == pytest.approx(np.mean(surprises), rel=1e-10)
    assert nats.prior_strength == prior.prior_strength


def test_a_model_as_prior_brings_the_upper_end_down():
    generator = np.random.default_rng(10)
    truth = population("dirichlet", 4000, generator)
    counts = generator.multinomial(3, truth)
    attained, pooled = entropy(truth).mean(), attainable_nats(counts)
    assert attainable_nats(counts, truth).high == pytest.approx(attained, abs=0.02)
    blurred = 0.7 * truth + 0.3 * truth.mean(axis=0)
    bracket = attainable_nats(counts, blurred)
    own_nats = -(counts * np.log(blurred)).sum() / counts.sum()
    assert attained < bracket.high < min(own_nats, pooled.high)
    assert bracket.low == pooled.low


@pytest.mark.parametrize("strength", ["fitted", "infinite"])
def test_each_item_has_its_own_prior(strength):
    counts = np.array([[2, 1], [1, 2], [2, 2], [3, 0]])
    probs = np.array([[0.6, 0.4], [0.3, 0.7], [0.5, 0.5], [0.9, 0.1]])
    if strength == "fitted":
        counts = counts[:, ::-1] * [[2, 3]]
    prior = estimate_prior_strength(counts, probs)
    assert np.isfinite(prior.prior_strength) == (strength == "fitted")
    n0 = min(prior.prior_strength, 1e12)
    high, middle = 0.0, 0.0
    for row, q in zip(counts, probs, strict=True):
        for k, votes in enumerate(row):
            for _ in range(votes):
                high -= math.log((votes - 1 + n0 * q[k]) / (row.sum() - 1 + n0)) / counts.sum()
        mean = entropy(q)
        if strength == "fitted":
            mean = beta(*(n0 * q + row)).expect(lambda p: entropy(np.array([p, 1 - p])))
        middle += row.sum() * mean / counts.sum()
    nats = attainable_nats(counts, probs)
    assert nats.high == pytest.approx(high, rel=1e-9)
    assert nats.dirichlet_multinomial == pytest.approx(middle, rel=1e-6)


def test_of_a_split_vote_its_part_is_left_out():
    counts = np.array([[2.5, 0.5], [3.0, 0.0], [1.0, 2.0]])
    prior = estimate_prior_strength(counts)
    (a, b), strength = prior.prior_strength * prior.prior_probs, prior.prior_strength
    first = -(2.5 * math.log((1.5 + a) / (2 + strength)) + 0.5 * math.log((0 + b) / (2.5 + strength)))
    second = -3 * math.log((2 + a) / (2 + strength))
    third = -(math.log((0 + a) / (2 + strength)) + 2 * math.log((1 + b) / (2 + strength)))
    assert attainable_nats(counts).high == pytest.approx((first + second + third) / 9, rel=1e-10)


def test_items_that_never_disagree_have_nothing_to_disagree_about_but_single_votes():
    low, middle, high, strength = attainable_nats([[2, 0], [0, 3], [3, 0], [0, 1]])
    assert (low, middle, strength) == (0.0, 0.0, 0.0)
    assert high == pytest.approx(-math.log(4 / 9) / 9)  # the single vote is predicted by the pooled shares


def test_items_that_differ_by_chance_only_are_one_item():
    low, middle, high, strength = attainable_nats([[1, 1, 0], [1, 1, 0], [2, 2, 0]])
    assert strength == np.inf
    np.testing.assert_allclose([low, middle, high], math.log(2), rtol=1e-12)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([[1, 0], [0, 1]], "prior_strength cannot be estimated: each of the 2 items has at most one vote"),
        ([[2, 0], [0, 0]], "target_counts row 1 has no votes; leave out items that nobody judged"),
        ([[2, -1]], "target_counts row 0, category 1 is -1"),
    ],
)
def test_bad_input_is_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        attainable_nats(counts)


def test_a_prior_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"prior_probs has shape \(1, 2\) but target_counts has \(2, 2\)"):
        attainable_nats([[2, 1], [1, 1]], [[0.5, 0.5]])
