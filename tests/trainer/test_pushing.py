"""What goes to the Hub while a run goes on, by each strategy; tests/hub/test_push_to_hub.py has a Hub that answers."""

import shutil
from concurrent.futures import Future
from pathlib import Path

import pytest
from peft import LoraConfig
from reward_rows import judged

from trl_dprm import DPRMTrainer
from trl_dprm.hub import pushing

MODEL = {
    "README.md",
    "base_precision_dprm.py",
    "checkpoint_dprm.py",
    "config.json",
    "configuration_dprm.py",
    "distributions.py",
    "model.safetensors",
    "modeling_dprm.py",
    "packed_weights_dprm.py",
    "rope_dprm.py",
}
ADAPTER = {"README.md", "adapter_config.json", "adapter_model.safetensors", "config.json"}
TOKENIZER = {"chat_template.jinja", "tokenizer.json", "tokenizer_config.json"}
STATE = {"dprm_state.json", "optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json", "training_args.bin"}


class RecordingApi:
    """Notes uploads in place of `HfApi`; those that nobody waits for end when `finish` is called."""

    def __init__(self):
        self.uploads, self.unfinished = [], []

    def upload_folder(self, folder_path, run_as_future=False, allow_patterns=None, path_in_repo="", **arguments):
        names = {str(file.relative_to(folder_path)) for file in Path(folder_path).rglob("*") if file.is_file()}
        chosen = names if allow_patterns is None else names & set(allow_patterns)
        self.uploads.append((path_in_repo, arguments["commit_message"], chosen))
        if run_as_future:
            self.unfinished.append((Future(), Path(folder_path), chosen))
            return self.unfinished[-1][0]
        return None

    def finish(self):
        for future, folder, names in self.unfinished:
            assert all((folder / name).is_file() for name in names), "the folder must outlast the upload"
            future.set_result(None)
        self.unfinished = []


@pytest.fixture
def api(monkeypatch):
    """Uploads of trainers whose repository is `user/crowd`."""
    recording = RecordingApi()
    monkeypatch.setattr(pushing, "_api", lambda: recording)

    def init_hf_repo(self, *arguments, **options):
        self.hub_model_id, self.push_in_progress = "user/crowd", None

    monkeypatch.setattr(DPRMTrainer, "init_hf_repo", init_hf_repo)
    monkeypatch.setattr(DPRMTrainer, "_finish_current_push", lambda self: None)  # would wait for `finish`
    return recording


def run(make_trainer, **options):
    saving = {"push_to_hub": True, "save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    trainer = make_trainer(judged(8), **{**saving, **options})
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    ("strategy", "also"),
    [
        ("end", None),
        ("every_save", []),
        ("checkpoint", ["last-checkpoint", "last-checkpoint"]),
        ("all_checkpoints", ["checkpoint-1", "checkpoint-2"]),
    ],
)
def test_strategies(strategy, also, make_trainer, api):
    run(make_trainer, hub_strategy=strategy, hub_always_push=True)
    models = [upload for upload in api.uploads if upload[0] == ""]
    checkpoints = [upload for upload in api.uploads if upload[0] != ""]
    steps = [] if also is None else [1, 2]
    assert models == [("", f"Training in progress, step {step}", MODEL | TOKENIZER) for step in steps]
    assert [place for place, _, _ in checkpoints] == (also or [])
    assert all(names == MODEL | TOKENIZER | STATE for _, _, names in checkpoints)
    api.finish()


def test_an_adapter(make_trainer, api):
    run(make_trainer, peft_config=LoraConfig(r=2), max_steps=1)
    assert [names for _, _, names in api.uploads] == [ADAPTER | TOKENIZER]
    api.finish()


def test_a_checkpoint_may_be_deleted_while_its_files_are_on_their_way(make_trainer, api, tmp_path):
    run(make_trainer, save_total_limit=1, hub_always_push=True)
    assert [folder.name for folder in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-2"]
    shutil.rmtree(tmp_path / "run" / "checkpoint-2")
    assert len(api.unfinished) == len(list((tmp_path / "run").glob(".push-*"))) == 2
    api.finish()
    assert not list((tmp_path / "run").glob(".push-*"))


def test_a_push_waits_for_none_that_is_under_way(make_trainer, api):
    run(make_trainer)
    assert [message for _, message, _ in api.uploads] == ["Training in progress, step 1"]
    api.finish()


def test_the_last_push_is_the_model_alone(make_trainer, api, tmp_path):
    trainer = make_trainer(judged(8), push_to_hub=False, max_steps=1)
    trainer.train()
    for name in ("notes.txt", "optimizer.pt", "pytorch_model.bin", "helper.py"):
        (tmp_path / "run" / name).write_text("stays here")
    trainer.save_state()
    trainer.push_to_hub("Done")
    assert api.uploads == [("", "Done", MODEL | TOKENIZER)]
    assert "training_args.bin" in {file.name for file in (tmp_path / "run").iterdir()}
    assert "# crowd\n" in (tmp_path / "run" / "README.md").read_text()


def test_no_path_of_this_machine_is_among_what_is_pushed(make_trainer, api, backbone, tmp_path):
    trainer = make_trainer(judged(8), judged(4), push_to_hub=False, max_steps=1)
    trainer.train()
    trainer.evaluate()
    trainer.push_to_hub(dataset_name=str(tmp_path / "votes"))
    ((_, _, names),) = api.uploads
    for name in names:
        content = (tmp_path / "run" / name).read_bytes()
        assert backbone.encode() not in content and str(tmp_path).encode() not in content, name


def test_a_copy_is_made_where_links_are_impossible(tmp_path, api, monkeypatch):
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "config.json").write_text("{}")

    def no_links(*arguments):
        raise OSError("Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    pushing.push_copy_of_files(tmp_path / "from", ["config.json"], tmp_path, repo_id="user/x", commit_message="One")
    shutil.rmtree(tmp_path / "from")
    api.finish()
    assert api.uploads == [("", "One", {"config.json"})]
