"""PPO raises what it maximises, its critic learns, and it shows what it does."""

import pandas as pd
import pytest
import torch
from datasets import Dataset

LEARNING = {
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 2,
    "num_mini_batches": 2,
    "num_ppo_epochs": 2,
    "response_length": 8,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "kl_coef": 0.01,
    "vf_coef": 1.0,
    "temperature": 1.0,
}


def early_bytes(completion_ids, **columns):
    return [sum(token < 132 for token in ids) / len(ids) for ids in completion_ids]


def rollouts(trainer):
    return [row for row in trainer.state.log_history if "reward" in row]


def test_the_reward_rises(make_ppo):
    prompts = Dataset.from_dict({"prompt": ["a", "bc", "def", "g"] * 8})
    trainer = make_ppo(reward_funcs=early_bytes, train_dataset=prompts, max_steps=4 * 11, **LEARNING)
    trainer.train()
    log = rollouts(trainer)
    first, last = (sum(row["reward"] for row in part) / 3 for part in (log[:3], log[-3:]))
    assert first == pytest.approx(0.5, abs=0.1)
    assert last > first + 0.25
    assert log[-1]["kl"] > 1 > log[0]["kl"]


def test_the_critic_learns_what_a_prompt_is_worth(make_ppo):
    prompts = Dataset.from_dict({"prompt": ["a", "bc", "def", "g"] * 8})
    worth = {"a": 2.0, "bc": -1.0, "def": 0.0, "g": 1.0}
    trainer = make_ppo(
        reward_funcs=lambda prompts, **columns: [worth[prompt] for prompt in prompts],
        train_dataset=prompts,
        max_steps=4 * 8,
        **LEARNING | {"kl_coef": 0.0, "cliprange_value": float("inf")},
    )
    trainer.train()
    log = rollouts(trainer)
    assert log[0]["value/explained_variance"] < 0.2 and log[-1]["value/explained_variance"] > 0.7
    assert log[-1]["value/loss"] < 0.3 * log[0]["value/loss"]


def test_generate_completions_is_greedy_and_returns_the_table(make_ppo, prompts, capsys):
    held_out = prompts.select(range(5))
    trainer = make_ppo(trainer={"eval_dataset": held_out}, max_steps=1)
    state = torch.get_rng_state()
    table = trainer.generate_completions()
    assert torch.equal(torch.get_rng_state(), state), "without drawing random numbers"
    assert list(table.columns) == ["prompt", "completion", "reward0", "bad", "fair", "good"]
    assert sorted(table["prompt"]) == sorted(held_out["prompt"])
    assert table[["bad", "fair", "good"]].sum(axis=1).tolist() == pytest.approx([1.0] * 5, abs=1e-5)
    expected = -table["bad"] + 2.0 * table["good"]
    assert table["reward0"].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    pd.testing.assert_frame_equal(table, trainer.generate_completions())
    assert "good" in capsys.readouterr().out
    prompt = trainer.processing_class(table["prompt"][0], return_tensors="pt")
    greedy = trainer.model.generate(**prompt, max_new_tokens=6, do_sample=False)[0, prompt["input_ids"].size(1) :]
    assert trainer.processing_class.decode(greedy, skip_special_tokens=True) == table["completion"][0]
    assert make_ppo(max_steps=1).generate_completions() is None


def test_completions_of_several_evaluation_sets(make_ppo, prompts):
    sets = {"near": prompts.select(range(3)), "far": prompts.select(range(3, 5))}
    trainer = make_ppo(trainer={"eval_dataset": sets}, reward_funcs=early_bytes, max_steps=1)
    assert trainer.generate_completions()["dataset"].tolist() == ["near"] * 3 + ["far"] * 2


def test_samples_are_shown_during_training(make_ppo, prompts, capsys):
    trainer = make_ppo(trainer={"eval_dataset": prompts.select(range(2))}, num_sample_generations=2, max_steps=16)
    trainer.train()
    shown = capsys.readouterr().out
    assert [f"Completions at step {step}" in shown for step in (4, 8, 12, 16)] == [False, True, False, True]


def test_logged_completions_have_category_probabilities(make_ppo, tmp_path):
    trainer = make_ppo(log_completions=True, max_steps=4)
    trainer.train()
    table = pd.read_parquet(tmp_path / "run" / "completions" / "completions_00001.parquet")
    assert {"prompt", "completion", "reward0", "bad", "fair", "good", "advantage"} <= set(table.columns)
    assert len(table) == 8
    log = trainer.state.log_history[0]
    assert log["proxy/good"] == pytest.approx(table["good"].mean(), abs=1e-5)
    assert log["proxy/expected_reward"] == pytest.approx(log["reward"], abs=1e-5)


def test_logged_completions_of_an_evaluation_larger_than_a_rollout(make_ppo, prompts):
    trainer = make_ppo(
        reward_funcs=early_bytes,
        trainer={"eval_dataset": prompts},
        per_device_eval_batch_size=16,
        log_completions=True,
        max_steps=1,
    )
    trainer.evaluate()
    assert len(trainer._logs["advantages"]) == len(trainer._logs["prompt"]) == 8


def test_the_progress_bar_shows_reward_and_kl(make_ppo, capsys):
    trainer = make_ppo(reward_funcs=early_bytes, max_steps=1, disable_tqdm=False)
    trainer.train()
    bar = capsys.readouterr().err
    assert f"reward={trainer.state.log_history[0]['reward']:.4g}" in bar and "kl=" in bar
