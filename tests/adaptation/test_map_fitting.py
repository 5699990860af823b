"""Maps fitted to votes: against optimisers that share nothing with ours, a grid, limits, and known truth."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from trl_dprm.adaptation import LogitMap, fit_logit_map

K = 4


def simulated(num_items, votes, matrix=None, bias=None, seed=0):
    """Logits that differ in size, with an arbitrary constant per item, and votes of the mapped population."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(num_items, K)) * 1.5 + [0.5, 0.0, -0.5, 0.3]
    truth = LogitMap(np.eye(K) if matrix is None else matrix, np.zeros(K) if bias is None else bias)
    counts = np.array([draw.multinomial(votes, p) for p in truth.probs(logits)])
    return logits + draw.normal(size=(num_items, 1)) * 3, counts, truth


def nats(log_probs, counts):
    return -(counts * log_probs).sum()


def penalised(matrix, bias, logits, counts, weight):
    """The documented loss, in its own words, in torch: centred, double precision, differentiable."""
    logits, counts = torch.tensor(logits), torch.tensor(counts, dtype=torch.float64)
    centred = logits - logits.mean(1, keepdim=True)
    scale = (centred.square().sum(1).mean() / (K - 1)).sqrt()
    log_probs = (centred @ matrix.T + bias).log_softmax(1)
    shift = bias - bias.mean()
    change = matrix - torch.eye(K, dtype=torch.float64)
    one = torch.full((K, K), 1 / K, dtype=torch.float64)
    change = change - one @ change - change @ one + one @ change @ one  # what the softmax can see
    return -(counts * log_probs).sum() + weight / 2 * (shift.square().sum() + scale**2 * change.square().sum())


