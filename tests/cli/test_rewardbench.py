"""`trl-dprm rewardbench`."""

import json

import pytest
import torch
from datasets import Dataset, DatasetDict
from tiny_reward_models import tiny_scalar
from tiny_runs import RUN, flags
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from trl_dprm import DPRMForSequenceClassification
from trl_dprm.cli import main
from trl_dprm.cli.checkpoint import CheckpointArguments
from trl_dprm.cli.rewardbench import result_name
from trl_dprm.rewards import RewardStatistic

LONG = "a stone, a dog, a sun"
FIRST = [
    ("2+2?", "4", "five", "math-prm"),
    ("Say it", "same", "same", "math-prm"),  # equal texts: a tie
    ("Why?", "rain", LONG, "math-prm"),
    ("Who?", "a dog", "a stone", "alpacaeval-easy"),
    ("Who?", "a stone", "a dog", "alpacaeval-hard"),
    ("What?", LONG, "no", "mine"),
]
SECOND = [
    ("0", "2+2?", ["4"], ["five", "5", "3"], "Math"),
    ("1", "Say it", ["same"], ["same", "same", "same"], "Math"),  # four winners, or a loss
    ("2", "Who?", ["a dog"], ["a stone", "no", LONG], "Focus"),
    ("ref:1", "A color?", ["red"], ["dog", "stone"], "Ties"),
    ("tied:1", "Which colors?", ["red", "green", "red"], ["dog", "stone"], "Ties"),
]


@pytest.fixture
def first(tmp_path):
    names = ("prompt", "chosen", "rejected", "subset")
    return written(tmp_path / "first.jsonl", [dict(zip(names, row, strict=True)) for row in FIRST])


@pytest.fixture
def second(tmp_path):
    names = ("id", "prompt", "chosen", "rejected", "subset")
    return written(tmp_path / "second.jsonl", [dict(zip(names, row, strict=True)) for row in SECOND])


