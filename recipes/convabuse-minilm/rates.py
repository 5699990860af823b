"""Which learning rate each method would choose: `rates.py RUN RUN … [--seeds 0]`, runs that differ in nothing else."""

import argparse
import json
from pathlib import Path

import numpy as np
from arguments import RecipeArguments
from data import prepare_parts
from recalibration import with_temperature
from table import CONSTANTS, all_predictions, trained_pair_methods
from votes import mean_score

NOT_TRAINED = ("cross_entropy_sharpened", "cross_entropy_sharpened_within_margin", "bag_of_words", *CONSTANTS)


def validation_nats(
    output_dir: str, seeds: list[int], transport_weights: list[float]
) -> tuple[float, dict[str, float]]:
    """Learning rate of a run, and per method its validation nats per vote, read out and recalibrated.

    No test vote is read.

    Args:
        output_dir (`str`): Of a run in which these seeds are trained.
        seeds (`list[int]`): To average over.
        transport_weights (`list[float]`): Of the sums that were trained.

    Raises:
        FileNotFoundError: if a method was not trained with a seed.
    """
    facts = json.loads(Path(output_dir, "arguments.json").read_text(encoding="utf-8"))
    arguments = RecipeArguments(**facts, output_dir=output_dir, seeds=seeds, transport_weights=transport_weights)
    parts = prepare_parts(arguments)
    predictions = all_predictions(arguments, parts, trained_pair_methods(arguments))
    validation = parts["validation"]

    def nats(runs):
        probs = [with_temperature(run, validation).validation_probs for run in runs]
        return float(np.mean([mean_score(seed_probs, validation, "nats_per_vote") for seed_probs in probs]))

    return facts["learning_rate"], {
        method: nats(runs) for method, runs in predictions.items() if method not in NOT_TRAINED
    }


def rates_table(runs: list[tuple[float, dict[str, float]]]) -> str:
    """One row per method, one column per rate, the lowest in bold.

    >>> print(rates_table([(1e-4, {"cross_entropy": 0.5}), (2e-4, {"cross_entropy": 0.4})]))
    | method | 0.0001 | 0.0002 |
    | --- | --- | --- |
    | cross entropy | 0.5000 | **0.4000** |
    """
    lines = [["method", *(f"{rate:g}" for rate, _ in runs)], ["---"] * (1 + len(runs))]
    for method in runs[0][1]:
        nats = [of_run[method] for _, of_run in runs]
        cells = [f"**{value:.4f}**" if value == min(nats) else f"{value:.4f}" for value in nats]
        lines.append([method.replace("_", " "), *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="Output folders of runs with other learning rates.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="Seeds that all of them have.")
    parser.add_argument("--transport_weights", nargs="+", type=float, default=[0.25, 0.5, 1.0], help="As in the runs.")
    options = parser.parse_args()
    runs = [validation_nats(run, options.seeds, options.transport_weights) for run in options.runs]
    runs.sort(key=lambda run: run[0])
    print(rates_table(runs))


if __name__ == "__main__":
    main()
