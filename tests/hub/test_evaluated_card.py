"""Sections of evaluations in a card: what they replace, what they leave alone, and who keeps them."""

import itertools

import pytest
from datasets import Dataset
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from tiny_checkpoint import WORDS, make_model, make_tokenizer

from trl_dprm import DPRMTrainer, DPRMTrainingArguments
from trl_dprm.hub.evaluated_card import remove_unshown_figures, update_card, weights_digest
from trl_dprm.hub.evaluation_section import EvaluatedData, EvaluationSection, put_sections, sections_in
from trl_dprm.hub.merged_card import training_sections
from trl_dprm.hub.pushing import files_for_hub

TEXT = "\n# name\n\n## Training data\n\nmany\n\n## Evaluation\n\ngood\n\n## Limits\n\nsome\n\n## Citations\n\nnone"


def section(name="votes", split=None, on_hub=False, weights="w", figure="a.png", **metrics):
    data = EvaluatedData(name, on_hub, split=split)
    return EvaluationSection(data, weights, metrics, f"## Evaluation on {data.in_words}\n\n![it]({figure})")


def card_with(*results, text=TEXT):
    data = ModelCardData(license="mit", model_name="name", eval_results=list(results) or None)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n{text}")


def reread(card):
    return ModelCard(card.content)


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("## Limits", "## Bounds"), "\n# name\n\nno headings", ""])
def test_what_was_put_in_comes_out_and_the_rest_is_as_it_was(text):
    card, before = card_with(text=text), card_with(text=text)
    put_sections(card, [section(nats=0.5), section(split="test", nats=0.25)])
    first, second = sections_in(card.text)
    assert (first.data, second.metrics, first.weights) == (EvaluatedData("votes", False), {"nats": 0.25}, "w")
    assert first.text.strip() == section().text
    content = card.content
    put_sections(card, sections_in(card.text))
    assert card.content == content
    put_sections(card, [])
    assert card.text.rstrip() == text.rstrip() and (card.text == text or "## Limits" not in text)
    assert card.data.to_dict() == before.data.to_dict()


def test_numbers_of_others_stay_and_two_local_data_sets_are_not_taken_for_one():
    other = {"task_type": "text-classification", "dataset_name": "x", "metric_value": 1.0}
    of_training = EvalResult(**other, dataset_type="unpublished", metric_type="nats")
    of_the_same = EvalResult(**other, dataset_type="org/votes", dataset_split="test", metric_type="mine")
    card = card_with(of_training, of_the_same)
    sections = [
        section(nats=0.5),
        section("pairs.jsonl", nats=0.75),
        section("org/votes", "test", on_hub=True, nats=0.25),
    ]
    put_sections(card, sections)
    put_sections(card, [*sections[:2], section("org/votes", "test", on_hub=True, mass=0.125)])
    found = {(r.dataset_type, r.dataset_config, r.metric_type): r.metric_value for r in reread(card).data.eval_results}
    assert found == {
        ("unpublished", None, "nats"): 1.0,
        ("unpublished", "votes", "nats"): 0.5,
        ("unpublished", "pairs.jsonl", "nats"): 0.75,
        ("org/votes", None, "mine"): 1.0,
        ("org/votes", None, "mass"): 0.125,
    }
    put_sections(card, [])
    assert reread(card).data.eval_results == [of_training, of_the_same]


def test_no_name_ends_the_comment_or_the_code():
    name = "a --> `b` <!-- end of trl-dprm evaluate -->"
    card = card_with()
    put_sections(card, [section(name)])
    (found,) = sections_in(card.text)
    assert found.data.name == name and card.text.count("-->") == 2


def test_no_two_data_sets_share_a_figure_file():
    names = ["a b", "a_b", "a.b", "a/b", "a" * 70, "a" * 80]
    places = itertools.product(names, (True,), (None, "b", "b c"), (None, "b", "test"))
    data = [EvaluatedData(*place) for place in places]
    files = {each.figure_file("votes") for each in data}
    assert len(files) == len(set(data)) and all(len(file) < 120 for file in files)


@pytest.mark.parametrize("place", ["start", "end", "json"])
def test_a_mangled_section_is_refused(place):
    card = card_with()
    put_sections(card, [section(), section(split="test")])
    mangled = {
        "start": card.text.replace("<!-- trl-dprm evaluate {", "<!-- {", 1),
        "end": card.text.replace("<!-- end of trl-dprm evaluate -->\n", "", 1),
        "json": card.text.replace('"weights"', '"heights"', 1),
    }[place]
    with pytest.raises(ValueError, match=r"Delete (what is left of it|the section)"):
        sections_in(mangled)


