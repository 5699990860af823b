"""Best-of-n: the policy improvement that needs no training."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from trl.trainer.utils import is_async_callable

from .finite_rewards import finite_rewards

Text = str | list[dict]


class BestOfN(NamedTuple):
    """The best of several completions of one prompt: it, its place among them, and the rewards of all."""

    completion: Text
    index: int
    rewards: list[float | None]


def best_of_n(
    reward_function: Callable,
    prompts: Text | Sequence[Text],
    completions: Sequence[Text] | Sequence[Sequence[Text]],
    **columns: Sequence,
) -> BestOfN | list[BestOfN]:
    """Choose the completion with the highest reward for every prompt, by the same function that a trainer would use.

    Args:
        reward_function (`Callable`): Such as `dprm_reward_function` returns, or any TRL reward function.
        prompts (`str`, messages, or a list of either): One prompt, or several.
        completions (list, or list of lists): The completions of the one prompt, or of each; their numbers may differ.
        columns (sequences): What else the function reads, one value per prompt.

    Returns:
        [`BestOfN`], or one per prompt. Of equal rewards the first wins; `None` never does.

    Raises:
        ValueError: if a prompt has no completion or no reward, or there are not as many lists as prompts.

    Example:

    >>> def length(prompts, completions, **columns):
    ...     return [float(len(completion)) for completion in completions]
    >>> best_of_n(length, "Say it", ["no", "perhaps", "yes"])
    BestOfN(completion='perhaps', index=1, rewards=[2.0, 7.0, 3.0])
    """
    if isinstance(prompts, str) or (prompts and isinstance(prompts[0], dict)):
        return best_of_n(reward_function, [prompts], [completions], **{k: [v] for k, v in columns.items()})[0]
    if len(prompts) != len(completions):
        raise ValueError(f"{len(prompts)} prompts have {len(completions)} lists of completions: give one for each.")
    owners = [place for place, of_prompt in enumerate(completions) for _ in of_prompt]
    checked = finite_rewards(reward_function)
    rewards = checked(
        prompts=[prompts[place] for place in owners],
        completions=[completion for of_prompt in completions for completion in of_prompt],
        **{name: [values[place] for place in owners] for name, values in columns.items()},
    )
    rewards = iter(asyncio.run(rewards) if is_async_callable(checked) else rewards)
    return [
        _best(prompt, of_prompt, [next(rewards) for _ in of_prompt])
        for prompt, of_prompt in zip(prompts, completions, strict=True)
    ]


def _best(prompt, completions, rewards):
    applicable = [place for place, reward in enumerate(rewards) if reward is not None]
    if not applicable:
        raise ValueError(f"The prompt {prompt!r} has no completion with a reward: there is nothing to choose from.")
    index = max(applicable, key=lambda place: rewards[place])
    return BestOfN(completions[index], index, rewards)
