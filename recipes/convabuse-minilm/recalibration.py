"""Post-hoc recalibration, the same for every method, fitted on the validation part only.

Distributions get one temperature, which a checkpoint can take into its head's weights. Probabilities on pairs get a
temperature and a propensity to call two items equal, which stay in this report; with a formula that knows no ties this
is Davidson's model.
"""

import numpy as np
import pandas as pd
from data import CATEGORIES
from predictions import Predictions
from scipy.optimize import minimize
from votes import vote_shares

from trl_dprm.adaptation import fit_logit_map

TINY = np.finfo(np.float64).tiny


def with_temperature(run: Predictions, validation: pd.DataFrame) -> Predictions:
    """The method at the temperature of the likeliest validation votes; `fitted` is 1 / temperature."""
    logits = [np.log(probs.clip(min=TINY)) for probs in (run.validation_probs, run.test_probs)]
    counts = vote_shares(validation) * validation["vote_weight"].to_numpy()[:, None]
    logit_map = fit_logit_map(logits[0], counts, kind="temperature", prior_weight=0).logit_map
    probs = [logit_map.probs(part) for part in logits]
    return Predictions.of_distributions(*probs, CATEGORIES.rewards, fitted=float(logit_map.matrix[0, 0]))


def fit_pair_link(pair_probs: np.ndarray, votes: np.ndarray) -> tuple[float, float]:
    """Exponent and log tie propensity of `apply_pair_link` of largest likelihood; it is concave.

    Args:
        pair_probs (`np.ndarray` of shape *(num_pairs, 3)*): Of higher, equal, lower.
        votes (`np.ndarray` of shape *(num_pairs, 3)*): On validation pairs.
    """
    features, share = _pair_logits(pair_probs), votes / votes.sum()
    unit = np.sqrt((features**2).mean())  # of a model that knows next to nothing the exponent is large
    features, of_ties = features / unit, np.array([0.0, 1.0, 0.0])

    def nats_and_gradient(link):
        log_probs = _log_softmax(link[0] * features + link[1] * of_ties)
        excess = share.sum(axis=1, keepdims=True) * np.exp(log_probs) - share
        return -(share * log_probs).sum(), np.array([(excess * features).sum(), excess[:, 1].sum()])

    exponent, log_propensity = minimize(nats_and_gradient, [1.0, 0.0], jac=True, method="BFGS", tol=1e-9).x
    return exponent / unit, log_propensity


def apply_pair_link(pair_probs: np.ndarray, link: tuple[float, float]) -> np.ndarray:
    """Log-odds times the exponent, and the log tie propensity added to "equal"."""
    return np.exp(_log_softmax(link[0] * _pair_logits(pair_probs) + link[1] * np.array([0.0, 1.0, 0.0])))


def _pair_logits(pair_probs):
    """Logits whose outer two sum to 0; that of "equal" is 0 where the formula has no ties."""
    higher, equal, lower = np.log(pair_probs.clip(min=TINY)).T
    middle = (higher + lower) / 2
    return np.stack([higher - middle, np.where(pair_probs[:, 1] > 0, equal - middle, 0.0), lower - middle], axis=1)


def _log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
