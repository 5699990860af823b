"""The tables' numbers, computed from saved predictions alone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from crowds import convabuse, simulated
from crowds.intervals import mean_and_half_width
from crowds.saved import load_arrays
from predictions import Predictions, seed_folder
from presentation import markdown_tables, plot_curves

from trl_dprm.metrics import item_scores
from trl_dprm.metrics.averages import weighted_correlation

DISTANCES = ("wasserstein_distance", "ranked_probability_score", "nats_per_vote", "reward_error")


def write_tables(arguments: RecipeArguments) -> str:
    """Write `curves.json`, `curves.csv`, `curves.md` and `curves.png` to the output folder.

    Returns:
        The tables in Markdown.
    """
    runs = pd.DataFrame(
        row for crowd in arguments.crowds for seed in arguments.seeds for row in rows_of_seed(arguments, crowd, seed)
    )
    rows = compared(runs)
    folder = Path(arguments.output_dir)
    report = {
        "seeds": arguments.seeds,
        "cpu_minutes": {name: float(of["cpu_seconds"].sum() / 60) for name, of in runs.groupby("crowd")},
        "rows": json.loads(rows.to_json(orient="records")),  # null for what is not finite
    }
    folder.joinpath("curves.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    rows.to_csv(folder / "curves.csv", index=False)
    markdown = markdown_tables(rows)
    folder.joinpath("curves.md").write_text(markdown, encoding="utf-8")
    plot_curves(rows).savefig(folder / "curves.png")
    return markdown


def rows_of_seed(arguments: RecipeArguments, crowd: str, seed: int) -> list[dict]:
    """One row per arm and method of one replication."""
    folder = seed_folder(arguments.output_dir, crowd, seed)
    target = load_arrays(folder / "target.npz")
    rows = []
    for path in sorted(folder.glob("*-each/*.npz")):
        num_votes, votes_per_item = (int(part) for part in path.parent.name.split("-")[0:3:2])
        predictions = Predictions.load(path)
        facts = {"crowd": crowd, "seed": seed, "num_votes": num_votes, "votes_per_item": votes_per_item}
        facts |= {"method": path.stem, "cpu_seconds": predictions.cpu_seconds}
        facts["prior_strength"] = predictions.prior_strength
        scored = scores(predictions, target["probs"], target["weight"], category_rewards(crowd))
        if path.stem == "pairs":
            scored["reward_error"] = float("nan")  # its unit is its own
        rows.append(facts | scored)
    return rows


def category_rewards(crowd: str) -> np.ndarray:
    """Rewards of the crowd's categories."""
    return np.array({"simulated": simulated, "convabuse": convabuse}[crowd].CATEGORIES.rewards)


def scores(
    predictions: Predictions, target_probs: np.ndarray, weight: np.ndarray, rewards: np.ndarray
) -> dict[str, float]:
    """How close a method comes to the target; NaN where it says nothing of it.

    Args:
        predictions ([`Predictions`]): Of one method.
        target_probs (`np.ndarray` of shape *(num_items, num_categories)*): The truth, or shares of held-out votes.
        weight (`np.ndarray` of shape *(num_items,)*): Votes behind it.
        rewards (`np.ndarray` of shape *(num_categories,)*): Of the categories.

    Returns:
        `dict[str, float]`: `wasserstein_distance` and `ranked_probability_score` in levels, `nats_per_vote`,
        `reward_error` (root mean square), `reward_correlation`.
    """
    target_rewards = target_probs @ rewards
    row = dict.fromkeys(("wasserstein_distance", "ranked_probability_score", "nats_per_vote"), float("nan"))
    if predictions.probs.size:
        levels = np.arange(len(rewards), dtype=float)
        cost = np.abs(levels[:, None] - levels)
        of_items = item_scores(predictions.probs, target_probs, rewards, levels, cost)
        row = {name: float(np.average(of_items[name], weights=weight)) for name in row}
    square = np.average((predictions.rewards - target_rewards) ** 2, weights=weight)
    row["reward_error"] = float(np.sqrt(square))
    row["reward_correlation"] = weighted_correlation(predictions.rewards, target_rewards, weight)
    return row


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval over the seeds of every number (`mean_and_half_width`), and of differences paired by seed.

    `<measure>_to_dprm` is the difference to the DPRM that sees no vote on the item, `<measure>_to_one` to one vote per
    item for equally many votes in all. Of the prior strength, which may be infinite, the median.
    """
    arm = ["crowd", "seed", "num_votes", "votes_per_item"]
    runs = _with_differences(runs, runs[runs["method"] == "dprm"], arm, "_to_dprm")
    one_vote = [*arm[:3], "method"]
    runs = _with_differences(runs, runs[runs["votes_per_item"] == 1], one_vote, "_to_one")
    keys = ["crowd", "num_votes", "votes_per_item", "method"]
    grouped = runs.drop(columns="seed").groupby(keys, sort=False)
    rows = mean_and_half_width(grouped)
    rows["prior_strength"] = grouped["prior_strength"].median()
    return rows.reset_index()


def _with_differences(runs, baseline, keys, suffix):
    before = runs[keys].join(baseline.set_index(keys)[list(DISTANCES)], on=keys)
    return runs.assign(**{f"{measure}{suffix}": runs[measure] - before[measure] for measure in DISTANCES})
