"""The control that optimal transport has to beat: the cross-entropy model, sharpened by one parameter."""

import numpy as np
import pandas as pd
from data import CATEGORIES
from predictions import Predictions
from scipy.optimize import brentq, minimize_scalar
from votes import mean_score

LARGEST_EXPONENT = 20.0


def sharpen(category_probs: np.ndarray, exponent: float) -> np.ndarray:
    """`probs ** exponent`, normalised: the logits times `exponent`."""
    log_probs = exponent * np.log(category_probs.clip(min=np.finfo(np.float64).tiny))
    return np.exp(log_probs - np.logaddexp.reduce(log_probs, axis=1, keepdims=True))


def sharpened(cross_entropy: Predictions, validation: pd.DataFrame, nats_margin: float | None = None) -> Predictions:
    """Sharpen by the exponent of least validation W1.

    Args:
        cross_entropy (`Predictions`): Of the cross-entropy model of the same seed.
        validation (`pd.DataFrame`): Items with votes.
        nats_margin (`float`, *optional*): If given, the exponent goes no further than to where the validation nats per
            vote are this much above the model's own: the rule that the weight of optimal transport obeys too.
    """
    largest = LARGEST_EXPONENT if nats_margin is None else _largest_exponent(cross_entropy, validation, nats_margin)

    def transport(log_exponent):
        probs = sharpen(cross_entropy.validation_probs, np.exp(log_exponent))
        return mean_score(probs, validation, "wasserstein_distance")

    exponents = np.linspace(0.0, np.log(largest), 200)
    exponent = float(np.exp(exponents[np.argmin([transport(place) for place in exponents])]))
    return Predictions.of_distributions(
        sharpen(cross_entropy.validation_probs, exponent),
        sharpen(cross_entropy.test_probs, exponent),
        CATEGORIES.rewards,
        fitted=exponent,
    )


def _largest_exponent(cross_entropy, validation, nats_margin):
    """The largest exponent within the margin; nats are convex in it."""

    def nats(exponent):
        return mean_score(sharpen(cross_entropy.validation_probs, exponent), validation, "nats_per_vote")

    limit = nats(1.0) + nats_margin
    if nats(LARGEST_EXPONENT) <= limit:
        return LARGEST_EXPONENT
    lowest = minimize_scalar(nats, bounds=(0.1, LARGEST_EXPONENT), method="bounded").x
    return brentq(lambda exponent: nats(exponent) - limit, max(lowest, 1.0), LARGEST_EXPONENT)
