"""The KL to the reference and the KL limit, as a run uses them."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_models import tiny_stock_model
from transformers import AutoModelForCausalLM, TrainerCallback

from trl_dprm.ppo.kl_limit import KLLimit

ADAPTER = {"r": 2, "target_modules": ["q_proj", "v_proj"]}


def early_bytes(completion_ids, **columns):
    return [4 * sum(token < 132 for token in ids) / len(ids) for ids in completion_ids]


def logged(trainer, name):
    return [row[name] for row in trainer.state.log_history if name in row]


def test_the_coefficient_moves_towards_the_target(make_ppo):
    steady = {"adaptive_kl": True, "kl_horizon": 100.0, "max_steps": 8}
    trainer = make_ppo(reward_funcs=early_bytes, kl_target=1e3, **steady)
    trainer.train()
    assert logged(trainer, "kl_coef") == pytest.approx([0.05, 0.05 * (1 - 0.2 * 8 / 100)])
    assert trainer.beta == pytest.approx(0.05 * (1 - 0.2 * 8 / 100) ** 2)
    trainer = make_ppo(
        reward_funcs=early_bytes, kl_target=1e-6, trainer={"ref_model": tiny_stock_model("llama", seed=9)}, **steady
    )
    trainer.train()
    kl = logged(trainer, "kl")
    expected = 0.05
    for value in kl:
        expected *= 1 + max(-0.2, min(0.2, value / 1e-6 - 1)) * 8 / 100
    assert trainer.beta == pytest.approx(expected) and trainer.beta != 0.05


def test_the_coefficient_survives_a_checkpoint(make_ppo, tmp_path):
    options = {"adaptive_kl": True, "kl_horizon": 100.0, "save_strategy": "steps", "save_steps": 4}
    make_ppo(reward_funcs=early_bytes, max_steps=4, **options).train()
    state = json.loads((tmp_path / "run" / "checkpoint-4" / "ppo_state.json").read_text())
    assert state["kl_controller"]["coefficient"] == pytest.approx(0.05 * (1 - 0.2 * 8 / 100))
    trainer = make_ppo(reward_funcs=early_bytes, max_steps=8, **options)
    trainer.train(resume_from_checkpoint=True)
    assert logged(trainer, "kl_coef")[-1] == state["kl_controller"]["coefficient"]


def test_a_checkpoint_without_the_coefficient_is_refused(make_ppo):
    options = {"save_strategy": "steps", "save_steps": 4}
    make_ppo(reward_funcs=early_bytes, max_steps=4, **options).train()
    trainer = make_ppo(reward_funcs=early_bytes, max_steps=8, adaptive_kl=True, **options)
    with pytest.raises(ValueError, match="The checkpoint was written without `adaptive_kl`"):
        trainer.train(resume_from_checkpoint=True)


class Snapshots(TrainerCallback):
    """Parameters and optimizer state after every optimizer step."""

    def __init__(self):
        self.steps = []

    def on_step_end(self, args, state, control, model, optimizer, lr_scheduler, **kwargs):
        tensors = dict(model.state_dict())
        for k, entry in optimizer.state_dict()["state"].items():
            tensors |= {f"{k}.{name}": value for name, value in entry.items()}
        self.steps.append((copy.deepcopy(tensors), lr_scheduler.get_last_lr()[0]))


def test_past_the_limit_the_rest_of_the_rollout_is_skipped(make_ppo):
    callback = Snapshots()
    trainer = make_ppo(
        reward_funcs=early_bytes,
        trainer={"callbacks": [callback]},
        kl_limit=1e-5,
        num_ppo_epochs=3,
        max_steps=12,
        learning_rate=1e-2,
        weight_decay=0.1,
    )
    trainer.train()
    assert trainer.state.global_step == 12
    same = []
    for (before, rate_before), (after, rate_after) in zip(callback.steps, callback.steps[1:], strict=False):
        assert before.keys() == after.keys()
        equal = [torch.equal(before[name], after[name]) for name in before]
        assert all(equal) or not all(torch.equal(before[n], after[n]) for n in before if n.endswith("exp_avg"))
        same.append(all(equal))
        assert (rate_before == rate_after) == all(equal)
    # the first step of a rollout is on policy; the second is past the limit, and with it all that follow
    assert same == [True] * 5 + [False] + [True] * 5
    kls = [row.get("policy/approx_kl") for row in trainer.state.log_history[:12]]
    assert kls[0] == kls[6] == 0.0 and kls[1] > 1e-5 and kls[2:6] == [None] * 4
    assert logged(trainer, "policy/skipped") == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0] * 2


def test_a_limit_that_is_not_reached_changes_nothing(make_ppo):
    weights = []
    for limit in (None, 1e9):
        trainer = make_ppo(reward_funcs=early_bytes, max_steps=4, kl_limit=limit)
        trainer.train()
        weights.append(trainer.model.state_dict())
    one, other = weights
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_limit_is_refused_where_steps_cannot_be_skipped():
    with pytest.raises(ValueError, match="cannot skip a DeepSpeed engine's steps"):
        KLLimit(0.1, SimpleNamespace(distributed_type="DEEPSPEED", mixed_precision="no"))
    with pytest.raises(ValueError, match="fp16 gradient scaler"):
        KLLimit(0.1, SimpleNamespace(distributed_type="NO", mixed_precision="fp16"))


def test_without_a_coefficient_there_is_no_reference(make_ppo):
    trainer = make_ppo(reward_funcs=early_bytes, kl_coef=0.0, max_steps=4)
    trainer.train()
    assert trainer.ref_model is None
    assert not logged(trainer, "kl") and logged(trainer, "kl_coef") == [0.0]


def test_the_reference_is_the_instance_and_not_its_checkpoint(make_ppo, backbone):
    policy = AutoModelForCausalLM.from_pretrained(backbone)
    torch.nn.init.normal_(policy.lm_head.weight, std=0.3)
    changed = copy.deepcopy(policy)
    trainer = make_ppo(policy, early_bytes, max_steps=8, learning_rate=1e-2)
    trainer.train()
    assert logged(trainer, "kl")[0] == pytest.approx(0.0, abs=1e-5)
    assert abs(logged(trainer, "kl")[1]) > 1e-3
    weights = dict(trainer.ref_model.named_parameters())
    assert all(torch.equal(p, weights[name]) for name, p in changed.named_parameters())
    assert not any(p.requires_grad for p in weights.values())


def test_a_given_reference_is_used(make_ppo):
    reference = tiny_stock_model("llama", seed=9)
    trainer = make_ppo(reward_funcs=early_bytes, trainer={"ref_model": reference}, max_steps=1)
    trainer.train()
    assert trainer.ref_model is reference
    assert abs(logged(trainer, "kl")[0]) > 1e-3


def adapter_policy(backbone, seed=0):
    """A policy that is an adapter which was trained before."""
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(backbone), LoraConfig(**ADAPTER, task_type="CAUSAL_LM")
    )
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def test_the_reference_of_an_adapter_is_a_frozen_copy_of_it(make_ppo, backbone, tmp_path):
    adapter_policy(backbone).save_pretrained(tmp_path / "adapter")
    policy = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(backbone), tmp_path / "adapter", is_trainable=True
    )
    start = {name: p.detach().clone() for name, p in policy.named_parameters() if ".default." in name}
    trainer = make_ppo(policy, early_bytes, max_steps=8, learning_rate=1e-2)
    trainer.train()
    assert logged(trainer, "kl")[0] == pytest.approx(0.0, abs=1e-5), "and not the KL to the backbone"
    assert abs(logged(trainer, "kl")[1]) > 1e-4
    parameters = dict(trainer.model.named_parameters())
    for name, tensor in start.items():
        copied = parameters[name.replace(".default.", ".ref.")]
        assert torch.equal(copied, tensor) and not copied.requires_grad
        assert not torch.equal(parameters[name], tensor), name


def test_the_reference_of_a_new_adapter_is_the_backbone(make_ppo, backbone):
    trainer = make_ppo(
        reward_funcs=early_bytes, trainer={"peft_config": LoraConfig(**ADAPTER)}, max_steps=8, learning_rate=1e-2
    )
    frozen = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if not p.requires_grad}
    trainer.train()
    assert trainer.ref_model is None and "ref" not in trainer.model.peft_config
    assert logged(trainer, "kl")[0] == pytest.approx(0.0, abs=1e-5) and abs(logged(trainer, "kl")[1]) > 1e-5
    assert frozen and all(torch.equal(p, frozen[n]) for n, p in trainer.model.named_parameters() if n in frozen)
