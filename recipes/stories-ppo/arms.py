"""The rewards that PPO is run on: the true mean utility, and the statistics of the four reward models."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from arguments import RecipeArguments
from files import write_json
from original import Original
from populations import group_utilities, mean_utility
from reward_models import model_folder
from sampling import Samples

from trl_dprm.rewards import dprm_reward_function

Reward = Callable[..., list[float]]

# Arm -> the reward model that it reads and the statistic of it.
ARMS = {
    "oracle": (None, "expected_reward"),
    "bradley_terry_majority": ("bradley_terry_majority", "expected_reward"),
    "bradley_terry_vote_shares": ("bradley_terry_vote_shares", "expected_reward"),
    "scalar_regression": ("scalar_regression", "expected_reward"),
    "dprm_expected_reward": ("dprm", "expected_reward"),
    "dprm_cvar": ("dprm", "cvar"),
}


class Oracle:
    """The true mean utility as a reward function: what no reward model can beat."""

    __name__ = "oracle"

    def __init__(self, original: Original, population: str):
        self.original, self.population = original, population

    def __call__(self, prompts, completions, completion_ids, **_) -> list[float]:
        prompt_ids = self.original.tokenizer(list(prompts))["input_ids"]
        traits = self.original.traits(prompt_ids, completion_ids, completions)
        return mean_utility(self.population, group_utilities(self.population, traits)).tolist()


class StandardisedReward:
    """A reward in standard deviations of its scores of the reference samples, so that one `kl_coef` fits all.

    Args:
        reward (`Callable`): TRL reward function.
        mean, deviation (`float`): Of its scores of the reference samples.
    """

    def __init__(self, reward: Reward, mean: float, deviation: float):
        self.reward, self.mean, self.deviation = reward, mean, deviation
        self.__name__ = f"proxy_{reward.__name__}"  # in the logs: the reward model's own opinion of the policy

    def __call__(self, prompts, completions, **columns) -> list[float]:
        scores = self.reward(prompts=prompts, completions=completions, **columns)
        return [(score - self.mean) / self.deviation for score in scores]

    def of_samples(self, samples: Samples) -> np.ndarray:
        """Standardised rewards of samples, shape *(num_completions,)*."""
        return np.array(self(samples.prompts, samples.completions, completion_ids=samples.completion_ids))


def make_reward(
    arguments: RecipeArguments, original: Original, population: str, seed: int, arm: str
) -> StandardisedReward:
    """The reward of an arm, scaled on the reference samples."""
    reward = _raw_reward(arguments, original, population, seed, arm)
    scores = StandardisedReward(reward, 0.0, 1.0).of_samples(original.samples)
    return StandardisedReward(reward, float(scores.mean()), float(scores.std()))


def _raw_reward(arguments, original, population, seed, arm):
    name, statistic = ARMS[arm]
    if name is None:
        return Oracle(original, population)
    folder = model_folder(arguments, population, seed, name)
    return dprm_reward_function(str(folder), statistic=statistic, level=arguments.cvar_level, batch_size=128, name=arm)


def write_agreement(arguments: RecipeArguments, original: Original, population: str, seed: int) -> None:
    """Write how well each arm's reward agrees with the truth on the reference samples, whose prompts it never saw."""
    file = agreement_path(arguments, population, seed)
    if file.exists():
        return
    utilities = group_utilities(population, original.traits_of(original.samples))
    truth, rows = mean_utility(population, utilities), {}
    for arm in ARMS:
        scores = make_reward(arguments, original, population, seed, arm).of_samples(original.samples)
        of_groups = [float(np.corrcoef(scores, utility)[0, 1]) for utility in utilities]
        rows[arm] = {"mean_utility": float(np.corrcoef(scores, truth)[0, 1]), "groups": of_groups}
    write_json(file, rows)


def agreement_path(arguments: RecipeArguments, population: str, seed: int) -> Path:
    """Where the correlations of one population and seed lie."""
    return Path(arguments.output_dir, "agreement", population, f"seed-{seed}.json")


def read_agreement(arguments: RecipeArguments, population: str, seed: int) -> dict[str, dict]:
    """What `write_agreement` wrote: per arm the correlations with `mean_utility` and with the `groups`'."""
    return json.loads(agreement_path(arguments, population, seed).read_text(encoding="utf-8"))
