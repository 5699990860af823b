"""`trl-dprm evaluate --update_card`: what the card says is what the same command wrote as JSON."""

import html
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import ModelCard
from tiny_runs import RUN, flags, prepared_votes

from trl_dprm.cli import main
from trl_dprm.hub.evaluated_card import check_card

PNG = b"\x89PNG\r\n"
OPTIONS = {"use_cpu": True, "bf16": False, "num_resamples": 40}
KINDS = ["reliability", "contested", "expectations", "groups1", "votes"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Folder that `trl-dprm prepare` wrote, with a group whose name would break Markdown and HTML."""
    return prepared_votes(tmp_path_factory.mktemp("prepared"), "early](x) <b>")


@pytest.fixture
def model(trained, tmp_path):
    """Copy of the trained model's folder, which a test may change."""
    return shutil.copytree(trained, tmp_path / "model")


def evaluate(model, data, split="test", **options):
    """The JSON of the command that wrote the card, and the card."""
    output = Path(model).with_suffix(".json")
    argv = flags({"dataset_name": data, "split": split, "output": output, "update_card": True, **OPTIONS, **options})
    main(["evaluate", "--model", str(model), *argv])
    return json.loads(output.read_text()), ModelCard.load(Path(model) / "README.md")


def figures(folder):
    return {file.name for file in Path(folder).glob("evaluation-*.png")}


def shown(card):
    return set(re.findall(r"!\[.*?\]\((evaluation-.*?)\)", card.text))


def table_below(card, line):
    """Rows of the first Markdown table behind a line, by their first cell."""
    lines = card.text[card.text.index(line) :].splitlines()[1:]
    start = next(place for place, row in enumerate(lines) if row.startswith("|"))
    rows = {}
    for row in lines[start:]:
        if not row.startswith("|"):
            return rows
        first, *cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1])
        rows[first.strip("`")] = cells
    return rows


def number(text):
    return float(text.replace("−", "-").replace(",", ""))


