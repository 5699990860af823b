"""The kinds of prompts, data sets and reward functions that TRL takes, through a run."""

import asyncio

import pytest
import torch
from datasets import Dataset

from trl_dprm.rewards import dprm_reward_function

ONE_ROLLOUT = {"max_steps": 4}


def early_bytes(completion_ids, **columns):
    return [sum(token < 132 for token in ids) / len(ids) for ids in completion_ids]


def first_log(trainer):
    trainer.train()
    return trainer.state.log_history[0]


def prompts_read(trainer):
    """Token ids of the prompts of the last rollout."""
    return [
        row[mask.bool()].tolist()
        for batch in trainer._buffered_inputs
        for row, mask in zip(batch["prompt_ids"], batch["prompt_mask"], strict=True)
    ]


@pytest.fixture
def conversations():
    return Dataset.from_dict(
        {"prompt": [[{"role": "user", "content": f"say {'so ' * (k % 3)}{k}"}] for k in range(8)]}
    )


def test_conversations(make_ppo, conversations):
    """They reach the policy by its chat template, and the reward model as messages."""
    trainer = make_ppo(
        train_dataset=conversations, trainer={"eval_dataset": conversations.select(range(2))}, **ONE_ROLLOUT
    )
    seen = []
    calculate = trainer._calculate_rewards

    def recorded(inputs, prompts, completions, ids):
        seen.extend(zip(prompts, completions, strict=True))
        return calculate(inputs, prompts, completions, ids)

    trainer._calculate_rewards = recorded
    log = first_log(trainer)
    assert log["proxy/good"] > 0
    (prompt, completion), *_ = seen
    assert prompt[0]["role"] == "user" and completion[0]["role"] == "assistant"
    text = trainer.processing_class.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    assert trainer.processing_class(text, add_special_tokens=False)["input_ids"] in prompts_read(trainer)
    assert len(trainer.generate_completions()) == 2


def test_a_stream_of_prompts(make_ppo, prompts):
    trainer = make_ppo(
        reward_funcs=early_bytes,
        train_dataset=prompts.to_iterable_dataset(),
        max_steps=8,
        trainer={"eval_dataset": prompts.select(range(3)).to_iterable_dataset()},
    )
    trainer.train()
    assert trainer.state.global_step == 8 and trainer.scorer.episode == 16
    assert len(trainer.generate_completions()) == 3


def test_prompts_as_ids_are_what_the_policy_reads(make_ppo, tokenizer):
    ids = [[1, 7 + k, 9] + [11] * (k % 3) for k in range(8)]
    trainer = make_ppo(train_dataset=Dataset.from_dict({"input_ids": ids}), **ONE_ROLLOUT)
    first_log(trainer)
    assert sorted(prompts_read(trainer)) == sorted(ids)


def test_evaluation(make_ppo, prompts):
    trainer = make_ppo(
        trainer={"eval_dataset": prompts.select(range(5))}, eval_strategy="steps", eval_steps=4, max_steps=8
    )
    trainer.train()
    evaluations = [row for row in trainer.state.log_history if "eval_loss" in row]
    assert [row["step"] for row in evaluations] == [4, 8]
    for row in evaluations:
        assert row["eval_reward"] == pytest.approx(row["eval_proxy/expected_reward"], abs=1e-5)
        assert row["eval_kl"] != 0.0
    assert trainer.scorer.episode == 16, "evaluations are not counted"


def test_an_evaluation_moves_no_running_number(make_ppo, prompts):
    trainer = make_ppo(
        reward_funcs=early_bytes,
        trainer={"eval_dataset": prompts},
        adaptive_kl=True,
        normalize_rewards=True,
        kl_horizon=100.0,
        max_steps=4,
    )
    trainer.train()
    state, beta = trainer.scorer.state_dict(), trainer.beta
    trainer.evaluate()
    assert (trainer.scorer.state_dict(), trainer.beta) == (state, beta)


def test_an_evaluation_in_the_middle_of_a_rollout_waits(make_ppo, prompts):
    trainer = make_ppo(
        reward_funcs=early_bytes,
        trainer={"eval_dataset": prompts.select(range(2))},
        eval_strategy="steps",
        eval_steps=3,
        max_steps=8,
    )
    trainer.train()
    assert [row["step"] for row in trainer.state.log_history if "eval_loss" in row] == [4, 8]


