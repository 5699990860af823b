"""A backward pass for the value loss and one for the policy loss, against one for their sum."""

import pytest
import torch
from shared_models import lora, train_reward_adapter
from test_accumulation import Gradients

import trl_dprm.ppo.expected_reward_ppo_trainer as module
from trl_dprm.ppo.critic import CRITIC_NAME

VARIANTS = {
    "separate models": {},
    "entropy bonus": {"entropy_coef": 0.05},
    "bf16": {"bf16": True},
    "KL limit": {"kl_limit": 1e-4, "num_ppo_epochs": 3},
    "adapter": {"peft_config": lora()},
    "shared, checkpointed": {"share_backbone": True, "gradient_checkpointing": True, "peft_config": lora()},
}


def early_bytes(completion_ids, **columns):
    return [sum(token < 132 for token in ids) / len(ids) for ids in completion_ids]


@pytest.fixture(scope="module")
def reward_adapter(backbone, tmp_path_factory):
    return train_reward_adapter(backbone, tmp_path_factory.mktemp("reward-adapter"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_and_logs_are_those_of_one_backward(make_ppo_in, reward_adapter, tmp_path, monkeypatch, variant):
    options = dict(VARIANTS[variant])
    trainer = {"peft_config": options.pop("peft_config")} if "peft_config" in options else {}
    runs = []
    for apart in (True, False):
        monkeypatch.setattr(module, "takes_losses_apart", lambda trainer, apart=apart: apart)
        callback = Gradients()
        ppo = make_ppo_in(
            tmp_path / str(apart),
            reward_funcs=reward_adapter if "share_backbone" in options else early_bytes,
            trainer={"callbacks": [callback], **trainer},
            **{"max_steps": 4, "max_grad_norm": 0.0, **options},
        )
        backward, calls = ppo.accelerator.backward, []
        ppo.accelerator.backward = lambda loss, b=backward, c=calls, **kw: (c.append(loss.item()), b(loss, **kw))
        ppo.train()
        runs.append((callback.steps, ppo.state.log_history, len(calls)))
    (steps, logs, calls), (other_steps, other_logs, other_calls) = runs
    assert calls == 2 * other_calls > 0
    assert len(steps) == len(other_steps) > 1
    for step, other in zip(steps, other_steps, strict=True):
        assert step.keys() == other.keys()
        for name, gradient in step.items():
            assert (gradient - other[name]).norm() <= 1e-6 * other[name].norm(), name
    assert any(gradient.any() for name, gradient in steps[0].items() if "value" in name or "critic" in name)
    for log, other in zip(logs, other_logs, strict=True):
        assert log.keys() == other.keys()
        for name in log.keys() - {"step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second"}:
            assert log[name] == pytest.approx(other[name], rel=1e-6, nan_ok=True), name
    if variant == "KL limit":
        assert any(log.get("policy/skipped") for log in logs)


def test_the_critic_has_learned_before_the_policys_graph_is_built(make_ppo):
    ppo = make_ppo(reward_funcs=early_bytes, max_steps=1)
    read, seen = ppo._get_per_token_logps_and_entropies, []

    def observed(*args, **options):
        if torch.is_grad_enabled():
            head = getattr(ppo.model, CRITIC_NAME).head.weight
            seen.append((head.grad is not None, ppo.model.lm_head.weight.grad is not None))
        return read(*args, **options)

    ppo._get_per_token_logps_and_entropies = observed
    ppo.train()
    assert seen == [(True, False), (True, True)], "in two micro-batches of one step"


def test_evaluation_has_no_backward(make_ppo, prompts):
    ppo = make_ppo(reward_funcs=early_bytes, max_steps=1, trainer={"eval_dataset": prompts.select(range(4))})
    ppo.accelerator.backward = None
    assert "eval_loss" in ppo.evaluate()
    assert all(parameter.grad is None for parameter in ppo.model.parameters())


def test_several_processes_and_lomo_have_one_backward(make_ppo, monkeypatch):
    ppo = make_ppo(reward_funcs=early_bytes)
    assert module.takes_losses_apart(ppo)
    ppo.accelerator.has_lomo_optimizer = True
    assert not module.takes_losses_apart(ppo)
    ppo.accelerator.has_lomo_optimizer = False
    monkeypatch.setattr(type(ppo.accelerator), "distributed_type", "MULTI_CPU")
    assert not module.takes_losses_apart(ppo)
