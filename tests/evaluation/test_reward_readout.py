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


def test_is_the_likeliest_multinomial_logit():
    rewards = np.random.default_rng(1).normal(3.0, 2.0, size=200)
    counts = votes_on(rewards - 3.0)

    def nats(parameters):
        logits = np.concatenate([np.zeros((200, 1)), parameters[:2] + np.outer(rewards, parameters[2:])], axis=1)
        return -sum(
            count * log_prob
            for row, votes in zip(log_softmax(logits, axis=1), counts, strict=True)
            for log_prob, count in zip(row, votes, strict=True)
        )

    best = minimize(nats, np.zeros(4), method="BFGS")
    logits = np.concatenate([np.zeros((200, 1)), best.x[:2] + np.outer(rewards, best.x[2:])], axis=1)
    got = fit_reward_readout(rewards, counts).category_probs(rewards)
    np.testing.assert_allclose(got, np.exp(log_softmax(logits, axis=1)), atol=2e-4)  # the prior is weak, not absent


def test_with_two_rewards_it_says_the_shares_of_their_votes():
    readout = fit_reward_readout([-5.0, -5.0, 7.0, 7.0], [[300, 100, 0], [300, 300, 0], [50, 50, 200], [0, 0, 100]])
    np.testing.assert_allclose(readout.category_probs([-5.0]), [[0.6, 0.4, 0.0]], atol=2e-4)
    np.testing.assert_allclose(readout.category_probs([7.0]), [[0.125, 0.125, 0.75]], atol=2e-4)
    assert np.isclose(readout.intercepts.sum(), 0.0) and np.isclose(readout.slopes.sum(), 0.0)


def test_the_unit_of_the_rewards_does_not_matter():
    rewards = np.random.default_rng(2).normal(size=50)
    counts = votes_on(rewards)
    plain, other = (fit_reward_readout(a + b * rewards, counts) for a, b in ((0.0, 1.0), (-400.0, -1000.0)))
    np.testing.assert_allclose(
        other.category_probs(-400.0 - 1000.0 * rewards), plain.category_probs(rewards), rtol=1e-9, atol=1e-12
    )


def test_votes_that_no_reward_contradicts_and_equal_rewards_have_a_readout():
    sure = fit_reward_readout([0.0, 1.0], [[9, 0], [0, 9]]).category_probs([0.0, 1.0])
    assert np.isfinite(sure).all() and sure[0, 0] > 0.99 and sure[1, 1] > 0.99
    alike = fit_reward_readout([2.0, 2.0], [[30, 10], [30, 10]]).category_probs([2.0])
    np.testing.assert_allclose(logit(alike[0, 0]), np.log(3), atol=1e-3)


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
