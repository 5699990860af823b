"""Train and measure every arm on every population and seed, then write the table: `run.py --help`."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import datasets
import transformers
from arguments import RecipeArguments
from arms import ARMS, make_reward, write_agreement
from files import write_json
from original import Original, load_original
from policy import train_policy
from results import START, ArmResult, measure, policy_folder, result_path
from reward_models import train_reward_models
from table import write_table
from tqdm.auto import tqdm
from trl import TrlParser

VARYING = (
    "output_dir",
    "populations",
    "seeds",
    "arms",
    "kl_coefs",
    "num_resamples",
    "write_table",
    "equal_kl",
    "save_policies",
)


def check_same_run(arguments: RecipeArguments) -> None:
    """Refuse to mix the results of runs with another policy or budget in one folder.

    Raises:
        ValueError: naming the options that differ.
    """
    facts = {name: value for name, value in asdict(arguments).items() if name not in VARYING}
    file = Path(arguments.output_dir, "arguments.json")
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else facts
    changed = sorted(name for name in facts if facts[name] != before.get(name))
    if changed:
        raise ValueError(f"{file.parent} holds a run with other {', '.join(changed)}. Choose another `output_dir`.")
    write_json(file, facts)


def run_all(arguments: RecipeArguments) -> None:
    """Run what has no result yet; an interrupted run goes on where it stopped."""
    check_same_run(arguments)
    original = load_original(arguments)
    jobs = [(seed, population) for seed in arguments.seeds for population in arguments.populations]
    for seed, population in tqdm(jobs, desc="Replications"):
        train_reward_models(arguments, original, population, seed)
        write_agreement(arguments, original, population, seed)
        start = result_path(arguments, population, seed, START, None)
        if not start.exists():
            measure(arguments, original, population, seed, original.model).save(start)
        for arm in arguments.arms or ARMS:
            for kl_coef in arguments.kl_coefs:
                path = result_path(arguments, population, seed, arm, kl_coef)
                if not path.exists():
                    result = run_arm(arguments, original, population, seed, arm, kl_coef)
                    result.save(path)
                    tqdm.write(_line(population, seed, arm, kl_coef, result))


def run_arm(
    arguments: RecipeArguments, original: Original, population: str, seed: int, arm: str, kl_coef: float
) -> ArmResult:
    """PPO on one reward with one coefficient, and the truth about the policy."""
    start, cpu = time.perf_counter(), time.process_time()
    reward = make_reward(arguments, original, population, seed, arm)
    ready = time.perf_counter()
    keep = arguments.save_policies and seed == arguments.seeds[0]
    folder = policy_folder(arguments, population, seed, arm, kl_coef) if keep else None
    policy, logs = train_policy(arguments, original, reward, kl_coef, seed, folder)
    trained = time.perf_counter()
    result = measure(arguments, original, population, seed, policy, reward)
    measured = time.perf_counter()
    result.seconds = {"reward": ready - start, "ppo": trained - ready, "truth": measured - trained}
    result.seconds["cpu"] = time.process_time() - cpu
    result.rollouts = [
        {"proxy_reward": log["reward"], "kl": log["kl"], "explained_variance": log["value/explained_variance"]}
        for log in logs
        if "kl" in log
    ]
    return result


def _line(population, seed, arm, kl_coef, result):
    return (
        f"{population} seed {seed} {arm} kl_coef {kl_coef:g}: KL {result.kl:.1f}, "
        f"mean utility {result.mean_utility:+.3f}, worst group {result.worst_group_utility:+.3f}, "
        f"proxy {result.proxy_reward:+.2f}, {result.seconds['cpu']:.0f} s of one core"
    )


def main() -> None:
    """Run and tabulate as the options say."""
    (arguments,) = TrlParser(RecipeArguments).parse_args_and_config()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    run_all(arguments)
    if arguments.write_table:
        print(write_table(arguments))


if __name__ == "__main__":
    main()
