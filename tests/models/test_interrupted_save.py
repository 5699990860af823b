"""A folder holds the old checkpoint, the new one, or nothing that loads: never a mixture."""

from pathlib import Path

import pytest
import torch
import transformers.modeling_utils
from safetensors.torch import load_file

from trl_dprm import DPRMForSequenceClassification


class Interrupted(Exception):
    pass


@pytest.fixture
def old_and_new(tiny_dprm, tmp_path):
    """An old checkpoint on disk, in `shards` files, and a model whose every tensor differs."""

    def make(shards=False):
        old = tiny_dprm()
        old.save_pretrained(tmp_path / "run", **({"max_shard_size": "30KB"} if shards else {}))
        new = tiny_dprm(category_rewards=[-5.0, 0.0, 1.0, 2.0, 5.0])
        with torch.no_grad():
            for parameter in new.parameters():
                parameter.add_(1.0)
        return old, new, tmp_path / "run"

    return make


def fail_at_call(monkeypatch, owner, name, number):
    """Let `owner.name` work until its `number`-th call, which raises as if the power had gone."""
    original, calls = getattr(owner, name), []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) == number:
            raise Interrupted(f"{name} call {number}")
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)
    return calls


def assert_holds(folder, model):
    """The folder is the complete checkpoint of exactly this model."""
    loaded = DPRMForSequenceClassification.from_pretrained(folder)
    assert loaded.config.category_rewards == model.config.category_rewards
    expected = model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def assert_does_not_load(folder):
    assert not (folder / "config.json").exists()
    with pytest.raises((OSError, ValueError), match=r"config\.json|Unrecognized model"):
        DPRMForSequenceClassification.from_pretrained(folder)


@pytest.mark.parametrize("shards", [False, True], ids=["one-file", "shards"])
class TestWhileWriting:
    @pytest.mark.parametrize("number", [1, 2])
    def test_tensors(self, shards, number, old_and_new, monkeypatch):
        old, new, folder = old_and_new(shards)
        fail_at_call(monkeypatch, transformers.modeling_utils, "safe_save_file", number)
        with pytest.raises(Interrupted):
            new.save_pretrained(folder, max_shard_size="30KB")
        assert_holds(folder, old)
        assert not list(folder.glob(".incomplete-*"))

    def test_the_code_files(self, shards, old_and_new, monkeypatch):
        import shutil

        old, new, folder = old_and_new(shards)
        fail_at_call(monkeypatch, shutil, "copyfile", 2)
        with pytest.raises(Interrupted):
            new.save_pretrained(folder)
        assert_holds(folder, old)


class TestWhileMoving:
    @pytest.mark.parametrize("shards", [False, True], ids=["one-file", "shards"])
    @pytest.mark.parametrize("method", ["replace", "unlink"])
    def test_at_every_file(self, shards, method, old_and_new, monkeypatch):
        """First without a fault, to count the calls; then interrupted at each of them in turn."""
        with monkeypatch.context() as patch:
            old, new, folder = old_and_new(shards)
            calls = fail_at_call(patch, Path, method, 0)
            new.save_pretrained(folder)
            assert_holds(folder, new)
        assert len(calls) > 1
        for number in range(1, len(calls) + 1):
            old, new, folder = old_and_new(shards)
            with monkeypatch.context() as patch:
                fail_at_call(patch, Path, method, number)
                with pytest.raises(Interrupted):
                    new.save_pretrained(folder)
            if (folder / "config.json").exists():
                assert_holds(folder, old)
            else:
                assert_does_not_load(folder)

    def test_saving_again_repairs(self, old_and_new, monkeypatch):
        _, new, folder = old_and_new()
        with monkeypatch.context() as patch:
            fail_at_call(patch, Path, "replace", 3)
            with pytest.raises(Interrupted):
                new.save_pretrained(folder)
        assert_does_not_load(folder)
        new.save_pretrained(folder)
        assert_holds(folder, new)


class TestOverwriting:
    def test_shards_do_not_outlive_the_checkpoint_they_were_part_of(self, old_and_new):
        _, new, folder = old_and_new(shards=True)
        new.save_pretrained(folder)
        assert [file.name for file in folder.glob("*.safetensors*")] == ["model.safetensors"]
        assert_holds(folder, new)

    def test_nor_does_a_whole_file_outlive_shards(self, old_and_new):
        _, new, folder = old_and_new()
        new.save_pretrained(folder, max_shard_size="30KB")
        assert not (folder / "model.safetensors").exists()
        assert_holds(folder, new)

    def test_other_files_stay(self, old_and_new):
        _, new, folder = old_and_new()
        (folder / "tokenizer.json").write_text("{}")
        (folder / "trainer_state.json").write_text("{}")
        new.save_pretrained(folder)
        assert (folder / "tokenizer.json").exists() and (folder / "trainer_state.json").exists()
        assert not list(folder.glob(".incomplete-*"))

    def test_a_state_dict_given_by_the_trainer_is_what_is_saved(self, tiny_dprm, tmp_path):
        model = tiny_dprm()
        doubled = {name: 2 * tensor for name, tensor in model.state_dict().items()}
        model.save_pretrained(tmp_path, state_dict=doubled)
        assert torch.equal(load_file(tmp_path / "model.safetensors")["score.weight"], 2 * model.score.weight)

    def test_other_processes_write_nothing(self, tiny_dprm, tmp_path):
        tiny_dprm().save_pretrained(tmp_path, is_main_process=False)
        assert list(tmp_path.iterdir()) == []


class TestRefusals:
    def test_a_file_in_place_of_the_folder(self, tiny_dprm, tmp_path):
        (tmp_path / "out").write_text("precious")
        with pytest.raises(NotADirectoryError, match=r"Cannot save the model: \S*out is a file, not a folder"):
            tiny_dprm().save_pretrained(tmp_path / "out")
        assert (tmp_path / "out").read_text() == "precious"

    def test_a_file_above_the_folder(self, tiny_dprm, tmp_path):
        (tmp_path / "out").write_text("precious")
        with pytest.raises(NotADirectoryError, match=r"Not a directory: '\S*out/checkpoint'"):
            tiny_dprm().save_pretrained(tmp_path / "out" / "checkpoint")

    def test_a_folder_that_cannot_be_written(self, tiny_dprm, tmp_path, monkeypatch):
        monkeypatch.setattr("os.access", lambda *arguments: False)  # root, who may run this, can write anywhere
        with pytest.raises(PermissionError, match=r"Cannot save the model: \S*out is not writable"):
            tiny_dprm().save_pretrained(tmp_path / "out")