@pytest.fixture(scope="module")
def evaluated(trained, prepared, tmp_path_factory):
    """Folder of a model, its card before and after, and the numbers; texts were shown in the report beside it."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("evaluated") / "model")
    before = ModelCard.load(folder / "README.md")
    return folder, before, *evaluate(folder, prepared, show_texts=True, report=f"{folder}.html")[::-1]


def test_the_card_has_the_numbers_of_the_json(evaluated):
    _, _, card, content = evaluated
    items = content["report"]["items"]
    (numbers,) = items["models"].values()
    scores = table_below(card, "### Predicted distributions against votes")
    compared = 0
    for name, value in numbers["metrics"].items():
        cell = scores[name][0] if name in scores else ""
        if value is None or not cell:
            continue
        found = re.fullmatch(r"(\S+)(?: \[(\S+), (\S+)\])?", cell)
        interval = numbers["intervals"].get(name)
        wanted = [value] + ([interval["low"], interval["high"]] if interval else [])
        assert [number(text) for text in found.groups() if text] == pytest.approx(wanted, rel=1e-3, abs=6e-5), name
        compared += 1
    assert compared > 12
    assert number(scores["nats_per_vote"][1]) == pytest.approx(items["best_constants"]["nats_per_vote"], abs=6e-5)
    counts = f"1 model, {items['num_items']} items, {items['num_votes']:.0f} votes, 5 annotators"
    assert (
        f"Written by `trl-dprm evaluate` for the weights beside this card ({counts}). With the options `--bf16 False`."
        in card.text
    )
    for note in content["report"]["notes"]:
        assert f"\n- {note}\n" in card.text
    assert f"intervals over {items['intervals']['over']}" in card.text


def test_groups_have_a_table_and_a_figure_and_cannot_break_the_markup(evaluated):
    folder, _, card, content = evaluated
    (numbers,) = content["report"]["items"]["models"].values()
    rows = table_below(card, f"<details><summary>Groups by group: {folder.name}</summary>")
    groups = {group["group"]: group for group in numbers["groups"]["group"]["groups"]}
    assert set(groups) == {"early](x) <b>", "late"} and set(rows) >= {"early]\\(x) &lt;b&gt;", "late"}
    assert number(rows["late"][0]) == groups["late"]["num_votes"]
    low = groups["late"]["reward_gap"]["low"]
    assert number(re.search(r"\[(\S+),", rows["late"][3])[1]) == pytest.approx(low, abs=6e-5)
    assert "early](x)" not in card.text and "<b>" not in card.text
    assert "**Groups by group.**" in card.text


def test_figures_lie_beside_the_card(evaluated):
    folder, _, card, _ = evaluated
    assert shown(card) == figures(folder) == {f"evaluation-votes.test.{kind}.png" for kind in KINDS}
    assert all((folder / name).read_bytes().startswith(PNG) for name in figures(folder))
    assert not [file for file in folder.iterdir() if file.name.startswith(".")]


def test_metadata_and_text_of_the_card_stay_and_the_numbers_are_indexed(evaluated):
    _, before, card, content = evaluated
    (numbers,) = content["report"]["items"]["models"].values()
    was, now = before.data.to_dict(), card.data.to_dict()
    (was_index,), (index,) = was.pop("model-index", [{"results": []}]), now.pop("model-index")
    assert now == was
    assert index["results"][: len(was_index["results"])] == was_index["results"]
    (new,) = index["results"][len(was_index["results"]) :]
    assert new["dataset"] == {"name": "votes", "type": "unpublished", "config": "votes", "split": "test"}
    finite = {name: value for name, value in numbers["metrics"].items() if isinstance(value, float)}
    assert {metric["type"]: metric["value"] for metric in new["metrics"]} == finite
    start, end = card.text.index("<!-- trl-dprm"), card.text.index("## Limits")
    assert card.text[:start] + card.text[end:] == before.text
    assert re.findall(r"^## .*", card.text, re.MULTILINE)[-3:-1] == [
        "## Evaluation on the local dataset `votes`, `test` split",
        "## Limits",
    ]


def test_no_path_and_no_text_of_a_row_is_in_it(evaluated, prepared):
    folder, _, card, _ = evaluated
    texts = load_dataset(prepared, split="test")["completion"]
    page = html.unescape(Path(f"{folder}.html").read_text(encoding="utf-8"))
    assert any(text[:12] in page for text in texts)
    assert not any(text[:12] in card.content for text in texts)
    assert not any(str(place) in card.content for place in (folder.parent, Path(prepared).parent, Path.cwd()))


def test_another_run_on_the_same_split_replaces_and_on_another_adds(evaluated, prepared, tmp_path):
    folder, _, card, _ = evaluated
    model = shutil.copytree(folder, tmp_path / "model")
    assert evaluate(model, prepared)[1].content == card.content
    content, both = evaluate(model, prepared, split="validation", group_columns="group")
    headings = re.findall(r"^## Evaluation on .*", both.text, re.MULTILINE)
    assert headings == [
        f"## Evaluation on the local dataset `votes`, `{split}` split" for split in ("test", "validation")
    ]
    assert shown(both) == figures(model) and len(figures(model)) == 2 * len(KINDS)
    (numbers,) = content["report"]["items"]["models"].values()
    nats = {
        result.dataset_split: result.metric_value
        for result in both.data.eval_results
        if result.metric_type == "nats_per_vote" and result.dataset_config == "votes"
    }
    assert nats["validation"] == numbers["metrics"]["nats_per_vote"] != nats["test"]


def test_an_adapted_checkpoint_gets_its_own_figures_and_not_the_old_ones_evaluation(evaluated, prepared, tmp_path):
    folder, _, old, _ = evaluated
    adapted = tmp_path / "adapted"
    options = {"dataset_name": prepared, "split": "train", "map": "matrix", "device": "cpu", "output_dir": adapted}
    main(["adapt", "--model", str(folder), *flags(options)])
    card = ModelCard.load(adapted / "README.md")
    assert "## Training data" in card.text  # taken over from the old card
    assert '\nThe sections "Training data", "Training" and "Evaluation" are the checkpoint\'s, measured' in card.text
    assert "trl-dprm evaluate" not in card.content and not figures(adapted) and card.data.eval_results is None
    content, card = evaluate(adapted, prepared)
    (numbers,) = content["report"]["items"]["models"].values()
    (nats,) = (r.metric_value for r in card.data.eval_results if r.metric_type == "nats_per_vote")
    assert nats == numbers["metrics"]["nats_per_vote"]
    assert nats not in [r.metric_value for r in old.data.eval_results]
    assert shown(card) == figures(adapted) and len(figures(adapted)) >= len(KINDS)
    assert card.text.index("## Adaptation") < card.text.index("## Evaluation on") < card.text.index("## Limits")


def test_training_on_drops_the_section_and_saving_again_keeps_it(evaluated, judged, tmp_path):
    folder = shutil.copytree(evaluated[0], tmp_path / "model")
    options = {"model_name_or_path": folder, "dataset_name": judged, "output_dir": folder, **RUN}
    main(["train", *flags({**options, "learning_rate": 0.0})])
    assert ModelCard.load(folder / "README.md").text.count("## Evaluation on") == 1
    assert figures(folder) == figures(evaluated[0])
    main(["train", *flags(options)])
    card = ModelCard.load(folder / "README.md")
    assert "## Evaluation on" not in card.text and not figures(folder)
    assert (folder / "calibration.png").is_file()
    assert all(result.dataset_config is None for result in card.data.eval_results)


def test_pairs_and_several_models(trained_on_pairs, trained, pairs, tmp_path):
    folder = shutil.copytree(trained_on_pairs, tmp_path / "model")
    options = {"dataset_name": pairs, "update_card": True, "output": tmp_path / "m.json", **OPTIONS}
    main(["evaluate", "--model", str(folder), trained, *flags({**options, "model_names": ["ours", "theirs"]})])
    card = ModelCard.load(folder / "README.md")
    models = json.loads((tmp_path / "m.json").read_text())["report"]["pairs"]["models"]
    rows = table_below(card, "### Pairs")
    for column, name in enumerate(["ours", "theirs"]):
        accuracy = number(rows["accuracy"][column].split()[0])
        assert accuracy == pytest.approx(models[name]["metrics"]["accuracy"], abs=6e-5)
    (indexed,) = (
        r.metric_value for r in card.data.eval_results if r.metric_type == "pair_log_loss" and r.dataset_config
    )
    assert indexed == models["ours"]["metrics"]["pair_log_loss"] != models["theirs"]["metrics"]["pair_log_loss"]
    assert "<details><summary>Pairs: difference from ours</summary>" in card.text
    assert len(figures(folder)) == 1 and shown(card) == figures(folder)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda card: card.unlink(), "there is no `README.md` in"),
        (lambda card: card.write_text("---\na: [\n---\n"), "cannot be read"),
        (
            lambda card: card.write_text('<!-- trl-dprm evaluate {"x": 1} -->\n<!-- end of trl-dprm evaluate -->'),
            "Delete",
        ),
    ],
)
def test_a_card_that_cannot_be_updated_is_refused_before_the_work(prepare, message, model, failure):
    prepare(model / "README.md")
    code, error = failure(["evaluate", "--model", str(model), "--dataset_name", "no-such-set", "--update_card"])
    assert code == 1 and message in error and str(model) in error and "Traceback" not in error


def test_a_hub_id_is_refused_and_told_how():
    with pytest.raises(FileNotFoundError, match=r"`hf download org/model --local-dir FOLDER`"):
        check_card("org/model")


def test_an_empty_card_will_do(trained_on_pairs, pairs, tmp_path, monkeypatch):
    folder = shutil.copytree(trained_on_pairs, tmp_path / "model")
    (folder / "README.md").write_text("")
    monkeypatch.chdir(folder)
    main(["evaluate", "--model", ".", "--dataset_name", pairs, "--update_card", *flags(OPTIONS)])
    card = ModelCard.load(folder / "README.md")
    assert card.data.model_name == "model" and card.data.eval_results
    assert "## Evaluation on the local dataset `pairs.jsonl`\n" in card.text and "\n- model agrees with " in card.text


def test_without_matplotlib_it_is_refused_before_the_work(model, judged, failure, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, error = failure(["evaluate", "--model", str(model), "--dataset_name", judged, "--update_card"])
    assert code == 1 and "`update_card` has figures" in error and 'pip install "trl-dprm[plots]"' in error
