"""Every backbone, from every kind of checkpoint: start, save, reload, export."""

import copy
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import TINY_BACKBONES, tiny_stock_model
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)
from transformers.utils import logging as hf_logging

from trl_dprm import DPRMConfig, DPRMForSequenceClassification

THREE = {"category_names": ["bad", "fair", "good"], "category_rewards": [-1.0, 0.25, 2.0], "ground_cost": "ranks"}
SOURCES = [(backbone, kind) for backbone in TINY_BACKBONES for kind in ("lm", "headless", "classifier")]
ALL_SOURCES = pytest.mark.parametrize(("backbone", "kind"), SOURCES, ids=["-".join(source) for source in SOURCES])
ALL_BACKBONES = pytest.mark.parametrize("backbone", TINY_BACKBONES)
ONE_OF_EACH_HEAD = pytest.mark.parametrize("backbone", ["llama", "gpt2", "bert", "modernbert"])


def tensor_names(folder):
    return {name for file in Path(folder).glob("*.safetensors") for name in load_file(file)}


def stock_logits(stock, batch):
    """Without a cache, through which GPT-Neo's rounding differs in the last bit."""
    with torch.no_grad():
        return stock(**batch, **({} if "bert" in stock.config.model_type else {"use_cache": False})).logits


def rewrite_as_stock(folder):
    """What the README tells users to do: the stock configuration in place of ours, nothing else."""
    config = json.loads((folder / "config.json").read_text())
    stock = {**config["text_config"], "architectures": None}
    (folder / "config.json").write_text(json.dumps(stock))
    # A copy, because CPU kernels round differently on memory-mapped tensors at odd addresses.
    return copy.deepcopy(AutoModelForSequenceClassification.from_pretrained(folder))


@pytest.fixture
def log_messages(caplog):
    """What transformers and the model log, warnings and above."""
    hf_logging.enable_propagation()
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_warning()
    with caplog.at_level(logging.WARNING):
        yield lambda: [record.getMessage() for record in caplog.records]
    hf_logging.set_verbosity(verbosity)
    hf_logging.disable_propagation()


class TestStart:
    @ALL_SOURCES
    def test_backbone_tensors_are_the_sources(self, backbone, kind, checkpoint):
        model = DPRMForSequenceClassification.from_pretrained(checkpoint(backbone, kind, num_labels=7), **THREE)
        source = tiny_stock_model(backbone, kind, num_labels=7).base_model.state_dict()
        ours = {k: v for k, v in model.base_model.state_dict().items() if k in source or "pooler" not in k}
        assert ours.keys() <= source.keys() and len(ours) > 10
        assert all(torch.equal(tensor, source[name]) for name, tensor in ours.items())
        assert not model.training

    def test_tied_embeddings(self, tmp_path):
        tiny_stock_model("llama", "lm", tie_word_embeddings=True).save_pretrained(tmp_path / "lm")
        model = DPRMForSequenceClassification.from_pretrained(tmp_path / "lm")
        model.save_pretrained(tmp_path / "dprm")
        again = DPRMForSequenceClassification.from_pretrained(tmp_path / "dprm")
        assert torch.equal(again.model.embed_tokens.weight, model.model.embed_tokens.weight)

    def test_a_bfloat16_checkpoint_starts_in_its_own_precision_with_a_float32_head(self, tmp_path):
        tiny_stock_model("llama", "lm").to(torch.bfloat16).save_pretrained(tmp_path)
        model = DPRMForSequenceClassification.from_pretrained(tmp_path)
        assert model.model.embed_tokens.weight.dtype == torch.bfloat16
        assert model.score.weight.dtype == torch.float32

    def test_categories_reach_the_configuration(self, checkpoint):
        config = DPRMForSequenceClassification.from_pretrained(checkpoint("llama"), **THREE).config
        assert (config.category_names, config.category_rewards) == (THREE["category_names"], [-1.0, 0.25, 2.0])
        assert (config.ground_cost, config.num_categories, config.num_labels) == ("ranks", 3, 1)
        assert config.text_config.id2label == {0: "bad", 1: "fair", 2: "good"}

    def test_the_callers_configuration_is_not_changed(self, checkpoint):
        config = AutoConfig.from_pretrained(checkpoint("llama"))
        before = config.to_dict()
        DPRMForSequenceClassification.from_pretrained(checkpoint("llama"), config=config, **THREE)
        assert config.to_dict() == before

    def test_seed_fixes_the_new_head(self, checkpoint):
        heads = []
        for seed in (3, 3, 4):
            torch.manual_seed(seed)
            heads.append(DPRMForSequenceClassification.from_pretrained(checkpoint("llama"), **THREE).score.weight)
        assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])

    @pytest.mark.parametrize("kind", ["lm", "headless"])
    @pytest.mark.parametrize("backbone", ["llama", "bert", "modernbert"])
    def test_a_new_head_is_announced_once_and_nothing_else(self, backbone, kind, checkpoint, log_messages):
        DPRMForSequenceClassification.from_pretrained(checkpoint(backbone, kind), **THREE)
        (message,) = log_messages()
        assert "holds no classification head" in message and "are new and random" in message

    def test_a_head_for_other_labels_is_replaced_with_a_warning(self, checkpoint, log_messages):
        folder = checkpoint("llama", "classifier", num_labels=7)
        model = DPRMForSequenceClassification.from_pretrained(folder, **THREE)
        assert model.score.weight.shape == (3, 32)
        (message,) = log_messages()
        assert "was made for another number of labels (score.weight)" in message and "3 categories" in message

    @ALL_BACKBONES
    def test_a_head_for_as_many_labels_is_kept(self, backbone, checkpoint, batch, log_messages):
        model = DPRMForSequenceClassification.from_pretrained(
            checkpoint(backbone, "classifier", num_labels=3), **THREE
        )
        stock = tiny_stock_model(backbone, "classifier", num_labels=3)
        assert log_messages() == []
        with torch.no_grad():
            ours, theirs = model(**batch), stock(**batch).logits
        torch.testing.assert_close(ours.category_logits, theirs, rtol=1e-6, atol=1e-6)
        rewards = (theirs.double().softmax(-1) * torch.tensor([-1.0, 0.25, 2.0])).sum(-1, keepdim=True)
        torch.testing.assert_close(ours.logits.double(), rewards, rtol=0, atol=1e-6)


