"""A run that was stopped and resumed is the run that was not stopped, bit by bit; and what a save writes."""

import copy
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from stopping import StopAt
from transformers import AutoModelForCausalLM

from trl_dprm.ppo.checkpoints import load_critic

SAVING = {"save_strategy": "steps", "save_steps": 4, "max_steps": 8, "num_ppo_epochs": 2, "num_mini_batches": 2}
ONE_ROLLOUT = {**SAVING, "max_steps": 4}
RUNNING = {"adaptive_kl": True, "kl_horizon": 100.0, "normalize_rewards": True, "whiten_rewards": True}
LORA = {"r": 2, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.1}


def early_bytes(completion_ids, **columns):
    return [sum(token < 132 for token in ids) / len(ids) for ids in completion_ids]


def state_of(trainer):
    """Everything that training goes on from, critic included."""
    return (
        {name: p.detach().clone() for name, p in trainer.model.named_parameters()},
        copy.deepcopy(trainer.optimizer.state_dict()["state"]),
        trainer.scorer.state_dict(),
        trainer.beta,
        trainer.lr_scheduler.get_last_lr(),
        torch.get_rng_state(),
    )


def assert_same(one, other):
    for name, weight in one[0].items():
        assert torch.equal(weight, other[0][name]), name
    for key, entry in one[1].items():
        for name, value in entry.items():
            assert torch.equal(value, other[1][key][name]), (key, name)
    assert one[2:5] == other[2:5]
    assert torch.equal(one[5], other[5])


@pytest.mark.parametrize("kind", ["full", "LoRA", pytest.param("stream", marks=pytest.mark.slow)])
def test_resuming_equals_not_having_stopped(make_ppo_in, prompts, tmp_path, kind):
    def make(name, *callbacks):
        peft_config = LoraConfig(**LORA) if kind == "LoRA" else None
        return make_ppo_in(
            tmp_path / name,
            reward_funcs=early_bytes,
            train_dataset=prompts.to_iterable_dataset() if kind == "stream" else None,
            trainer={
                "peft_config": peft_config,
                "callbacks": list(callbacks),
                "eval_dataset": prompts.select(range(3)),
            },
            num_sample_generations=10,
            eval_strategy="steps",
            eval_steps=4,
            **SAVING,
            **RUNNING,
        )

    whole = make("whole")
    whole.train()
    stopped = make("stopped", StopAt(4))
    stopped.train()
    assert stopped.state.global_step == 4
    resumed = make("stopped")
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 8
    assert_same(state_of(whole), state_of(resumed))
    last = next(row for row in whole.state.log_history if row.get("step") == 8 and "loss" in row)
    assert last["loss"] == next(r for r in resumed.state.log_history if r["step"] == 8 and "loss" in r)["loss"]


def test_a_save_in_the_middle_of_a_rollout_waits_for_its_end(make_ppo, tmp_path):
    trainer = make_ppo(reward_funcs=early_bytes, **{**SAVING, "save_steps": 3, "max_steps": 10})
    trainer.train()
    folders = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    assert folders == ["checkpoint-10", "checkpoint-4", "checkpoint-8"], "due at 3, 6, 9 and at the end"


@pytest.mark.parametrize("moment", ["optimizer", pytest.param("critic", marks=pytest.mark.slow)])
def test_resume_skips_a_checkpoint_that_was_being_written(make_ppo, tmp_path, monkeypatch, moment):
    trainer = make_ppo(reward_funcs=early_bytes, **SAVING)
    target, name = {
        "critic": ("trl_dprm.ppo.resuming.save_critic", None),
        "optimizer": (trainer, "_save_optimizer_and_scheduler"),
    }[moment]
    original = load_by_name(target) if name is None else getattr(target, name)

    def killed(folder, *args):
        original(folder, *args)
        if str(folder).endswith("-8"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*([target, killed] if name is None else [target, name, killed]))
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    assert (tmp_path / "run" / "checkpoint-8" / "value_model.safetensors").exists()
    resumed = make_ppo(reward_funcs=early_bytes, **SAVING)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 8
    assert [row["step"] for row in resumed.state.log_history if "loss" in row] == list(range(1, 9))
    assert not (tmp_path / "run" / "checkpoint-8" / ".incomplete").exists()
    with pytest.raises(ValueError, match="is not a complete checkpoint"):
        (tmp_path / "run" / "checkpoint-8" / ".incomplete").touch()
        resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-8"))


