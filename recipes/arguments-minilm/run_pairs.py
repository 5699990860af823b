"""Train every method on every seed, resumably, then write the table; a recipe brings its own reader of pairs."""

import json
import time
from dataclasses import asdict
from pathlib import Path

from arguments import RecipeArguments
from methods import METHODS
from pair_data import Reader, prepare, read_fold
from predictions import predictions_path
from table import write_table
from tqdm.auto import tqdm
from trl import TrlParser

VARYING = ("output_dir", "seeds", "num_resamples", "write_table", "use_cpu")


def check_same_run(arguments: RecipeArguments) -> None:
    """Refuse to mix the predictions of runs with other data, backbone or budget in one folder.

    Raises:
        ValueError: naming the options that differ.
    """
    facts = {name: value for name, value in asdict(arguments).items() if name not in VARYING}
    file = Path(arguments.output_dir, "arguments.json")
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else facts
    changed = sorted(name for name in facts if facts[name] != before.get(name))
    if changed:
        raise ValueError(f"{file.parent} holds a run with other {', '.join(changed)}. Choose another `output_dir`.")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def train_all(arguments: RecipeArguments, read: Reader) -> None:
    """Train what has no predictions yet; an interrupted run goes on where it stopped."""
    check_same_run(arguments)
    prepare(arguments, read)
    jobs = [(seed, name) for seed in arguments.seeds for name in METHODS]
    for seed, name in tqdm(jobs, desc="Trainings"):
        path = predictions_path(arguments.output_dir, seed, name)
        if path.exists():
            continue
        tqdm.write(f"seed {seed}: {name}")
        wall, cpu = time.perf_counter(), time.process_time()
        predictions = METHODS[name](arguments, seed, read_fold(arguments, seed))
        predictions.seconds, predictions.cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        predictions.save(path)


def main(read: Reader) -> None:
    """Train and tabulate as the options say."""
    (arguments,) = TrlParser(RecipeArguments).parse_args_and_config()
    train_all(arguments, read)
    if arguments.write_table:
        print(write_table(arguments))
