"""Running statistics against numpy over everything seen."""

import json

import numpy as np
import pytest
import torch

from trl_dprm.ppo.reward_normalizer import RunningRewardNormalizer


def rollouts(offset=0.0):
    generator = np.random.default_rng(0)
    return [offset + generator.normal(rollout, 1 + rollout, size) for rollout, size in enumerate([5, 1, 40, 3])]


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_mean_and_deviation_are_those_of_the_concatenation(offset):
    normalizer, seen = RunningRewardNormalizer(), []
    for rewards in rollouts(offset):
        normalizer.update(torch.from_numpy(rewards))
        seen = np.concatenate([seen, rewards])
        assert normalizer.count == seen.size
        assert normalizer.mean == pytest.approx(seen.mean(), rel=1e-12)
        assert normalizer.std == pytest.approx(seen.std(ddof=1), rel=1e-10)


def test_it_scales_and_shifts_only_if_told():
    rewards = rollouts()[2]
    for shift_mean in (False, True):
        normalizer = RunningRewardNormalizer(shift_mean)
        normalizer.update(torch.from_numpy(rewards))
        expected = (rewards - shift_mean * rewards.mean()) / rewards.std(ddof=1)
        torch.testing.assert_close(
            normalizer.normalize(torch.from_numpy(rewards)), torch.from_numpy(expected), rtol=1e-10, atol=1e-14
        )


def test_rewards_that_are_none_are_left_out_and_stay_so():
    normalizer, other = RunningRewardNormalizer(), RunningRewardNormalizer()
    normalizer.update(torch.tensor([1.0, torch.nan, 3.0, torch.nan]))
    normalizer.update(torch.tensor([torch.nan]))
    other.update(torch.tensor([1.0, 3.0]))
    assert normalizer.state_dict() == other.state_dict()
    assert normalizer.normalize(torch.tensor([torch.nan, 2.0])).isnan().tolist() == [True, False]


def test_equal_rewards_stay_as_they_are():
    normalizer, rewards = RunningRewardNormalizer(), torch.full((6,), 0.1, dtype=torch.float64)
    assert rewards.var() > 0  # by rounding of their mean
    torch.testing.assert_close(normalizer.normalize(rewards), rewards)
    for _ in range(3):
        normalizer.update(rewards)
        torch.testing.assert_close(normalizer.normalize(rewards), rewards)


def test_half_precision_rewards_are_summed_in_float64():
    normalizer, rewards = RunningRewardNormalizer(), torch.arange(300.0).bfloat16()
    normalizer.update(rewards)
    assert normalizer.mean == pytest.approx(rewards.double().mean().item(), rel=1e-12)
    assert normalizer.normalize(rewards).dtype == torch.float32


def test_it_continues_from_its_state_to_the_last_bit():
    first, second = RunningRewardNormalizer(), RunningRewardNormalizer()
    *before, after = rollouts()
    for rewards in before:
        first.update(torch.from_numpy(rewards))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for normalizer in (first, second):
        normalizer.update(torch.from_numpy(after))
    assert second.state_dict() == first.state_dict()
    assert second.std == first.std


def test_an_infinite_reward_is_refused():
    with pytest.raises(ValueError, match="a reward is -inf; give finite rewards"):
        RunningRewardNormalizer().update(torch.tensor([1.0, -torch.inf]))
