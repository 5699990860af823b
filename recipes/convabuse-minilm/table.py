"""The tables' numbers, computed from saved predictions alone; the test votes are read once per table."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from choice import best_prior, choose_sum
from data import CATEGORIES, prepare_parts, read_test_votes
from dprm import CROSS_ENTROPY, losses_of_methods
from evaluation import JudgedItems
from judgments import prepare_judgments, read_test_judgments, votes_of_items
from pair_table import pair_rows
from pair_training import PAIR_METHODS
from predictions import PairOutputs, Predictions, Saved, predictions_path
from presentation import markdown_tables, plot_table
from readout import read_out, read_out_rewards
from recalibration import with_temperature
from sharpening import sharpened
from tqdm.auto import tqdm
from votes import scores_of_items, vote_shares

from trl_dprm.metrics import best_constant, paired_difference
from trl_dprm.metrics.averages import weighted_correlation

COMPARED = ("nats_per_vote", "wasserstein_distance")
OTHERS = ("scalar_regression", "ordered_logit", "bag_of_words")
CONSTANTS = {f"best_constant_for_{metric}": metric for metric in COMPARED}


def write_table(arguments: RecipeArguments) -> str:
    """Write `table.json`, `table.csv`, `pairs.csv`, `table.md` and `table.png` to the output folder.

    Returns:
        The tables in Markdown.
    """
    parts, judgments = prepare_parts(arguments), prepare_judgments(arguments)
    chosen, compared = choose_sum(arguments, parts["validation"])
    outputs = trained_pair_methods(arguments)
    predictions = all_predictions(arguments, parts, outputs)
    test = parts["test"].merge(read_test_votes(arguments), on="item_id", validate="one_to_one")
    test = JudgedItems(test, votes_of_items(read_test_judgments(arguments), test))

    subsets = {"all items": np.full(len(test), True), "unseen texts": ~test.items["seen_in_training"].to_numpy()}
    rows = pd.DataFrame(
        row for name, kept in subsets.items() for row in subset_rows(name, kept, test, predictions, parts, arguments)
    )
    models = {method: saved for method, saved in predictions.items() if method not in CONSTANTS}
    prior, prior_probs = best_prior(models, parts["validation"])
    runs = {method: outputs.get(method, saved) for method, saved in models.items()}
    runs |= {f"{method}_readout": models[method] for method in outputs}  # as every other: by its distributions
    voted = [votes_of_items(judgments[part], parts[part]) for part in ("train", "validation")]
    pairs = pd.DataFrame(pair_rows(runs, *voted, test, CROSS_ENTROPY, arguments.num_resamples))

    folder = Path(arguments.output_dir)
    report = {
        "seeds": arguments.seeds,
        "choice": {"chosen": chosen, "nats_margin": arguments.nats_margin, "validation": compared},
        "fitted": {
            method: [run.fitted for run in runs] for method, runs in predictions.items() if np.isfinite(runs[0].fitted)
        },
        "minutes_per_seed": minutes_per_seed([*predictions.values(), *outputs.values()]),
        "attainable_nats": {name: test[kept].attainable(prior_probs[kept]) for name, kept in subsets.items()},
        "prior_of_attainable_nats": prior,
        "rows": json.loads(rows.to_json(orient="records")),  # null for what is not finite
        "pairs": json.loads(pairs.to_json(orient="records")),
    }
    folder.joinpath("table.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    rows.to_csv(folder / "table.csv", index=False)
    pairs.to_csv(folder / "pairs.csv", index=False)
    markdown = markdown_tables(rows, pairs, report["attainable_nats"], prior, chosen, len(arguments.seeds))
    folder.joinpath("table.md").write_text(markdown, encoding="utf-8")
    shown = pairs[pairs["method"].isin(rows["method"])]
    plot_table(rows[rows["subset"] == "all items"], shown, chosen).savefig(folder / "table.png")
    return markdown


def trained_pair_methods(arguments: RecipeArguments) -> dict[str, list[PairOutputs]]:
    """What the methods that learned from pairs say of each item, one per seed."""
    return {
        method: [PairOutputs.load(predictions_path(arguments.output_dir, seed, method)) for seed in arguments.seeds]
        for method in PAIR_METHODS
    }


def all_predictions(
    arguments: RecipeArguments, parts: dict[str, pd.DataFrame], outputs: dict[str, list[PairOutputs]]
) -> dict[str, list[Predictions]]:
    """Predictions of every method, one per seed: those trained, the controls, those read out, the best constants."""

    def load(method):
        return [Predictions.load(predictions_path(arguments.output_dir, seed, method)) for seed in arguments.seeds]

    validation, margin, degrees = parts["validation"], arguments.nats_margin, arguments.readout_degrees
    cross_entropy, others = load(CROSS_ENTROPY), {method: load(method) for method in OTHERS}
    trained = {method: load(method) for method in losses_of_methods(arguments.transport_weights)}
    controls = {
        "cross_entropy_sharpened": [sharpened(run, validation) for run in cross_entropy],
        "cross_entropy_sharpened_within_margin": [sharpened(run, validation, margin) for run in cross_entropy],
    }
    regressions = others["scalar_regression"]
    scalar = {"scalar_regression_readout": [read_out_rewards(run, validation, degrees) for run in regressions]}
    scalar |= {
        method: [read_out(method, run, validation, degrees) for run in runs] for method, runs in outputs.items()
    }
    constants = {method: [_constant(metric, parts)] for method, metric in CONSTANTS.items()}
    return trained | controls | others | scalar | constants


def _constant(metric, parts):
    """What the best constant of the training votes says."""
    train = parts["train"]
    probs = best_constant(vote_shares(train), train["vote_weight"], metric, CATEGORIES.rewards, CATEGORIES.positions)
    validation, test = (np.tile(probs, (len(parts[part]), 1)) for part in ("validation", "test"))
    return Predictions.of_distributions(validation, test, CATEGORIES.rewards)


def subset_rows(
    subset: str,
    kept: np.ndarray,
    test: JudgedItems,
    predictions: dict[str, list[Predictions]],
    parts: dict[str, pd.DataFrame],
    arguments: RecipeArguments,
) -> list[dict]:
    """Two rows per method, as it is and recalibrated: means and spreads over seeds, differences to cross-entropy.

    Differences are paired by item and averaged over the seeds. Those of the nats speak for other conversations and
    other annotators, those of W1, which needs an item's whole votes, for other conversations and this panel.

    Args:
        subset (`str`): Its name.
        kept (`np.ndarray` of `bool` of shape *(num_items,)*): The test items in it.
        test (`JudgedItems`): Test items with votes.
        predictions (`dict[str, list[Predictions]]`): Per method, one per seed.
        parts (`dict[str, pd.DataFrame]`): For `validation`, which the temperatures are fitted on.
        arguments (`RecipeArguments`): For the number of resamples.
    """
    items = test[kept]
    recalibrated = {
        method: [with_temperature(run, parts["validation"]) for run in runs]
        for method, runs in predictions.items()
        if method not in CONSTANTS
    }
    rows = []
    for is_recalibrated, methods in ((False, predictions), (True, recalibrated)):
        reference = [run.test_probs[kept] for run in methods[CROSS_ENTROPY]]
        for method, runs in tqdm(methods.items(), desc=f"Comparing on {subset}"):
            probs = [run.test_probs[kept] for run in runs]
            row = {"subset": subset, "num_items": len(items), "method": method, "recalibrated": is_recalibrated}
            row |= _means([items.evaluate(seed_probs) for seed_probs in probs])
            row |= _mean_and_spread("correlation", [_correlation(run.test_rewards[kept], items) for run in runs])
            if method != CROSS_ENTROPY:
                row |= _differences(probs, reference, items, arguments.num_resamples)
            rows.append(row)
    return rows


def _means(reports):
    """Mean and spread over seeds; the calibration error from the mean of its squares."""
    row = {}
    for name in reports[0]:
        row |= _mean_and_spread(name, [report[name] for report in reports])
    roots = [np.sqrt(max(report["squared_calibration_error"], 0.0)) for report in reports]
    row |= _mean_and_spread("debiased_calibration_error", roots)
    return row | {"debiased_calibration_error": float(np.sqrt(max(row["squared_calibration_error"], 0.0)))}


def _mean_and_spread(metric, values):
    finite = len(values) > 1 and np.isfinite(values).all()
    return {metric: float(np.mean(values)), f"{metric}_spread": float(np.std(values, ddof=1)) if finite else np.nan}


def _correlation(rewards, items):
    return weighted_correlation(rewards, items.shares @ CATEGORIES.rewards, items.votes)


def _differences(probs, reference, items, num_resamples):
    w1, reference_w1 = (
        [scores_of_items(seed_probs, items.items)["wasserstein_distance"] for seed_probs in seeds]
        for seeds in (probs, reference)
    )
    panel = paired_difference(w1, reference_w1, items.votes, items.conversations, num_resamples=num_resamples)
    results = {"wasserstein_distance": panel}
    if all((seed_probs[items.counts > 0] > 0).all() for seed_probs in probs):
        results["nats_per_vote"] = items.nats_difference(probs, reference, num_resamples)
    fields = ("difference", "low", "high", "relative", "relative_low", "relative_high", "seed_std")
    return {f"{metric}_{field}": getattr(result, field) for metric, result in results.items() for field in fields}


def minutes_per_seed(methods: list[list[Saved]]) -> dict[str, float]:
    """Wall-clock and processor minutes of all trainings of a seed, mean over the seeds."""
    trained = [runs for runs in methods if np.isfinite(runs[0].seconds)]
    return {
        name: sum(float(np.mean([getattr(run, name) for run in runs])) for runs in trained) / 60
        for name in ("seconds", "cpu_seconds")
    }
