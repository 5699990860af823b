"""The table's numbers, computed from saved results alone."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from arms import ARMS, read_agreement
from presentation import markdown_tables, plot_frontiers
from results import START, ArmResult, result_path

from trl_dprm.metrics import mean_interval, paired_difference

COMPARED_WITH = "dprm_expected_reward"
MEASURES = ("mean_utility", "worst_group_utility")


def write_table(arguments: RecipeArguments) -> str:
    """Write `table.json`, a CSV file per table, `table.md` and `frontiers.png` to the output folder.

    Returns:
        The tables in Markdown.
    """
    results = all_results(arguments)
    populations = arguments.populations
    tables = {
        "points": pd.DataFrame(row for name in populations for row in point_rows(arguments, results, name)),
        "equal_kl": pd.DataFrame(row for name in populations for row in equal_kl_rows(arguments, results, name)),
        "agreement": pd.DataFrame(row for name in populations for row in agreement_rows(arguments, name)),
    }
    folder = Path(arguments.output_dir)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    report = {"seeds": arguments.seeds, "minutes": minutes(results)}
    report |= {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
    folder.joinpath("table.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    markdown = markdown_tables(*tables.values(), num_seeds=len(arguments.seeds))
    folder.joinpath("table.md").write_text(markdown, encoding="utf-8")
    plot_frontiers(tables["points"]).savefig(folder / "frontiers.png")
    return markdown


def all_results(arguments: RecipeArguments) -> dict[tuple[str, str, float | None], list[ArmResult]]:
    """Results by population, arm and `kl_coef`, one per seed.

    Raises:
        FileNotFoundError: naming the first result that is missing.
    """
    arms = [(START, None), *((arm, kl_coef) for arm in arguments.arms or ARMS for kl_coef in arguments.kl_coefs)]
    results = {}
    for population in arguments.populations:
        for arm, kl_coef in arms:
            paths = [result_path(arguments, population, seed, arm, kl_coef) for seed in arguments.seeds]
            missing = next((path for path in paths if not path.exists()), None)
            if missing is not None:
                raise FileNotFoundError(f"There is no {missing}: run its seed and population first.")
            results[population, arm, kl_coef] = [ArmResult.load(path) for path in paths]
    return results


def point_rows(arguments: RecipeArguments, results: dict, population: str) -> list[dict]:
    """One row per arm and `kl_coef`: means over the seeds, and paired differences to DPRM at the same `kl_coef`."""
    rows = []
    for (where, arm, kl_coef), runs in results.items():
        if where != population:
            continue
        row = {"population": population, "arm": arm, "kl_coef": np.nan if kl_coef is None else kl_coef}
        row |= {"kl": float(np.mean([run.kl for run in runs])), "proxy_reward": _mean_proxy(runs)}
        others = results.get((population, COMPARED_WITH, kl_coef))
        for measure in MEASURES:
            values = [getattr(run, measure) for run in runs]
            reference = None if others is None or arm == COMPARED_WITH else [getattr(run, measure) for run in others]
            row |= _summary(measure, values, reference, arguments.num_resamples)
        rows.append(row)
    return rows


def equal_kl_rows(arguments: RecipeArguments, results: dict, population: str) -> list[dict]:
    """One row per arm and KL: utilities on the straight lines between the points of each seed's frontier.

    A frontier starts at the untrained policy, with KL 0. Nothing is said beyond its last point in any seed.
    """
    rows = []
    for kl in arguments.equal_kl:
        for arm in arguments.arms or ARMS:
            row = {"population": population, "kl": kl, "arm": arm}
            for measure in MEASURES:
                values, reference = (
                    _interpolated(arguments, results, population, name, measure, kl) for name in (arm, COMPARED_WITH)
                )
                if arm == COMPARED_WITH or reference is None or not np.isfinite(reference).all():
                    reference = None
                row |= _summary(measure, values, reference, arguments.num_resamples)
            rows.append(row)
    return rows


def _interpolated(arguments, results, population, arm, measure, kl):
    """One utility per seed at this KL, NaN beyond the frontier; `None` for an arm that was not run."""
    if (population, arm, arguments.kl_coefs[0]) not in results:
        return None
    values = []
    for place in range(len(arguments.seeds)):
        runs = [results[population, START, None][place]]
        runs += [results[population, arm, kl_coef][place] for kl_coef in arguments.kl_coefs]
        runs.sort(key=lambda run: run.kl)
        kls, utilities = [run.kl for run in runs], [getattr(run, measure) for run in runs]
        values.append(np.interp(kl, kls, utilities, right=np.nan))
    return values


def _summary(measure: str, values: Sequence[float], reference: Sequence[float] | None, num_resamples: int) -> dict:
    """Mean over seeds with its interval, and the paired difference to the reference with its interval."""
    row = {measure: float(np.mean(values)), **_interval(measure, values, num_resamples)}
    if reference is None or not np.isfinite(values).all():
        return row
    differences = np.subtract(values, reference)
    name = f"{measure}_difference"
    row |= {name: float(differences.mean()), f"{name}_positive": int((differences > 0).sum())}
    if len(values) > 1:
        paired = paired_difference(values, reference, num_resamples=num_resamples)  # the seeds are what is resampled
        row |= {f"{name}_low": paired.low, f"{name}_high": paired.high}
    return row


def _interval(measure, values, num_resamples):
    if len(values) < 2 or not np.isfinite(values).all():
        return {f"{measure}_low": np.nan, f"{measure}_high": np.nan}
    interval = mean_interval(values, num_resamples=num_resamples)
    return {f"{measure}_low": interval.low, f"{measure}_high": interval.high}


def _mean_proxy(runs):
    proxies = [run.proxy_reward for run in runs]
    return np.nan if None in proxies else float(np.mean(proxies))


def agreement_rows(arguments: RecipeArguments, population: str) -> list[dict]:
    """One row per arm: correlation of its reward with the true utilities on the reference samples, over the seeds."""
    per_seed = [read_agreement(arguments, population, seed) for seed in arguments.seeds]
    rows = []
    for arm in ARMS:
        values = [seed[arm]["mean_utility"] for seed in per_seed]
        row = {"population": population, "arm": arm, "correlation": float(np.mean(values))}
        row["correlation_spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
        rows.append(row | {"least_group_correlation": float(np.mean([min(seed[arm]["groups"]) for seed in per_seed]))})
    return rows


def minutes(results: dict) -> dict[str, float]:
    """Minutes that the parts of an arm took, mean over all arms."""
    parts = [run.seconds for (_, arm, _), runs in results.items() if arm != START for run in runs]
    return {name: float(np.mean([part[name] for part in parts])) / 60 for name in parts[0]}
