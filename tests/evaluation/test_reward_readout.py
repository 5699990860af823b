"""Distributions read out of rewards, against another optimiser and counts by hand."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, logit

from trl_dprm.evaluation.reward_readout import fit_reward_readout


def votes_on(rewards, seed=0):
    """Votes of five people on three categories, the middle one preferred at rewards in the middle."""
    draw = np.random.default_rng(seed)
    logits = np.stack([-rewards, 1 - 0.3 * rewards**2, 0.7 * rewards], axis=1)
    return np.array([draw.multinomial(5, np.exp(row)) for row in log_softmax(logits, axis=1)])


@pytest.mark.parametrize("degree", [1, 2])
def test_is_the_likeliest_multinomial_logit(degree):
    rewards = np.random.default_rng(1).normal(3.0, 2.0, size=200)
    counts = votes_on(rewards - 3.0)
    powers = np.stack([((rewards - rewards.mean()) / rewards.std()) ** d for d in range(degree + 1)], axis=1)

    def probs(parameters):
        logits = np.concatenate([np.zeros((200, 1)), powers @ parameters.reshape(degree + 1, 2)], axis=1)
        return log_softmax(logits, axis=1)

    def nats(parameters):
        return -sum(
            count * log_prob
            for row, votes in zip(probs(parameters), counts, strict=True)
            for log_prob, count in zip(row, votes, strict=True)
        )

    best = minimize(nats, np.zeros(2 * (degree + 1)), method="BFGS")
    readout = fit_reward_readout(rewards, counts, [degree])
    assert readout.degree == degree
    got = readout.category_probs(rewards)
    np.testing.assert_allclose(got, np.exp(probs(best.x)), atol=5e-4)  # the prior is weak, not absent


def test_held_out_votes_choose_the_degree():
    rewards = np.random.default_rng(3).normal(size=400)
    draw = np.random.default_rng(4)
    straight, bent = 1 / (1 + np.exp(-2 * rewards)), 1 / (1 + np.exp(2 - 2 * rewards**2))
    for chance, degrees in ((straight, {1}), (bent, {2, 3})):
        ones = draw.binomial(5, chance)
        readout = fit_reward_readout(rewards, np.stack([5 - ones, ones], axis=1))
        assert readout.degree in degrees
        assert np.abs(readout.category_probs(rewards)[:, 1] - chance).mean() < 0.03


def test_rewards_beyond_those_that_were_seen_are_read_as_the_last_of_them():
    readout = fit_reward_readout([-1.0, 0.0, 2.0], [[3, 1], [2, 2], [1, 3]])
    np.testing.assert_array_equal(readout.category_probs([-50.0, 80.0]), readout.category_probs([-1.0, 2.0]))


def test_with_two_rewards_it_says_the_shares_of_their_votes():
    votes = [[300, 100, 0], [300, 300, 0], [50, 50, 200], [0, 0, 100]]
    readout = fit_reward_readout([-5.0, -5.0, 7.0, 7.0], votes, [1])
    np.testing.assert_allclose(readout.category_probs([-5.0]), [[0.6, 0.4, 0.0]], atol=2e-4)
    np.testing.assert_allclose(readout.category_probs([7.0]), [[0.125, 0.125, 0.75]], atol=2e-4)
    np.testing.assert_allclose(readout.coefficients.sum(axis=0), 0.0, atol=1e-12)


def test_the_unit_of_the_rewards_does_not_matter():
    rewards = np.random.default_rng(2).normal(size=50)
    counts = votes_on(rewards)
    plain, other = (fit_reward_readout(a + b * rewards, counts) for a, b in ((0.0, 1.0), (-400.0, 1000.0)))
    assert plain.degree == other.degree
    np.testing.assert_allclose(
        other.category_probs(-400.0 + 1000.0 * rewards), plain.category_probs(rewards), rtol=1e-9, atol=1e-12
    )


def test_votes_that_no_reward_contradicts_equal_rewards_and_a_single_item_have_a_readout():
    sure = fit_reward_readout([0.0, 1.0], [[9, 0], [0, 9]]).category_probs([0.0, 1.0])
    assert np.isfinite(sure).all() and sure[0, 0] > 0.99 and sure[1, 1] > 0.99
    alike = fit_reward_readout([2.0, 2.0], [[30, 10], [30, 10]]).category_probs([2.0])
    np.testing.assert_allclose(logit(alike[0, 0]), np.log(3), atol=1e-3)
    assert fit_reward_readout([2.0], [[3, 1]]).category_probs([2.0])[0, 0] == pytest.approx(0.75, abs=1e-2)


@pytest.mark.parametrize(
    ("rewards", "counts", "message"),
    [
        ([1.0, np.nan], [[1, 0], [0, 1]], "rewards"),
        ([1.0], [[1, 0], [0, 1]], "rewards"),
        ([1.0, 2.0], [[0, 0], [0, 0]], "holds no votes in its 2 rows"),
    ],
)
def test_what_cannot_be_fitted_is_refused(rewards, counts, message):
    with pytest.raises(ValueError, match=message):
        fit_reward_readout(rewards, counts)
