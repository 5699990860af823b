"""The weight of optimal transport in the sum: chosen on the validation part, with all seeds, by a rule."""

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from dprm import CROSS_ENTROPY, sum_name
from predictions import Predictions, predictions_path
from recalibration import with_temperature
from votes import mean_score

VALIDATION_METRICS = ("nats_per_vote", "wasserstein_distance")


def validation_means(arguments: RecipeArguments, method: str, validation: pd.DataFrame) -> dict[str, float]:
    """Mean over the seeds of a method's validation nats per vote and W1."""
    probs = [
        Predictions.load(predictions_path(arguments.output_dir, seed, method)).validation_probs
        for seed in arguments.seeds
    ]
    return {
        metric: float(np.mean([mean_score(seed_probs, validation, metric) for seed_probs in probs]))
        for metric in VALIDATION_METRICS
    }


def choose_sum(arguments: RecipeArguments, validation: pd.DataFrame) -> tuple[str | None, dict]:
    """The sum of lowest validation W1 among those that cost at most `nats_margin` nats per vote.

    Returns:
        Its name, `None` if every weight costs more, and for every method that was compared its validation means.
    """
    sums = [sum_name(weight) for weight in arguments.transport_weights]
    compared = {method: validation_means(arguments, method, validation) for method in (CROSS_ENTROPY, *sums)}
    limit = compared[CROSS_ENTROPY]["nats_per_vote"] + arguments.nats_margin
    within = [method for method in sums if compared[method]["nats_per_vote"] <= limit]
    return min(within, key=lambda method: compared[method]["wasserstein_distance"], default=None), compared


def best_prior(predictions: dict[str, list[Predictions]], validation: pd.DataFrame) -> tuple[str, np.ndarray]:
    """The method of fewest validation nats, recalibrated: what may be the prior of the attainable nats.

    Args:
        predictions (`dict[str, list[Predictions]]`): Per method, one per seed; test votes are not looked at.
        validation (`pd.DataFrame`): Validation items with votes.

    Returns:
        Its name, and the mean over the seeds of its recalibrated probabilities for the test items.
    """
    recalibrated = {
        method: [with_temperature(run, validation) for run in runs] for method, runs in predictions.items()
    }
    nats = {
        method: np.mean([mean_score(run.validation_probs, validation, "nats_per_vote") for run in runs])
        for method, runs in recalibrated.items()
    }
    best = min(nats, key=nats.__getitem__)
    return best, np.mean([run.test_probs for run in recalibrated[best]], axis=0)
