"""Two gloo processes on a CPU, by both launchers. `accelerate launch --cpu --num_processes 2` would run one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_reward_models import tiny_scalar
from tiny_runs import RUN, flags
from transformers import AutoTokenizer

from trl_dprm.cli import main

LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--nproc_per_node", "2", "--master_port", "{port}"],
    "accelerate": [
        *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
        *("--mixed_precision", "no", "--dynamo_backend", "no", "--num_machines", "1", "--main_process_port", "{port}"),
    ],
}


def launch(launcher, module, options):
    """Run a subcommand in two processes; returns what they printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", *LAUNCHERS[launcher], "-m", module, *flags(options)]
    done = subprocess.run(
        [part.format(port=port) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_train_and_evaluate_as_one_does(launcher, backbone, judged, tmp_path):
    options = {"model_name_or_path": backbone, "dataset_name": judged, **RUN, "lr_scheduler_type": "constant"}
    options |= {"optim": "sgd"}
    main(["train", *flags({**options, "output_dir": str(tmp_path / "one")})])
    # two processes with half the batch each: the same global batch
    two = {**options, "output_dir": str(tmp_path / "two"), "per_device_train_batch_size": 2}
    assert launch(launcher, "trl_dprm.cli.train", two).count("Model, tokenizer and model card") == 1
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    moved = load_file(Path(backbone) / "model.safetensors")
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-5, atol=1e-6)
    assert any((one[name] - moved[name]).abs().max() > 1e-4 for name in moved if name in one), "nothing was learned"

    evaluation = {"model": str(tmp_path / "two"), "dataset_name": judged, "split": "test", "bf16": False}
    main(["evaluate", *flags({**evaluation, "output": str(tmp_path / "one.json")})])
    printed = launch(
        launcher, "trl_dprm.cli.evaluate", {**evaluation, "use_cpu": True, "output": str(tmp_path / "two.json")}
    )
    assert printed.count("Metrics: ") == 1
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert two == pytest.approx(one, rel=1e-5, abs=1e-7)


@pytest.mark.slow
def test_two_processes_score_a_scalar_as_one_does(trained_on_pairs, pairs, tmp_path):
    tiny_scalar("llama").save_pretrained(tmp_path / "scalar")
    AutoTokenizer.from_pretrained(trained_on_pairs).save_pretrained(tmp_path / "scalar")
    evaluation = {"model": [trained_on_pairs, str(tmp_path / "scalar")], "dataset_name": pairs, "bf16": False}
    evaluation |= {"model_names": ["dprm", "scalar"], "num_resamples": 20, "use_cpu": True}
    main(["evaluate", *flags({**evaluation, "output": str(tmp_path / "one.json")})])
    launch("torchrun", "trl_dprm.cli.evaluate", {**evaluation, "output": str(tmp_path / "two.json")})
    one, two = (json.loads((tmp_path / name).read_text())["models"] for name in ("one.json", "two.json"))
    assert two["scalar"] == pytest.approx(one["scalar"], rel=1e-5) and two["dprm"].keys() == one["dprm"].keys()
