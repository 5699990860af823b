"""What each method says of a pair by itself: an annotator rates the first item higher, both equal, the first lower.

Methods that learned from pairs use the formula that they were trained by, the others let two independent annotators
rate one item each. Formulas without ties give "equal" the probability 0.
"""

from collections.abc import Callable

import numpy as np
from data import CATEGORIES
from predictions import PairOutputs, Predictions
from scipy.special import expit, ndtr

from trl_dprm.metrics import davidson_probs, win_tie_probs


def bradley_terry(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of scores: the sigmoid of the difference."""
    return _without_ties(*(expit(sign * (first - second)[:, 0]) for sign in (1, -1)))


def davidson(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of scores and the logarithm of the tie propensity."""
    return davidson_probs(first[:, 0], second[:, 0], 1.0, float(np.exp(first[0, 1])))


def normal_utilities(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of the mean–variance head."""
    deviations = [np.logaddexp(outputs[:, 1], 0.0) for outputs in (first, second)]
    lead = (first - second)[:, 0] / np.hypot(*deviations)
    return _without_ties(ndtr(lead), ndtr(-lead))


def utility_atoms(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of the categorical head; equal utilities are a coin toss."""
    probs = [np.exp(outputs - np.logaddexp.reduce(outputs, axis=1, keepdims=True)) for outputs in (first, second)]
    three_ways = win_tie_probs(*probs, range(first.shape[1]))
    return _without_ties(three_ways[:, 0] + three_ways[:, 1] / 2, three_ways[:, 2] + three_ways[:, 1] / 2)


def independent_annotators(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of distributions over the categories."""
    return win_tie_probs(first, second, CATEGORIES.rewards)


OWN_FORMULA: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "bradley_terry_majority": bradley_terry,
    "bradley_terry_davidson": davidson,
    "dpl_mean_variance": normal_utilities,
    "dpl_categorical": utility_atoms,
}


def own_pair_probs(
    method: str, run: Predictions | PairOutputs, part: str, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Probabilities of higher, equal, lower, of shape *(num_pairs, 3)*.

    Args:
        method (`str`): Its name.
        run (`Predictions` or `PairOutputs`): Of one seed.
        part (`str`): `"validation"` or `"test"`.
        first, second (`np.ndarray` of shape *(num_pairs,)*): Rows of the items in that part.
    """
    if isinstance(run, PairOutputs):
        outputs = run.validation_outputs if part == "validation" else run.test_outputs
        return OWN_FORMULA[method](outputs[first], outputs[second])
    probs = run.validation_probs if part == "validation" else run.test_probs
    return independent_annotators(probs[first], probs[second])


def _without_ties(higher, lower):
    return np.stack([higher, np.zeros_like(higher), lower], axis=1)
