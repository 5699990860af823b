"""One temperature for every model, fitted on validation votes: what a sceptic asks of any comparison."""

import numpy as np
from numpy.typing import ArrayLike

from ..adaptation.map_fitting import fit_logit_map
from ..metrics.vote_pairs import in_one_category


def has_temperature(validation_probs: np.ndarray, validation_counts: ArrayLike) -> bool:
    """Whether validation votes say how sure a model should be.

    They do not where all are for one category, nor where each is for what the model calls most probable: then the
    surer the better.

    Args:
        validation_probs (`np.ndarray` of shape `(M, K)`), validation_counts (array of shape `(M, K)`): as in
            [`recalibrated`].

    Example:

    >>> has_temperature(np.array([[0.9, 0.1], [0.2, 0.8]]), [[3, 0], [0, 2]])
    False
    """
    counts = np.asarray(validation_counts, dtype=np.float64)
    against = counts * (validation_probs < validation_probs.max(axis=1, keepdims=True))
    return not in_one_category(counts) and bool(against.any())


def recalibrated(
    category_probs: np.ndarray, validation_probs: np.ndarray, validation_counts: ArrayLike
) -> tuple[np.ndarray, np.ndarray, float]:
    """Divide the logits by the temperature that the validation votes like best.

    Args:
        category_probs (`np.ndarray` of shape `(N, K)`): predictions to recalibrate, positive.
        validation_probs (`np.ndarray` of shape `(M, K)`): predictions of the same model, positive.
        validation_counts (array of shape `(M, K)`): votes on the validation items.

    Returns:
        The recalibrated predictions `(N, K)`, those of the validation items `(M, K)`, and the temperature: above 1
        the model was too sure.

    Source: Guo et al. 2017 (arXiv 1706.04599). Differs: the likelihood of all votes, by [`fit_logit_map`].
    """
    fitted = fit_logit_map(np.log(validation_probs), validation_counts, kind="temperature", prior_weight=0.0)
    logit_map = fitted.logit_map
    return (
        logit_map.probs(np.log(category_probs)),
        logit_map.probs(np.log(validation_probs)),
        float(1 / logit_map.matrix[0, 0]),
    )
