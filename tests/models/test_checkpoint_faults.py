"""A checkpoint that does not hold every tensor is refused; nothing is ever random without being said."""

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from trl_dprm import DPRMForSequenceClassification
from trl_dprm.models.checkpoint_dprm import check_loaded

# A tensor of the last layer, without the prefix of the headless model, and the prefix.
INNER_TENSORS = {
    "llama": ("layers.1.mlp.up_proj.weight", "model."),
    "qwen3": ("layers.1.self_attn.q_norm.weight", "model."),
    "gpt2": ("h.1.mlp.c_fc.bias", "transformer."),
    "gpt_neo": ("h.1.attn.attention.k_proj.weight", "transformer."),
    "gpt_neox": ("layers.1.attention.dense.bias", "gpt_neox."),
    "bert": ("encoder.layer.1.output.LayerNorm.weight", "bert."),
    "modernbert": ("layers.1.mlp.Wi.weight", "model."),
}
BACKBONES = pytest.mark.parametrize("backbone", INNER_TENSORS)


def edit_tensors(folder, edit):
    """Rewrite `model.safetensors` with what `edit(tensors)` leaves in the dictionary."""
    file = Path(folder) / "model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


class Trap:
    """Its pickle raises when it is read."""

    def __reduce__(self):
        return exec, ("raise RuntimeError('a pickle was read')",)


def without(name):
    return lambda tensors: tensors.pop(name)


class TestForeignCheckpoint:
    @BACKBONES
    @pytest.mark.parametrize("kind", ["lm", "headless", "classifier"])
    def test_a_missing_backbone_tensor_is_named(self, backbone, kind, checkpoint, tmp_path):
        name, prefix = INNER_TENSORS[backbone]
        folder = shutil.copytree(checkpoint(backbone, kind), tmp_path / "copy")
        on_disk = name if kind == "headless" else prefix + name
        edit_tensors(folder, without(on_disk))
        with pytest.raises(
            ValueError, match=rf"does not hold these tensors of DPRM.*: {prefix}{name} \(missing\)\. They"
        ):
            DPRMForSequenceClassification.from_pretrained(folder)

    def test_a_missing_expert_is_an_error(self, checkpoint, tmp_path):
        folder = shutil.copytree(checkpoint("mixtral"), tmp_path / "copy")
        edit_tensors(
            folder,
            lambda tensors: [
                tensors.pop(name) for name in list(tensors) if "layers.1" in name and "experts.2" in name
            ],
        )
        with pytest.raises((ValueError, RuntimeError), match=r"model\.layers\.1\.\S*experts"):
            DPRMForSequenceClassification.from_pretrained(folder)

    def test_missing_embeddings(self, checkpoint, tmp_path):
        folder = shutil.copytree(checkpoint("llama", "lm", tie_word_embeddings=True), tmp_path / "copy")
        edit_tensors(folder, without("model.embed_tokens.weight"))
        with pytest.raises(ValueError, match=r"model\.embed_tokens\.weight \(missing\)"):
            DPRMForSequenceClassification.from_pretrained(folder)

    def test_another_architecture_under_this_configuration(self, checkpoint, tmp_path):
        folder = shutil.copytree(checkpoint("gpt2"), tmp_path / "copy")
        shutil.copy(Path(checkpoint("llama")) / "config.json", folder)
        with pytest.raises(ValueError, match=r"model\.embed_tokens\.weight \(missing\).* and 10 more\. They would"):
            DPRMForSequenceClassification.from_pretrained(folder)

    def test_a_backbone_tensor_of_another_shape(self, checkpoint, tmp_path):
        folder = shutil.copytree(checkpoint("llama"), tmp_path / "copy")
        edit_tensors(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(31)}))
        with pytest.raises(ValueError, match=r"model\.norm\.weight \(shape \(31,\), expected \(32,\)\)"):
            DPRMForSequenceClassification.from_pretrained(folder)

    def test_the_check_cannot_be_switched_off(self, checkpoint, tmp_path):
        folder = shutil.copytree(checkpoint("llama"), tmp_path / "copy")
        edit_tensors(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(31)}))
        with pytest.raises(ValueError, match=r"model\.norm\.weight"):
            DPRMForSequenceClassification.from_pretrained(folder, ignore_mismatched_sizes=True)


