"""`trl-dprm evaluate`."""

import json
from pathlib import Path

import pytest
from datasets import load_from_disk
from tiny_runs import flags

from trl_dprm import DPRMForSequenceClassification, DPRMTrainer, DPRMTrainingArguments
from trl_dprm.cli import main
from trl_dprm.trainer.model_loading import load_tokenizer

TIMINGS = ("_time", "_runtime", "_per_second", "_num_tokens", "epoch")


def measures(metrics):
    return {name: value for name, value in metrics.items() if not name.endswith(TIMINGS)}


def evaluated(model, data, output, **options):
    options = {"bf16": False, **options}
    main(["evaluate", "--model", model, "--dataset_name", data, "--output", str(output), *flags(options)])
    return json.loads(Path(output).read_text())


def test_numbers_equal_those_of_training(trained, judged, tmp_path):
    in_training = json.loads((Path(trained) / "eval_results.json").read_text())
    got = evaluated(trained, judged, tmp_path / "metrics.json", split="test")
    assert len(measures(got)) > 8
    assert measures(got) == pytest.approx(measures(in_training), rel=1e-6, abs=1e-9)


def test_numbers_equal_those_of_the_trainer_and_not_of_another_batch_size(trained, judged, tmp_path):
    args = DPRMTrainingArguments(str(tmp_path), use_cpu=True, bf16=False, loss_type=["brier_score"], max_length=96)
    model = DPRMForSequenceClassification.from_pretrained(trained)
    rows = load_from_disk(judged)["train"]
    trainer = DPRMTrainer(model, args, train_dataset=rows, processing_class=load_tokenizer(trained, args))
    expected = trainer.evaluate(rows)
    options = {"split": "train", "loss_type": ["brier_score"], "per_device_eval_batch_size": 5}
    got = evaluated(trained, judged, tmp_path / "metrics.json", **options)
    assert measures(got) == pytest.approx(measures(expected), rel=1e-5, abs=1e-7)


def test_prints_a_table_of_every_measure(trained, judged, tmp_path, capsys):
    metrics = evaluated(trained, judged, tmp_path / "metrics.json", split="test")
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines() if len(line.split()) == 2)
    for name, value in measures(metrics).items():
        assert float(lines[name]) == pytest.approx(value, rel=1e-4)


def test_pairs_are_measured_by_a_model_trained_on_pairs(trained_on_pairs, pairs, tmp_path):
    assert 0 <= evaluated(trained_on_pairs, pairs, tmp_path / "metrics.json")["eval_accuracy"] <= 1


def test_the_yaml_gives_the_same_as_flags(trained, judged, yaml_file, tmp_path):
    expected = evaluated(trained, judged, tmp_path / "flags.json", split="test")
    options = {"model": trained, "dataset_name": judged, "split": "test", "use_cpu": True, "bf16": False}
    main(["evaluate", "--config", yaml_file({**options, "output": str(tmp_path / "yaml.json")})])
    assert measures(json.loads((tmp_path / "yaml.json").read_text())) == measures(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": None}, "has the splits `train`, `test`: choose one of them"),
        ({"output": "metrics.txt"}, "its name must end in .json"),
        ({"output": "nowhere/metrics.json"}, "nowhere, does not exist"),
        ({"model": "/nowhere/at/all"}, "No model (`--model`) at /nowhere/at/all"),
        ({"model": "nomodel"}, "The model (`--model`) `nomodel` is no path in"),
        ({"dataset_name": "no-such-set"}, "No file or folder `no-such-set` in"),
    ],
)
def test_wrong_options_are_one_message(changes, message, trained, judged, failure):
    options = {"model": trained, "dataset_name": judged, "split": "test", "use_cpu": True, **changes}
    code, error = failure(["evaluate", *flags({name: v for name, v in options.items() if v is not None})])
    assert code == 1
    assert message in error
    assert "Traceback" not in error


def test_another_kind_of_model_is_refused(backbone, judged, failure):
    code, error = failure(["evaluate", "--model", backbone, "--dataset_name", judged, "--split", "test"])
    assert code == 1
    assert "holds a model of type `llama`, not a distributional preference reward model" in error
