"""The tables' numbers, computed from saved predictions alone; what needs no training is computed here."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from crowds.intervals import mean_and_half_width
from crowds.saved import load_arrays
from group_table import group_rows, worst_group_rows
from presentation import group_markdown, markdown_tables, plot_groups, plot_updates, replication_markdown
from scipy.special import softmax
from shift import drawn_order
from updates import UPDATES, best_map

from trl_dprm.adaptation import post_stratified_probs
from trl_dprm.metrics import item_scores

MEASURES = ("wasserstein_distance", "nats_per_vote", "ranked_probability_score")


def replication_folder(output_dir: str, crowd: str, name: str) -> Path:
    """Where the results of one replication lie."""
    return Path(output_dir, "results", crowd, name)


def write_tables(arguments: RecipeArguments) -> str:
    """Write `updates.json`, `updates.csv`, `updates.md`, `updates.png` and, of a simulated crowd, `groups.png`.

    Returns:
        The tables in Markdown.
    """
    folder = Path(arguments.output_dir)
    runs = pd.DataFrame(row for crowd in arguments.crowds for row in crowd_rows(arguments, crowd))
    rows = compared(runs)
    tables = [markdown_tables(rows)]
    report = {"rows": json.loads(rows.to_json(orient="records"))}
    if "convabuse" in arguments.crowds:
        of_annotators = replication_rows(runs[runs["crowd"] == "convabuse"])
        tables.append(replication_markdown(of_annotators))
        report["annotators"] = of_annotators.to_dict("records")
    if "simulated" in arguments.crowds:
        shares, worst = (
            group_rows(arguments, replications(arguments, "simulated")),
            worst_group_rows(replications(arguments, "simulated")),
        )
        tables.append(group_markdown(shares, worst))
        report |= {"shares": shares.to_dict("records"), "worst_group": worst.to_dict("records")}
        plot_groups(shares).savefig(folder / "groups.png")
    folder.joinpath("updates.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    rows.to_csv(folder / "updates.csv", index=False)
    markdown = "\n\n".join(tables)
    folder.joinpath("updates.md").write_text(markdown, encoding="utf-8")
    plot_updates(rows).savefig(folder / "updates.png")
    return markdown


def replications(arguments: RecipeArguments, crowd: str) -> list[Path]:
    """Folders of the replications that have an old model.

    Raises:
        FileNotFoundError: if there is none.
    """
    folders = sorted(path.parent for path in replication_folder(arguments.output_dir, crowd, "").glob("*/old.npz"))
    if not folders:
        raise FileNotFoundError(f"{arguments.output_dir} holds no results of the crowd {crowd}; run it first.")
    return folders


def crowd_rows(arguments: RecipeArguments, crowd: str) -> list[dict]:
    """One row per replication, draw of the new votes, method, number of new votes and set of items."""
    rows = []
    for folder in replications(arguments, crowd):
        annotator, _, seed = folder.name.rpartition("seed-")
        facts = {"crowd": crowd, "replication": annotator.rstrip("-") or folder.name, "seed": int(seed)}
        old = load_arrays(folder / "old.npz")
        truth = load_arrays(folder / "groups.npz")["pool_probs"] if crowd == "simulated" else None
        rows += [facts | row for row in untrained_rows(old, truth, arguments)]
        rows += [facts | row for row in trained_rows(old, folder)]
        if crowd == "simulated":
            rows += [facts | row for row in reference_rows(old, load_arrays(folder / "groups.npz"), arguments)]
    return rows


def untrained_rows(old: dict, truth: np.ndarray | None, arguments: RecipeArguments) -> list[dict]:
    """Updates by saved logits, for every draw of the new votes.

    Args:
        old (`dict` of `np.ndarray`): From `trainings.train_old_model`.
        truth (`np.ndarray` of shape *(num_pool_items, num_categories)*, *optional*): Where it is known, items with
            new votes are judged too.
        arguments (`RecipeArguments`): For numbers of votes and draws.
    """
    rows = []
    for draw in range(arguments.num_draws):
        order = drawn_order(len(old["pool_counts"]), draw)
        for number in arguments.new_votes:
            bought = order[:number]
            for method, update in UPDATES.items():
                test, voted = update(old, bought)
                facts = {"draw": draw, "method": method, "new_votes": number}
                rows.append(facts | {"items": "other items"} | _scores(test, old["test_probs"], old))
                if truth is not None:
                    rows.append(facts | {"items": "items with votes"} | _scores(voted, truth[bought], old))
    return rows


def trained_rows(old: dict, folder: Path) -> list[dict]:
    """Updates by training, on the first draw."""
    rows = []
    for path in sorted(folder.glob("*-*.npz")):
        method, number = path.stem.split("-")
        probs = softmax(load_arrays(path)["test_logits"], axis=1)
        facts = {"draw": 0, "method": method, "new_votes": int(number), "items": "other items"}
        rows.append(facts | _scores(probs, old["test_probs"], old))
    return rows


def reference_rows(old: dict, groups: dict, arguments: RecipeArguments) -> list[dict]:
    """What needs no new votes, or infinitely many: repeated for every number of them."""
    shares = (1 - arguments.new_share, arguments.new_share)
    references = {
        "post_stratified": post_stratified_probs(softmax(groups["group_logits"], axis=-1), shares),
        "best_bias_map": best_map(old, groups["pool_probs"], "bias")[0],
        "best_matrix_map": best_map(old, groups["pool_probs"], "matrix")[0],
    }
    return [
        {"draw": 0, "method": method, "new_votes": number, "items": "other items"}
        | _scores(probs, old["test_probs"], old)
        for method, probs in references.items()
        for number in arguments.new_votes
    ]


def replication_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """Nats per vote of every replication, method and number of new votes: the mean over trainings and draws."""
    of_others = runs[runs["items"] == "other items"]
    return of_others.groupby(["replication", "method", "new_votes"], sort=False)["nats_per_vote"].mean().reset_index()


def _scores(probs, target_probs, old):
    """Mean scores in levels; items count alike, for each has one target."""
    levels = np.arange(probs.shape[1], dtype=float)
    scores = item_scores(probs, target_probs, old["category_rewards"], levels, np.abs(levels[:, None] - levels))
    return {measure: float(scores[measure].mean()) for measure in MEASURES}


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over trainings and draws, then over replications, with intervals, and paired differences to no update.

    A replication is a seed of the simulated crowd, where everything is drawn anew, or an annotator of ConvAbuse. A
    difference is taken on the draws that both have: trainings see the first draw alone.

    Args:
        runs (`pd.DataFrame`): From `crowd_rows`.

    Returns:
        `pd.DataFrame` with one row per crowd, set of items, method and number of new votes: each measure, its
        `_difference`, of both a `_half_width` (`mean_and_half_width`), `_better` (replications in which it fell) and
        `num_replications`.
    """
    measures = list(MEASURES)
    keys = ["crowd", "items", "new_votes", "replication", "seed", "draw"]
    baseline = runs[runs["method"] == "no_update"].set_index(keys)[measures]
    differences = runs.join(baseline, on=keys, rsuffix="_before")
    for measure in measures:
        differences[f"{measure}_difference"] = differences[measure] - differences[f"{measure}_before"]
    numbers = [*measures, *(f"{measure}_difference" for measure in measures)]
    cells = ["crowd", "items", "method", "new_votes"]
    means = differences.groupby([*cells, "replication"], sort=False)[numbers].mean()
    grouped = means.groupby(cells, sort=False)
    rows = mean_and_half_width(grouped)
    for measure in measures:
        fell = means[f"{measure}_difference"] < 0
        rows[f"{measure}_better"] = fell.groupby(cells, sort=False).sum()
    return rows.reset_index()
