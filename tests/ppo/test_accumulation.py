"""How a rollout is cut into micro-batches and optimizer steps."""

import pytest
import torch
from transformers import TrainerCallback


class Gradients(TrainerCallback):
    """Gradients that the optimizer's steps see."""

    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        self.steps.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})


def early_bytes(completion_ids, **columns):
    return [sum(token < 132 for token in ids) / len(ids) for ids in completion_ids]


@pytest.mark.parametrize("loss_type", ["dapo", "dr_grpo"])
def test_micro_batches_of_any_size_make_the_same_step(make_ppo_in, eos_policy, tmp_path, loss_type):
    steps = []
    for rows, accumulation in ((4, 1), (1, 4)):
        callback = Gradients()
        trainer = make_ppo_in(
            tmp_path,
            eos_policy,
            early_bytes,
            trainer={"callbacks": [callback]},
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=accumulation,
            num_mini_batches=1,
            max_steps=1,
            max_grad_norm=0.0,
            loss_type=loss_type,
        )
        trainer.train()
        steps.append((callback.steps[0], trainer.state.log_history[0]))
    (one, one_log), (other, other_log) = steps
    assert one.keys() == other.keys() and any("value_model" in name for name in one)
    for name, gradient in one.items():
        assert (gradient - other[name]).norm() <= 1e-5 * gradient.norm(), name
        assert gradient.any(), name
    for name in ("loss", "policy/loss"):
        assert other_log[name] == pytest.approx(one_log[name], rel=1e-4, abs=1e-7), name


@pytest.fixture(scope="module")
def four_steps(make_ppo_in, eos_policy, tmp_path_factory):
    """Rows that each optimizer step was made on, over two epochs of two mini-batches, and the trainer."""
    trainer = make_ppo_in(
        tmp_path_factory.mktemp("run"),
        eos_policy,
        early_bytes,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
        num_mini_batches=2,
        num_ppo_epochs=2,
        max_steps=8,
        seed=1,
    )
    rows = {}
    compute_loss = trainer._compute_loss

    def recorded(model, inputs):
        row = tuple(torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)[0].tolist())
        rows.setdefault(trainer.state.global_step, []).append(row)
        return compute_loss(model, inputs)

    trainer._compute_loss = recorded
    trainer.train()
    return trainer, rows


def test_mini_batches_are_optimizer_steps(four_steps):
    trainer, rows = four_steps
    assert trainer.state.global_step == 8, "two rollouts, two epochs, two mini-batches"
    assert [len(rows[step]) for step in range(8)] == [4] * 8
    for rollout in (0, 4):
        first, second, third, fourth = (set(rows[rollout + step]) for step in range(4))
        assert first | second == third | fourth and not first & second, "an epoch takes every row once"
        assert len(first | second) == 8
    assert not set(rows[0]) & set(rows[4]), "then a new rollout"


def test_epochs_mix_their_mini_batches_anew(four_steps):
    _, rows = four_steps
    assert any({*rows[start]} not in ({*rows[start + 2]}, {*rows[start + 3]}) for start in (0, 4))


def test_the_scheduler_steps_with_the_optimizer(four_steps):
    trainer, _ = four_steps
    rates = [row["learning_rate"] for row in trainer.state.log_history if "learning_rate" in row]
    assert rates == pytest.approx([1e-3 * (8 - step) / 8 for step in range(8)])


def test_episodes_are_counted_when_they_are_trained_on(four_steps):
    trainer, _ = four_steps
    episodes = {row["step"]: row["episode"] for row in trainer.state.log_history if "episode" in row}
    assert episodes == {1: 8, 5: 16}


def test_steps_and_rollouts_follow_the_episodes(make_ppo):
    trainer = make_ppo(reward_funcs=early_bytes, total_episodes=20, num_ppo_epochs=1)
    trainer.train()
    assert trainer.state.global_step == 6, "three rollouts of eight, two mini-batches each"
    assert trainer.scorer.episode == 24
