"""Reward functions of users under watch: a NaN or an infinity stops the run where it arises."""

import math
from collections.abc import Callable, Sequence
from functools import wraps

from trl.trainer.utils import get_callable_name, is_async_callable

_LONGEST_QUOTE = 500


def finite_rewards(reward_function: Callable) -> Callable:
    """The same TRL reward function, sync or async, that raises where it returns NaN or an infinity.

    `None` keeps TRL's meaning: the function does not apply to that completion.

    Args:
        reward_function (`Callable`): As TRL's online trainers take it.

    Returns:
        `Callable` of the same name and kind.

    Example:

    >>> def ratio(prompts, completions, **columns):
    ...     return [len(p) / len(c) if c else float("nan") for p, c in zip(prompts, completions)]
    >>> finite_rewards(ratio)(prompts=["four"], completions=["to"])
    [2.0]
    >>> finite_rewards(ratio)(prompts=["four"], completions=[""])
    Traceback (most recent call last):
    ValueError: The reward function 'ratio' gave nan for the prompt 'four' with the completion ''. ...
    """
    name = get_callable_name(reward_function)
    remedy = "Return a finite number, or `None` where the function does not apply."
    if is_async_callable(reward_function):

        async def checked(prompts, completions, **columns):
            rewards = await reward_function(prompts=prompts, completions=completions, **columns)
            return check_finite(rewards, prompts, completions, f"reward function '{name}'", remedy)
    else:

        def checked(prompts, completions, **columns):
            rewards = reward_function(prompts=prompts, completions=completions, **columns)
            return check_finite(rewards, prompts, completions, f"reward function '{name}'", remedy)

    checked = wraps(reward_function)(checked)
    checked.__name__ = name
    return checked


def check_finite(rewards: Sequence, prompts: Sequence, completions: Sequence, giver: str, remedy: str) -> Sequence:
    """The rewards as they are.

    Args:
        rewards (sequence of `float` or `None`): One per completion. Their number is for TRL to check.
        prompts, completions (sequences of `str` or messages): For the message.
        giver (`str`): Who gave them.
        remedy (`str`): What to do about it.

    Raises:
        ValueError: for the first that is NaN or infinite, naming its prompt and completion.
    """
    for reward, prompt, completion in zip(rewards, prompts, completions, strict=False):
        if reward is not None and not math.isfinite(reward):
            raise ValueError(f"The {giver} gave {float(reward)} for {quoted(prompt, completion)}. {remedy}")
    return rewards


def quoted(prompt: str | list, completion: str | list) -> str:
    """A prompt and its completion for a message, each cut in the middle where it is long."""
    return f"the prompt {_shortened(prompt)} with the completion {_shortened(completion)}"


def _shortened(text):
    quote, half = repr(text), _LONGEST_QUOTE // 2
    return quote if len(quote) <= _LONGEST_QUOTE else f"{quote[:half]} [...] {quote[-half:]}"