def by_lbfgs(kind, logits, counts, weight, with_bias=True):
    """Another parametrisation (all K × K and K numbers, none left out), automatic gradients, L-BFGS."""
    slope = torch.zeros((K, K) if kind == "matrix" else (), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(K, dtype=torch.float64, requires_grad=True)
    free = {"temperature": [slope], "bias": [bias], "matrix": [slope, bias] if with_bias else [slope]}[kind]
    optimizer = torch.optim.LBFGS(
        free, max_iter=2000, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def map_now():
        one = torch.eye(K, dtype=torch.float64)
        return (one + slope if kind == "matrix" else (1 + slope) * one), bias

    def closure():
        optimizer.zero_grad()
        loss = penalised(*map_now(), logits, counts, weight)
        loss.backward()
        return loss

    optimizer.step(closure)
    matrix, shift = (part.detach().numpy() for part in map_now())
    centred = logits - logits.mean(1, keepdims=True)
    return log_softmax(centred @ matrix.T + shift, axis=1)


@pytest.mark.parametrize("weight", [0.5, 20.0])
@pytest.mark.parametrize(
    ("kind", "with_bias"), [("temperature", True), ("bias", True), ("matrix", True), ("matrix", False)]
)
def test_the_estimate_is_that_of_another_optimiser(kind, with_bias, weight):
    logits, counts, _ = simulated(40, 3, bias=[0.8, 0.0, -0.5, -0.3], seed=1)
    fitted = fit_logit_map(logits, counts, kind, weight, with_bias)
    expected = by_lbfgs(kind, logits, counts, weight, with_bias)
    np.testing.assert_allclose(fitted.logit_map.log_probs(logits), expected, rtol=0, atol=1e-6)
    assert fitted.logit_map.has_bias == (kind != "temperature" and with_bias)


def test_maximum_likelihood_is_the_limit_of_a_weak_prior():
    logits, counts, _ = simulated(60, 5, bias=[0.8, 0.0, -0.5, -0.3])

    def loss(parameters):
        return nats(log_softmax(logits + np.append(parameters, 0.0), axis=1), counts)

    found = minimize(loss, np.zeros(K - 1), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    expected = np.append(found.x, 0.0)
    for weight in (0.0, 1e-9):
        fitted = fit_logit_map(logits, counts, "bias", weight).logit_map
        np.testing.assert_allclose(fitted.bias, expected - expected.mean(), rtol=0, atol=1e-6)


def test_maximum_likelihood_counts_each_vote_once_whatever_the_model_is_worth():
    """Items of 1 to 9 votes: a discount of several votes of one item would move the estimate."""
    logits, _, truth = simulated(40, 1, matrix=0.6 * np.eye(K), seed=3)
    draw = np.random.default_rng(4)
    counts = np.array([draw.multinomial(draw.integers(1, 10), p) for p in truth.probs(logits)])

    def by_scipy(votes):
        options = {"bounds": (0.01, 5), "method": "bounded", "options": {"xatol": 1e-9}}
        return minimize_scalar(lambda slope: nats(log_softmax(slope * logits, axis=1), votes), **options).x

    fitted = fit_logit_map(logits, counts, "temperature", 0, prior_strength=1.0).logit_map
    assert fitted.matrix[0, 0] == pytest.approx(by_scipy(counts), abs=1e-6)
    of_item = counts.sum(1, keepdims=True)
    assert abs(by_scipy(counts * 2 / (1 + of_item)) - by_scipy(counts)) > 1e-3


@pytest.mark.parametrize("kind", ["temperature", "bias", "matrix"])
def test_a_strong_prior_leaves_the_identity(kind):
    logits, counts, _ = simulated(30, 5, bias=[2.0, 0.0, -2.0, 0.0])
    nearly = fit_logit_map(logits, counts, kind, 1e9).logit_map
    np.testing.assert_allclose(nearly.matrix, np.eye(K), rtol=0, atol=1e-5)
    np.testing.assert_allclose(nearly.bias, 0, rtol=0, atol=1e-5)
    assert fit_logit_map(logits, counts, kind, np.inf).logit_map.is_identity


@pytest.mark.parametrize("kind", ["bias", "matrix"])
def test_a_known_map_is_recovered_from_many_votes(kind):
    draw = np.random.default_rng(5)
    change = draw.normal(size=(K, K)) * 0.3 if kind == "matrix" else np.zeros((K, K))
    change -= change.mean(1, keepdims=True)
    logits, counts, truth = simulated(4000, 50, np.eye(K) + change, [0.8, 0.0, -0.5, -0.3])
    fitted = fit_logit_map(logits, counts, kind).logit_map
    error = fitted.probs(logits) - truth.probs(logits)
    assert np.abs(error).max() < 0.015
    np.testing.assert_allclose(fitted.bias, truth.bias - truth.bias.mean(), rtol=0, atol=0.03)


@pytest.mark.parametrize("truth", [0.4, 1.0, 2.5])
def test_temperature_has_the_least_nats_on_a_grid(truth):
    logits, counts, _ = simulated(200, 5, matrix=truth * np.eye(K))
    grid = np.linspace(0.05, 4, 4001)
    best = grid[np.argmin([nats(log_softmax(slope * logits, axis=1), counts) for slope in grid])]
    fitted = fit_logit_map(logits, counts, "temperature", 0).logit_map
    np.testing.assert_allclose(fitted.matrix, best * np.eye(K), rtol=0, atol=1e-3)


def test_votes_against_the_model_flatten_it_and_never_turn_it_round():
    logits, counts, _ = simulated(100, 5, matrix=-np.eye(K))
    slope = fit_logit_map(logits, counts, "temperature", 0).logit_map.matrix[0, 0]
    assert slope == pytest.approx(1e-3)


def test_a_constant_added_to_logits_and_items_without_votes_change_nothing():
    logits, counts, _ = simulated(20, 5)
    expected = fit_logit_map(logits, counts, "matrix", 1.0).logit_map
    padded = np.concatenate([logits - 100 * np.arange(20)[:, None], np.ones((5, K))])
    again = fit_logit_map(padded, np.concatenate([counts, np.zeros((5, K))]), "matrix", 1.0)
    np.testing.assert_allclose(again.logit_map.matrix, expected.matrix, rtol=0, atol=1e-9)
    np.testing.assert_allclose(again.logit_map.bias, expected.bias, rtol=0, atol=1e-9)
    assert (again.num_items, again.num_votes) == (20, 100)


def test_the_order_of_the_categories_does_not_matter():
    logits, counts, _ = simulated(20, 5)
    order = [2, 0, 3, 1]
    plain = fit_logit_map(logits, counts, "matrix").logit_map
    permuted = fit_logit_map(logits[:, order], counts[:, order], "matrix").logit_map
    np.testing.assert_allclose(permuted.matrix, plain.matrix[np.ix_(order, order)], rtol=0, atol=1e-9)
    np.testing.assert_allclose(permuted.bias, plain.bias[order], rtol=0, atol=1e-9)


def test_the_average_is_the_posterior_mean_that_integration_gives():
    """Two categories, biases only: one free number, its posterior under the mixture prior integrated on a grid."""
    logits = np.random.default_rng(0).normal(size=(30, 2))
    counts = np.random.default_rng(1).multinomial(2, [0.3, 0.7], 30)
    change = np.linspace(-5, 5, 4001)
    likelihood = np.array(
        [(counts * log_softmax(logits + np.array([-c, c]) / np.sqrt(2), axis=1)).sum() for c in change]
    )
    likelihood = np.exp(likelihood - likelihood.max())
    deviations = 1 / np.sqrt([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0])
    mixture = np.exp(-(deviations**2) / (2 * 0.5**2))
    mixture /= 2 * mixture.sum()
    density = sum(
        share * np.exp(-(change**2) / (2 * d**2)) / (d * np.sqrt(2 * np.pi))
        for share, d in zip(mixture, deviations, strict=True)
    )
    step = change[1] - change[0]
    changed, unchanged = (likelihood * density).sum() * step, 0.5 * likelihood[2000]
    mean = (likelihood * density * change).sum() * step / (changed + unchanged)
    fitted = fit_logit_map(logits, counts, "bias")
    assert fitted.no_change_prob == pytest.approx(unchanged / (changed + unchanged), rel=0.05)
    np.testing.assert_allclose(fitted.logit_map.bias, np.array([-mean, mean]) / np.sqrt(2), rtol=0.05)


@pytest.mark.parametrize("kind", ["temperature", "bias", "matrix"])
def test_ten_votes_do_no_harm_and_a_thousand_help(kind):
    """Excess nats over the model as it was, on the truth, averaged over populations: none shifted, then all."""
    harm, help_ = [], []
    for seed in range(30):
        shift = np.random.default_rng(seed).normal(size=K)
        for bias, votes, found in ((np.zeros(K), 1, harm), (shift, 100, help_)):
            logits, counts, truth = simulated(10, votes, bias=bias, seed=seed)
            new, _, _ = simulated(300, 1, seed=1000 + seed)
            log_probs = fit_logit_map(logits, counts, kind).logit_map.log_probs(new)
            found.append((truth.probs(new) * (log_softmax(new, axis=1) - log_probs)).sum(1).mean())
    assert np.mean(harm) < 0.005
    if kind != "temperature":
        assert np.mean(help_) < -0.1


def test_several_votes_of_one_item_count_less_the_more_they_share():
    logits, counts, _ = simulated(30, 10, bias=[1.0, 0.0, -1.0, 0.0])
    in_full = fit_logit_map(logits, counts, "bias", 4.0).logit_map
    discounted = fit_logit_map(logits, counts, "bias", 4.0, prior_strength=2.0).logit_map
    by_hand = fit_logit_map(logits, counts * 3 / 12, "bias", 4.0).logit_map
    np.testing.assert_allclose(discounted.bias, by_hand.bias, rtol=0, atol=1e-12)
    assert np.abs(discounted.bias).sum() < np.abs(in_full.bias).sum()
    single = counts * 0 + np.eye(K)[np.arange(30) % K]
    plain, same = (fit_logit_map(logits, single, "bias", 4.0, prior_strength=n0).logit_map for n0 in (None, 2.0))
    np.testing.assert_allclose(same.bias, plain.bias, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "vector"}, "kind is 'vector'; give one of identity, temperature, bias, matrix"),
        ({"prior_weight": -1.0}, "prior_weight is -1.0; give 'auto', or a number of at least 0"),
        ({"prior_weight": float("nan")}, "prior_weight is nan"),
        ({"prior_weight": True}, "prior_weight is True"),
        ({"with_bias": False}, "kind is 'bias' but with_bias is False"),
        ({"prior_strength": 0.0}, "prior_strength is 0.0; it is how many votes the model is worth"),
        ({"target_counts": [[0.0, 0.0], [0.0, 0.0]]}, "target_counts holds no votes in its 2 rows"),
        ({"target_counts": [[1.0, 0.0]]}, r"category_logits has shape \(2, 2\) and target_counts \(1, 2\)"),
        ({"target_counts": [[1.0, -1.0], [0.0, 0.0]]}, "target_counts is -1.0 at row 0, column 1"),
        ({"category_logits": [[0.0, -np.inf], [0.0, 0.0]]}, "category_logits is -inf at row 0, column 1"),
        ({"prior_weight": 0}, "the 2 votes do not determine the map with prior_weight 0: some category has none"),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = {"category_logits": [[0.0, 1.0], [1.0, 0.0]], "target_counts": [[1.0, 0.0], [1.0, 0.0]], **changes}
    with pytest.raises(ValueError, match=message):
        fit_logit_map(**arguments)


class TestLogitMap:
    def test_apply_is_the_affine_map_of_each_row(self):
        draw = np.random.default_rng(0)
        matrix, bias, logits = draw.normal(size=(K, K)), draw.normal(size=K), draw.normal(size=(2, 3, K))
        matrix -= matrix.mean(1, keepdims=True)
        logit_map = LogitMap(matrix, bias)
        by_hand = np.array(
            [
                [[sum(matrix[k, j] * z[j] for j in range(K)) + bias[k] for k in range(K)] for z in rows]
                for rows in logits
            ]
        )
        np.testing.assert_allclose(logit_map.apply(logits), by_hand, rtol=1e-12)
        np.testing.assert_allclose(logit_map.probs(logits), softmax(by_hand, axis=-1), rtol=1e-12)
        np.testing.assert_allclose(logit_map.probs(logits + 7), softmax(by_hand, axis=-1), rtol=1e-12)

    def test_after_is_one_map_after_the_other(self):
        draw = np.random.default_rng(0)
        first, second = (
            LogitMap((m := draw.normal(size=(K, K))) - m.mean(1, keepdims=True), draw.normal(size=K)) for _ in "ab"
        )
        logits = draw.normal(size=(5, K))
        np.testing.assert_allclose(second.after(first).apply(logits), second.apply(first.apply(logits)), rtol=1e-12)

    @pytest.mark.parametrize(
        ("matrix", "bias", "message"),
        [
            ([[1.0, 0.0]], [0.0, 0.0], r"matrix has shape \(1, 2\) and bias \(2,\)"),
            ([[1.0]], [0.0], "for K >= 2 categories"),
            ([[1.0, 0.0], [0.0, np.nan]], [0.0, 0.0], "matrix has entries that are not finite"),
            ([[1.0, 0.0], [0.0, 2.0]], [0.0, 0.0], r"the rows of matrix sum to \[1.0, 2.0\]"),
        ],
    )
    def test_what_is_no_map_is_refused(self, matrix, bias, message):
        with pytest.raises(ValueError, match=message):
            LogitMap(matrix, bias)

    def test_logits_of_other_categories_are_refused(self):
        with pytest.raises(ValueError, match=r"category_logits has shape \(1, 3\); the map is of 2 categories"):
            LogitMap.identity(2).apply([[0.0, 0.0, 0.0]])
