"""Let populations shift, update by every means, and write the tables and pictures: `run.py --help`."""

import sys
from dataclasses import asdict
from pathlib import Path

from tqdm.auto import tqdm
from trl import TrlParser

sys.path.append(str(Path(__file__).resolve().parent.parent))  # for `crowds`

from arguments import RecipeArguments
from crowds.arguments import OF_CONVABUSE
from crowds.quiet import keep_quiet
from crowds.saved import check_same_run
from left_out import annotators, left_out_shift
from simulated_shift import simulated_shift
from table import replication_folder, write_tables
from trainings import train_again, train_group_model, train_old_model, train_on

VARYING = (
    "output_dir",
    "crowds",
    "seeds",
    "convabuse_seeds",
    "left_out",
    "new_votes",
    "num_draws",
    "simulated_trained_votes",
    "convabuse_trained_votes",
    "convabuse_trained_again",
    "write_table",
)


def run_all(arguments: RecipeArguments) -> None:
    """Train what has no result yet; an interrupted run goes on where it stopped."""
    left_out = VARYING if "convabuse" in arguments.crowds else VARYING + OF_CONVABUSE
    facts = {name: value for name, value in asdict(arguments).items() if name not in left_out}
    check_same_run(Path(arguments.output_dir), facts)
    if "simulated" in arguments.crowds:
        for seed in tqdm(arguments.seeds, desc="Simulated crowd"):
            _run_simulated(arguments, seed)
    if "convabuse" in arguments.crowds:
        jobs = [(name, seed) for seed in arguments.convabuse_seeds for name in annotators(arguments)]
        for name, seed in tqdm(jobs, desc="Annotators left out"):
            _run_left_out(arguments, name, seed)
        for name, seed in tqdm(jobs, desc="Trained again"):
            _train_again(arguments, name, seed)


def _run_simulated(arguments, seed):
    folder = replication_folder(arguments.output_dir, "simulated", f"seed-{seed}")
    groups = simulated_shift(arguments, seed, folder)
    train_old_model(groups.shift, folder, folder / "model")
    train_group_model(groups, arguments, folder)
    for number in arguments.simulated_trained_votes:
        train_on(groups.shift, arguments, number, folder, folder / "model")
        train_again(groups.shift, number, folder)


def _run_left_out(arguments, annotator, seed):
    shift = left_out_shift(arguments, annotator, seed)
    folder = replication_folder(arguments.output_dir, "convabuse", shift.name)
    train_old_model(shift, folder, folder / "model")
    for number in arguments.convabuse_trained_votes:
        train_on(shift, arguments, number, folder, folder / "model")


def _train_again(arguments, annotator, seed):
    """After everything else, for it takes as long."""
    shift = left_out_shift(arguments, annotator, seed)
    for number in arguments.convabuse_trained_again:
        train_again(shift, number, replication_folder(arguments.output_dir, "convabuse", shift.name))


def main() -> None:
    """Run and tabulate as the options say."""
    (arguments,) = TrlParser(RecipeArguments).parse_args_and_config()
    keep_quiet()
    run_all(arguments)
    if arguments.write_table:
        print(write_tables(arguments))


if __name__ == "__main__":
    main()
