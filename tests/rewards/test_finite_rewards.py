"""A NaN or an infinity stops the run where it arises; `None` does not."""

import asyncio
import functools
import math

import pytest
import torch
from trl.trainer.utils import get_callable_name, is_async_callable

from trl_dprm.rewards import finite_rewards

TEXTS = {"prompts": ["p", "q"], "completions": ["c", "d"]}


def given(rewards, prompts, completions, **columns):
    """A user's reward function."""
    return rewards


class Judge:
    def __call__(self, prompts, completions, factor, **columns):
        return [factor[0] * len(prompt) for prompt in prompts]


class AsyncJudge:
    async def __call__(self, prompts, completions, **columns):
        return [1.0, math.nan]


@pytest.mark.parametrize(
    "rewards", [[1, None], [0.5, -3.0], torch.tensor([1.0, 2.0]), [torch.tensor(1.0), None], [True, False]]
)
def test_finite_rewards_pass_as_they_are(rewards):
    assert finite_rewards(functools.partial(given, rewards))(**TEXTS) is rewards


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", [list, torch.tensor])
def test_others_are_named_with_their_prompt(value, make):
    message = f"The reward function 'given' gave {value} for the prompt 'q' with the completion 'd'. Return a finite"
    with pytest.raises(ValueError, match=message):
        finite_rewards(functools.partial(given, make([1.0, value])))(**TEXTS)


def test_async_functions_stay_async():
    function = finite_rewards(AsyncJudge())
    assert is_async_callable(function)
    with pytest.raises(ValueError, match="'AsyncJudge' gave nan for the prompt 'q'"):
        asyncio.run(function(**TEXTS))


@pytest.mark.parametrize("function", [given, functools.partial(given, [1.0, 2.0]), Judge(), AsyncJudge()])
def test_names_and_kinds_are_kept(function):
    checked = finite_rewards(function)
    assert get_callable_name(checked) == get_callable_name(function)
    assert is_async_callable(checked) == is_async_callable(function)


def test_columns_reach_the_function():
    assert finite_rewards(Judge())(**TEXTS, factor=[3, 3], other=[1, 1]) == [3, 3]


def test_a_wrong_number_of_rewards_is_left_to_trl():
    assert finite_rewards(functools.partial(given, [1.0]))(**TEXTS) == [1.0]
