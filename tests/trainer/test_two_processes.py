"""Two gloo processes do what one does on the same global batch."""

import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from two_process_run import run

ROOM = Path(__file__).parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def runs(backbone, tmp_path_factory):
    """`{(dataset kind, process, world size): what it saw}`."""
    folder = tmp_path_factory.mktemp("runs")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()]
    script = [str(ROOM / "two_process_run.py"), backbone, str(folder)]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOM.parents[1]), str(ROOM), os.environ.get("PYTHONPATH", "")]),
    }
    finished = subprocess.run([*torchrun, *script], env=environment, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-3000:]
    for streaming in (False, True):
        run(backbone, str(folder), streaming)
    seen = {}
    for file in folder.glob("*.pt"):
        kind, process, _, world_size = file.stem.split("-")
        seen[kind, int(process), int(world_size)] = torch.load(file, weights_only=True)
    assert len(seen) == 6
    return seen


@pytest.mark.parametrize("kind", ["map", "stream"])
def test_first_loss_and_gradients(runs, kind):
    one, two = runs[kind, 0, 1], runs[kind, 0, 2]
    assert (one["world_size"], two["world_size"]) == (1, 2)
    for name in ("loss", "distribution_loss", "ranking_loss", "num_tokens", "min_reward", "mean_reward", "accuracy"):
        assert two["log"][0][name] == pytest.approx(one["log"][0][name], rel=1e-5), name
    assert one["gradients"]
    for name, gradient in one["gradients"].items():
        error = (two["gradients"][name] - gradient).norm() / gradient.norm()
        assert error < 1e-5, (name, error)


@pytest.mark.parametrize("kind", ["map", "stream"])
def test_processes_stay_in_sync(runs, kind):
    first, second = runs[kind, 0, 2]["weights"], runs[kind, 1, 2]["weights"]
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name
    assert first["bradley_terry_scale"] != 1
    alone = runs[kind, 0, 1]["weights"]["bradley_terry_scale"]
    assert first["bradley_terry_scale"].item() == pytest.approx(alone.item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["map", "stream"])
def test_evaluation_of_a_set_that_no_batch_size_divides(runs, kind):
    one, first, second = runs[kind, 0, 1], runs[kind, 0, 2], runs[kind, 1, 2]
    assert one["rows"] == first["rows"] == second["rows"] == list(range(13))
    for name, value in one["metrics"].items():
        if name.endswith(("runtime", "per_second")):
            continue
        assert math.isfinite(value), name
        assert first["metrics"][name] == pytest.approx(value, rel=1e-3, abs=1e-5), name  # four AdamW steps apart
        assert second["metrics"][name] == pytest.approx(first["metrics"][name], rel=1e-6, abs=1e-8), name
