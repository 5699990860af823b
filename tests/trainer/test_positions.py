"""Rows that the backbone has no positions for are left out before training, and the model says so."""

import logging

import pytest
import torch
from datasets import Dataset
from reward_rows import judged_rows
from transformers import AutoConfig, AutoModelForSequenceClassification

from trl_dprm import DPRMForSequenceClassification
from trl_dprm.trainer.positions import num_positions
from trl_dprm.trainer.scoring import longest_response

TINY = {"vocab_size": 260, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
TINY |= {"intermediate_size": 64, "max_position_embeddings": 64, "pad_token_id": 0}
SHORT = [row | {"prompt": ""} for row in judged_rows(8)]
LONG = {"completion": "x" * 98, "target_counts": [1, 0, 0, 0, 1]}  # 100 tokens with BOS and EOS


def tiny_classifier(backbone, **changes):
    return AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(backbone, **{**TINY, "num_labels": 5, **changes})
    )


@pytest.mark.parametrize(("backbone", "limit"), [("bert", 64), ("roberta", 63), ("llama", 64)])
@pytest.mark.parametrize("arguments", [{}, {"max_length": None}, {"max_length": 70}])
def test_rows_beyond_the_positions_are_left_out(make_trainer, tokenizer, caplog, backbone, limit, arguments):
    rows = Dataset.from_list([*SHORT, LONG])
    with caplog.at_level(logging.WARNING):
        trainer = make_trainer(rows, model=tiny_classifier(backbone), processing_class=tokenizer, **arguments)
    assert len(trainer.train_dataset) == 8
    assert trainer.model.config.tokenization["max_length"] == limit
    assert longest_response(trainer.model) == limit
    assert f"1 of 9 rows of the train dataset are longer than `max_length={limit}` tokens, all that" in caplog.text
    assert ("`max_length=70` is more than the backbone reads" in caplog.text) == (arguments.get("max_length") == 70)
    trainer.train()


@pytest.mark.parametrize(("backbone", "limit"), [("bert", 64), ("roberta", 63)])
def test_the_limit_is_what_the_backbone_can_read(backbone, limit):
    model = DPRMForSequenceClassification.from_classifier(tiny_classifier(backbone))
    assert num_positions(model.config.text_config, model) == limit
    model(torch.full((1, limit), 5), attention_mask=torch.ones(1, limit))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, limit + 1), 5), attention_mask=torch.ones(1, limit + 1))


def test_a_smaller_max_length_holds(make_trainer, tokenizer):
    rows = Dataset.from_list([*SHORT, LONG])
    trainer = make_trainer(rows, model=tiny_classifier("bert"), processing_class=tokenizer, max_length=50)
    assert trainer.model.config.tokenization["max_length"] == 50


def test_relative_positions_bound_nothing(make_trainer, tokenizer):
    model = tiny_classifier("deberta-v2", relative_attention=True, position_biased_input=False, pos_att_type=["c2p"])
    trainer = make_trainer(Dataset.from_list([*SHORT, LONG]), model=model, processing_class=tokenizer)
    assert len(trainer.train_dataset) == 9
    assert trainer.model.config.tokenization["max_length"] == 1024
    trainer.train()


def test_nothing_that_the_backbone_could_read(make_trainer, tokenizer):
    message = r"All 2 rows of the train dataset are longer than `max_length=64` tokens, all that the backbone reads"
    with pytest.raises(ValueError, match=message + r" \(`max_position_embeddings`\). Shorten them"):
        make_trainer(Dataset.from_list([LONG] * 2), model=tiny_classifier("bert"), processing_class=tokenizer)


def test_scoring_keeps_to_the_positions_whatever_the_rule_says():
    model = DPRMForSequenceClassification.from_classifier(tiny_classifier("roberta"))
    for stored, limit in ((None, 63), (1024, 63), (40, 40)):
        model.config.tokenization = {"max_length": stored}
        assert longest_response(model) == limit
