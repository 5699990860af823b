"""Two processes train on a stream whose shards have different numbers of rows: neither waits for the other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from reward_rows import judged

from trl_dprm.trainer.streams import endless_shares

ROOM = Path(__file__).parent
pytestmark = pytest.mark.slow


def run(backbone, folder, sizes):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOM.parents[1]), str(ROOM), os.environ.get("PYTHONPATH", "")]),
    }
    command = [*torchrun, str(ROOM / "uneven_stream_run.py"), backbone, str(folder), *map(str, sizes)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize("sizes", [(13, 3), (9, 5, 1), (1, 20, 7)])
def test_training_ends_after_its_steps_with_processes_in_sync(backbone, tmp_path, sizes):
    finished = run(backbone, tmp_path, sizes)
    assert finished.returncode == 0, finished.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"seen-{process}.json").read_text()) for process in range(2))
    assert first == second
    assert first["steps"] == len(first["losses"]) == 6


def test_a_process_without_rows_is_refused(backbone, tmp_path):
    finished = run(backbone, tmp_path, (8, 0))
    assert finished.returncode != 0
    message = "The train dataset is a stream of 2 shards for 2 processes, and the shards of process 1 have no rows"
    assert message in finished.stderr


def test_what_every_process_reads_in_full_is_left_alone():
    stream = judged(6).to_iterable_dataset(num_shards=2)
    assert endless_shares(stream, num_processes=1, process_index=0) is stream
    assert endless_shares(stream, num_processes=3, process_index=0) is stream
