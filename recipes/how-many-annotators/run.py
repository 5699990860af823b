"""Train with few votes and with many, then write the tables and the picture: `run.py --help`."""

import sys
from dataclasses import asdict
from pathlib import Path

from tqdm.auto import tqdm
from trl import TrlParser

sys.path.append(str(Path(__file__).resolve().parent.parent))  # for `crowds`

from arguments import RecipeArguments
from crowd import Crowd, make_crowd
from crowds.arguments import OF_CONVABUSE
from crowds.quiet import keep_quiet
from crowds.saved import check_same_run, save_arrays
from crowds.simulated import make_backbone
from methods import TRAINED, without_a_model
from predictions import seed_folder
from table import write_tables

VARYING = ("output_dir", "crowds", "seeds", "methods", "write_table")


def run_all(arguments: RecipeArguments) -> None:
    """Train what has no result yet; an interrupted run goes on where it stopped."""
    left_out = VARYING if "convabuse" in arguments.crowds else VARYING + OF_CONVABUSE
    facts = {name: value for name, value in asdict(arguments).items() if name not in left_out}
    check_same_run(Path(arguments.output_dir), facts)
    replications = [(name, seed) for name in arguments.crowds for seed in arguments.seeds]
    for name, seed in tqdm(replications, desc="Replications"):
        folder = seed_folder(arguments.output_dir, name, seed)
        crowd = make_crowd(name, arguments, seed)
        save_arrays(folder / "target.npz", probs=crowd.target_probs, weight=crowd.target_weight)
        for arm in crowd.arms:
            for file, predicted in without_a_model(crowd, arm, seed).items():
                predicted.save(folder / arm.name / f"{file}.npz")
        for method in arguments.methods:
            _train(arguments, name, crowd, seed, method, folder)


def _train(arguments: RecipeArguments, name: str, crowd: Crowd, seed: int, method: str, folder: Path) -> None:
    """One method on every arm; of a simulated crowd each seed has a backbone of its own."""
    backbone = arguments.backbone
    if name == "simulated":
        backbone = str(folder / "backbone")
        make_backbone(folder / "backbone", seed)
    for arm in crowd.arms:
        done = folder / arm.name / f"{method}.done"
        if done.exists() or (arm.only_distribution and method != "distribution"):
            continue
        for file, predicted in TRAINED[method](crowd, arm, seed, backbone).items():
            predicted.save(folder / arm.name / f"{file}.npz")
        done.touch()
        tqdm.write(f"{name}, seed {seed}, {arm.name}: {method}")


def main() -> None:
    """Run and tabulate as the options say."""
    (arguments,) = TrlParser(RecipeArguments).parse_args_and_config()
    keep_quiet()
    run_all(arguments)
    if arguments.write_table:
        print(write_tables(arguments))


if __name__ == "__main__":
    main()