class TestDPRMCheckpoint:
    @pytest.fixture
    def saved(self, tiny_dprm, tmp_path):
        def save(backbone):
            tiny_dprm(backbone).save_pretrained(tmp_path / backbone)
            return tmp_path / backbone

        return save

    @BACKBONES
    @pytest.mark.parametrize("loader", [DPRMForSequenceClassification, AutoModel, AutoModelForSequenceClassification])
    def test_a_missing_backbone_tensor_is_named(self, backbone, loader, saved):
        name, prefix = INNER_TENSORS[backbone]
        folder = saved(backbone)
        edit_tensors(folder, without(prefix + name))
        with pytest.raises(ValueError, match=rf": {prefix}{name} \(missing\)\. They would be random"):
            loader.from_pretrained(folder)

    @pytest.mark.parametrize(
        ("backbone", "head"),
        [
            ("llama", "score.weight"),
            ("gpt2", "score.weight"),
            ("bert", "classifier.bias"),
            ("bert", "bert.pooler.dense.weight"),
            ("modernbert", "classifier.weight"),
            ("modernbert", "head.norm.weight"),
        ],
    )
    @pytest.mark.parametrize("loader", [DPRMForSequenceClassification, AutoModelForSequenceClassification])
    def test_a_missing_head_is_an_error(self, backbone, head, loader, tiny_dprm, tmp_path):
        tiny_dprm(backbone).save_pretrained(tmp_path)
        edit_tensors(tmp_path, without(head))
        with pytest.raises(
            ValueError, match=rf": {head} \(missing\)\. They would be random. Use a complete checkpoint"
        ):
            loader.from_pretrained(tmp_path)

    @pytest.mark.parametrize("loader", [DPRMForSequenceClassification, AutoModelForSequenceClassification])
    def test_a_head_of_another_shape_is_an_error(self, loader, tiny_dprm, tmp_path):
        tiny_dprm("llama").save_pretrained(tmp_path)
        edit_tensors(tmp_path, lambda tensors: tensors.update({"score.weight": torch.zeros(4, 32)}))
        with pytest.raises(
            ValueError, match=r"score\.weight \(shape \(4, 32\), expected \(5, 32\)\).*categories it was"
        ):
            loader.from_pretrained(tmp_path, num_labels=1)

    @pytest.mark.parametrize("loader", [DPRMForSequenceClassification, AutoModel, AutoModelForSequenceClassification])
    def test_a_backbone_tensor_of_another_shape_is_an_error(self, loader, saved):
        folder = saved("llama")
        edit_tensors(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(31)}))
        with pytest.raises(ValueError, match=r": model\.norm\.weight \(shape \(31,\), expected \(32,\)\)\. They"):
            loader.from_pretrained(folder, ignore_mismatched_sizes=True)

    @pytest.mark.parametrize("device_map", ["cpu", "auto"])
    def test_a_tensor_is_missed_on_whatever_device(self, device_map, saved):
        folder = saved("llama")
        edit_tensors(folder, without("score.weight"))
        with pytest.raises(ValueError, match=r": score\.weight \(missing\)\. They would be random"):
            AutoModelForSequenceClassification.from_pretrained(folder, device_map=device_map)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"category_rewards": [0.0, 1.0, 2.0]}, r"`category_rewards` has 3 entries, but the checkpoint has 5 cat"),
            ({"category_names": ["a", "b"]}, r"`category_names` has 2 entries, but the checkpoint has 5 categories"),
            ({"ground_cost": [[0, 1], [1, 0]]}, r"`ground_cost` has 2 entries, but the checkpoint has 5 categories"),
        ],
    )
    def test_other_categories_are_an_error(self, given, message, tiny_dprm, tmp_path):
        tiny_dprm().save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=message + r".*'strongly disagree'"):
            DPRMForSequenceClassification.from_pretrained(tmp_path, **given)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"category_names": ["a", "b"]}, "`category_names` has 2 entries and `category_rewards` has 5"),
            ({"category_rewards": [-1, 1]}, "`category_names` has 5 entries and `category_rewards` has 2"),
            (
                {"category_names": ["a", "b"], "category_rewards": [-1, 1]},
                r"score\.weight \(shape \(5, 32\), expected",
            ),
        ],
    )
    def test_other_categories_are_an_error_by_the_auto_class_too(self, given, message, tiny_dprm, tmp_path):
        tiny_dprm().save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=message):
            AutoModelForSequenceClassification.from_pretrained(tmp_path, **given)

    def test_a_configuration_changed_by_hand_is_checked_where_a_model_is_made_of_it(self, tiny_dprm):
        config = tiny_dprm().config
        config.category_rewards = [-1.0, 1.0]
        with pytest.raises(ValueError, match="`category_names` has 5 entries and `category_rewards` has 2"):
            DPRMForSequenceClassification(config)
        config.category_names = ["bad", "good"]
        with pytest.raises(ValueError, match=r"has 5 labels, but the configuration 2 categories \(bad, good\)"):
            DPRMForSequenceClassification(config)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    @pytest.mark.parametrize(("backbone", "tensor"), [("llama", "score.weight"), ("bert", "bert.pooler.dense.bias")])
    def test_a_head_that_holds_no_numbers_is_an_error(self, value, backbone, tensor, tiny_dprm, tmp_path):
        tiny_dprm(backbone).save_pretrained(tmp_path)
        edit_tensors(tmp_path, lambda tensors: tensors[tensor].view(-1)[1:2].fill_(value))
        with pytest.raises(ValueError, match=rf"The head of the checkpoint \S+ holds NaN or infinities \({tensor}\)"):
            AutoModelForSequenceClassification.from_pretrained(tmp_path)

    def test_a_state_dict_without_a_path_is_refused_with_the_remedy(self, tiny_dprm):
        model = tiny_dprm()
        with pytest.raises(ValueError, match=r"`DPRMForSequenceClassification\(config\)` and its `load_state_dict"):
            DPRMForSequenceClassification.from_pretrained(None, config=model.config, state_dict=model.state_dict())

    def test_transformers_4_names_tensors_of_another_shape_without_their_shapes(self, tiny_dprm):
        info = {"missing_keys": ["model.norm.weight"], "mismatched_keys": ["score.weight"]}
        with pytest.raises(
            ValueError, match=r"model\.norm\.weight \(missing\), score\.weight \(another shape, expected \(5, 32\)\)\."
        ):
            check_loaded(tiny_dprm(), info, "folder", foreign=False)


