"""What of a distribution becomes the reward, against lists of single votes."""

import math

import pytest
import torch

from trl_dprm import DPRMConfig
from trl_dprm.rewards import RewardStatistic

CONFIG = DPRMConfig(category_names=["bad", "good", "fair", "vile"], category_rewards=[-1.0, 2.0, 0.5, -1.0])
STATISTICS = [
    RewardStatistic(),
    RewardStatistic("cvar", level=0.3),
    RewardStatistic("lower_semideviation", weight=0.7),
]


def votes():
    """Rows of 20 votes each as category numbers."""
    return torch.randint(4, (50, 20), generator=torch.Generator().manual_seed(0))


def shares(rows):
    return torch.nn.functional.one_hot(rows, 4).double().mean(1)


def by_votes(statistic, rewards):
    """The statistic of a list of single votes, computed as one would by hand."""
    mean = sum(rewards) / len(rewards)
    if statistic.statistic == "cvar":
        worst = sorted(rewards)[: round(statistic.level * len(rewards))]
        return sum(worst) / len(worst)
    if statistic.statistic == "lower_semideviation":
        below = sum(min(reward - mean, 0) ** 2 for reward in rewards) / len(rewards)
        return mean - statistic.weight * math.sqrt(below)
    return mean


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda s: s.statistic)
@pytest.mark.parametrize("category_rewards", [None, [3.0, -1.0, 0.0, 7.0], {"vile": -9.0}])
def test_statistics_are_those_of_the_votes(statistic, category_rewards):
    statistic = RewardStatistic(statistic.statistic, statistic.level, statistic.weight, category_rewards)
    rewards = {"dict": [-1.0, 2.0, 0.5, -9.0], "list": category_rewards, "NoneType": CONFIG.category_rewards}
    rewards = rewards[type(category_rewards).__name__]
    assert statistic.rewards(CONFIG) == rewards
    expected = [by_votes(statistic, [rewards[vote] for vote in row]) for row in votes().tolist()]
    actual = statistic(shares(votes()), CONFIG)
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-12)


def test_cvar_of_everybody_is_the_expected_reward():
    probs = shares(votes())
    everybody = RewardStatistic("cvar", level=1.0)(probs, CONFIG)
    torch.testing.assert_close(everybody, RewardStatistic()(probs, CONFIG), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "statistic", [*STATISTICS, RewardStatistic("lower_semideviation")], ids=lambda s: f"{s.statistic}-{s.weight}"
)
def test_no_statistic_falls_when_mass_moves_to_a_better_category(statistic):
    probs = shares(votes())
    for worse, better in ((0, 1), (0, 2), (2, 1), (3, 1)):
        moved = probs.clone()
        moved[:, better] += moved[:, worse] / 2
        moved[:, worse] /= 2
        assert (statistic(moved, CONFIG) >= statistic(probs, CONFIG) - 1e-12).all()


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda s: s.statistic)
def test_gradients_flow(statistic):
    logits = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: statistic(z.softmax(-1), CONFIG), logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"statistic": "variance"}, "one of expected_reward, cvar, lower_semideviation, got 'variance'"),
        ({"statistic": "cvar", "level": 0.0}, r"in \(0, 1\], got 0.0"),
        ({"level": 1.5}, r"in \(0, 1\], got 1.5"),
        ({"level": math.nan}, r"in \(0, 1\], got nan"),
        ({"weight": 1.01}, r"in \[0, 1\], got 1.01. Beyond 1 the reward could fall"),
        ({"weight": -0.5}, r"in \[0, 1\], got -0.5"),
        ({"category_rewards": [1.0, math.inf]}, "holds inf: every reward is a finite number"),
        ({"category_rewards": [1.0, 1e39]}, r"holds 1e\+39: every reward is a finite number, at most 1e\+18 in size"),
        ({"category_rewards": {"bad": "-5"}}, "holds '-5': every reward is a finite number"),
        ({"category_rewards": '{"bad": -5}'}, "a list with one reward per category or a dict"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RewardStatistic(**options)


@pytest.mark.parametrize(
    ("category_rewards", "message"),
    [
        ({"bad": -2.0, "toxic": -5.0}, "names 'toxic'. The model has 4 categories: bad, good, fair, vile."),
        ([1.0, 2.0, 3.0], "has 3 entries. The model has 4 categories: bad, good, fair, vile. Give one for each."),
    ],
)
def test_rewards_for_other_categories_are_refused(category_rewards, message):
    with pytest.raises(ValueError, match=message):
        RewardStatistic(category_rewards=category_rewards).check(CONFIG)
