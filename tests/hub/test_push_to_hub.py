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
WEIGHTS = {"config.json", "model.safetensors", "modeling_dprm.py", "configuration_dprm.py"}


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
        command = [sys.executable, str(ROOM / "hub_round_trip.py"), what, str(folder)]
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


def test_what_the_trainer_pushes(hub, pushed):
    assert {*WEIGHTS, "README.md", "tokenizer.json"} <= set(hub.files("models", "user/crowd"))
    on_hub = card(hub, "user/crowd")
    assert (on_hub.data.base_model, on_hub.data.datasets) == ("user/base", ["user/votes"])
    assert "dprm" in on_hub.data.tags
    assert 'checkpoint = "user/crowd"' in on_hub.text
    assert "[user/base](https://huggingface.co/user/base)" in on_hub.text
    assert str(pushed) not in on_hub.content
    assert not {name for name in hub.files("models", "user/crowd") if name.startswith(("optimizer", "checkpoint-"))}


def test_what_the_model_pushes(hub, pushed):
    assert set(hub.files("models", "user/pushed")) >= WEIGHTS
    assert set(hub.files("models", "user/saved")) >= WEIGHTS
    assert ("user/saved", "As saved") in hub.messages


def test_what_an_adapter_pushes(hub, pushed):
    files = hub.files("models", "user/adapter")
    assert {"adapter_config.json", "adapter_model.safetensors", "config.json", "README.md"} <= set(files)
    assert "model.safetensors" not in files
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "user/base"
    assert card(hub, "user/adapter").data.base_model_relation == "adapter"


@pytest.mark.parametrize("offline", [False, True], ids=["from the Hub", "from the cache"])
def test_reading_by_hub_ids(hub, pushed, run, offline, tmp_path_factory):
    home = pushed / "reader"  # an empty cache at first, then what it holds after the first test
    if offline and not home.exists():
        run("pull", pushed, home)
    run("pull", pushed, home, offline)
    facts = json.loads((pushed / "facts.json").read_text())
    equal = {name: value for name, value in facts.items() if name.startswith(("auto", "own"))}
    assert len(equal) == 7 and all(equal.values()), equal
    assert facts["tokenizer"] == [2, 4, 5]
    assert (facts["rows"], facts["judgments"], facts["scored"]) == (9, 36, 9)
    assert facts["nats user/crowd"] > 0 and facts["nats user/adapter"] > 0
