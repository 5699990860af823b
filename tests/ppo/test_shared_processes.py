"""Two gloo processes train one shared backbone: DDP, and by hand the sharding that accelerate does on GPUs."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from shared_models import train_reward_adapter

ROOM = Path(__file__).parent


def torchrun(script, *arguments):
    """Run a script of this folder in two processes."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(
            [*(str(folder) for folder in (ROOM.parents[1], ROOM.parent, ROOM)), os.environ.get("PYTHONPATH", "")]
        ),
    }
    script = [str(ROOM / script), *map(str, arguments)]
    finished = subprocess.run([*command, *script], env=environment, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-5000:]


@pytest.fixture(scope="module")
def reward_adapter(backbone, tmp_path_factory):
    return train_reward_adapter(backbone, tmp_path_factory.mktemp("reward-adapter"))


@pytest.mark.slow
def test_ddp_processes_hold_the_same_adapters(backbone, reward_adapter, tmp_path):
    torchrun("shared_two_processes.py", backbone, reward_adapter, tmp_path)
    for checkpointing in (False, True):
        first, second = (torch.load(tmp_path / f"{checkpointing}-{process}.pt") for process in range(2))
        assert first["world_size"] == 2
        assert any(".default." in name for name in first["moved"])
        assert any(".critic." in name for name in first["moved"])
        trained = (".default.", ".critic.", "value_model")
        assert not [name for name in first["moved"] if not any(part in name for part in trained)]
        for name, weight in first["weights"].items():
            assert torch.equal(weight, second["weights"][name]), name
        assert first["log"][0]["reward"] == second["log"][0]["reward"]


@pytest.mark.slow
def test_fsdp2_sharded_by_hand(backbone, reward_adapter, tmp_path):
    torchrun("fsdp2_by_hand.py", backbone, reward_adapter, tmp_path)
    for kind in ("shared", "shared-checkpointed", "separate"):
        whole, *shards = (torch.load(tmp_path / f"{kind}-{name}.pt") for name in ("whole", "0", "1"))
        for shard in shards:
            assert shard["sharded"] and not whole["sharded"]
            assert shard["gradients"].keys() == whole["gradients"].keys()
            for part in ("readouts", "gradients", "weights", "resumed"):
                assert shard[part].keys() == whole[part].keys()
                for name, tensor in whole[part].items():
                    assert torch.allclose(shard[part][name], tensor, rtol=1e-4, atol=1e-5), (kind, part, name)
