"""What became of one arm: the only thing that the table is computed from."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from arguments import RecipeArguments
from files import write_json
from original import Original
from populations import POPULATIONS, group_shares, group_utilities
from sampling import kl_to_reference, sample_completions
from transformers import PreTrainedModel

START = "start"


@dataclass
class ArmResult:
    """The truth about a policy on held-out prompts.

    Args:
        group_utilities (`dict[str, float]`): True mean utility of each group.
        mean_utility (`float`): Their mean by the groups' shares.
        kl (`float`): To the original model, in nats per completion.
        traits (`dict[str, float]`): Mean of each trait.
        proxy_reward (`float` or `None`): Mean standardised reward: the opinion of the reward model that was optimised.
        examples (`list[str]`): Some stories.
        seconds (`dict[str, float]`): What the parts of the arm took, and the processor time (`cpu`) of them all.
        rollouts (`list[dict]`): Per rollout of PPO the `proxy_reward`, `kl` and explained variance.
    """

    group_utilities: dict[str, float]
    mean_utility: float
    kl: float
    traits: dict[str, float]
    proxy_reward: float | None
    examples: list[str]
    seconds: dict[str, float]
    rollouts: list[dict]

    @property
    def worst_group_utility(self) -> float:
        """Utility of the group that fares worst."""
        return min(self.group_utilities.values())

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "ArmResult":
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def result_path(arguments: RecipeArguments, population: str, seed: int, arm: str, kl_coef: float | None) -> Path:
    """Where the result of an arm lies; the policy before training is the arm `START`."""
    name = arm if kl_coef is None else f"{arm}-kl-{kl_coef:g}"
    return Path(arguments.output_dir, "results", population, f"seed-{seed}", f"{name}.json")


def policy_folder(arguments: RecipeArguments, population: str, seed: int, arm: str, kl_coef: float) -> Path:
    """Where the policy of an arm lies if it is kept."""
    return Path(arguments.output_dir, "policies", population, f"seed-{seed}", f"{arm}-kl-{kl_coef:g}")


def measure(
    arguments: RecipeArguments, original: Original, population: str, seed: int, policy: PreTrainedModel, reward=None
) -> ArmResult:
    """Sample stories of a policy and ask the population.

    All arms of a seed get the same prompts and the same random numbers.

    Args:
        arguments (`RecipeArguments`): The run.
        original ([`Original`]): Reference of the KL and of fluency.
        population (`str`): Name of the population.
        seed (`int`): Of the sampling.
        policy ([`~transformers.PreTrainedModel`]): What is measured.
        reward ([`StandardisedReward`], *optional*): What it was trained on.
    """
    prompts = arguments.num_test_completions * original.prompts[arguments.prompt_part]
    samples = sample_completions(
        policy, original.tokenizer, prompts, arguments.max_new_tokens, arguments.temperature, seed=20_000 + seed
    )
    traits = original.traits_of(samples)
    utilities = group_utilities(population, traits).mean(axis=1)
    return ArmResult(
        group_utilities=dict(zip(POPULATIONS[population], utilities.tolist(), strict=True)),
        mean_utility=float(group_shares(population) @ utilities),
        kl=float(kl_to_reference(policy, original.model, samples, arguments.temperature).mean()),
        traits={name: float(values.mean()) for name, values in traits.items()},
        proxy_reward=None if reward is None else float(np.mean(reward.of_samples(samples))),
        examples=[f"{prompt}|{text}" for prompt, text in zip(samples.prompts[:5], samples.completions, strict=False)],
        seconds={},
        rollouts=[],
    )