def load_by_name(path):
    module, name = path.rsplit(".", 1)
    return getattr(sys.modules[module], name)


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_saves_resumes(make_ppo, backbone, tmp_path):
    script = f"""
import os, signal
from datasets import Dataset
from trl_dprm.ppo import resuming
from trl_dprm import ExpectedRewardPPOConfig, ExpectedRewardPPOTrainer
save = resuming.save_critic
def killed(folder, tensors):
    if folder.name.endswith("-8"):
        (folder / "value_model.safetensors").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    save(folder, tensors)
resuming.save_critic = killed
from conftest import RUN
args = ExpectedRewardPPOConfig({str(tmp_path / "run")!r}, **{{**RUN, **{SAVING!r}}})
prompts = Dataset.from_dict({{"prompt": [f"tell {{'me ' * (k % 5)}}of {{k}}" for k in range(16)]}})
from test_resume_ppo import early_bytes
ExpectedRewardPPOTrainer({backbone!r}, early_bytes, args, prompts).train()
"""
    rooms = [Path(__file__).parent, Path(__file__).parents[1], Path(__file__).parents[2]]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, rooms)), "OMP_NUM_THREADS": "1"}
    finished = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert finished.returncode == -signal.SIGKILL, finished.stderr[-2000:]
    assert (tmp_path / "run" / "checkpoint-8" / "value_model.safetensors").read_bytes() == b"half"
    resumed = make_ppo(reward_funcs=early_bytes, **SAVING)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 8
    critic = {name: torch.empty_like(t) for name, t in resumed.critic.state_dict().items()}
    load_critic(tmp_path / "run" / "checkpoint-8", critic)


@pytest.mark.parametrize("backbone_type", ["llama", "gpt2"])
def test_the_saved_policy_is_a_plain_one(make_ppo, backbone_folder, tmp_path, backbone_type):
    folder = backbone_folder(backbone_type)
    trainer = make_ppo(folder, early_bytes, **ONE_ROLLOUT)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    for place in ("saved", "run/checkpoint-4"):
        tensors = load_file(tmp_path / place / "model.safetensors")
        assert set(tensors) == set(load_file(f"{folder}/model.safetensors")), place
        assert "value_model" not in (tmp_path / place / "config.json").read_text()
        policy = AutoModelForCausalLM.from_pretrained(tmp_path / place)
        ids = torch.tensor([[5, 6, 7, 8]])
        with torch.no_grad():
            assert torch.equal(policy(input_ids=ids).logits, trainer.model.eval()(input_ids=ids).logits)
    assert not (tmp_path / "saved" / "value_model.safetensors").exists()
    assert (tmp_path / "run" / "checkpoint-4" / "value_model.safetensors").exists()
    assert trainer.critic is not None, "and it is still there"


def test_an_adapter_policy_saves_its_adapter_alone(make_ppo, backbone, tmp_path):
    trainer = make_ppo(reward_funcs=early_bytes, trainer={"peft_config": LoraConfig(**LORA)}, **ONE_ROLLOUT)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    for place in (tmp_path / "saved", tmp_path / "run" / "checkpoint-4"):
        tensors = load_file(place / "adapter_model.safetensors")
        assert tensors and all("lora_" in name and "value_model" not in name for name in tensors)
        assert not (place / "model.safetensors").exists()
        assert [path.name for path in place.iterdir() if path.is_dir()] == [], "and no other adapter's folder"
    policy = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(backbone), tmp_path / "saved").eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(policy(input_ids=ids).logits, trainer.model.eval()(input_ids=ids).logits)


def test_a_checkpoint_of_another_trainer_is_refused(make_ppo, tmp_path):
    trainer = make_ppo(reward_funcs=early_bytes, **ONE_ROLLOUT)
    trainer.train()
    folder = tmp_path / "run" / "checkpoint-4"
    (folder / "value_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="holds no critic .* is no checkpoint of `ExpectedRewardPPOTrainer`"):
        make_ppo(reward_funcs=early_bytes, **ONE_ROLLOUT).train(resume_from_checkpoint=str(folder))


def test_the_best_policy_is_loaded_without_a_word_on_the_critic(make_ppo, prompts, tmp_path, caplog):
    trainer = make_ppo(
        reward_funcs=early_bytes,
        trainer={"eval_dataset": prompts.select(range(4))},
        eval_strategy="steps",
        eval_steps=4,
        load_best_model_at_end=True,
        metric_for_best_model="eval_reward",
        greater_is_better=True,
        **SAVING,
    )
    trainer.train()
    best = trainer.state.best_model_checkpoint
    saved = load_file(f"{best}/model.safetensors")
    weights = trainer.model.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in saved.items())
    critic = load_file(f"{best}/value_model.safetensors")
    assert all(torch.equal(trainer.critic.state_dict()[name], tensor) for name, tensor in critic.items())
    assert "value_model" not in caplog.text


def test_saved_arguments_can_be_read(make_ppo, tmp_path):
    trainer = make_ppo(reward_funcs=early_bytes, max_steps=1)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    args = torch.load(tmp_path / "saved" / "training_args.bin", weights_only=False)
    assert args.to_dict() == trainer.args.to_dict()
    assert json.loads(args.to_json_string())["kl_coef"] == 0.05
