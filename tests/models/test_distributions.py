"""Functions of category probabilities against counts by hand and loops over annotators."""

import itertools
import math

import numpy as np
import pytest
import torch

from trl_dprm.models.distributions import (
    conditional_value_at_risk,
    expected_reward,
    lower_semideviation,
    reward_quantile,
    reward_variance,
    win_probability,
)

PAPER_REWARDS = [1.0, 0.5, -1.0, -1.0, -1.5, -3.0]  # tied, unordered as a line
LIKERT = [-1.0, -0.5, 0.0, 0.5, 1.0]
REWARDS = pytest.mark.parametrize(
    "rewards", [PAPER_REWARDS, LIKERT, [2.0, -1.0, 0.25]], ids=["paper", "likert", "mixed"]
)
RTOL = 1e-10

ONE = {
    "expected_reward": expected_reward,
    "reward_variance": reward_variance,
    "lower_semideviation": lower_semideviation,
    "cvar": lambda probs, rewards: conditional_value_at_risk(probs, rewards, 0.3),
    "quantile": lambda probs, rewards: reward_quantile(probs, rewards, 0.3),
    "win_probability": lambda probs, rewards: win_probability(probs, probs.flip(-1), rewards),
}
DIFFERENTIABLE = [name for name in ONE if name != "quantile"]


