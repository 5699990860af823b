"""What a policy's card says of the rewards that it was trained on."""

from collections.abc import Callable, Sequence

from ..hub.policy_card import RewardFacts
from ..rewards.reward_function import RewardModelFunction
from ..rewards.statistics import RewardStatistic


def reward_facts(functions: Sequence[Callable], weights: Sequence[float]) -> list[RewardFacts]:
    """One entry per reward function.

    Args:
        functions (`Sequence[Callable]`): As the trainer holds them.
        weights (`Sequence[float]`): In their sum.

    Returns:
        `list[RewardFacts]`.
    """
    return [_facts(function, float(weight)) for function, weight in zip(functions, weights, strict=True)]


def _facts(function, weight):
    if not isinstance(function, RewardModelFunction):
        return RewardFacts(function.__name__, "reward function", weight)
    name = getattr(function.config, "_name_or_path", "") or function.__name__
    if not function.is_distributional:
        return RewardFacts(name, "reward model with one label", weight)
    rewards = function.statistic.rewards(function.config)
    categories = list(zip(function.config.category_names, rewards, strict=True))
    kind = "distributional preference reward model"
    return RewardFacts(name, kind, weight, _in_words(function.statistic), categories)


def _in_words(statistic: RewardStatistic):
    words = {
        "expected_reward": "expected reward",
        "cvar": f"mean of the lowest {statistic.level:.0%} of opinions (CVaR)",
        "lower_semideviation": f"mean − {statistic.weight:g} · lower semideviation",
    }[statistic.statistic]
    return words if statistic.category_rewards is None else f"{words}, with other category rewards than the trained"
