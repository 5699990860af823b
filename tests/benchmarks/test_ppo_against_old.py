"""`ExpectedRewardPPOTrainer` against the `PPOTrainer` that TRL removed: `pytest -m benchmark -s` on this file.

The old trainer runs in a virtual environment of its own with trl 1.12 and everything else as in constraints.txt. It is
made once, in the folder that `TRL_DPRM_OLD_TRL` names (default: `trl-dprm/trl-1.12` in the user's cache), by

    python -m venv $TRL_DPRM_OLD_TRL
    grep -v '^trl==' constraints.txt > old.txt
    $TRL_DPRM_OLD_TRL/bin/pip install -c old.txt trl==1.12.0 torch peft psutil

`TRL_DPRM_BENCHMARK_ROUNDS` (default 3) sets how often the sides take turns. Each turn is a process with one thread.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from benchmarks.ppo.workload import llama_workload, story_workload

pytestmark = [pytest.mark.benchmark, pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")]

TESTS = Path(__file__).resolve().parents[1]
ROUNDS = int(os.environ.get("TRL_DPRM_BENCHMARK_ROUNDS", "3"))
SIDES = ("old", "new", "shared")
SHARED_SPEED, MEMORY_SHARE = 2, 0.5


@pytest.fixture(scope="module")
def interpreters(tmp_path_factory):
    """Side -> python; makes the environment of the old trainer if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "trl-dprm" / "trl-1.12"
    environment = Path(os.environ.get("TRL_DPRM_OLD_TRL", cache))
    old = environment / "bin" / "python"
    if not has_old_trainer(old):
        reason = make_environment(environment, tmp_path_factory.mktemp("constraints") / "old.txt")
        if not has_old_trainer(old):
            pytest.skip(f"no trl 1.12 at {environment} (TRL_DPRM_OLD_TRL), and it cannot be made: {reason}")
    return {"old": str(old), "new": sys.executable, "shared": sys.executable}


def has_old_trainer(python: Path) -> bool:
    probe = "import peft, trl.experimental.ppo, trl; assert trl.__version__ == '1.12.0'"
    return python.exists() and subprocess.run([python, "-c", probe], capture_output=True, cwd="/").returncode == 0


def make_environment(environment: Path, constraints: Path) -> str:
    """Empty if the environment was made, else the last line of what went wrong."""
    pins = (TESTS.parent / "constraints.txt").read_text().splitlines()
    constraints.write_text("\n".join(pin for pin in pins if not pin.startswith("trl==")))
    packages = ["trl==1.12.0", "torch", "peft", "psutil"]
    for command in (
        [sys.executable, "-m", "venv", environment],
        [environment / "bin" / "pip", "install", "--quiet", "-c", constraints, *packages],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
    return ""


def measured(python: str, side: str, workload: Path) -> dict:
    """What one side's process prints last."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = {} if side == "old" else {"PYTHONPATH": str(TESTS.parent)}
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-m", "benchmarks.ppo.measure", side, str(workload)]
    done = subprocess.run(command, cwd=TESTS, env=inherited | one_thread | path, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{side} failed: {done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def take_turns(interpreters: dict[str, str], workload: Path) -> dict[str, list[dict]]:
    """Results of every side, in rounds, every other round in the opposite order."""
    results = {side: [] for side in SIDES}
    for turn in range(ROUNDS):
        for side in SIDES[:: -1 if turn % 2 else 1]:
            results[side].append(measured(interpreters[side], side, workload))
    return results


def speed_ratio(results, side):
    """Episodes per second against the old trainer's, the median over rounds."""
    pairs = zip(results[side], results["old"], strict=True)
    return median(ours["episodes_per_second"] / theirs["episodes_per_second"] for ours, theirs in pairs)


def bytes_of(results, side, above=()):
    """Median peak, less what `above` names."""
    return median(run["peak"] - sum(run[part] for part in above) for run in results[side])


def activations(results, side):
    """Peak above imports, weights, gradients and optimizer state."""
    return bytes_of(results, side, ("imports", "weights_gradients_adam"))


def report(name, results):
    print(f"\n{name}, {ROUNDS} rounds, one thread:")
    for side in SIDES:
        speed = median(run["episodes_per_second"] for run in results[side])
        sizes = {
            "peak": bytes_of(results, side),
            "imports": median(run["imports"] for run in results[side]),
            "weights, gradients, Adam": results[side][0]["weights_gradients_adam"],
            "above these": activations(results, side),
        }
        megabytes = ", ".join(f"{what} {size / 1e6:,.0f} MB" for what, size in sizes.items())
        print(f"  {side:6} {speed:8.2f} episodes/s, {megabytes}")
    for side in SIDES[1:]:
        total = bytes_of(results, side) / bytes_of(results, "old")
        above = activations(results, side) / activations(results, "old")
        each = ", ".join(
            f"{a['episodes_per_second'] / b['episodes_per_second']:.2f}"
            for a, b in zip(results[side], results["old"], strict=True)
        )
        print(
            f"  {side} / old: {speed_ratio(results, side):.2f} times the episodes per second (rounds: {each}), "
            f"{total:.2f} of the total memory, {above:.2f} of the memory above weights"
        )


def test_story_model(interpreters, shared_data, tmp_path):
    """Like for like: separate models, full training."""
    story_model = os.environ.get("TRL_DPRM_STORY_MODEL", str(shared_data / "stories260K" / "hf"))
    if not Path(story_model).is_dir():
        pytest.skip(f"no story model at {story_model}: set TRL_DPRM_STORY_MODEL to a folder of a small language model")
    workload = story_workload(story_model, tmp_path, rollouts=6)
    results = take_turns(interpreters, workload.write(tmp_path / "workload.json"))
    report("story model", results)
    assert speed_ratio(results, "new") >= 1


def test_llama_of_fifty_million_parameters(interpreters, tmp_path):
    """Like for like; and the shared backbone, another configuration: adapters in the upper half of the layers."""
    workload = llama_workload(tmp_path, episodes=16, rollouts=3)
    results = take_turns(interpreters, workload.write(tmp_path / "workload.json"))
    report("52 M llama, 32,000 tokens", results)
    assert speed_ratio(results, "new") >= 1
    assert activations(results, "new") <= MEMORY_SHARE * activations(results, "old")
    assert speed_ratio(results, "shared") >= SHARED_SPEED
    assert bytes_of(results, "shared") <= MEMORY_SHARE * bytes_of(results, "old")
