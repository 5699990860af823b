"""LoRA and 4-bit LoRA: the head in float32, everything saved, everything reloaded bit by bit."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from reward_rows import judged, mixture, pairs
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig

from trl_dprm import DPRMConfig, DPRMForSequenceClassification, DPRMTrainingArguments
from trl_dprm.trainer.model_loading import base_revision
from trl_dprm.trainer.peft_defaults import complete_peft_config

WIDE = {"hidden_size": 64, "intermediate_size": 128}  # nf4 works on blocks of 64 weights
PEFT_CONFIGS = {
    "no task type": LoraConfig(r=4),
    "TRL's command line": LoraConfig(r=4, task_type=TaskType.CAUSAL_LM, lora_dropout=0.0),
    "own targets": LoraConfig(r=4, task_type="SEQ_CLS", target_modules=["q_proj", "v_proj"]),
    "head named": LoraConfig(r=4, modules_to_save=["score"]),
}


def four_bit():
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def eight_bit():
    return BitsAndBytesConfig(load_in_8bit=True)


def trainable(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def scores(model, batch):
    with torch.no_grad():
        output = model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return torch.cat([output.logits, output.category_logits], dim=1)


def assert_trains_in_float32_and_reloads(trainer, folder, base, **loading):
    """Every trained tensor is float32 and moves; the saved folder gives the same numbers in three ways."""
    before = trainable(trainer.model)
    assert any("lora_B" in name for name in before)
    for head in trainer.model.get_base_model().head_names:  # a freshly made pooler too
        assert any(f"{head}." in name and "modules_to_save" in name for name in before), head
    assert {p.dtype for p in before.values()} == {torch.float32}
    trainer.train()
    after = trainable(trainer.model)
    assert before.keys() == after.keys()
    for name, weight in after.items():
        assert weight.dtype == torch.float32, name
        assert (weight != before[name]).any(), f"{name} did not move"
    trainer.save_model(folder)
    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "adapter_config.json", "adapter_model.safetensors", "README.md", "tokenizer.json"} <= names
    assert "model.safetensors" not in names
    config = DPRMConfig.from_pretrained(folder)
    assert not hasattr(config, "quantization_config")
    quantization = loading.get("quantization_config")
    bits = None if quantization is None else 4 if quantization.load_in_4bit else 8
    assert (config.base_precision or {}).get("bits") == bits
    saved = json.loads((folder / "adapter_config.json").read_text())["modules_to_save"]
    assert len(set(saved)) == len(saved) and {*trainer.model.get_base_model().head_names} <= {*saved}
    assert config.bradley_terry_scale == trainer.bradley_terry_scale.value.item()

    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(4)])
    expected = scores(trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False), batch)  # no autocast
    own = DPRMForSequenceClassification.from_pretrained(folder, **loading)
    auto = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, **loading)
    bare = DPRMForSequenceClassification.from_pretrained(base, **loading)
    bare.config.anchored = config.anchored
    for name, model in (("own", own), ("auto", auto), ("PEFT", PeftModel.from_pretrained(bare, folder))):
        assert torch.equal(scores(model, batch), expected), name


@pytest.mark.parametrize("name", PEFT_CONFIGS)
def test_lora(name, make_trainer, backbone, tmp_path):
    trainer = make_trainer(mixture(8, 8), peft_config=PEFT_CONFIGS[name], max_steps=4, per_device_train_batch_size=16)
    assert trainer.model.peft_config["default"].task_type == TaskType.SEQ_CLS
    assert_trains_in_float32_and_reloads(trainer, tmp_path / "adapter", backbone)


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "gpt2", "qwen3"])
def test_lora_over_other_heads(architecture, make_trainer, backbone_folder, tmp_path):
    base = backbone_folder(architecture)
    trainer = make_trainer(
        judged(16), model=base, peft_config=LoraConfig(r=4), max_steps=4, per_device_train_batch_size=16
    )
    assert_trains_in_float32_and_reloads(trainer, tmp_path / "adapter", base)


@pytest.mark.parametrize(
    "architecture, bf16",
    [
        pytest.param("llama", False, id="llama"),
        pytest.param("llama", None, id="llama-bf16 by default"),
        pytest.param("bert", False, id="bert"),
        pytest.param("bert", None, id="bert-bf16 by default", marks=pytest.mark.slow),
        pytest.param("modernbert", False, id="modernbert"),
        pytest.param("modernbert", None, id="modernbert-bf16 by default", marks=pytest.mark.slow),
    ],
)
def test_four_bit_lora(architecture, bf16, make_trainer, backbone_folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    base = backbone_folder(architecture, **WIDE)
    trainer = make_trainer(
        mixture(8, 8),
        model=base,
        peft_config=LoraConfig(r=4),
        quantization_config=four_bit(),
        bf16=bf16,
        gradient_checkpointing=bf16 is None,
        max_steps=4,
        per_device_train_batch_size=16,
    )
    quantised = [m for m in trainer.model.modules() if type(m).__name__ == "Linear4bit"]
    assert quantised and all(m.weight.dtype == torch.uint8 for m in quantised)
    assert_trains_in_float32_and_reloads(
        trainer, tmp_path / "adapter", base, quantization_config=four_bit(), dtype=torch.float32
    )


@pytest.mark.parametrize(
    "architecture, bf16",
    [
        pytest.param("llama", None, id="llama-bf16 by default"),
        pytest.param("bert", False, id="bert"),
        pytest.param("llama", False, id="llama", marks=pytest.mark.slow),
        pytest.param("modernbert", None, id="modernbert-bf16 by default", marks=pytest.mark.slow),
    ],
)
def test_eight_bit_lora(architecture, bf16, make_trainer, backbone_folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    base = backbone_folder(architecture, **WIDE)
    trainer = make_trainer(
        mixture(8, 8),
        judged(4),
        model=base,
        peft_config=LoraConfig(r=4),
        quantization_config=eight_bit(),
        bf16=bf16,
        gradient_checkpointing=bf16 is None,
        max_steps=4,
        per_device_train_batch_size=16,
    )
    quantised = [m for m in trainer.model.modules() if type(m).__name__ == "Linear8bitLt"]
    assert quantised and all(m.weight.dtype == torch.int8 for m in quantised)
    trainer.evaluate()
    assert_trains_in_float32_and_reloads(
        trainer, tmp_path / "adapter", base, quantization_config=eight_bit(), dtype=torch.float32
    )


def test_four_bit_layers_train_after_an_evaluation_too(make_trainer, backbone_folder, tmp_path):
    """bitsandbytes would repack their weights then, on some CPUs, and stop the gradient without a word."""
    pytest.importorskip("bitsandbytes")
    base = backbone_folder("llama", **WIDE)
    options = {"model": base, "peft_config": LoraConfig(r=4), "quantization_config": four_bit(), "max_steps": 4}
    trainer = make_trainer(mixture(8, 8), judged(4), per_device_train_batch_size=16, **options)
    trainer.evaluate()
    assert_trains_in_float32_and_reloads(
        trainer, tmp_path / "adapter", base, quantization_config=four_bit(), dtype=torch.float32
    )


def test_a_head_in_float32_is_not_rounded_by_quantised_training(make_trainer, backbone_folder):
    pytest.importorskip("bitsandbytes")
    base = backbone_folder("llama", **WIDE)
    plain = make_trainer(judged(4), model=base).model.score.weight
    model = make_trainer(judged(4), model=base, peft_config=LoraConfig(r=4), quantization_config=four_bit()).model
    head = model.get_base_model().score
    trained = head.modules_to_save["default"].weight
    assert torch.equal(trained, plain)  # the same seed
    assert not torch.equal(trained, trained.bfloat16().float())
    assert torch.equal(head.original_module.weight, plain)


def test_a_users_configuration_is_not_changed(make_trainer):
    peft_config = LoraConfig(r=4)
    make_trainer(judged(4), peft_config=peft_config)
    assert (peft_config.task_type, peft_config.target_modules, peft_config.modules_to_save) == (None, None, None)


def test_another_task_type_is_said_to_be_replaced(make_trainer, caplog):
    make_trainer(judged(4), peft_config=LoraConfig(r=4, task_type="CAUSAL_LM"))
    assert "is CAUSAL_LM; a reward model is trained as SEQ_CLS" in caplog.text.replace("TaskType.", "")


def test_a_peft_model_of_one_s_own(make_trainer, backbone, tokenizer):
    model = DPRMForSequenceClassification.from_pretrained(backbone)
    model = get_peft_model(model, LoraConfig(r=4, task_type="SEQ_CLS", target_modules="all-linear"))
    trainer = make_trainer(pairs(8), model=model, processing_class=tokenizer)
    before = trainable(trainer.model)
    trainer.train()
    assert all((weight != before[name]).any() for name, weight in trainable(trainer.model).items())


def test_training_goes_on_from_a_saved_adapter(make_trainer, tmp_path):
    first = make_trainer(pairs(8), peft_config=LoraConfig(r=4), output_dir=str(tmp_path / "first"))
    first.train()
    first.save_model(tmp_path / "adapter")
    batch = first.data_collator([first.train_dataset[row] for row in range(4)])
    model = DPRMForSequenceClassification.from_pretrained(tmp_path / "adapter")
    assert torch.equal(scores(model, batch), scores(first.model, batch))
    assert model.config.bradley_terry_scale == first.bradley_terry_scale.value.item() != 1


def test_an_adapter_names_the_revision_of_its_base(make_trainer, backbone, tmp_path):
    trainer = make_trainer(judged(4), peft_config=LoraConfig(r=4), model_init_kwargs={"revision": "v1"})
    assert trainer.model.peft_config["default"].revision is None  # a folder has none
    args = DPRMTrainingArguments(str(tmp_path), use_cpu=True, bf16=False, model_init_kwargs={"revision": "v1"})
    assert base_revision("org/model", args) == "v1"
    completed = complete_peft_config(LoraConfig(r=4), trainer.model.get_base_model(), "v1")
    assert completed.revision == "v1"


def test_a_base_in_a_subfolder_is_refused_because_no_adapter_can_name_it(make_trainer, backbone):
    folder, name = backbone.rsplit("/", 1)
    with pytest.raises(ValueError, match=rf"has the subfolder '{name}' of \S+: it could not be loaded again"):
        make_trainer(judged(4), model=folder, peft_config=LoraConfig(r=4), model_init_kwargs={"subfolder": name})


def test_a_base_in_a_subfolder_trains_without_an_adapter_with_its_own_tokenizer(make_trainer, backbone):
    folder, name = backbone.rsplit("/", 1)
    trainer = make_trainer(judged(4), model=folder, model_init_kwargs={"subfolder": name})
    assert trainer.processing_class.get_vocab() == AutoTokenizer.from_pretrained(backbone).get_vocab()
