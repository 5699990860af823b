"""`trl-dprm evaluate`."""

import csv
import html
import io
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import load_dataset, load_from_disk
from tiny_reward_models import tiny_scalar
from tiny_runs import flags, pair_rows, prepared_votes
from transformers import AutoTokenizer

from trl_dprm import DPRMForSequenceClassification, DPRMTrainer, DPRMTrainingArguments
from trl_dprm.cli import main
from trl_dprm.evaluation.reward_readout import fit_reward_readout
from trl_dprm.models.configuration_dprm import LIKERT_CATEGORY_NAMES
from trl_dprm.rewards import dprm_reward_function
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


# --- the report ---


@pytest.fixture(scope="module")
def other(trained, tmp_path_factory):
    """Folder of the trained model with another head."""
    folder = tmp_path_factory.mktemp("other")
    model = DPRMForSequenceClassification.from_pretrained(trained)
    torch.manual_seed(0)
    torch.nn.init.normal_(model.score.weight, std=0.5)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(trained).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Folder that `trl-dprm prepare` wrote."""
    return prepared_votes(tmp_path_factory.mktemp("prepared"), "early")


@pytest.fixture
def reported(tmp_path):
    """Function (models, data, **options) -> the JSON, the page and the lines of the CSV."""

    def run(models, data, **options):
        files = {"output": tmp_path / "m.json", "report": tmp_path / "r.html", "csv": tmp_path / "t.csv"}
        options = {"use_cpu": True, "bf16": False, "num_resamples": 50, **options}
        main(["evaluate", "--model", *models, "--dataset_name", data, *flags({**files, **options})])
        texts = [file.read_text(encoding="utf-8") for file in files.values()]
        return json.loads(texts[0]), texts[1], list(csv.DictReader(io.StringIO(texts[2])))

    return run


def test_the_report_has_the_numbers_of_training(trained, judged, reported):
    in_training = measures(json.loads((Path(trained) / "eval_results.json").read_text()))
    content, page, rows = reported([trained], judged, split="test")
    assert measures({k: v for k, v in content.items() if k != "report"}) == pytest.approx(
        in_training, rel=1e-6, abs=1e-9
    )
    (model,) = content["report"]["items"]["models"].values()
    assert len(model["metrics"]) > 12
    scores = [row for row in rows if row["table"] == "Predicted distributions against votes"]
    table = {row["row"]: float(row["value"]) for row in scores if row["column"] == Path(trained).name}
    for name, value in model["metrics"].items():
        assert in_training[f"eval_{name}"] == pytest.approx(value, rel=1e-6, abs=1e-9)
        assert table.get(name, value) == value
    assert f"{in_training['eval_brier_score']:.4f}" in page


def test_several_models_are_compared_with_the_first(trained, other, judged, reported, capsys):
    content, page, _ = reported([trained, other], judged, split="test", model_names=["ours", "theirs"])
    metrics = content["models"]
    difference = metrics["theirs"]["eval_brier_score"] - metrics["ours"]["eval_brier_score"]
    theirs = content["report"]["items"]["models"]["theirs"]
    assert abs(difference) > 1e-3
    assert theirs["differences_from_first"]["brier_score"]["difference"] == pytest.approx(difference, rel=1e-5)
    assert content["report"]["items"]["models"]["ours"]["differences_from_first"] == {}
    assert metrics["theirs"] == pytest.approx(
        {k: v for k, v in reported([other], judged, split="test")[0].items() if k != "report"}, rel=1e-9
    )
    printed = capsys.readouterr().out
    assert "Difference from ours" in page and "Difference from ours" in printed
    line = "Square brackets hold 95 % intervals over other items, for this panel of annotators."
    assert line in page and line in printed.splitlines()
    assert max(map(len, printed.splitlines())) <= 120


def test_judgments_in_the_folder_give_intervals_over_annotators_and_groups(trained, prepared, reported, capsys):
    content, page, rows = reported([trained], prepared, split="test", cluster_column="topic")
    items = content["report"]["items"]
    assert items["intervals"]["over"] == "other items and other annotators" and items["num_annotators"] == 5
    (model,) = items["models"].values()
    assert model["intervals"]["wasserstein_distance"]["over"] == "other items and other annotators"
    assert model["intervals"]["contested_concordance"]["over"] == "other items, for this panel of annotators"
    groups = {group["group"]: group for group in model["groups"]["group"]["groups"]}
    test_rows = load_dataset(prepared, split="test")
    assert groups["early"]["num_votes"] + groups["late"]["num_votes"] == 3 * len(test_rows) == items["num_votes"]
    assert "Groups by group" in page and {"early", "late"} <= {row["row"] for row in rows}
    assert not any("other votes than" in note for note in content["report"]["notes"])
    assert f"The rows are in {len(set(test_rows['topic']))} clusters: intervals from" in capsys.readouterr().out


def test_validation_votes_recalibrate_and_give_the_prior_strength(other, prepared, reported):
    content, page, _ = reported([other], prepared, split="test", validation_split="validation")
    raw, recalibrated = content["report"]["items"]["models"].values()
    assert raw["temperature"] is None and recalibrated["temperature"] > 1  # random votes, sure predictions
    assert recalibrated["metrics"]["nats_per_vote"] < raw["metrics"]["nats_per_vote"]
    assert (
        "recalibrated" in page and content["report"]["items"]["best_constants"]["chosen_on"] == "the validation votes"
    )
    assert content["eval_nats_per_vote"] == pytest.approx(raw["metrics"]["nats_per_vote"], rel=1e-6)


def test_texts_are_shown_on_request_only(trained, prepared, reported):
    text = next(row for row in load_dataset(prepared, split="test")["completion"] if len(row) > 20)
    assert all(row not in reported([trained], prepared, split="test")[1] for row in [text])
    page = html.unescape(reported([trained], prepared, split="test", show_texts=True)[1])
    assert any(row[:20] in page for row in load_dataset(prepared, split="test")["completion"] if len(row) > 20)


def test_pairs_have_a_report_too(trained_on_pairs, pairs, reported):
    content, page, _ = reported([trained_on_pairs], pairs)
    assert content["report"]["items"] is None
    (model,) = content["report"]["pairs"]["models"].values()
    assert model["metrics"]["accuracy"] == pytest.approx(content["eval_accuracy"], rel=1e-9)
    assert 'id="pairs"' in page


@pytest.fixture(scope="module")
def scalar(trained, tmp_path_factory):
    """Folder of a stock reward model with one label and the tokenizer of the trained one."""
    folder = tmp_path_factory.mktemp("scalar")
    tiny_scalar("llama").save_pretrained(folder)
    AutoTokenizer.from_pretrained(trained).save_pretrained(folder)
    return str(folder)


def test_a_scalar_is_read_out_and_compared_with_what_the_same_votes_have_helped(
    trained, scalar, prepared, reported, capsys
):
    options = {"split": "test", "validation_split": "validation", "model_names": ["dprm", "bt"]}
    content, page, _ = reported([trained, scalar], prepared, **options)
    models = content["report"]["items"]["models"]
    assert list(models) == ["dprm", "dprm, recalibrated", "bt, read out"]
    read_out = models["bt, read out"]
    fitted = read_out["differences_from_first_fitted"]["nats_per_vote"]["difference"]
    nats = {name: model["metrics"]["nats_per_vote"] for name, model in models.items()}
    assert fitted == pytest.approx(nats["bt, read out"] - nats["dprm, recalibrated"], rel=1e-6)
    assert read_out["read_out"] and read_out["temperature"] is None
    assert read_out["groups"]["group"]["groups"][0]["num_votes"] > 0
    function = dprm_reward_function(scalar, device="cpu")
    rows = {split: load_dataset(prepared, split=split) for split in ("validation", "test")}
    rewards = {split: function([""] * len(data), data["completion"][:]) for split, data in rows.items()}
    probs = fit_reward_readout(rewards["validation"], rows["validation"]["target_counts"][:]).category_probs(
        rewards["test"]
    )
    counts = np.array(rows["test"]["target_counts"][:])
    assert nats["bt, read out"] == pytest.approx(-(counts * np.log(probs)).sum() / counts.sum(), rel=1e-5)
    printed = capsys.readouterr().out
    assert "Difference from dprm, recalibrated" in printed and "Difference from dprm, recalibrated" in page
    assert "bt: one number for a text" in printed and "A vote costs bt, read out, " in html.unescape(page)


def test_a_scalar_on_pairs_needs_no_validation_votes(trained_on_pairs, scalar, pairs, reported):
    content, _, _ = reported([trained_on_pairs, scalar], pairs, model_names=["dprm", "bt"])
    assert content["report"]["pairs"]["models"]["bt"]["bradley_terry_scale"] == 1.0
    rows = [json.loads(line) for line in Path(pairs).read_text().splitlines()]
    function = dprm_reward_function(scalar, device="cpu")
    chosen, rejected = (
        function([r["prompt"] for r in rows], [r[side] for r in rows]) for side in ("chosen", "rejected")
    )
    accuracy = np.mean(np.array(chosen) > np.array(rejected))
    assert content["models"]["bt"]["eval_accuracy"] == pytest.approx(accuracy)


def test_a_model_of_pairs_alone_is_read_out_too(trained_on_pairs, trained, prepared, reported):
    options = {"split": "test", "validation_split": "validation", "model_names": ["votes", "pairs"]}
    content, _, _ = reported([trained, trained_on_pairs], prepared, **options)
    assert list(content["report"]["items"]["models"]) == ["votes", "votes, recalibrated", "pairs, read out"]


def test_scalars_without_what_they_need_are_one_message(trained, scalar, backbone, judged, failure):
    options = flags({"dataset_name": judged, "split": "test", "use_cpu": True})
    code, error = failure(["evaluate", "--model", trained, scalar, *options])
    assert code == 1 and "one number for a text, while the data have votes on categories" in error
    code, error = failure(["evaluate", "--model", scalar, *options, "--validation_split", "train"])
    assert code == 1 and "holds a model of type `llama`, not a distributional preference reward model" in error
    assert "evaluated beside a DPRM" in error
    code, error = failure(["evaluate", "--model", trained, backbone, *options, "--validation_split", "train"])
    assert code == 1 and "does not hold the reward head" in error and "Traceback" not in error


def test_validation_votes_that_are_the_judged_ones_are_refused(trained, prepared, failure, tmp_path):
    load_dataset(prepared, split="test").to_parquet(tmp_path / "copy.parquet")
    options = {"dataset_name": prepared, "split": "test", "use_cpu": True}
    options["validation_dataset"] = tmp_path / "copy.parquet"
    code, error = failure(["evaluate", "--model", trained, *flags(options)])
    assert code == 1 and "rows that are evaluated stand among the validation votes, equal in every column" in error


def test_models_of_one_given_name_are_trainings_of_one_method(trained, other, scalar, prepared, reported, capsys):
    names = ["ours", "bt", "ours", "bt"]
    options = {"split": "test", "validation_split": "validation", "model_names": names}
    content, page, rows = reported([trained, scalar, other, scalar], prepared, **options)
    models = content["report"]["items"]["models"]
    assert {"ours #1", "ours #2", "ours #2, recalibrated", "bt #1, read out", "bt #2, read out"} <= set(models)
    methods = {method["name"]: method for method in content["report"]["trainings"]["items"]}
    nats = {name: model["metrics"]["nats_per_vote"] for name, model in models.items()}
    expected = np.mean([nats["ours #1"], nats["ours #2"]])
    assert methods["ours"]["means"]["nats_per_vote"]["mean"] == pytest.approx(expected)
    table = {
        row["column"]: row for row in rows if (row["table"], row["row"]) == ("Mean over trainings", "nats_per_vote")
    }
    assert float(table["ours"]["value"]) == pytest.approx(expected)
    assert table["ours"]["interval_over"] == "other trainings, on these votes"
    differences = [
        row for row in rows if row["table"] == "Differences over trainings" and row["row"] == "nats_per_vote"
    ]
    assert [row["column"] for row in differences] == ["bt, read out − ours, recalibrated"]
    (sentence,) = [text for text in html.unescape(page).split("<li>") if text.startswith("Over 2 trainings each")]
    assert "a vote costs bt, read out, " in sentence and "ours, recalibrated" in sentence
    assert "Differences over trainings" in capsys.readouterr().out


@pytest.fixture
def three_ways(tmp_path):
    """Function (seed) -> JSONL file of 40 pairs with votes of three kinds; the ties of the first few are not known."""

    def write(seed, num_unknown=0, turned=False):
        draw = random.Random(seed)
        rows = pair_rows(40)
        for number, row in enumerate(rows):
            votes = [draw.randrange(4), draw.randrange(3), draw.randrange(4) + 1]
            votes, total = votes[:: -1 if turned else 1], sum(votes)
            row["chosen_vote_share"] = (votes[0] + votes[1] / 2) / total
            row["tie_vote_share"] = votes[1] / total if number >= num_unknown else None
            row["pair_weight"] = total
        file = tmp_path / f"{seed}{turned}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(file)

    return write


def test_ties_are_judged_whatever_loss_is_named(trained, three_ways, reported, capsys):
    data = three_ways(1, num_unknown=10)
    content, page, rows = reported([trained], data, validation_dataset=three_ways(2))
    printed = capsys.readouterr().out
    turned = {"validation_dataset": three_ways(2, turned=True)}
    by_loss, _, _ = reported([trained], data, ranking_loss="win_probability", **turned)
    models = content["report"]["pairs"]["models"]
    raw = models[Path(trained).name]
    assert raw["metrics"]["three_way_nats"] == pytest.approx(by_loss["eval_three_way_nats"], rel=1e-6)
    assert "eval_three_way_nats" not in content
    assert raw["intervals"]["win_calibration_error"]["over"].startswith("other pairs")
    assert next(row["row"] for row in rows if row["table"] == "Pairs") == "majority_accuracy"
    assert "The share of ties is known for 30 pairs" in printed and "against the response in the" in printed
    assert "`accuracy` goes by the columns" in html.unescape(page)
    of_both = [*models.items(), *by_loss["report"]["pairs"]["models"].items()]
    (fitted,) = [numbers for name, numbers in of_both if name.endswith("κ fitted")]  # votes for or against the model
    assert fitted["davidson"]["tie_propensity"] > 0 and "three_way_nats" in fitted["intervals"]


def test_numbers_are_of_the_votes_whatever_target_was_trained(trained, judged, tmp_path):
    rows = load_from_disk(judged)["test"]
    smoothed = rows.add_column("target_probs", [[0.2] * 5] * len(rows)).add_column("vote_weight", [9.0] * len(rows))
    smoothed.to_parquet(tmp_path / "smoothed.parquet")
    got = evaluated(trained, str(tmp_path / "smoothed.parquet"), tmp_path / "metrics.json")
    assert measures(got) == pytest.approx(measures(evaluated(trained, judged, tmp_path / "raw.json", split="test")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation_split": "test"}, "`validation_split` is `test`, the rows that are evaluated"),
        ({"model_names": ["a", "b"]}, "`model_names` has 2 names for 1 models"),
        ({"cluster_column": "talk"}, "no column `talk` (`cluster_column`)"),
        ({"group_columns": ["age"]}, "name it by `--judgments`"),
        ({"judgments": "nowhere.csv"}, "The data have no column `item_id`"),
        ({"report": "page.txt"}, "its name must end in .html"),
        ({"csv": "nowhere/t.csv"}, "nowhere, does not exist"),
    ],
)
def test_what_the_report_lacks_is_one_message(changes, message, trained, judged, failure):
    options = {"dataset_name": judged, "split": "test", "use_cpu": True, "bf16": False, **changes}
    code, error = failure(["evaluate", "--model", trained, *flags(options)])
    assert code == 1 and message in error and "Traceback" not in error


def test_a_report_without_matplotlib_is_refused_before_the_work(trained, judged, failure, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    options = {"model": trained, "dataset_name": judged, "split": "no such split", "report": tmp_path / "r.html"}
    code, error = failure(["evaluate", *flags(options)])
    assert code == 1 and 'pip install "trl-dprm[plots]"' in error


def test_models_of_one_name_or_of_other_categories_are_refused(trained, judged, tmp_path, failure, monkeypatch):
    options = ["--dataset_name", judged, "--split", "test", "--use_cpu", "--bf16", "false"]
    code, error = failure(["evaluate", "--model", trained, trained, *options])
    assert code == 1 and "tell them apart by `--model_names`" in error
    model = DPRMForSequenceClassification.from_pretrained(trained)
    model.config.category_rewards = [-3.0, -0.5, 0.0, 0.5, 1.0]
    model.save_pretrained(tmp_path / "steeper")
    AutoTokenizer.from_pretrained(trained).save_pretrained(tmp_path / "steeper")

    def no_model(*_):
        raise AssertionError("a model was loaded before its categories were looked at")

    monkeypatch.setattr("trl_dprm.cli.evaluated_models.load_checkpoint", no_model)
    code, error = failure(["evaluate", "--model", trained, str(tmp_path / "steeper"), *options])
    assert code == 1 and "`steeper`: " in error and f"{LIKERT_CATEGORY_NAMES[0]} (-3)" in error
    assert (
        f"`{Path(trained).name}`: {LIKERT_CATEGORY_NAMES[0]} (-1)" in error and "Evaluate `steeper` by itself" in error
    )
    assert "PreferenceCategories" not in error
