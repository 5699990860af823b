"""The command as a whole: help, wrong commands, wrong options."""

import dataclasses
import subprocess
import sys
from importlib import import_module

import pytest
from tiny_runs import flags
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments

from trl_dprm import DPRMTrainingArguments
from trl_dprm.cli import COMMANDS, main
from trl_dprm.cli.adapt import AdaptArguments
from trl_dprm.cli.checkpoint import CheckpointArguments
from trl_dprm.cli.evaluate import EvaluateArguments, ReportArguments
from trl_dprm.cli.evaluated_models import EvaluatedCheckpoints
from trl_dprm.cli.export import ExportArguments
from trl_dprm.cli.merge import MergeArguments
from trl_dprm.cli.parity import ParityArguments
from trl_dprm.cli.parsing import errors_as_messages
from trl_dprm.cli.prepare import PrepareArguments
from trl_dprm.cli.rewardbench import RewardBenchArguments
from trl_dprm.cli.score import ScoreArguments
from trl_dprm.cli.serve import ServeArguments
from trl_dprm.serving.options import ServingOptions

OPTIONS = {
    "prepare": (PrepareArguments,),
    "train": (ScriptArguments, DPRMTrainingArguments, ModelConfig, DatasetMixtureConfig),
    "adapt": (CheckpointArguments, AdaptArguments),
    "evaluate": (EvaluatedCheckpoints, EvaluateArguments, ReportArguments),
    "score": (CheckpointArguments, ScoreArguments),
    "serve": (CheckpointArguments, ServeArguments, ServingOptions),
    "merge": (MergeArguments,),
    "export": (ExportArguments,),
    "parity": (ParityArguments,),
    "rewardbench": (CheckpointArguments, RewardBenchArguments),
}


def printed_help(capsys, argv):
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["train", "ppo"])
def test_help_says_how_to_resume(command, capsys):
    text = printed_help(capsys, [command, "--help"])
    assert "--resume_from_checkpoint TEXT Go on from a checkpoint: `true` for the last complete one" in text


def test_help_lists_every_command(capsys):
    text = printed_help(capsys, ["--help"])
    for command, summary in COMMANDS.items():
        assert f"{command} {summary}" in text
        assert import_module(f"trl_dprm.cli.{command}").main


@pytest.mark.parametrize("command", OPTIONS)
def test_help_lists_every_option_with_its_help_text(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "10000")
    text = printed_help(capsys, [command, "--help_all" if command == "train" else "--help"])
    for dataclass_type in OPTIONS[command]:
        for option in dataclasses.fields(dataclass_type):
            if option.init:
                assert f" --{option.name}" in text
                help_text = option.metadata["help"].replace("%%", "%")
                assert " ".join(help_text.split()) in text, option.name
    assert "--config FILE.yaml" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["predict"], "invalid choice: 'predict'"),
        (["train", "--learning_rat_e", "1"], "unknown options: --learning_rat_e 1"),
        (["evaluate", "--learning_rate", "1"], "unknown options: --learning_rate 1"),
        (["score", "--dataset_name", "x"], "the following arguments are required: --model, --output"),
        (["score", "--overlong", "cut"], "argument --overlong: invalid choice: 'cut'"),
        (["train", "--learning_rate", "fast"], "argument --learning_rate/--learning-rate: invalid"),
        (["prepare", "--learning_rate", "1"], "unknown options: --learning_rate 1"),
        (["train", "--config"], "argument --config: expected a YAML file"),
        (["train", "--config", "nowhere.yaml"], "No such file or directory: 'nowhere.yaml'"),
    ],
)
def test_wrong_options_exit_with_code_2(argv, message, failure):
    required = {"evaluate": {"model": "m", "dataset_name": "d"}, "prepare": {"annotations": "a", "output_dir": "o"}}
    code, error = failure(argv + flags(required.get(argv[0], {}) if argv else {}))
    assert code == 2
    assert message in error
    assert "Traceback" not in error


def test_an_unknown_option_in_yaml_is_named(failure, yaml_file):
    code, error = failure(["train", "--config", yaml_file({"learning_rate": 0.1, "lerning_rate": 0.2})])
    assert code == 2
    assert "unknown options in the configuration file: --lerning_rate 0.2" in error


@pytest.mark.parametrize("content", ["- a list", "a: b: c"])
def test_a_broken_yaml_file_is_one_message(content, failure, tmp_path):
    (tmp_path / "broken.yaml").write_text(content)
    code, error = failure(["score", "--config", str(tmp_path / "broken.yaml")])
    assert code == 2
    assert "must contain a YAML mapping" in error or "mapping values are not allowed here" in error


def test_a_fault_in_the_data_is_one_message_and_the_traceback_on_request(capsys, monkeypatch):
    with pytest.raises(SystemExit) as exit_, errors_as_messages("train"):
        raise ValueError("Row 3 is empty.")
    assert exit_.value.code == 1
    assert capsys.readouterr().err.startswith("trl-dprm train: error: Row 3 is empty.\n")
    monkeypatch.setenv("TRL_DPRM_TRACEBACK", "1")
    with pytest.raises(ValueError, match=r"Row 3 is empty\."), errors_as_messages("train"):
        raise ValueError("Row 3 is empty.")


def test_a_fault_in_the_program_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="a bug"), errors_as_messages("train"):
        raise RuntimeError("a bug")


def test_runs_as_a_module():
    command = [sys.executable, "-m", "trl_dprm.cli", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "invalid choice: 'nonsense'" in done.stderr
    assert "Traceback" not in done.stderr
