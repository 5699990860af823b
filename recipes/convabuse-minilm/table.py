"""The table's numbers, computed from saved predictions alone; the test votes are read once per table."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from choice import choose_sum
from data import CATEGORIES, prepare_parts, read_test_votes
from dprm import CROSS_ENTROPY, losses_of_methods
from predictions import Predictions, predictions_path
from presentation import markdown_table, plot_table
from sharpening import sharpened
from tqdm.auto import tqdm
from votes import scores_of_items, vote_shares

from trl_dprm.metrics import best_constant, paired_difference
from trl_dprm.metrics.averages import weighted_correlation

COMPARED = ("nats_per_vote", "wasserstein_distance")
OTHERS = ("scalar_regression", "ordered_logit", "bag_of_words")


def write_table(arguments: RecipeArguments) -> str:
    """Write `table.json`, `table.csv`, `table.md` and `table.png` to the output folder.

    Returns:
        The table in Markdown.
    """
    parts = prepare_parts(arguments)
    chosen, compared = choose_sum(arguments, parts["validation"])
    predictions = all_predictions(arguments, parts)
    test = parts["test"].merge(read_test_votes(arguments), on="item_id", validate="one_to_one")
    subsets = {"all items": np.full(len(test), True), "unseen texts": ~test["seen_in_training"].to_numpy()}
    rows = pd.DataFrame(
        row for name, kept in subsets.items() for row in subset_rows(name, kept, test, predictions, arguments)
    )
    folder = Path(arguments.output_dir)
    report = {
        "seeds": arguments.seeds,
        "choice": {"chosen": chosen, "nats_margin": arguments.nats_margin, "validation": compared},
        "fitted": {
            method: [run.fitted for run in runs] for method, runs in predictions.items() if np.isfinite(runs[0].fitted)
        },
        "minutes_per_seed": minutes_per_seed(predictions),
        "rows": json.loads(rows.to_json(orient="records")),  # null for what is not finite
    }
    folder.joinpath("table.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    rows.to_csv(folder / "table.csv", index=False)
    markdown = markdown_table(rows, chosen, len(arguments.seeds))
    folder.joinpath("table.md").write_text(markdown, encoding="utf-8")
    plot_table(rows[rows["subset"] == "all items"], chosen).savefig(folder / "table.png")
    return markdown


def all_predictions(arguments: RecipeArguments, parts: dict[str, pd.DataFrame]) -> dict[str, list[Predictions]]:
    """Predictions of every method, one per seed: those trained, the controls, and the best constants."""

    def load(method):
        return [Predictions.load(predictions_path(arguments.output_dir, seed, method)) for seed in arguments.seeds]

    cross_entropy, margin = load(CROSS_ENTROPY), arguments.nats_margin
    trained = {method: load(method) for method in losses_of_methods(arguments.transport_weights)}
    controls = {
        "cross_entropy_sharpened": [sharpened(run, parts["validation"]) for run in cross_entropy],
        "cross_entropy_sharpened_within_margin": [
            sharpened(run, parts["validation"], margin) for run in cross_entropy
        ],
    }
    constants = {f"best_constant_for_{metric}": [_constant(metric, parts)] for metric in COMPARED}
    return trained | controls | {method: load(method) for method in OTHERS} | constants


def _constant(metric, parts):
    """What the best constant of the training votes says."""
    train = parts["train"]
    probs = best_constant(vote_shares(train), train["vote_weight"], metric, CATEGORIES.rewards, CATEGORIES.positions)
    validation, test = (np.tile(probs, (len(parts[part]), 1)) for part in ("validation", "test"))
    return Predictions.of_distributions(validation, test, CATEGORIES.rewards)


def subset_rows(
    subset: str,
    kept: np.ndarray,
    test: pd.DataFrame,
    predictions: dict[str, list[Predictions]],
    arguments: RecipeArguments,
) -> list[dict]:
    """One row per method: mean and spread over seeds of each metric, and the paired differences to cross-entropy.

    Args:
        subset (`str`): Its name.
        kept (`np.ndarray` of `bool` of shape *(num_items,)*): The test items in it.
        test (`pd.DataFrame`): Test items with votes.
        predictions (`dict[str, list[Predictions]]`): Per method, one per seed.
        arguments (`RecipeArguments`): For the number of resamples.
    """
    items = test[kept]
    scores = {
        name: [scores_of_items(run.test_probs[kept], items) for run in runs] for name, runs in predictions.items()
    }
    rows = []
    for method, runs in tqdm(predictions.items(), desc=f"Comparing on {subset}"):
        row = {"subset": subset, "num_items": len(items), "method": method}
        for metric in COMPARED:
            values, reference = ([run[metric] for run in scores[name]] for name in (method, CROSS_ENTROPY))
            row |= _mean_and_spread(metric, [np.average(run, weights=items["vote_weight"]) for run in values])
            if method != CROSS_ENTROPY and np.isfinite(values).all():
                row |= _difference(metric, values, reference, items, arguments.num_resamples)
        correlations = [_correlation(run.test_rewards[kept], items) for run in runs]
        rows.append(row | _mean_and_spread("expected_reward_correlation", correlations))
    return rows


def _mean_and_spread(metric, values):
    spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
    return {metric: float(np.mean(values)), f"{metric}_spread": float(spread)}


def _correlation(rewards, items):
    mean_ratings = vote_shares(items) @ CATEGORIES.rewards
    return weighted_correlation(rewards, mean_ratings, items["vote_weight"].to_numpy())


def _difference(metric, values, reference, items, num_resamples):
    weight, conversations = items["vote_weight"].to_numpy(), items["conv_id"].to_numpy()
    result = paired_difference(values, reference, weight, conversations, num_resamples=num_resamples)
    fields = ("difference", "low", "high", "relative", "relative_low", "relative_high", "seed_std")
    return {f"{metric}_{field}": getattr(result, field) for field in fields}


def minutes_per_seed(predictions: dict[str, list[Predictions]]) -> dict[str, float]:
    """Wall-clock and processor minutes of all trainings of a seed, mean over the seeds."""
    trained = [runs for runs in predictions.values() if np.isfinite(runs[0].seconds)]
    return {
        name: sum(float(np.mean([getattr(run, name) for run in runs])) for runs in trained) / 60
        for name in ("seconds", "cpu_seconds")
    }
