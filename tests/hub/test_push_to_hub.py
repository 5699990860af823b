"""Everything that goes by a Hub id, against a Hub on this machine; then once more offline, from the cache alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub import FakeHub
from huggingface_hub import ModelCard

ROOM = Path(__file__).parent
CODE = {
    "base_precision_dprm.py",
    "checkpoint_dprm.py",
    "configuration_dprm.py",
    "distributions.py",
    "modeling_dprm.py",
    "packed_weights_dprm.py",
    "rope_dprm.py",
}
MODEL = {"config.json", "model.safetensors", "README.md", *CODE}
TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
ADAPTER = {"config.json", "adapter_config.json", "adapter_model.safetensors", "README.md", *TOKENIZER}


@pytest.fixture(scope="module")
def hub():
    server = FakeHub().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def run(hub, tmp_path_factory):
    """Function (what, folder, home, offline) -> runs that part of hub_round_trip.py with a cache of its own."""

    def start(what, folder, home, offline=False):
        environment = os.environ | {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(home),
            "HF_TOKEN": "hf_of_nobody",
            "HF_HUB_OFFLINE": str(int(offline)),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "localhost",
            "no_proxy": "localhost",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOM.parents[1]), str(ROOM), os.environ.get("PYTHONPATH", "")]),
        }
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE", "TRANSFORMERS_CACHE"):
            environment.pop(name, None)
        script = ["hub_remote_code.py"] if what == "remote code" else ["hub_round_trip.py", what]
        command = [sys.executable, str(ROOM / script[0]), *script[1:], str(folder)]
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-4000:]
        return finished

    return start


@pytest.fixture(scope="module")
def pushed(run, tmp_path_factory):
    """Folder of the run that pushed everything."""
    folder = tmp_path_factory.mktemp("pushed")
    run("push", folder, folder / "home")
    return folder


def card(hub, name):
    return ModelCard(hub.files("models", name)["README.md"].decode())


def test_the_trainer_pushes_the_model_its_tokenizer_and_its_card_and_nothing_else(hub, pushed):
    """Not the pickled arguments, evaluation results and checkpoints; what others put there stays."""
    assert {"training_args.bin", "eval_results.json", "checkpoint-2"} <= {f.name for f in (pushed / "crowd").iterdir()}
    figures = {f"calibration{kind}.png" for kind in ("", ".expectations", ".contested", ".votes")}
    expected = {*MODEL, *TOKENIZER, *figures, "notes.md"}
    assert set(hub.files("models", "user/crowd")) == expected
    assert hub.files("models", "user/crowd")["calibration.png"].startswith(b"\x89PNG")
    assert not list((pushed / "crowd").glob(".push-*"))


def test_every_push_in_between_is_a_whole_model(hub, pushed):
    messages = [message for name, message in hub.messages if name == "user/crowd"]
    in_training = [message for message in messages if message.startswith("Training in progress, step")]
    assert in_training == ["Training in progress, step 1", "Training in progress, step 2"]
    commits = hub.repositories["models", "user/crowd"][-len(messages) :]
    for message, (_, files) in zip(messages, commits, strict=True):
        if message in in_training:
            assert set(files) == {*MODEL, *TOKENIZER, "notes.md"}, message
            assert "# crowd\n" in files["README.md"].decode()


def test_the_card_that_the_trainer_pushes(hub, pushed):
    on_hub = card(hub, "user/crowd")
    assert (on_hub.data.base_model, on_hub.data.datasets) == ("user/base", ["user/votes"])
    assert (on_hub.data.pipeline_tag, on_hub.data.library_name) == ("text-classification", "transformers")
    (index,) = on_hub.data.to_dict()["model-index"]
    metrics = {metric["type"] for result in index["results"] for metric in result["metrics"]}
    assert index["name"] == "crowd" and {"nats_per_vote", "expected_calibration_error"} <= metrics
    assert {result["dataset"]["type"] for result in index["results"]} == {"user/votes"}
    assert all(f"| {place + 1} | {name} |" in on_hub.text for place, name in enumerate(("bad", "fair", "good")))
    assert "![Reliability diagram of every category](calibration.png)" in on_hub.text
    assert "dprm" in on_hub.data.tags
    assert 'checkpoint = "user/crowd"' in on_hub.text
    assert "[user/base](https://huggingface.co/user/base)" in on_hub.text
    assert str(pushed) not in on_hub.content


def test_what_the_model_pushes(hub, pushed):
    assert set(hub.files("models", "user/pushed")) == MODEL
    assert set(hub.files("models", "user/saved")) == MODEL
    shards = {name for name in hub.files("models", "user/sharded") if name.startswith("model-")}
    assert len(shards) > 2
    index = "model.safetensors.index.json"
    assert set(hub.files("models", "user/sharded")) == {*MODEL - {"model.safetensors"}, *shards, index}
    assert ("user/saved", "As saved") in hub.messages


def test_what_an_adapter_pushes(hub, pushed):
    files = hub.files("models", "user/adapter")
    assert {"notes.txt", "optimizer.pt", "trainer_state.json"} <= {f.name for f in (pushed / "adapter").iterdir()}
    assert set(files) == ADAPTER
    base = json.loads(files["adapter_config.json"])
    assert (base["base_model_name_or_path"], base["revision"]) == ("user/base", None)
    assert card(hub, "user/adapter").data.base_model_relation == "adapter"


@pytest.mark.parametrize("offline", [False, True], ids=["from the Hub", "from the cache"])
def test_reading_by_hub_ids(hub, pushed, run, offline, tmp_path_factory):
    home = pushed / "reader"  # an empty cache at first, then what it holds after the first test
    if offline and not home.exists():
        run("pull", pushed, home)
    run("pull", pushed, home, offline)
    facts = json.loads((pushed / "facts.json").read_text())
    equal = {name: value for name, value in facts.items() if name.startswith(("auto", "own"))}
    assert len(equal) == 16 and all(equal.values()), equal
    assert facts["config"] == ["DPRMConfig", 1]
    for kind, message in facts["pickled"]:
        assert kind == "OSError"
        assert "user/pickled has no file named model.safetensors, and pickled weights are not read" in message
    assert not [path for path in hub.downloads if path.endswith(".bin")]
    assert facts["tokenizer"] == [2, 4, 5]
    assert (facts["rows"], facts["judgments"], facts["scored"]) == (9, 36, 9)
    assert facts["exported"] and facts["merged"]
    subsets, columns = facts["benchmark"]
    assert subsets["model"] == "user/crowd"
    pairs = zip(columns["scores_chosen"], columns["scores_rejected"], strict=True)
    wins = [chosen > rejected for chosen, rejected in pairs]
    assert columns["results"] == wins and not wins[2]
    assert (subsets["hep-go"], subsets["mine"]) == ((wins[0] + wins[1]) / 2, 0)
    assert facts["nats user/crowd"] > 0 and facts["nats user/adapter"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("offline", [False, True], ids=["from the Hub", "from the cache"])
def test_reading_by_hub_ids_without_the_package(pushed, run, offline):
    home = pushed / "stranger"
    if offline and not home.exists():
        run("remote code", pushed, home)
    run("remote code", pushed, home, offline)
    found = json.loads((pushed / "remote_code.json").read_text())
    assert found == dict.fromkeys(("newest", "revision", "subfolder", "shards"), True)
