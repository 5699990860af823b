"""Best-of-n by the reward functions that trainers use."""

import pytest

from trl_dprm.rewards import RewardModelFunction, best_of_n

PROMPTS = ["Say: ", "Why? "]
COMPLETIONS = [["no", "yes!", "perhaps"], ["Because.", "It rained."]]


def length(prompts, completions, **columns):
    return [float(len(completion)) for completion in completions]


def test_the_best_is_the_one_that_the_model_rewards_most(make_dprm, tokenizer):
    function = RewardModelFunction(make_dprm(), tokenizer)
    for prompt, completions, best in zip(PROMPTS, COMPLETIONS, best_of_n(function, PROMPTS, COMPLETIONS), strict=True):
        alone = [function([prompt], [completion])[0] for completion in completions]
        assert best.rewards == pytest.approx(alone, abs=1e-6)
        assert best.completion == completions[best.index]
        assert best.rewards[best.index] == max(best.rewards)
    assert best_of_n(function, PROMPTS[1], COMPLETIONS[1]) == best


def test_one_conversation_is_not_taken_for_several_prompts(make_dprm, tokenizer):
    prompt = [{"role": "user", "content": "Say"}]
    completions = [[{"role": "assistant", "content": text}] for text in COMPLETIONS[0]]
    function = RewardModelFunction(make_dprm(), tokenizer)
    best = best_of_n(function, prompt, completions)
    assert best.completion is completions[best.index]
    assert best_of_n(function, [prompt], [completions]) == [best]


def test_columns_go_with_their_prompt():
    def wanted(prompts, completions, answer, **columns):
        return [float(completion == right) for completion, right in zip(completions, answer, strict=True)]

    several = best_of_n(wanted, PROMPTS, COMPLETIONS, answer=["yes!", "It rained."])
    assert [best.index for best in several] == [1, 1]
    assert best_of_n(wanted, PROMPTS[0], COMPLETIONS[0], answer="perhaps").index == 2


def test_of_equals_the_first_wins_and_none_never():
    def some(prompts, completions, **columns):
        return [None, 1.0, 1.0]

    assert best_of_n(some, "p", ["a", "b", "c"]).index == 1


def test_async_functions_are_awaited():
    async def later(prompts, completions, **columns):
        return length(prompts, completions)

    assert best_of_n(later, PROMPTS, COMPLETIONS) == best_of_n(length, PROMPTS, COMPLETIONS)


def test_rewards_that_are_not_finite_are_refused():
    def broken(prompts, completions, **columns):
        return [1.0, float("inf")]

    with pytest.raises(ValueError, match="'broken' gave inf for the prompt 'p' with the completion 'b'"):
        best_of_n(broken, "p", ["a", "b"])


@pytest.mark.parametrize("completions", [[["a"], []], [["a"], ["skip"]]])
def test_a_prompt_without_a_reward_is_named(completions):
    def some(prompts, completions, **columns):
        return [None if completion == "skip" else 1.0 for completion in completions]

    with pytest.raises(ValueError, match="The prompt 'Why\\? ' has no completion with a reward"):
        best_of_n(some, PROMPTS, completions)


def test_lists_that_do_not_match_the_prompts_are_refused():
    with pytest.raises(ValueError, match="2 prompts have 1 lists of completions: give one for each"):
        best_of_n(length, PROMPTS, COMPLETIONS[:1])
