"""A run that was stopped and resumed is the run that was not stopped, bit by bit."""

import copy
import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from reward_rows import mixture, pairs
from stopping import StopAt

from trl_dprm import DPRMConfig, DPRMForSequenceClassification

DATA = {"pairs": lambda: pairs(40), "mixture": lambda: mixture(20, 20)}
SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4, "gradient_accumulation_steps": 2}


def state_of(trainer):
    """Everything that training goes on from."""
    return {
        "weights": {name: p.detach().clone() for name, p in trainer.model.named_parameters()},
        "optimizer": copy.deepcopy(trainer.optimizer.state_dict()["state"]),
        "scale": trainer.bradley_terry_scale.value.clone(),
        "tokens": trainer.state.log_history[-2]["num_tokens"],
    }


def assert_same(one, other):
    assert one["tokens"] == other["tokens"] > 0
    assert torch.equal(one["scale"], other["scale"])
    assert one["weights"].keys() == other["weights"].keys()
    for name, weight in one["weights"].items():
        assert torch.equal(weight, other["weights"][name]), name
    for key, entry in one["optimizer"].items():
        for name, value in entry.items():
            assert torch.equal(value, other["optimizer"][key][name]), (key, name)


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "LoRA"])
@pytest.mark.parametrize("kind", DATA)
def test_resuming_equals_not_having_stopped(make_trainer, tmp_path, kind, adapter):
    def trainer(name, **arguments):
        peft_config = LoraConfig(r=4, lora_dropout=0.1) if adapter else None
        return make_trainer(
            DATA[kind](), output_dir=str(tmp_path / name), peft_config=peft_config, **SAVING, **arguments
        )

    whole = trainer("whole")
    whole.train()
    stopped = trainer("stopped", callbacks=[StopAt(2)])
    stopped.train()
    assert stopped.state.global_step == 2
    resumed = trainer("stopped")
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 4
    assert_same(state_of(whole), state_of(resumed))
    assert (
        whole.bradley_terry_scale.value != 1 and whole.bradley_terry_scale.value != stopped.bradley_terry_scale.value
    )
    assert resumed.model.config.anchored == (kind == "mixture")
    if not adapter:
        config = json.loads((tmp_path / "stopped" / "checkpoint-4" / "config.json").read_text())
        assert config["bradley_terry_scale"] == resumed.bradley_terry_scale.value.item()


def test_a_resumed_run_counts_tokens_on(make_trainer, tmp_path):
    def trainer(name, **arguments):
        return make_trainer(pairs(40), pairs(4, seed=1), output_dir=str(tmp_path / name), **SAVING, **arguments)

    whole = trainer("whole")
    whole.train()
    trainer("stopped", callbacks=[StopAt(2)]).train()
    resumed = trainer("stopped")
    resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / "checkpoint-2"))
    counted = [[log["num_tokens"] for log in t.state.log_history if "loss" in log] for t in (whole, resumed)]
    assert counted[0] == counted[1] == sorted(set(counted[0]))
    assert resumed.evaluate()["eval_num_tokens"] == counted[0][-1]
    (tmp_path / "stopped" / "checkpoint-2" / "dprm_state.json").unlink()  # as in a checkpoint of `RewardTrainer`
    resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / "checkpoint-2"))
    assert resumed.state.log_history[-2]["num_tokens"] == counted[0][3] - counted[0][1]


@pytest.fixture
def interrupted_run(make_trainer, tmp_path, monkeypatch):
    """A trainer whose run was killed while it wrote its second checkpoint."""
    options = SAVING | {"output_dir": str(tmp_path / "run")}
    trainer = make_trainer(pairs(20), **options)
    save = trainer._save_optimizer_and_scheduler

    def killed(output_dir):
        save(output_dir)
        if output_dir.endswith("-4"):
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "_save_optimizer_and_scheduler", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    folder = tmp_path / "run" / "checkpoint-4"
    assert (folder / "optimizer.pt").exists()
    return make_trainer(pairs(20), **options), folder


def test_resume_skips_a_checkpoint_that_was_being_written(interrupted_run):
    trainer, folder = interrupted_run
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 4
    assert [entry["step"] for entry in trainer.state.log_history if "loss" in entry] == [1, 2, 3, 4]
    assert not (folder / ".incomplete").exists()  # written again, whole


def test_an_incomplete_checkpoint_is_refused_by_name(interrupted_run):
    trainer, folder = interrupted_run
    (folder / "trainer_state.json").write_text("{}")
    with pytest.raises(ValueError, match=r"checkpoint-4 is not a complete checkpoint: .*resume_from_checkpoint=True"):
        trainer.train(resume_from_checkpoint=str(folder))


def test_nothing_to_resume_from(make_trainer):
    with pytest.raises(ValueError, match="No complete checkpoint in .*start without `resume_from_checkpoint`"):
        make_trainer(pairs(4)).train(resume_from_checkpoint=True)


def test_the_best_model_brings_its_scale(make_trainer, tmp_path):
    trainer = make_trainer(
        pairs(20),
        pairs(8, seed=1),
        max_steps=4,
        save_strategy="steps",
        save_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="num_tokens",  # grows: the first checkpoint is the best one if smaller is better
        greater_is_better=False,
    )
    trainer.train()
    assert Path(trainer.state.best_model_checkpoint).name == "checkpoint-1"
    saved = DPRMConfig.from_pretrained(trainer.state.best_model_checkpoint).bradley_terry_scale
    assert saved != 1
    assert trainer.bradley_terry_scale.value.item() == trainer.model.config.bradley_terry_scale == saved
    best = DPRMForSequenceClassification.from_pretrained(trainer.state.best_model_checkpoint)
    assert torch.equal(trainer.model.score.weight, best.score.weight)


def test_the_model_in_memory_knows_its_scale_after_training(make_trainer):
    trainer = make_trainer(pairs(8))
    trainer.train()
    assert trainer.model.config.bradley_terry_scale == trainer.bradley_terry_scale.value.item() != 1


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "LoRA"])
def test_an_interrupted_save_over_an_older_model_is_not_loadable(make_trainer, tmp_path, monkeypatch, adapter):
    trainer = make_trainer(pairs(8), peft_config=LoraConfig(r=2) if adapter else None)
    folder = tmp_path / "model"
    trainer.save_model(folder)
    DPRMForSequenceClassification.from_pretrained(folder)

    def disk_full(*args, **kwargs):
        raise OSError("No space left on device")

    target = "peft.peft_model.safe_save_file" if adapter else "trl_dprm.models.modeling_dprm.shutil.copyfile"
    monkeypatch.setattr(target, disk_full)
    with pytest.raises(OSError, match="No space left"):
        trainer.save_model(folder)
    monkeypatch.undo()
    if adapter:
        with pytest.raises(ValueError, match="Unrecognized model"):  # neither configuration is there
            DPRMForSequenceClassification.from_pretrained(folder)
    else:  # the older model was not touched yet
        DPRMForSequenceClassification.from_pretrained(folder)


def test_a_step_that_was_interrupted_leaves_nothing_in_the_next_run(make_trainer):
    scales = []
    for interrupted in (False, True):
        trainer = make_trainer(pairs(8), max_steps=1)
        if interrupted:
            trainer.compute_loss(trainer.model.train(), next(iter(trainer.get_train_dataloader())))
            assert trainer.bradley_terry_scale.gradient != 0
        trainer.train()
        scales.append(trainer.bradley_terry_scale.value.item())
    assert scales[0] == scales[1] != 1
