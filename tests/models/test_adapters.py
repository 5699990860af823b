"""LoRA on a DPRM: what trains, what is saved, and that every way of loading gives the rewards of before."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from trl_dprm import DPRMForSequenceClassification

BACKBONES = pytest.mark.parametrize("backbone", ["llama", "gpt2", "mixtral", "bert", "modernbert"])
THREE = {"category_rewards": [-1.0, 0.25, 2.0]}


def with_lora(model, **changes):
    heads = {"modules_to_save": model.head_names, "target_modules": "all-linear", "task_type": "SEQ_CLS"}
    return get_peft_model(model, LoraConfig(r=4, **{**heads, **changes}))


def train_a_little(model, batch):
    """A few large steps, so that every trainable tensor differs visibly from its start."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(3):
        output = model(**batch)
        (output.logits - torch.tensor([[1.0], [-1.0], [0.5]])).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.fixture
def trained(checkpoint, batch, tmp_path):
    """Function (backbone) -> (trained PEFT model, folder of its adapter with the configuration beside it)."""

    def make(backbone="llama", dtype="float32", **changes):
        base = DPRMForSequenceClassification.from_pretrained(checkpoint(backbone, "headless"), dtype=dtype, **THREE)
        model = train_a_little(with_lora(base, **changes), batch)
        model.save_pretrained(tmp_path / "adapter")
        base.config.save_pretrained(tmp_path / "adapter")
        return model, tmp_path / "adapter"

    return make


