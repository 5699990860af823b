"""PEFT models that users made themselves: a random head is never left behind in silence."""

import logging

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from reward_rows import judged, pairs

from trl_dprm import DPRMForSequenceClassification

ON_ATTENTION = {"r": 4, "target_modules": ["q_proj", "v_proj"]}


@pytest.mark.parametrize(
    "peft_config",
    [
        LoraConfig(**ON_ATTENTION),
        LoraConfig(r=4, target_modules="all-linear"),
        LoraConfig(r=4, target_modules=["score"]),
    ],
    ids=["frozen", "all linear layers", "adapter on the head"],
)
def test_a_new_head_that_is_not_saved_is_refused(make_trainer, backbone, tokenizer, peft_config):
    model = get_peft_model(DPRMForSequenceClassification.from_pretrained(backbone), peft_config)
    message = r"The head of the PEFT model \(score\) is new and random.*modules_to_save=\['score'\]"
    with pytest.raises(ValueError, match=message):
        make_trainer(judged(4), model=model, processing_class=tokenizer)


def test_a_new_pooler_is_part_of_the_head(make_trainer, backbone_folder, tokenizer):
    model = DPRMForSequenceClassification.from_pretrained(backbone_folder("bert"))
    model = get_peft_model(model, LoraConfig(r=4, task_type="SEQ_CLS", target_modules=["query"]))
    with pytest.raises(ValueError, match=r"The head of the PEFT model \(bert.pooler\) is new and random"):
        make_trainer(judged(4), model=model, processing_class=tokenizer)


def test_a_head_of_a_checkpoint_stays_with_a_warning(make_trainer, backbone, tokenizer, tmp_path, caplog):
    DPRMForSequenceClassification.from_pretrained(backbone).save_pretrained(tmp_path / "dprm")
    model = DPRMForSequenceClassification.from_pretrained(tmp_path / "dprm")
    assert model.new_heads == ()
    head = model.score.weight.clone()
    model = get_peft_model(model, LoraConfig(**ON_ATTENTION))
    with caplog.at_level(logging.WARNING):
        trainer = make_trainer(pairs(8), model=model, processing_class=tokenizer)
    assert "The head of the PEFT model (score) is not among its `modules_to_save`: it stays as it was" in caplog.text
    trainer.train()
    assert torch.equal(trainer.model.get_base_model().score.weight, head)


def test_a_head_that_was_trained_before_counts_as_trained(make_trainer, tokenizer, caplog):
    first = make_trainer(judged(8))
    assert first.model.new_heads == ("score",)
    first.train()
    assert first.model.new_heads == ()
    with caplog.at_level(logging.WARNING):
        make_trainer(
            judged(8), model=get_peft_model(first.model, LoraConfig(**ON_ATTENTION)), processing_class=tokenizer
        )
    assert "is not among its `modules_to_save`" in caplog.text


def test_no_word_about_a_head_that_is_trained_and_saved(make_trainer, backbone, tokenizer, caplog):
    model = DPRMForSequenceClassification.from_pretrained(backbone)
    model = get_peft_model(model, LoraConfig(**ON_ATTENTION, modules_to_save=["score"]))
    with caplog.at_level(logging.WARNING):
        make_trainer(judged(4), model=model, processing_class=tokenizer)
    assert "modules_to_save" not in caplog.text


def test_other_adapters_than_lora_train_the_whole_head_too(make_trainer, backbone_folder):
    config = IA3Config(target_modules=["query", "value"], feedforward_modules=[])
    trainer = make_trainer(judged(8), model=backbone_folder("bert"), peft_config=config)
    trained = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert any("classifier.modules_to_save" in name for name in trained)
    assert any("pooler.modules_to_save" in name for name in trained)