def test_an_asynchronous_reward_function(make_ppo):
    async def slow(completion_ids, **columns):
        await asyncio.sleep(0.001)
        return early_bytes(completion_ids)

    asynchronous = make_ppo(reward_funcs=slow, **ONE_ROLLOUT)
    log = first_log(asynchronous)
    assert (
        log["rewards/slow/mean"]
        == log["reward"]
        == first_log(make_ppo(reward_funcs=early_bytes, **ONE_ROLLOUT))["reward"]
    )


def test_several_rewards_with_weights(make_ppo, reward_folder):
    rewards = [reward_folder, early_bytes, dprm_reward_function(reward_folder, "cvar", level=0.5, name="cvar")]
    log = first_log(make_ppo(reward_funcs=rewards, reward_weights=[1.0, 0.5, -2.0], **ONE_ROLLOUT))
    parts = [log[f"rewards/{name}/mean"] for name in ("reward0", "early_bytes", "cvar")]
    assert log["reward"] == pytest.approx(parts[0] + 0.5 * parts[1] - 2.0 * parts[2], abs=1e-5)


def test_several_completions_of_a_prompt(make_ppo, prompts):
    trainer = make_ppo(reward_funcs=early_bytes, num_generations=4, **ONE_ROLLOUT)
    log = first_log(trainer)
    seen = list(trainer._logs["prompt"])
    assert len(seen) == 8 and len(set(seen)) == 2
    assert "frac_reward_zero_std" not in log and log["policy/loss"] != 0


def test_an_entropy_bonus_is_trls(make_ppo):
    entropies = []
    for coefficient in (0.0, 5.0):
        trainer = make_ppo(reward_funcs=early_bytes, entropy_coef=coefficient, max_steps=8, learning_rate=1e-2)
        trainer.train()
        entropies.append(trainer.state.log_history[7]["entropy"])
    assert entropies[1] > entropies[0]


def test_rewards_that_are_not_finite_stop_the_run_with_their_prompt(make_ppo, prompts):
    def broken(prompts, **columns):
        return [float("inf") if prompt.endswith("3") else 1.0 for prompt in prompts]

    with pytest.raises(ValueError, match="tell me me me of 3"):
        make_ppo(reward_funcs=broken, train_dataset=prompts.select(range(8)), **ONE_ROLLOUT).train()


def test_rewards_that_never_apply_leave_the_policy(make_ppo):
    trainer = make_ppo(reward_funcs=lambda prompts, **columns: [None] * len(prompts), weight_decay=0.0, **ONE_ROLLOUT)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    log = first_log(trainer)
    assert log["reward"] is None and log["loss"] == 0.0
    assert all(torch.equal(p, before[name]) for name, p in trainer.model.named_parameters())


def test_dropout_is_off_unless_asked_for(make_ppo, backbone_folder):
    folder = backbone_folder("gpt2", resid_pdrop=0.5, embd_pdrop=0.5)
    for disabled in (True, False):
        trainer = make_ppo(folder, early_bytes, disable_dropout=disabled, **ONE_ROLLOUT)
        rates = {
            m.p for part in (trainer.model, trainer.critic) for m in part.modules() if isinstance(m, torch.nn.Dropout)
        }
        assert (rates == {0.0}) == disabled


def test_trls_default_precision(make_ppo, eos_policy):
    """bfloat16 autocast and gradient checkpointing: nearly the same numbers, values and weights in float32."""
    plain = first_log(make_ppo(eos_policy, early_bytes, max_steps=1))
    trainer = make_ppo(eos_policy, early_bytes, bf16=True, gradient_checkpointing=True, max_steps=1)
    values, read = [], trainer._values
    trainer._values = lambda *arguments: values.append(read(*arguments)) or values[-1]
    log = first_log(trainer)
    assert {tensor.dtype for tensor in values} == {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    assert not torch.equal(values[0], values[0].bfloat16()), "the head is not rounded"
    assert log["policy/approx_kl"] == 0.0, "the policy that is trained is the one that sampled"
    for name in ("reward", "value/mean", "value/loss", "grad_norm"):
        assert log[name] == pytest.approx(plain[name], rel=0.05), name