def edit_adapter(folder, edit):
    tensors = load_file(folder / "adapter_model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


class TestTraining:
    @BACKBONES
    def test_adapters_and_the_whole_head_train_and_nothing_else(self, backbone, tiny_dprm):
        base = tiny_dprm(backbone)
        head = {f"{name}.{p}" for name in base.head_names for p, _ in base.get_submodule(name).named_parameters()}
        model = with_lora(base)
        trainable = {name for name, p in model.named_parameters() if p.requires_grad}
        trained_head = {n.removeprefix("base_model.model.") for n in trainable if "lora_" not in n}
        assert {name.replace("modules_to_save.default.", "") for name in trained_head} == head
        assert any("lora_A" in name for name in trainable)
        assert not any("lora_" in name and any(f".{h}." in name for h in base.head_names) for name in trainable)

    @pytest.mark.parametrize("backbone", ["llama", "gpt2", "mixtral"])
    def test_the_sequence_classifier_task_alone_finds_a_decoders_head(self, backbone, tiny_dprm):
        model = get_peft_model(tiny_dprm(backbone), LoraConfig(task_type="SEQ_CLS", target_modules="all-linear"))
        assert model.get_submodule("base_model.model.score.modules_to_save.default").weight.requires_grad

    def test_the_head_that_trains_is_the_one_that_scores(self, tiny_dprm, batch, score):
        model = with_lora(tiny_dprm())
        before = score(model, batch)
        copy = model.base_model.model.score.modules_to_save["default"]
        with torch.no_grad():
            copy.weight.neg_()
        after = score(model, batch)
        assert not torch.allclose(after, before)
        with model.disable_adapter():
            assert torch.equal(score(model, batch), before)

    def test_the_saved_head_is_in_float32_under_a_bfloat16_backbone(self, trained):
        _, folder = trained(dtype="bfloat16")
        tensors = load_file(folder / "adapter_model.safetensors")
        assert tensors["base_model.model.score.weight"].dtype == torch.float32


class TestReload:
    @BACKBONES
    def test_bitwise_equal_rewards(self, backbone, trained, batch, score, checkpoint):
        model, folder = trained(backbone)
        expected = score(model, batch)
        ours = DPRMForSequenceClassification.from_pretrained(folder)
        assert torch.equal(score(ours, batch), expected)
        auto = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
        assert type(auto) is DPRMForSequenceClassification and torch.equal(score(auto, batch), expected)
        base = DPRMForSequenceClassification.from_pretrained(checkpoint(backbone, "headless"), **THREE)
        assert not torch.allclose(score(base, batch), expected)
        assert torch.equal(score(PeftModel.from_pretrained(base, folder).eval(), batch), expected)

    def test_the_base_for_peft_is_made_by_the_adapter_s_configuration(self, trained, batch, score, checkpoint):
        """Otherwise the reward would be that of whatever categories the base was loaded with, without a word."""
        model, folder = trained()
        config = AutoConfig.from_pretrained(folder)
        base = DPRMForSequenceClassification.from_pretrained(checkpoint("llama", "headless"), config=config)
        assert torch.equal(score(PeftModel.from_pretrained(base, folder).eval(), batch), score(model, batch))
        other = DPRMForSequenceClassification.from_pretrained(
            checkpoint("llama", "headless"), category_rewards=[0.0, 1.0, 2.0]
        )
        assert not torch.allclose(score(PeftModel.from_pretrained(other, folder).eval(), batch), score(model, batch))

    def test_on_a_bfloat16_base(self, trained, batch, score, checkpoint):
        model, folder = trained(dtype="bfloat16")
        base = DPRMForSequenceClassification.from_pretrained(
            checkpoint("llama", "headless"), dtype="bfloat16", **THREE
        )
        assert torch.equal(score(PeftModel.from_pretrained(base, folder).eval(), batch), score(model, batch))
        again = DPRMForSequenceClassification.from_pretrained(folder, dtype="bfloat16")
        assert {p.dtype for n, p in again.named_parameters() if "lora_" in n or "score" in n} == {torch.float32}
        assert torch.equal(score(again, batch), score(model, batch))

    def test_an_adapter_of_a_saved_dprm(self, tiny_dprm, batch, score, tmp_path):
        tiny_dprm().save_pretrained(tmp_path / "base")
        base = DPRMForSequenceClassification.from_pretrained(tmp_path / "base")
        model = train_a_little(with_lora(base), batch)
        model.save_pretrained(tmp_path / "adapter")
        base.config.save_pretrained(tmp_path / "adapter")
        again = DPRMForSequenceClassification.from_pretrained(tmp_path / "adapter")
        assert torch.equal(score(again, batch), score(model, batch))

    def test_in_a_subfolder(self, trained, batch, score, tmp_path):
        model, folder = trained()
        shutil.move(folder, tmp_path / "hub" / "last")
        again = DPRMForSequenceClassification.from_pretrained(tmp_path / "hub", subfolder="last")
        assert torch.equal(score(again, batch), score(model, batch))

    def test_merged_it_is_a_full_checkpoint_again(self, trained, batch, score, tmp_path):
        model, _ = trained()
        expected = score(model, batch)
        merged = model.merge_and_unload()
        assert type(merged) is DPRMForSequenceClassification
        torch.testing.assert_close(score(merged, batch), expected, rtol=0, atol=1e-5 * 3)
        merged.save_pretrained(tmp_path / "merged")
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
        assert torch.equal(score(again, batch), score(merged, batch))

    def test_saved_again_it_is_an_adapter_again(self, trained, batch, score, tmp_path):
        model, folder = trained()
        again = DPRMForSequenceClassification.from_pretrained(folder)
        again.save_pretrained(tmp_path / "again")
        assert not (tmp_path / "again" / "model.safetensors").exists()
        third = DPRMForSequenceClassification.from_pretrained(tmp_path / "again")
        assert torch.equal(score(third, batch), score(model, batch))

    def test_a_full_checkpoint_saved_over_an_adapter_replaces_it(self, trained, tiny_dprm, batch, score):
        _, folder = trained()
        full = tiny_dprm(category_rewards=[0.0, 1.0])
        full.save_pretrained(folder)
        again = DPRMForSequenceClassification.from_pretrained(folder)
        assert torch.equal(score(again, batch), score(full, batch))


class TestRefusals:
    def test_a_missing_head(self, trained):
        _, folder = trained()
        edit_adapter(folder, lambda tensors: tensors.pop("base_model.model.score.weight"))
        with pytest.raises(
            ValueError, match=r"adapter \S* does not hold these tensors, or in another shape: \S*score\S*weight\. They"
        ):
            DPRMForSequenceClassification.from_pretrained(folder)

    def test_a_missing_adapter_tensor(self, trained):
        _, folder = trained()
        edit_adapter(folder, lambda tensors: tensors.pop(next(name for name in tensors if "lora_B" in name)))
        with pytest.raises(ValueError, match=r"does not hold these tensors, or in another shape: \S*lora_B\S*weight"):
            DPRMForSequenceClassification.from_pretrained(folder)

    def test_an_adapter_that_was_trained_without_the_head(self, trained):
        _, folder = trained(modules_to_save=None, task_type=None, target_modules=["q_proj"])
        with pytest.raises(ValueError, match=r"shape: score\.weight\. .* Train it with `modules_to_save=\['score'\]`"):
            DPRMForSequenceClassification.from_pretrained(folder)

    def test_a_head_of_another_shape(self, trained):
        _, folder = trained()
        edit_adapter(folder, lambda tensors: tensors.update({"base_model.model.score.weight": torch.zeros(4, 32)}))
        with pytest.raises(ValueError, match=r"these tensors, or in another shape: score\S*weight\."):
            DPRMForSequenceClassification.from_pretrained(folder)

    def test_a_pickled_adapter(self, trained):
        _, folder = trained()
        tensors = load_file(folder / "adapter_model.safetensors")
        (folder / "adapter_model.safetensors").unlink()
        torch.save(tensors, folder / "adapter_model.bin")
        for loader in (DPRMForSequenceClassification, AutoModelForSequenceClassification):
            message = (
                r"no file named adapter_model\.safetensors, and pickled .*load\('adapter_model\.bin', weights_only"
            )
            with pytest.raises(OSError, match=message):
                loader.from_pretrained(folder)

    def test_no_base(self, trained):
        _, folder = trained()
        content = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**content, "base_model_name_or_path": None}))
        with pytest.raises(ValueError, match=r"names no `base_model_name_or_path`: the adapter's base is unknown"):
            DPRMForSequenceClassification.from_pretrained(folder)
