"""Reliability diagrams beside the model card: of the last evaluation, drawn from its votes, linked where they lie."""

import re
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset
from huggingface_hub import ModelCard
from tiny_checkpoint import WORDS, make_model, make_tokenizer

from trl_dprm import DPRMConfig, DPRMTrainer, DPRMTrainingArguments
from trl_dprm.hub import calibration_figures
from trl_dprm.hub.calibration_figures import CalibrationFigures

PNG = b"\x89PNG"
KINDS = ["calibration.png", "calibration.expectations.png", "calibration.contested.png"]


def judged(offset=0):
    counts = [[1, 0, 0, 0, 2], [0, 3, 0, 0, 0], [0, 0, 1, 1, 0]]
    return Dataset.from_list(
        [
            {"prompt": "What is", "completion": f" {word}", "target_counts": counts[(place + offset) % 3]}
            for place, word in enumerate(WORDS)
        ]
    )


@pytest.fixture
def make_trainer(tmp_path):
    def make(eval_dataset, train_dataset=None, **config):
        arguments = DPRMTrainingArguments(
            str(tmp_path / "run"), max_length=16, use_cpu=True, bf16=False, report_to="none", disable_tqdm=True
        )
        return DPRMTrainer(
            make_model(tokenization=None, **config),
            arguments,
            train_dataset=judged() if train_dataset is None else train_dataset,
            eval_dataset=eval_dataset,
            processing_class=make_tokenizer(),
        )

    return make


@pytest.fixture
def drawn(monkeypatch):
    """What every drawn diagram was made of."""
    calls, original = [], CalibrationFigures._draw.__globals__["plot_reliability"]

    def counted(*arguments):
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr("trl_dprm.hub.calibration_figures.plot_reliability", counted)
    return calls


def links(folder):
    return re.findall(r"!\[.*?\]\((.*?)\)", ModelCard.load(folder / "README.md").text)


def test_the_card_shows_the_votes_of_the_evaluation(make_trainer, drawn, tmp_path):
    trainer = make_trainer(judged())
    trainer.evaluate()
    trainer.save_model(str(tmp_path / "saved"))
    assert links(tmp_path / "saved") == KINDS
    assert all((tmp_path / "saved" / name).read_bytes().startswith(PNG) for name in KINDS)
    ((category_probs, target_probs, vote_weight, names),) = drawn
    rule, tokenizer = trainer.tokenization_rule, make_tokenizer()
    for place, row in enumerate(judged()):
        ids = torch.tensor([rule.token_ids(tokenizer, row["completion"], row["prompt"])])
        with torch.no_grad():
            expected = trainer.model(ids).category_logits.double().softmax(-1)[0]
        np.testing.assert_allclose(category_probs[place], expected, rtol=1e-5)
        votes = np.array(row["target_counts"])
        np.testing.assert_allclose(target_probs[place], votes / votes.sum(), rtol=1e-6)
        assert vote_weight[place] == votes.sum()
    assert names == trainer.model.config.category_names


def test_an_evaluation_is_drawn_once_and_replaced_by_the_next(make_trainer, drawn, tmp_path):
    trainer = make_trainer(judged())
    trainer.evaluate()
    for folder in ("one", "two"):
        trainer.save_model(str(tmp_path / folder))
    assert len(drawn) == 1
    before = (tmp_path / "one" / "calibration.png").read_bytes()
    assert before == (tmp_path / "two" / "calibration.png").read_bytes()
    trainer.evaluate(judged(offset=1))
    trainer.save_model(str(tmp_path / "one"))
    assert len(drawn) == 2 and (tmp_path / "one" / "calibration.png").read_bytes() != before


