"""Train every method on every seed, then write the table: `python recipes/convabuse-minilm/run.py --help`."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
from arguments import RecipeArguments
from bag_of_words import train_bag_of_words
from data import prepare_parts
from dprm import losses_of_methods, train_dprm
from ordered_logit import train_ordered_logit
from predictions import Predictions, predictions_path
from regression import train_regression
from table import write_table
from tqdm.auto import tqdm
from trl import TrlParser

Train = Callable[[RecipeArguments, int, dict[str, pd.DataFrame]], Predictions]


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
    return dprm | others


def _train_dprm(name, loss_weights, arguments, seed, parts):
    keep = arguments.save_models and seed == arguments.seeds[0]
    folder = Path(arguments.output_dir, "models", name) if keep else None
    return train_dprm(arguments, seed, loss_weights, parts, folder)


def train_all(arguments: RecipeArguments) -> None:
    """Train what has no predictions yet; an interrupted run goes on where it stopped."""
    parts = prepare_parts(arguments)
    methods = trained_methods(arguments)
    jobs = [(seed, name) for seed in arguments.seeds for name in methods]
    for seed, name in tqdm(jobs, desc="Trainings"):
        path = predictions_path(arguments.output_dir, seed, name)
        if path.exists():
            continue
        tqdm.write(f"seed {seed}: {name}")
        wall, cpu = time.perf_counter(), time.process_time()
        predictions = methods[name](arguments, seed, parts)
        predictions.seconds, predictions.cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        predictions.save(path)


def main() -> None:
    """Train and tabulate as the options say."""
    (arguments,) = TrlParser(RecipeArguments).parse_args_and_config()
    train_all(arguments)
    if arguments.write_table:
        print(write_table(arguments))


if __name__ == "__main__":
    main()
