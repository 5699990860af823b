"""Several evaluation sets: each stands on the model card."""

import re

import pytest
from huggingface_hub import ModelCard
from reward_rows import judged, pairs


def evaluation_of(card):
    return re.search(r"^## Evaluation\n(.*?)(?=^## )", card.text, re.DOTALL | re.MULTILINE)[1]


@pytest.fixture
def trainer(make_trainer):
    return make_trainer(judged(8), {"votes": judged(6, seed=1), "pairs": pairs(6, seed=2)})


def test_each_set_has_its_column_and_its_results(trainer, tmp_path):
    metrics = trainer.evaluate()
    trainer.save_model(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    table = evaluation_of(card)
    assert "| metric | value on votes | value on pairs | better | meaning |" in table
    loss = f"| `loss` | {metrics['eval_votes_loss']:.4f} | {metrics['eval_pairs_loss']:.4f} | lower |"
    assert loss in table
    assert f"| `accuracy` |  | {metrics['eval_pairs_accuracy']:.4f} | higher |" in table
    assert f"| `nats_per_vote` | {metrics['eval_votes_nats_per_vote']:.4f} |  | lower |" in table
    results = {(result.dataset_split, result.metric_type): result.metric_value for result in card.data.eval_results}
    assert results["votes", "loss"] == pytest.approx(metrics["eval_votes_loss"])
    assert results["pairs", "accuracy"] == pytest.approx(metrics["eval_pairs_accuracy"])


def test_evaluation_in_training_is_on_the_card(make_trainer, tmp_path):
    sets = {"first": judged(6, seed=1), "second": judged(6, seed=2)}
    trainer = make_trainer(judged(8), sets, eval_strategy="steps", eval_steps=3)
    trainer.train()
    trainer.save_model(tmp_path)
    assert "| metric | value on first | value on second |" in evaluation_of(ModelCard.load(tmp_path / "README.md"))


def test_the_last_evaluation_counts(trainer, tmp_path):
    trainer.evaluate()
    metrics = trainer.evaluate(judged(5, seed=3))
    trainer.evaluate(judged(4, seed=4), metric_key_prefix="another")
    trainer.save_model(tmp_path)
    table = evaluation_of(ModelCard.load(tmp_path / "README.md"))
    assert f"| `loss` | {metrics['eval_loss']:.4f} | lower |" in table and "value on" not in table
    trainer.evaluate({"later": judged(4, seed=4)})
    trainer.save_model(tmp_path)
    assert "| metric | value on later | better |" in evaluation_of(ModelCard.load(tmp_path / "README.md"))
