"""A folded checkpoint on disk: the mapped score by every way of loading, and nothing else changed."""

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_models import tiny_stock_model
from transformers import AutoModelForSequenceClassification

from trl_dprm import DPRMForSequenceClassification
from trl_dprm.adaptation import LogitMap
from trl_dprm.hub import export_classifier
from trl_dprm.hub.folded_checkpoint import write_folded_checkpoint

IDS = torch.tensor([[1, 40, 41, 42, 43, 2], [1, 90, 91, 92, 93, 2]])
CATEGORIES = {"category_names": ["bad", "fair", "good"], "category_rewards": [-1.0, 0.25, 2.0]}
MATRIX = np.array([[1.2, -0.3, 0.1], [0.0, 0.7, 0.3], [0.4, 0.1, 0.5]])
MAPS = {"bert": LogitMap(MATRIX, [0.5, -1.0, 0.25]), "llama": LogitMap(MATRIX, [0.0, 0.0, 0.0])}


@pytest.fixture
def stored(tokenizer, tmp_path):
    """Function (backbone, options of saving) -> folder of a DPRM."""

    def make(backbone, dtype=torch.float32, **saving):
        classifier = tiny_stock_model(backbone, "classifier", num_labels=3)
        model = DPRMForSequenceClassification.from_classifier(classifier, **CATEGORIES)
        model.config.anchored, model.config.prior_strength = True, 7.0
        model.config.tokenization = {"add_special_tokens": True, "append_eos": True, "max_length": 64}
        if backbone == "bert":
            torch.nn.init.constant_(model.classifier.bias[:2], 0.7)
        model.base_model.to(dtype)
        model.config.dtype = dtype
        model.save_pretrained(tmp_path / "stored", **saving)
        tokenizer.save_pretrained(tmp_path / "stored")
        return tmp_path / "stored"

    return make


def folded(checkpoint, folder, logit_map, **options):
    folder.mkdir()
    write_folded_checkpoint(str(checkpoint), folder, logit_map, **options)
    return folder


def category_logits(folder):
    with torch.no_grad():
        return DPRMForSequenceClassification.from_pretrained(folder).eval()(IDS).category_logits.double().numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backbone", ["bert", "llama"])
def test_every_loader_gives_the_mapped_score(backbone, dtype, stored, tmp_path):
    checkpoint, logit_map = stored(backbone, dtype), MAPS[backbone]
    expected = logit_map.probs(category_logits(checkpoint))
    folder = folded(checkpoint, tmp_path / "folded", logit_map, prior_strength=3.0)
    reloaded = torch.from_numpy(category_logits(folder)).softmax(1).numpy()
    np.testing.assert_allclose(reloaded, expected, rtol=0, atol=1e-6)
    with torch.no_grad():
        rewards = AutoModelForSequenceClassification.from_pretrained(folder).eval()(IDS).logits[:, 0].numpy()
    np.testing.assert_allclose(rewards, expected @ CATEGORIES["category_rewards"], rtol=0, atol=5e-6)
    served = AutoModelForSequenceClassification.from_pretrained(
        export_classifier(folder, tmp_path / "served"), dtype=torch.float32
    )
    with torch.no_grad():
        stock = served.eval()(IDS).logits.double().softmax(1).numpy()
    np.testing.assert_allclose(stock, expected, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-2)


def test_sharded_weights_keep_their_files_and_every_other_tensor(stored, tmp_path):
    checkpoint = stored("bert", max_shard_size="20KB")
    folder = folded(checkpoint, tmp_path / "folded", MAPS["bert"])
    files = sorted(file.name for file in checkpoint.glob("model*.safetensors*"))
    assert len(files) > 3 and sorted(file.name for file in folder.glob("model*.safetensors*")) == files
    changed = set()
    for name in files:
        if name.endswith(".json"):
            assert (folder / name).read_bytes() == (checkpoint / name).read_bytes()
            continue
        before, after = load_file(checkpoint / name), load_file(folder / name)
        assert set(before) == set(after)
        changed |= {tensor for tensor in before if not torch.equal(before[tensor], after[tensor])}
        with safe_open(folder / name, "pt") as opened:
            assert opened.metadata() == {"format": "pt"}
    assert changed == {"classifier.weight", "classifier.bias"}
    np.testing.assert_allclose(
        category_logits(folder), MAPS["bert"].apply(category_logits(checkpoint)), rtol=0, atol=1e-6
    )


def test_the_configuration_loses_the_prior_strength_alone(stored, tmp_path):
    checkpoint = stored("bert")
    folder = folded(checkpoint, tmp_path / "folded", MAPS["bert"])
    before, after = (json.loads((place / "config.json").read_text()) for place in (checkpoint, folder))
    assert before.pop("prior_strength") == 7.0 and after.pop("prior_strength") is None
    assert before == after
    assert (folder / "tokenizer.json").exists() and (folder / "modeling_dprm.py").exists()


def test_an_adapter_is_refused(stored, tmp_path):
    model = DPRMForSequenceClassification.from_pretrained(stored("llama"))
    get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj"])).save_pretrained(
        tmp_path / "adapter"
    )
    model.config.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ValueError, match="is an adapter: a map is folded into full models only. Merge first"):
        folded(tmp_path / "adapter", tmp_path / "folded", MAPS["llama"])


def test_biases_for_a_head_without_any_are_refused_before_anything_is_written(stored, tmp_path):
    with pytest.raises(ValueError, match="`score` of this backbone has no bias"):
        folded(stored("llama"), tmp_path / "folded", MAPS["bert"])
    assert not list((tmp_path / "folded").iterdir())


def test_weights_without_the_head_are_refused(stored, tmp_path):
    checkpoint = stored("llama")
    weights = load_file(checkpoint / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"holds no tensor `score.weight`: it has no head"):
        folded(checkpoint, tmp_path / "folded", MAPS["llama"])
