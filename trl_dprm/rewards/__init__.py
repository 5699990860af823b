"""What a reward model tells a policy trainer: TRL reward functions over distributions, and best-of-n."""

from .best_of_n import BestOfN, best_of_n
from .finite_rewards import finite_rewards
from .loading import dprm_reward_function, load_reward_functions, load_reward_model
from .reward_function import RewardModelFunction
from .statistics import RewardStatistic

__all__ = [
    "BestOfN",
    "RewardModelFunction",
    "RewardStatistic",
    "best_of_n",
    "dprm_reward_function",
    "finite_rewards",
    "load_reward_functions",
    "load_reward_model",
]
