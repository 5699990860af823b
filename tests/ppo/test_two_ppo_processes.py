"""Two gloo processes stay in sync, and what is counted, whitened and decided is over both."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState, GradientState
from double_loop import advantages_by_double_loop
from two_process_ppo_run import OPTIONS, PROMPTS, run

ROOM = Path(__file__).parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return str(probe.getsockname()[1])


def forked(backbone, folder):
    """Two forks of this process, which has imported everything: quick."""
    context, port = multiprocessing.get_context("fork"), free_port()
    processes = [context.Process(target=forked_rank, args=(rank, port, backbone, folder)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    exit_codes = [process.exitcode for process in processes]
    for process in processes:
        if process.is_alive():
            process.kill()
    errors = "\n".join(file.read_text() for file in Path(folder).glob("error-*"))
    assert exit_codes == [0, 0], errors or exit_codes


def forked_rank(rank, port, backbone, folder):
    ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {**ranks, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState._reset_state()
    GradientState._reset_state()
    try:
        for kind in OPTIONS:
            run(backbone, folder, kind)
    except BaseException:
        Path(folder, f"error-{rank}").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)  # and run nothing of what pytest and its threads left


def launched(backbone, folder):
    """As users start it."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOM.parents[1]), str(ROOM), os.environ.get("PYTHONPATH", "")]),
    }
    process = subprocess.Popen(
        [*torchrun, str(ROOM / "two_process_ppo_run.py"), backbone, folder],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, errors[-3000:]


@pytest.fixture(scope="module", params=[forked, pytest.param(launched, marks=pytest.mark.slow)])
def runs(request, eos_policy, tmp_path_factory):
    """`{(kind, process): what it saw}`."""
    folder = tmp_path_factory.mktemp("runs")
    request.param(eos_policy, str(folder))
    return {(k, rank): torch.load(folder / f"{k}-{rank}.pt", weights_only=True) for k in OPTIONS for rank in (0, 1)}


@pytest.mark.parametrize("kind", OPTIONS)
def test_processes_stay_in_sync(runs, kind):
    first, second = runs[kind, 0], runs[kind, 1]
    assert first["world_size"] == second["world_size"] == 2
    assert any("value_model" in name for name in first["weights"])
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), name
        assert not torch.equal(weight, first["before"][name]), name
    assert first["scorer"] == second["scorer"]
    assert first["scorer"]["episode"] == 16, "two rollouts of eight"


def test_scores_are_normalised_and_whitened_over_both(runs):
    ranks = [runs["plain", rank]["rollouts"] for rank in (0, 1)]
    seen = []
    for parts in zip(*ranks, strict=True):
        if len(parts[0]["mask"]) != 4:  # the evaluation's
            continue
        rewards = parts[0]["rewards"].numpy()
        assert np.array_equal(rewards, parts[1]["rewards"].numpy(), equal_nan=True) and len(rewards) == 8
        seen.extend(rewards[~np.isnan(rewards)])
        joined = {name: joined_rows(parts, name) for name in parts[0] if name not in ("rewards", "kl_coef")}
        scores = rewards / np.std(seen, ddof=1)
        counts = joined["mask"].astype(bool)
        kl = (joined["log_probs"] - joined["ref_log_probs"]) * counts
        token_rewards = -parts[0]["kl_coef"] * kl
        for row in np.flatnonzero(counts.any(1)):
            token_rewards[row, np.flatnonzero(counts[row])[-1]] += scores[row]
        advantages = advantages_by_double_loop(token_rewards, joined["values"], counts, 1.0, 0.95)
        kept = advantages[counts]
        expected = (advantages - kept.mean()) / np.sqrt(kept.var(ddof=1) + 1e-8) * counts
        np.testing.assert_allclose(joined["advantages"], expected, rtol=1e-4, atol=1e-5)
    assert len(seen) == 15, "one of sixteen completions cannot be scored"


def joined_rows(parts, name):
    """A tensor of both processes, padded to one length."""
    tensors = [part[name].float() for part in parts]
    if tensors[0].dim() == 1:
        return torch.cat(tensors).numpy()
    length = max(tensor.size(1) for tensor in tensors)
    return torch.cat([torch.nn.functional.pad(t, (0, length - t.size(1))) for t in tensors]).numpy()


def test_the_kl_limit_is_decided_together(runs):
    first, second = runs["limited", 0], runs["limited", 1]
    assert first["skipped"] and second["skipped"]
    assert first["rate"] == second["rate"] == pytest.approx(1e-3 * 6 / 8), "two steps of eight were taken"
    skipped = [row["policy/skipped"] for row in first["log"] if "policy/skipped" in row]
    assert skipped == [0.0, 1.0, 1.0, 1.0] * 2


def test_the_table_of_completions_has_every_prompt_once(runs):
    for rank in (0, 1):
        assert sorted(runs["plain", rank]["prompts"]) == sorted(PROMPTS[:5])


def test_the_search_for_unused_parameters_is_refused(make_ppo):
    with pytest.raises(ValueError, match="`ddp_find_unused_parameters=True` does not work here"):
        make_ppo(ddp_find_unused_parameters=True)
