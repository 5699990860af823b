"""Every update that needs no training: new votes and saved logits in, distributions out."""

from collections.abc import Callable

import numpy as np
from scipy.special import softmax

from trl_dprm.adaptation import choose_logit_map, fit_logit_map, held_out_log_probs, item_posteriors
from trl_dprm.preferences import fit_model_prior_strength

Arrays = dict[str, np.ndarray]
Updated = tuple[np.ndarray, np.ndarray]  # distributions of the test items, and of the items with new votes


def no_update(old: Arrays, rows: np.ndarray) -> Updated:
    """The old model's distributions."""
    return softmax(old["test_logits"], axis=1), softmax(old["pool_logits"][rows], axis=1)


def item_posterior(old: Arrays, rows: np.ndarray) -> Updated:
    """Per item, the old model as the prior: only items with new votes move."""
    test, voted = no_update(old, rows)
    return test, _posterior(voted, old["pool_counts"][rows], prior_strength(old))


def text_posterior(old: Arrays, rows: np.ndarray) -> Updated:
    """The same with every text as one item: new votes on a text serve wherever the same text comes again."""
    test, voted = no_update(old, rows)
    texts, place = np.unique(np.concatenate([old["pool_texts"][rows], old["test_texts"]]), return_inverse=True)
    counts = np.zeros((len(texts), test.shape[1]))
    np.add.at(counts, place[: len(rows)], old["pool_counts"][rows])
    strength = prior_strength(old)
    return tuple(
        _posterior(probs, counts[of], strength)
        for probs, of in ((test, place[len(rows) :]), (voted, place[: len(rows)]))
    )


def bias_map(old: Arrays, rows: np.ndarray) -> Updated:
    """K biases for every item."""
    return _mapped(old, rows, fit_logit_map(*_new_votes(old, rows), kind="bias").logit_map)


def matrix_map(old: Arrays, rows: np.ndarray) -> Updated:
    """A K × K matrix and biases for every item."""
    return _mapped(old, rows, fit_logit_map(*_new_votes(old, rows), kind="matrix").logit_map)


def chosen_map(old: Arrays, rows: np.ndarray) -> Updated:
    """The kind of map that cross-validation over the new votes prefers, none included.

    `trl-dprm adapt` holds out this choice too, and changes nothing where that shows no gain.
    """
    return _mapped(old, rows, choose_logit_map(*_new_votes(old, rows)).fitted.logit_map)


def map_and_item_posterior(old: Arrays, rows: np.ndarray) -> Updated:
    """Biases for every item, and besides the posterior of those with new votes, each with a map fitted to others."""
    test, _ = bias_map(old, rows)
    log_probs = held_out_log_probs(*_new_votes(old, rows), kind="bias")
    return test, _posterior(np.exp(log_probs), old["pool_counts"][rows], prior_strength(old))


UPDATES: dict[str, Callable[[Arrays, np.ndarray], Updated]] = {
    "no_update": no_update,
    "item_posterior": item_posterior,
    "text_posterior": text_posterior,
    "bias_map": bias_map,
    "matrix_map": matrix_map,
    "chosen_map": chosen_map,
    "map_and_item_posterior": map_and_item_posterior,
}


def best_map(old: Arrays, pool_probs: np.ndarray, kind: str) -> Updated:
    """The map that infinitely many votes would give: fitted to the truth. What maps of its kind cannot get below."""
    logit_map = fit_logit_map(old["pool_logits"], 1e4 * pool_probs, kind=kind, prior_weight=1.0).logit_map
    return _mapped(old, np.arange(len(pool_probs)), logit_map)


def prior_strength(old: Arrays) -> float:
    """How many annotators the old model is worth, fitted on the old validation votes; infinity is possible.

    Raises:
        ValueError: if annotators of one item never disagree there.
    """
    estimate = fit_model_prior_strength(softmax(old["validation_logits"], axis=1), old["validation_counts"])
    if estimate.boundary == "zero":
        raise ValueError("annotators of one item never disagree in the validation votes; give more of them.")
    return estimate.prior_strength


def _posterior(probs, counts, strength):
    """Posterior means; a prior of infinite strength stays as it is."""
    return probs if np.isinf(strength) else item_posteriors(np.log(probs), counts, strength)["posterior_probs"]


def _new_votes(old, rows):
    return old["pool_logits"][rows], old["pool_counts"][rows]


def _mapped(old, rows, logit_map):
    return logit_map.probs(old["test_logits"]), logit_map.probs(old["pool_logits"][rows])