class TestReload:
    @ALL_SOURCES
    def test_three_auto_classes_give_bitwise_equal_rewards(self, backbone, kind, checkpoint, batch, score, tmp_path):
        model = DPRMForSequenceClassification.from_pretrained(checkpoint(backbone, kind, num_labels=7), **THREE)
        expected = score(model, batch)
        model.save_pretrained(tmp_path)
        config = AutoConfig.from_pretrained(tmp_path)
        assert type(config) is DPRMConfig and config.num_labels == 1
        assert all(getattr(config, name) == value for name, value in THREE.items())
        for loader, arguments in (
            (DPRMForSequenceClassification, {}),
            (AutoModel, {}),
            (AutoModelForSequenceClassification, {"num_labels": 1}),
        ):
            again = loader.from_pretrained(tmp_path, **arguments)
            assert type(again) is DPRMForSequenceClassification
            assert torch.equal(score(again, batch), expected)

    @ALL_BACKBONES
    def test_a_model_that_was_never_on_disk_is_reloaded_bitwise(self, backbone, tiny_dprm, batch, score, tmp_path):
        model = tiny_dprm(backbone)
        model.save_pretrained(tmp_path)
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
        assert all(tensor.data_ptr() % 64 == 0 for tensor in again.parameters())
        rows = {name: value[2:, :4] for name, value in batch.items()}
        for inputs in (batch, rows, {"input_ids": rows["input_ids"]}):
            assert torch.equal(score(again, inputs), score(model, inputs))

    @ALL_BACKBONES
    def test_names_are_the_stock_classifiers_in_memory_and_on_disk(self, backbone, tiny_dprm, tmp_path):
        model = tiny_dprm(backbone)
        tiny_stock_model(backbone, "classifier", num_labels=5).save_pretrained(tmp_path / "stock")
        model.save_pretrained(tmp_path / "ours")
        stock = tiny_stock_model(backbone, "classifier", num_labels=5)
        assert list(model.state_dict()) == list(stock.state_dict())
        assert [name for name, _ in model.named_modules()] == [name for name, _ in stock.named_modules()]
        assert tensor_names(tmp_path / "ours") == tensor_names(tmp_path / "stock")

    @ALL_SOURCES
    def test_stock_export_is_a_rewrite_of_the_configuration(self, backbone, kind, checkpoint, batch, tmp_path):
        model = DPRMForSequenceClassification.from_pretrained(checkpoint(backbone, kind, num_labels=7), **THREE)
        model.save_pretrained(tmp_path)
        stock = rewrite_as_stock(tmp_path)
        assert isinstance(stock, PreTrainedModel) and type(stock) is type(model._stock_classifier)
        assert stock.config.id2label == {0: "bad", 1: "fair", 2: "good"}
        with torch.no_grad():
            assert torch.equal(stock_logits(stock, batch), model(**batch).category_logits)

    @ALL_BACKBONES
    def test_state_dict_goes_into_the_stock_classifier(self, backbone, tiny_dprm, batch):
        model, stock = tiny_dprm(backbone), tiny_stock_model(backbone, "classifier", num_labels=5)
        stock.load_state_dict(model.state_dict())
        with torch.no_grad():
            assert torch.equal(stock_logits(stock, batch), model(**batch).category_logits)

    @ONE_OF_EACH_HEAD
    def test_shards(self, backbone, tiny_dprm, batch, score, tmp_path):
        model = tiny_dprm(backbone)
        model.save_pretrained(tmp_path, max_shard_size="30KB")
        assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
        assert (tmp_path / "model.safetensors.index.json").is_file()
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
        assert torch.equal(score(again, batch), score(model, batch))

    def test_a_foreign_checkpoint_in_shards(self, tmp_path):
        stock = tiny_stock_model("llama", "lm")
        stock.save_pretrained(tmp_path, max_shard_size="30KB")
        model = DPRMForSequenceClassification.from_pretrained(tmp_path)
        assert torch.equal(model.model.layers[1].mlp.up_proj.weight, stock.model.layers[1].mlp.up_proj.weight)

    @pytest.mark.parametrize("loader", [DPRMForSequenceClassification, AutoModelForSequenceClassification])
    def test_subfolder_and_revision(self, loader, tiny_dprm, batch, score, tmp_path):
        model = tiny_dprm()
        model.save_pretrained(tmp_path / "runs" / "last")
        again = loader.from_pretrained(tmp_path, subfolder="runs/last", revision="main")
        assert torch.equal(score(again, batch), score(model, batch))

    def test_a_foreign_subfolder(self, checkpoint, tmp_path):
        shutil.copytree(checkpoint("gpt2"), tmp_path / "backbone")
        model = DPRMForSequenceClassification.from_pretrained(tmp_path, subfolder="backbone")
        assert torch.equal(model.transformer.wte.weight, tiny_stock_model("gpt2").transformer.wte.weight)

    def test_given_rewards_replace_the_checkpoints(self, tiny_dprm, batch, score, tmp_path):
        model = tiny_dprm(category_rewards=[-1.0, 0.0, 1.0])
        model.save_pretrained(tmp_path)
        doubled = DPRMForSequenceClassification.from_pretrained(tmp_path, category_rewards=[-2.0, 0.0, 2.0])
        torch.testing.assert_close(score(doubled, batch), 2 * score(model, batch))
        assert doubled.config.category_names == model.config.category_names

    def test_loading_information_on_request(self, tiny_dprm, tmp_path):
        tiny_dprm().save_pretrained(tmp_path)
        model, info = DPRMForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
        assert type(model) is DPRMForSequenceClassification and not info["missing_keys"]

    def test_saving_writes_bitwise_the_same_tensors_again(self, tiny_dprm, tmp_path):
        tiny_dprm("mixtral").save_pretrained(tmp_path / "one")
        DPRMForSequenceClassification.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two")
        one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