def test_several_evaluation_sets_have_a_diagram_each(make_trainer, tmp_path):
    trainer = make_trainer({"easy": judged(), "very hard": judged(1)})
    trainer.evaluate()
    trainer.save_model(str(tmp_path / "saved"))
    sets = ("calibration-easy", "calibration-very_hard")
    assert links(tmp_path / "saved") == [name.replace("calibration", of_set) for name in KINDS for of_set in sets]
    assert {f.name for f in (tmp_path / "saved").glob("*.png")} == set(links(tmp_path / "saved"))
    assert "Reliability diagram of every category on very hard" in ModelCard.load(tmp_path / "saved/README.md").text
    trainer.evaluate(judged())
    trainer.save_model(str(tmp_path / "saved"))
    assert {f.name for f in (tmp_path / "saved").glob("*.png")} == set(KINDS) == set(links(tmp_path / "saved"))


def test_without_an_evaluation_or_votes_or_anchors_there_is_none(make_trainer, tmp_path):
    pairs = Dataset.from_list([{"prompt": "What is", "chosen": " Paris", "rejected": " London"}] * 4)
    for name, trainer, evaluated in (
        ("not evaluated", make_trainer(judged()), False),
        ("pairs", make_trainer(pairs), True),
        ("unanchored", make_trainer(judged(), pairs, anchored=False), True),
    ):
        if evaluated:
            trainer.evaluate()
        trainer.save_model(str(tmp_path / name))
        assert links(tmp_path / name) == [] and not list((tmp_path / name).glob("*.png")), name
        assert "**Calibration.**" not in (tmp_path / name / "README.md").read_text()


def test_without_matplotlib_the_card_is_written_without_figures_and_says_why(tmp_path, monkeypatch, caplog):
    figures = CalibrationFigures(DPRMConfig(category_names=["no", "yes"], category_rewards=[0.0, 1.0]))
    figures.keep(None, np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]]), np.array([2.0]))
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert figures.write(tmp_path) == {} and list(tmp_path.iterdir()) == []
    assert 'gets no calibration figure: plots need matplotlib; install it with: pip install "trl-dprm[plots]"' in (
        caplog.text
    )


def test_the_figures_show_the_votes_with_the_models_words_only(make_trainer, monkeypatch, tmp_path):
    shown = {}

    def recorded(name):
        original = getattr(calibration_figures, name)

        def record(*arguments):
            shown[name] = arguments
            return original(*arguments)

        monkeypatch.setattr(calibration_figures, name, record)

    for name in ("plot_contested", "plot_expectations", "plot_votes_curves", "held_out_votes_curve"):
        recorded(name)
    trainer = make_trainer(judged())
    trainer.evaluate()
    trainer.save_model(str(tmp_path / "before"))
    assert links(tmp_path / "before") == KINDS
    trainer.model.config.prior_strength = 3.5  # fitted after the evaluation
    trainer.save_model(str(tmp_path / "saved"))
    assert links(tmp_path / "saved") == [*KINDS, "calibration.votes.png"]
    counts = np.array([row["target_counts"] for row in judged()], dtype=float)
    models, observed, names, titles = shown["plot_contested"]
    assert names == trainer.model.config.category_names and list(models) == ["model"]
    assert [float(row.sum()) for row in observed] == [3.0] * len(observed)  # the median, and split
    assert all(re.fullmatch(r"item \d+ \(3 votes\)", title) for title in titles)
    np.testing.assert_allclose(shown["plot_expectations"][1], counts, atol=1e-6)
    assert shown["held_out_votes_curve"][2] == 3.5
    assert list(shown["plot_votes_curves"][0]) == ["model", "votes only"]


def test_single_votes_have_no_contested_items(tmp_path):
    figures = CalibrationFigures(
        DPRMConfig(category_names=["no", "yes"], category_rewards=[0.0, 1.0], prior_strength=2)
    )
    figures.keep(None, np.array([[0.5, 0.5], [0.2, 0.8]]), np.eye(2), np.ones(2))
    assert figures.write(tmp_path) == {None: {"reliability": KINDS[0], "expectations": KINDS[1]}}