@pytest.fixture(scope="module")
def scalar(tmp_path_factory, tokenizer):
    """Folder of a stock classifier with one label."""
    folder = tmp_path_factory.mktemp("scalar")
    tiny_scalar().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def written(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def run(model, data, folder, **options):
    main(["rewardbench", *flags({"model": model, "dataset_name": data, "output_dir": str(folder), **options})])
    return {
        str(file.relative_to(folder)).split("/")[0]: json.loads(file.read_text()) for file in folder.rglob("*.json")
    }


def reward_by_hand(folder):
    """Function (prompt, response) -> reward, by the stock class, or the DPRM's, on one text alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()

    def reward(prompt, response):
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        special = not isinstance(model, DPRMForSequenceClassification)  # as RewardBench reads a scalar model
        with torch.no_grad():
            return model(tokenizer(text, return_tensors="pt", add_special_tokens=special)["input_ids"]).logits.item()

    return reward


@pytest.mark.parametrize("which", ["scalar", "trained"])
def test_the_first_form_by_hand(which, request, first, tmp_path, capsys):
    model = request.getfixturevalue(which)
    files = run(model, first, tmp_path / "out", batch_size=2)
    reward = reward_by_hand(model)
    won = [int(reward(prompt, chosen) > reward(prompt, rejected)) for prompt, chosen, rejected, _ in FIRST]
    assert not won[1]
    assert won[3] != won[4], "the same pair in both orders"
    assert files["eval-set-scores"]["results"] == won
    assert files["eval-set-scores"]["id"] == [0, 1, 2, 3, 4, 5]
    rewards = files["eval-set-scores"]["scores_chosen"]
    assert rewards == pytest.approx([reward(prompt, chosen) for prompt, chosen, _, _ in FIRST], abs=1e-5)
    math, easy, hard, mine = (won[0] + won[1] + won[2]) / 3, won[3], won[4], won[5]
    subsets = {"math-prm": math, "alpacaeval-easy": easy, "alpacaeval-hard": hard, "mine": mine}
    results = dict(files["eval-set"])
    assert [results.pop(name) for name in ("model_type", "chat_template")] == ["Seq. Classifier", "tokenizer"]
    assert results.pop("model").startswith("local/")
    assert results == pytest.approx(subsets, rel=1e-12)
    chat = (100 * easy + 95 * hard) / 195
    assert files["summary"]["sections"] == pytest.approx({"Chat": chat, "Reasoning": math}, rel=1e-12)
    assert files["summary"]["overall"] == pytest.approx((chat + math) / 2, rel=1e-12)
    assert ["overall", f"{(chat + math) / 2:.4f}"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_intervals_are_printed_and_kept_where_no_subset_has_a_single_prompt(scalar, first, tmp_path, capsys):
    assert run(scalar, first, tmp_path / "out")["summary"]["intervals"] is None
    pair = {"prompt": "2+2?", "chosen": "4", "rejected": "five", "subset": "math-prm"}
    rows = [*[pair] * 5, *[pair | {"chosen": "five", "rejected": "4"}] * 5]  # five of them are won
    capsys.readouterr()
    summary = run(scalar, written(tmp_path / "math.jsonl", rows), tmp_path / "math")["summary"]
    assert summary["intervals"]["level"] == 0.95
    low, high = summary["intervals"]["overall"]
    assert low < 0.5 == summary["overall"] < high
    overall = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("overall"))
    assert overall.endswith(f"{summary['overall']:.4f}  [{low:.4f}, {high:.4f}]")


@pytest.mark.parametrize("which", ["scalar", "trained"])
def test_the_second_form_by_hand(which, request, second, tmp_path):
    model = request.getfixturevalue(which)
    files = run(model, second, tmp_path / "out", batch_size=3)
    reward = reward_by_hand(model)
    rewards = [[reward(prompt, text) for text in [*chosen, *rejected]] for _, prompt, chosen, rejected, _ in SECOND]
    for got, expected in zip(files["eval-set-scores"]["scores"], rewards, strict=True):
        assert got == pytest.approx(expected, abs=1e-5)
    wins = [float(row[0] == max(row)) for row in rewards]
    (ref, tied) = rewards[3:]
    leads = [ref[0] - max(ref[1:]), min(tied[:3]) - max(tied[3:])]
    spread = max(tied[:3]) - min(tied[:3])
    ties = 0.3 * (leads[0] > 0) + 0.3 * (leads[1] > 0) + 0.2 * (leads[1] > spread) + 0.2 * (min(leads) > spread)
    ties += 0.01 * torch.tensor(min(leads) / spread - 1).tanh().item()
    results = {name: files["eval-set"][name] for name in ("Math", "Focus", "Ties")}
    assert results == pytest.approx({"Math": (wins[0] + 1 / 4) / 2, "Focus": wins[2], "Ties": ties}, abs=1e-6)
    assert files["summary"]["overall"] == pytest.approx(sum(results.values()) / 3, rel=1e-12)
    assert files["eval-set-scores"]["results"] == [wins[0], 1 / 4, wins[2], None, None]


def test_a_folder_as_on_the_hub_and_the_prior_sets(scalar, first, tmp_path, capsys):
    rows = Dataset.from_json(first, cache_dir=str(tmp_path / "cache"))
    (tmp_path / "bench" / "data").mkdir(parents=True)
    rows.select([0]).to_parquet(tmp_path / "bench" / "data" / "raw-00000-of-00001.parquet")
    rows.to_parquet(tmp_path / "bench" / "data" / "filtered-00000-of-00001.parquet")
    (tmp_path / "bench" / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: raw\n    path: data/raw-*\n"
        "  - split: filtered\n    path: data/filtered-*\n---\n"
    )
    turns = [[{"role": "user", "content": row[0]}] for row in FIRST]
    prior = rows.remove_columns("prompt").add_column("prompt", turns)
    DatasetDict(shp=prior, pku_safer=prior).save_to_disk(tmp_path / "prior")
    options = {"split": "filtered", "prior_sets": str(tmp_path / "prior"), "result_name": "you/rm"}
    files = run(scalar, str(tmp_path / "bench"), tmp_path / "out", **options)
    assert sorted(files) == ["eval-set", "eval-set-scores", "pref-sets", "pref-sets-scores", "summary"]
    assert (tmp_path / "out" / "pref-sets" / "you" / "rm.json").is_file()
    assert files["eval-set"]["model"] == "you/rm"
    won = files["eval-set-scores"]["results"]
    assert files["pref-sets-scores"]["results"] == won
    assert files["pref-sets"]["shp"] == pytest.approx(sum(won) / 6)
    sections = files["summary"]["sections"]
    assert sections["Prior Sets"] == files["pref-sets"]["shp"]
    expected = (sections["Chat"] + sections["Reasoning"] + 0.5 * sections["Prior Sets"]) / 2.5
    assert files["summary"]["overall"] == pytest.approx(expected, rel=1e-12)
    assert "pku_safer" not in capsys.readouterr().out


def test_an_adapter_is_read_on_its_base(backbone, judged, first, tmp_path):
    folder = str(tmp_path / "adapter")
    options = {"model_name_or_path": backbone, "dataset_name": judged, "output_dir": folder, **RUN}
    main(["train", *flags({**options, "max_steps": 1}), "--use_peft"])
    files = run(folder, first, tmp_path / "out")
    reward = reward_by_hand(folder)
    expected = [reward(prompt, chosen) for prompt, chosen, _, _ in FIRST]
    assert files["eval-set-scores"]["scores_chosen"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"model": "you/rm"}, "you/rm"),
        ({"model": "you/rm", "revision": "refs/pr/2"}, "you/rm-refs-pr-2"),
        ({"model": "folder/"}, "local/folder"),
        ({"model": "folder/..", "revision": "v2"}, "local/work-v2"),
    ],
)
def test_results_are_named_after_the_model(options, name, tmp_path, monkeypatch):
    (tmp_path / "work" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    assert result_name(CheckpointArguments(**options), RewardStatistic()) == name
    assert result_name(CheckpointArguments(**options), RewardStatistic("cvar")) == f"{name}-cvar"


def test_another_statistic_has_results_of_its_own(trained, first, tmp_path):
    expected = run(trained, first, tmp_path / "a")
    cautious = run(trained, first, tmp_path / "b", statistic="cvar", cvar_level=0.2)
    assert cautious["eval-set"]["model"] == expected["eval-set"]["model"] + "-cvar"
    both = [files["eval-set-scores"]["scores_chosen"] for files in (cautious, expected)]
    assert all(low < high for low, high in zip(*both, strict=True))
    assert cautious["summary"]["cvar_level"] == 0.2
    whole = run(trained, first, tmp_path / "c", statistic="cvar", cvar_level=1.0)
    for name in ("scores_chosen", "scores_rejected"):
        assert whole["eval-set-scores"][name] == pytest.approx(expected["eval-set-scores"][name], abs=1e-6)


def test_plain_text_from_yaml(trained, first, tmp_path, yaml_file):
    options = {"model": trained, "dataset_name": first, "output_dir": str(tmp_path / "out"), "read_as": "text"}
    main(["rewardbench", "--config", yaml_file(options)])
    (file,) = (tmp_path / "out" / "eval-set-scores").rglob("*.json")
    scores = json.loads(file.read_text())
    assert scores["chat_template"] == "raw"
    tokenizer, model = AutoTokenizer.from_pretrained(trained), DPRMForSequenceClassification.from_pretrained(trained)
    with torch.no_grad():
        reward = model.eval()(tokenizer("2+2?4</s>", return_tensors="pt")["input_ids"]).logits.item()
    assert scores["scores_chosen"][0] == pytest.approx(reward, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_name": "nowhere.jsonl"}, "`nowhere.jsonl` is read as a path"),
        ({"model": "/nowhere/at/all"}, "No reward model at /nowhere/at/all"),
        ({"output_dir": __file__}, "a file: name a folder for the result files"),
        ({"result_name": "../rm"}, "The model's name `../rm` cannot name a result file"),
        ({"statistic": "cvar"}, "gives one number, not a distribution, so it has no statistic `cvar`"),
        ({"cvar_level": 0}, "The level of `cvar` is a share of annotators in (0, 1], got 0.0"),
        ({"prior_sets": "first"}, "The prior sets have a split `train`, which is none of anthropic_helpful"),
        ({"max_length": 30}, "more than the limit of 30 tokens (4 of 6 questions have such a response)"),
    ],
)
def test_wrong_options_are_one_message(changes, message, scalar, first, tmp_path, failure):
    changes = {name: first if value == "first" else value for name, value in changes.items()}
    options = {"model": scalar, "dataset_name": first, "output_dir": str(tmp_path / "out"), **changes}
    code, error = failure(["rewardbench", *flags(options)])
    assert code == 1
    assert message in error
    assert "Traceback" not in error


def test_prior_sets_do_not_belong_to_the_second_form(scalar, first, second, tmp_path, failure):
    options = {"model": scalar, "dataset_name": second, "output_dir": str(tmp_path / "out"), "prior_sets": first}
    code, error = failure(["rewardbench", *flags(options)])
    assert code == 1
    assert "`prior_sets` belong to the first RewardBench" in error


def test_a_model_without_a_trained_head_is_refused(backbone, first, tmp_path, failure):
    options = {"model": backbone, "dataset_name": first, "output_dir": str(tmp_path / "out")}
    code, error = failure(["rewardbench", *flags(options)])
    assert code == 1
    assert "does not hold the reward head: score.weight would be random" in error


def test_several_processes_are_refused(scalar, first, tmp_path, failure, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    options = {"model": scalar, "dataset_name": first, "output_dir": str(tmp_path / "out")}
    code, error = failure(["rewardbench", *flags(options)])
    assert code == 1
    assert "RewardBench runs in one process" in error
