"""Train every method on every seed, then write the table: `python recipes/convabuse-minilm/run.py --help`."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pandas as pd
from arguments import RecipeArguments
from bag_of_words import train_bag_of_words
from data import prepare_parts
from dprm import losses_of_methods, train_dprm
from ordered_logit import train_ordered_logit
from pair_training import PAIR_METHODS, train_pair_model
from predictions import Saved, predictions_path
from regression import train_regression
from table import write_table
from tqdm.auto import tqdm
from trl import TrlParser

Train = Callable[[RecipeArguments, int, dict[str, pd.DataFrame]], Saved]


def trained_methods(arguments: RecipeArguments) -> dict[str, Train]:
    """What is trained once per seed, by name."""
    dprm = {
        name: partial(_train_dprm, name, loss_weights)
        for name, loss_weights in losses_of_methods(arguments.transport_weights).items()
    }
    others = {
        "scalar_regression": train_regression,
        "ordered_logit": train_ordered_logit,
        "bag_of_words": train_bag_of_words,
    }
    pairs = {name: partial(train_pair_model, *method) for name, method in PAIR_METHODS.items()}
    return dprm | others | pairs


def chosen_methods(arguments: RecipeArguments) -> dict[str, Train]:
    """Those of `trained_methods` that the options name, or all.

    Raises:
        ValueError: naming what is unknown.
    """
    methods = trained_methods(arguments)
    unknown = sorted(set(arguments.methods or ()) - set(methods))
    if unknown:
        raise ValueError(f"methods has {', '.join(unknown)}; choose from {', '.join(methods)}.")
    return {name: train for name, train in methods.items() if name in (arguments.methods or methods)}


def _train_dprm(name, loss_weights, arguments, seed, parts):
    keep = arguments.save_models and seed == arguments.seeds[0]
    folder = Path(arguments.output_dir, "models", name) if keep else None
    return train_dprm(arguments, seed, loss_weights, parts, folder)


def check_same_run(arguments: RecipeArguments) -> None:
    """Refuse to mix the predictions of runs with other data, backbone or budget in one folder.

    Raises:
        ValueError: naming the options that differ.
    """
    varying = ("output_dir", "seeds", "methods", "transport_weights", "nats_margin", "write_table", "save_models")
    varying = (*varying, "use_cpu", "readout_degrees")
    facts = {name: value for name, value in asdict(arguments).items() if name not in varying and value != []}
    file = Path(arguments.output_dir, "arguments.json")
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else facts
    changed = sorted(name for name in facts | before if facts.get(name) != before.get(name))
    if changed:
        raise ValueError(f"{file.parent} holds a run with other {', '.join(changed)}. Choose another `output_dir`.")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def train_all(arguments: RecipeArguments) -> None:
    """Train what has no predictions yet; an interrupted run goes on where it stopped."""
    check_same_run(arguments)
    parts = prepare_parts(arguments)
    methods = chosen_methods(arguments)
    check_rates(arguments)
    jobs = [(seed, name) for seed in arguments.seeds for name in methods]
    for seed, name in tqdm(jobs, desc="Trainings"):
        path = predictions_path(arguments.output_dir, seed, name)
        if path.exists():
            continue
        tqdm.write(f"seed {seed}: {name}")
        wall, cpu = time.perf_counter(), time.process_time()
        predictions = methods[name](arguments.of_method(name), seed, parts)
        predictions.seconds, predictions.cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        predictions.save(path)


def check_rates(arguments: RecipeArguments) -> None:
    """Refuse a learning rate of no method.

    Raises:
        ValueError: naming it.
    """
    methods = trained_methods(arguments)
    for entry in arguments.learning_rates:
        method, _, rate = entry.partition("=")
        if method not in methods or not rate:
            raise ValueError(
                f"learning_rates has {entry!r}; give METHOD=RATE, of these methods: {', '.join(methods)}."
            )


def main() -> None:
    """Train and tabulate as the options say."""
    (arguments,) = TrlParser(RecipeArguments).parse_args_and_config()
    train_all(arguments)
    if arguments.write_table:
        print(write_table(arguments))


if __name__ == "__main__":
    main()
