"""`trl-dprm train`."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import RUN, flags

from trl_dprm import DPRMConfig, DPRMForSequenceClassification
from trl_dprm.cli import main


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def test_writes_a_model_a_card_and_its_evaluation(trained):
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "eval_results.json"} <= {
        file.name for file in Path(trained).iterdir()
    }
    config = DPRMConfig.from_pretrained(trained)
    assert config.anchored
    assert config.tokenization["max_length"] == RUN["max_length"]
    assert json.loads((Path(trained) / "eval_results.json").read_text())["eval_loss"] > 0


def test_yaml_gives_the_same_run_as_flags(trained, backbone, judged, yaml_file, tmp_path):
    options = {"model_name_or_path": backbone, "dataset_name": judged, "output_dir": str(tmp_path / "out"), **RUN}
    main(["train", f"--config={yaml_file(options)}"])
    expected, got = weights(trained), weights(tmp_path / "out")
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_flags_take_precedence_over_yaml(backbone, judged, yaml_file, tmp_path):
    options = {"model_name_or_path": backbone, "dataset_name": judged, "output_dir": str(tmp_path / "yaml"), **RUN}
    main(["train", "--config", yaml_file(options), "--output_dir", str(tmp_path / "flag"), "--max_steps", "1"])
    assert (tmp_path / "flag" / "model.safetensors").exists()
    assert not (tmp_path / "yaml").exists()


def test_categories_come_from_the_options(backbone, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text('completion,target_probs\nyes,"[0.0, 1.0]"\nno,"[0.75, 0.25]"\n')
    out = tmp_path / "out"
    argv = ["--model_name_or_path", backbone, "--dataset_name", str(data), "--output_dir", str(out)]
    categories = ["--category_names", "bad", "good", "--category_rewards", "-0.5", "2"]
    main(["train", *argv, *categories, *flags({**RUN, "max_steps": 1})])
    config = DPRMConfig.from_pretrained(out)
    assert (config.category_names, config.category_rewards) == (["bad", "good"], [-0.5, 2.0])


def test_a_trl_reward_command_line_runs(backbone, pairs, tmp_path):
    """The options of TRL's documented reward command, with LoRA; only what a CPU needs is added."""
    out = tmp_path / "Qwen2-0.5B-Reward-LoRA"
    command = f"""--model_name_or_path {backbone} --dataset_name {pairs} --output_dir {out}
        --per_device_train_batch_size 8 --num_train_epochs 1 --learning_rate 1.0e-4 --logging_steps 25
        --eval_strategy no --eval_steps 50 --max_length 2048 --use_peft --lora_task_type SEQ_CLS --lora_r 4
        --lora_alpha 16 --use_cpu --bf16 False"""
    main(["train", *command.split()])
    assert (out / "adapter_model.safetensors").exists()
    assert not DPRMForSequenceClassification.from_pretrained(out).config.anchored


def test_a_mixture_of_data_sets_from_yaml(backbone, pairs, yaml_file, tmp_path):
    mixture = [{"path": "json", "data_files": pairs, "split": "train"}] * 2
    options = {"model_name_or_path": backbone, "datasets": mixture, "output_dir": str(tmp_path / "out"), **RUN}
    main(["train", "--config", yaml_file({**options, "max_steps": 1})])
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("value", ["true", "True"])
def test_resumes_from_the_last_checkpoint(value, trained, backbone, judged, tmp_path):
    options = {"model_name_or_path": backbone, "dataset_name": judged, "output_dir": str(tmp_path), **RUN}
    options |= {"save_strategy": "steps", "save_steps": 2}
    main(["train", *flags(options)])
    shutil.rmtree(tmp_path / "checkpoint-3")
    (tmp_path / "model.safetensors").unlink()
    main(["train", *flags(options), "--resume_from_checkpoint", value])
    expected, got = weights(trained), weights(tmp_path)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_streams(backbone, judged, tmp_path):
    options = {"model_name_or_path": backbone, "dataset_name": judged, "output_dir": str(tmp_path), **RUN}
    main(["train", *flags({**options, "max_steps": 1}), "--dataset_streaming"])
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"model_name_or_path": None}, 2, "`--model_name_or_path` is missing"),
        ({"dataset_name": None}, 2, "`--dataset_name` is missing"),
        ({"dataset_name": "./nowhere"}, 1, r"No data set at /.*nowhere. `./nowhere` is read as a path"),
        (
            {"model_name_or_path": "./nowhere"},
            1,
            r"No model .`--model_name_or_path`. at /.*nowhere. `./nowhere` is read",
        ),
        ({"model_name_or_path": "nomodel"}, 1, r"The model `nomodel` is no path in /.*, so it was read as a Hub id"),
        ({"dataset_train_split": "training"}, 1, "has the splits `train`, `test`: there is no split `training`"),
        ({"eval_strategy": "epoch", "dataset_test_split": "dev"}, 1, "there is no split `dev`"),
        ({"ranking_loss": "hinge"}, 2, "`ranking_loss` is one of bradley_terry, win_probability, got 'hinge'"),
        ({"category_rewards": [0, 1]}, 1, "Row 0, column `target_counts`: 5 values for 2 categories"),
    ],
)
def test_wrong_options_are_one_message(changes, code, message, backbone, judged, tmp_path, failure):
    options = {"model_name_or_path": backbone, "dataset_name": judged, "output_dir": str(tmp_path), **RUN, **changes}
    exit_code, error = failure(["train", *flags({name: v for name, v in options.items() if v is not None})])
    assert exit_code == code
    assert re.search(message, error)
    assert "Traceback" not in error