def test_cards_that_take_over_the_training_leave_evaluations_out():
    card = card_with()
    put_sections(card, [section()])
    assert "votes" in card.text and training_sections(card.text) == "## Training data\n\nmany\n\n## Evaluation\n\ngood"


@pytest.fixture
def folder(tmp_path):
    """Folder of a checkpoint with a card that has one evaluation."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    card_with().save(tmp_path / "README.md")
    file = EvaluatedData("votes", False).figure_file("votes")
    update_card(tmp_path, section(weights=weights_digest(tmp_path), figure=file, nats=0.5), {file: b"picture"})
    return tmp_path


def content_of(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_failure_halfway_leaves_everything_as_it_was(folder, monkeypatch):
    before = content_of(folder)
    assert set(before) == {"model.safetensors", "README.md", "evaluation-votes.votes.png"}

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(ModelCard, "save", full)
    with pytest.raises(OSError, match="no space"):
        update_card(
            folder, section(weights="w", figure="evaluation-votes.votes.png"), {"evaluation-votes.votes.png": b"?"}
        )
    assert content_of(folder) == before


def test_figures_that_are_no_longer_shown_go_and_others_stay(folder):
    for name in ("evaluation-of-mine.png", "calibration.png", "evaluation-old.votes.png"):
        (folder / name).write_bytes(b"picture")
    new = section(weights=weights_digest(folder), figure="evaluation-votes.pairs.png")
    update_card(folder, new, {"evaluation-votes.pairs.png": b"new"})
    assert {file.name for file in folder.glob("*.png")} == {
        "evaluation-of-mine.png",
        "calibration.png",
        "evaluation-votes.pairs.png",
    }
    remove_unshown_figures(folder, "")
    assert not (folder / "evaluation-votes.pairs.png").exists()


def test_evaluations_of_other_weights_leave_the_card(folder):
    (folder / "model.safetensors").write_bytes(b"other weights")
    name = "evaluation-votes.test.votes.png"
    new = section(split="test", weights=weights_digest(folder), figure=name, nats=0.25)
    update_card(folder, new, {name: b"picture"})
    card = ModelCard.load(folder / "README.md")
    assert [(each.data, each.metrics) for each in sections_in(card.text)] == [(new.data, {"nats": 0.25})]
    assert [(r.dataset_split, r.metric_value) for r in card.data.eval_results] == [("test", 0.25)]
    assert [file.name for file in folder.glob("*.png")] == [name]


def test_figures_go_to_the_hub(folder):
    make_tokenizer().save_pretrained(folder)
    assert "evaluation-votes.votes.png" in files_for_hub(folder, make_tokenizer())


def test_a_trainer_keeps_the_evaluation_as_long_as_the_weights(tmp_path, caplog):
    rows = [{"prompt": "What is", "completion": f" {word}", "target_counts": [1, 0, 0, 0, 2]} for word in WORDS]
    rows = Dataset.from_list(rows)
    arguments = DPRMTrainingArguments(
        str(tmp_path), max_length=16, use_cpu=True, bf16=False, report_to="none", disable_tqdm=True
    )
    trainer = DPRMTrainer(
        make_model(tokenization=None),
        arguments,
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=make_tokenizer(),
    )
    trainer.evaluate()
    trainer.save_model()
    name = "evaluation-votes.votes.png"
    update_card(tmp_path, section(weights=weights_digest(tmp_path), figure=name, nats=0.5), {name: b"picture"})
    evaluated = ModelCard.load(tmp_path / "README.md")

    trainer.save_model()
    trainer.create_model_card()
    again = ModelCard.load(tmp_path / "README.md")
    assert sections_in(again.text) == sections_in(evaluated.text) and (tmp_path / name).exists()
    assert [r.metric_value for r in again.data.eval_results if r.dataset_config] == [0.5]
    assert again.text.count("calibration.png") == 1

    trainer.model.score.weight.data.add_(1)
    trainer.save_model()
    after = ModelCard.load(tmp_path / "README.md")
    assert not sections_in(after.text) and not (tmp_path / name).exists() and (tmp_path / "calibration.png").exists()
    assert not [r for r in after.data.eval_results if r.dataset_config]

    (tmp_path / "README.md").write_text("<!-- end of trl-dprm evaluate -->\n")
    trainer.save_model()
    assert "are not kept" in caplog.text and "trl-dprm evaluate" not in (tmp_path / "README.md").read_text()