class TestFiles:
    @pytest.mark.parametrize("kind", ["backbone", "DPRM"])
    def test_a_pickle_is_refused_and_the_message_converts_it(self, kind, checkpoint, tiny_dprm, tmp_path, monkeypatch):
        if kind == "backbone":
            source, loader = checkpoint("gpt2"), DPRMForSequenceClassification
            model = AutoModelForCausalLM.from_pretrained(source)
        else:
            model, loader = tiny_dprm(), AutoModelForSequenceClassification
        model.save_pretrained(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")  # of GPT-2 with tied embeddings
        with pytest.raises(
            OSError, match=r"no file named model\.safetensors, and pickled weights are not read"
        ) as error:
            loader.from_pretrained(tmp_path)
        monkeypatch.chdir(tmp_path)
        exec(re.search(r"`(save_file\(.*\))`", str(error.value))[1], {"torch": torch, "save_file": save_file})
        loaded = loader.from_pretrained(tmp_path).state_dict()
        common = [name for name in model.state_dict() if name in loaded]
        assert len(common) > 20 and all(torch.equal(loaded[name], model.state_dict()[name]) for name in common)

    def test_a_pickle_beside_safetensors_is_not_read(self, tiny_dprm, tmp_path, batch, score):
        model = tiny_dprm()
        model.save_pretrained(tmp_path)
        (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
        assert torch.equal(
            score(AutoModelForSequenceClassification.from_pretrained(tmp_path), batch), score(model, batch)
        )

    def test_asking_for_a_pickle_is_refused(self, checkpoint):
        with pytest.raises(ValueError, match=r"read from safetensors only, `use_safetensors=False` is refused"):
            DPRMForSequenceClassification.from_pretrained(checkpoint("llama"), use_safetensors=False)

    def test_a_missing_shard_is_an_error(self, tiny_dprm, tmp_path):
        tiny_dprm().save_pretrained(tmp_path, max_shard_size="30KB")
        sorted(tmp_path.glob("model-*.safetensors"))[1].unlink()
        with pytest.raises((OSError, FileNotFoundError), match=r"model-00002-of-"):
            DPRMForSequenceClassification.from_pretrained(tmp_path)

    def test_a_truncated_file_is_an_error(self, tiny_dprm, tmp_path):
        tiny_dprm().save_pretrained(tmp_path)
        file = tmp_path / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(Exception, match=r"(?i)safetensor|incomplete|header"):
            DPRMForSequenceClassification.from_pretrained(tmp_path)

    def test_nothing_there(self, tmp_path):
        with pytest.raises((OSError, ValueError), match=r"config\.json|Unrecognized model"):
            DPRMForSequenceClassification.from_pretrained(tmp_path)

    def test_a_configuration_of_another_dprm_without_weights_of_its_own(self, tiny_dprm, tmp_path):
        tiny_dprm().save_pretrained(tmp_path)
        content = json.loads((tmp_path / "config.json").read_text())
        content["text_config"]["num_hidden_layers"] = 3
        (tmp_path / "config.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"model\.layers\.2\.input_layernorm\.weight \(missing\)"):
            DPRMForSequenceClassification.from_pretrained(tmp_path)