def votes(rewards, number=20, items=8, seed=0):
    """Random vote counts: `number` annotators for each item."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(number, generator.dirichlet(np.ones(len(rewards))), size=items)


def ballots(counts, rewards):
    """One reward per annotator, ascending."""
    return np.sort(np.repeat(rewards, counts))


def probs_of(counts):
    return torch.from_numpy(counts / counts.sum(-1, keepdims=True))


def close(actual, expected):
    np.testing.assert_allclose(actual.numpy(), expected, rtol=RTOL, atol=1e-14)


class TestAgainstAnnotators:
    """20 annotators per item: every quantity is a plain statistic of their rewards."""

    @REWARDS
    def test_expected_reward_and_variance(self, rewards):
        counts = votes(rewards)
        people = [ballots(row, rewards) for row in counts]
        close(expected_reward(probs_of(counts), rewards), [row.mean() for row in people])
        close(reward_variance(probs_of(counts), rewards), [row.var() for row in people])

    @REWARDS
    def test_lower_semideviation(self, rewards):
        counts = votes(rewards)
        people = [ballots(row, rewards) for row in counts]
        expected = [math.sqrt(np.mean(np.minimum(row - row.mean(), 0) ** 2)) for row in people]
        close(lower_semideviation(probs_of(counts), rewards), expected)

    @REWARDS
    @pytest.mark.parametrize("unhappy", [1, 3, 10, 20])
    def test_conditional_value_at_risk(self, rewards, unhappy):
        counts = votes(rewards)
        expected = [ballots(row, rewards)[:unhappy].mean() for row in counts]
        close(conditional_value_at_risk(probs_of(counts), rewards, unhappy / 20), expected)

    @REWARDS
    @pytest.mark.parametrize("rank", [1, 2, 10, 19, 20])
    def test_quantile(self, rewards, rank):
        counts = votes(rewards)
        expected = [ballots(row, rewards)[rank - 1] for row in counts]
        assert reward_quantile(probs_of(counts), rewards, rank / 20).tolist() == expected
        between = reward_quantile(probs_of(counts), rewards, (rank - 0.5) / 20)
        assert between.tolist() == expected

    @REWARDS
    def test_win_probability(self, rewards):
        mine, other = votes(rewards, seed=1), votes(rewards, seed=2)
        expected = []
        for a, b in zip(mine, other, strict=True):
            pairs = itertools.product(ballots(a, rewards), ballots(b, rewards))
            expected.append(np.mean([1.0 if x > y else 0.5 if x == y else 0.0 for x, y in pairs]))
        close(win_probability(probs_of(mine), probs_of(other), rewards), expected)


class TestByHand:
    def test_the_papers_llama_7b_row(self):
        shares = torch.tensor([37.55, 58.33, 2.91, 0.83, 0.24, 0.15], dtype=torch.float64) / 100
        # 0.3755 + 0.29165 - 0.0291 - 0.0083 - 0.0036 - 0.0045: the 0.622 that the paper reports, from rounded shares
        assert expected_reward(shares, PAPER_REWARDS).item() == pytest.approx(0.62165, rel=RTOL)

    def test_a_level_in_the_middle_of_a_category(self):
        probs = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
        # worst 40 %: all 20 % at -1 and 20 % at 0
        assert conditional_value_at_risk(probs, [-1.0, 0.0, 1.0], 0.4).item() == pytest.approx(-0.5, rel=RTOL)
        assert conditional_value_at_risk(probs, [-1.0, 0.0, 1.0], 0.1).item() == pytest.approx(-1.0, rel=RTOL)

    def test_uniform_float32_probabilities_reach_their_quantiles(self):
        for size in (3, 7, 10, 49):
            probs, rewards = torch.full((size,), 1 / size), [float(k) for k in range(size)]
            reached = [reward_quantile(probs, rewards, (k + 1) / size).item() for k in range(size)]
            assert reached == rewards

    def test_a_point_mass(self):
        probs = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
        assert reward_variance(probs, [-1.0, 0.3, 1.0]).item() == 0
        deviation = lower_semideviation(probs, [-1.0, 0.3, 1.0])
        deviation.backward()
        assert deviation.item() == 0 and probs.grad.tolist() == [0.0, 0.0, 0.0]
        assert win_probability(probs, probs, [-1.0, 0.3, 1.0]).item() == 0.5


class TestProperties:
    @REWARDS
    def test_cvar_rises_with_the_level_up_to_the_expected_reward(self, rewards):
        probs = probs_of(votes(rewards))
        risks = torch.stack([conditional_value_at_risk(probs, rewards, level) for level in np.linspace(0.01, 1, 40)])
        assert (risks.diff(dim=0) >= -1e-12).all()
        close(risks[-1], expected_reward(probs, rewards).numpy())

    @REWARDS
    def test_better_votes_never_lower_cvar_nor_mean_less_semideviation(self, rewards):
        counts, order = votes(rewards), np.argsort(rewards, kind="stable")
        before = probs_of(counts)
        for worse, better in itertools.pairwise(order):
            after = before.clone()
            after[:, better] += after[:, worse]
            after[:, worse] = 0
            for level in (0.1, 0.5, 1.0):
                gain = conditional_value_at_risk(after, rewards, level) - conditional_value_at_risk(
                    before, rewards, level
                )
                assert (gain >= -1e-12).all()
            safe = [expected_reward(p, rewards) - lower_semideviation(p, rewards) for p in (before, after)]
            assert (safe[1] - safe[0] >= -1e-12).all()

    @REWARDS
    def test_one_of_two_wins(self, rewards):
        mine, other = probs_of(votes(rewards, seed=1)), probs_of(votes(rewards, seed=2))
        close(win_probability(mine, other, rewards) + win_probability(other, mine, rewards), np.ones(8))
        close(win_probability(mine, mine, rewards), np.full(8, 0.5))

    @pytest.mark.parametrize("name", [name for name in ONE if name != "win_probability"])  # its flip is an order
    def test_order_of_the_categories_does_not_matter(self, name):
        counts, order = votes(PAPER_REWARDS), [3, 5, 0, 1, 4, 2]
        expected = ONE[name](probs_of(counts), PAPER_REWARDS).numpy()
        close(ONE[name](probs_of(counts[:, order]), [PAPER_REWARDS[k] for k in order]), expected)

    @pytest.mark.parametrize("name", ONE)
    def test_batches_equal_single_rows(self, name):
        probs = probs_of(votes(PAPER_REWARDS, items=6))
        batched = ONE[name](probs.view(2, 3, 6), PAPER_REWARDS)
        assert batched.shape == (2, 3)
        single = torch.stack([ONE[name](row, PAPER_REWARDS) for row in probs])
        close(batched.flatten(), single.numpy())
        assert ONE[name](probs[:0], PAPER_REWARDS).shape == (0,)


class TestTypes:
    @pytest.mark.parametrize("name", DIFFERENTIABLE)
    def test_gradients(self, name):
        logits = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda z: ONE[name](z.softmax(-1), PAPER_REWARDS), (logits,))

    @pytest.mark.parametrize("name", ONE)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
    def test_at_least_float32(self, name, dtype):
        probs = probs_of(votes(PAPER_REWARDS, number=16)).to(dtype)  # sixteenths are exact in bfloat16
        out = ONE[name](probs, PAPER_REWARDS)
        assert out.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        np.testing.assert_allclose(out.numpy(), ONE[name](probs.double(), PAPER_REWARDS).numpy(), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("name", ONE)
    def test_under_bfloat16_autocast(self, name):
        probs = probs_of(votes(PAPER_REWARDS)).float()
        plain = ONE[name](probs, PAPER_REWARDS)
        with torch.autocast("cpu", torch.bfloat16):
            cast = ONE[name](probs, PAPER_REWARDS)
        assert cast.dtype == torch.float32 and torch.equal(cast, plain)

    @pytest.mark.parametrize("name", ONE)
    def test_rewards_as_a_tensor(self, name):
        probs = probs_of(votes(PAPER_REWARDS))
        close(ONE[name](probs, torch.tensor(PAPER_REWARDS)), ONE[name](probs, PAPER_REWARDS).numpy())


class TestRefusals:
    @pytest.mark.parametrize("name", ONE)
    def test_rewards_of_another_length(self, name):
        message = r"`category_probs` has 3 categories in its last dimension, but `category_rewards` has shape \(2,\)"
        with pytest.raises(ValueError, match=message):
            ONE[name](torch.full((4, 3), 1 / 3), [0.0, 1.0])

    @pytest.mark.parametrize("function", [conditional_value_at_risk, reward_quantile])
    @pytest.mark.parametrize("level", [0, -0.1, 1.01, float("nan"), 5])
    def test_level(self, function, level):
        with pytest.raises(ValueError, match=rf"`level` is a share of annotators in \(0, 1\], got {level}"):
            function(torch.tensor([0.5, 0.5]), [0.0, 1.0], level)