class TestRefusals:
    def test_no_text_config(self):
        with pytest.raises(
            ValueError, match="No sequence classifier in transformers for `text_config` of type `NoneType`"
        ):
            DPRMForSequenceClassification(DPRMConfig())

    def test_a_backbone_without_a_classifier(self):
        config = DPRMConfig(AutoConfig.for_model("vit"))
        with pytest.raises(ValueError, match=r"of type `ViTConfig`. Choose a backbone that"):
            DPRMForSequenceClassification(config)

    @pytest.mark.parametrize(
        ("backbone", "name"), [("t5", "T5ForSequenceClassification"), ("bart", "BartForSequenceClassification")]
    )
    def test_an_encoder_decoder(self, backbone, name, tmp_path):
        halves = {
            f"{part}_{size}": n for part in ("encoder", "decoder") for size, n in (("layers", 1), ("ffn_dim", 32))
        }
        sizes = {"t5": {"d_ff": 32, "d_kv": 8, "num_layers": 1, "num_heads": 2}, "bart": halves}[backbone]
        config = AutoConfig.for_model(backbone, vocab_size=260, d_model=16, **sizes)
        AutoModelForSeq2SeqLM.from_config(config).save_pretrained(tmp_path)
        message = f"`{name}` is an encoder–decoder, which is not supported.*Choose a decoder.* or an encoder"
        with pytest.raises(ValueError, match=message):
            DPRMForSequenceClassification.from_pretrained(tmp_path)
        with pytest.raises(ValueError, match=message):
            DPRMForSequenceClassification.from_classifier(AutoModelForSequenceClassification.from_config(config))

    def test_a_classifier_that_reads_padding(self):
        config = AutoConfig.for_model("xlnet", vocab_size=260, d_model=16, n_layer=1, n_head=2, d_inner=32)
        with pytest.raises(ValueError, match="`XLNetForSequenceClassification` reads the last position of a batch"):
            DPRMForSequenceClassification.from_classifier(AutoModelForSequenceClassification.from_config(config))

    def test_labels(self, tiny_dprm, batch):
        with pytest.raises(ValueError, match="takes no `labels`: train it with `DPRMTrainer`"):
            tiny_dprm()(**batch, labels=torch.zeros(3))

    def test_more_than_one_label(self, checkpoint):
        with pytest.raises(ValueError, match=r"`num_labels` of a DPRM is always 1. Give the categories by"):
            DPRMForSequenceClassification.from_pretrained(checkpoint("llama"), num_labels=5)
