"""The tables' numbers, computed from saved predictions alone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from crowds import convabuse, simulated
from crowds.saved import load_arrays
from predictions import Predictions, seed_folder
from presentation import markdown_tables, plot_curves

from trl_dprm.metrics import item_scores
from trl_dprm.metrics.averages import weighted_correlation


def write_tables(arguments: RecipeArguments) -> str:
    """Write `curves.json`, `curves.csv`, `curves.md` and `curves.png` to the output folder.

    Returns:
        The tables in Markdown.
    """
    runs = pd.DataFrame(
        row for crowd in arguments.crowds for seed in arguments.seeds for row in rows_of_seed(arguments, crowd, seed)
    )
    rows = mean_and_spread(runs)
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


def mean_and_spread(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation (n − 1) over the seeds of every number, and how many seeds there are.

    Of the prior strength, which may be infinite, the median.
    """
    keys = ["crowd", "num_votes", "votes_per_item", "method"]
    grouped = runs.drop(columns="seed").groupby(keys, sort=False)
    rows = grouped.mean().join(grouped.std(), rsuffix="_spread").join(grouped.size().rename("num_seeds"))
    rows["prior_strength"] = grouped["prior_strength"].median()
    return rows.reset_index()
