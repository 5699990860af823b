"""How many annotators a trained model is worth, fitted on what it predicts for votes that it has not seen."""

import numpy as np
from scipy.special import softmax

from ..preferences.model_prior import fit_model_prior_strength

_BOUNDARIES = {
    "zero": "annotators of one item never disagree",
    "infinity": "the votes show no error of the model beyond chance",
}


def prior_strength(predictions: dict, labels: dict) -> float:
    """Fit the strength of the model as a prior, on the responses that have votes.

    Args:
        predictions, labels (`dict` of `np.ndarray`): As `DPRMTrainer` hands them to `compute_metrics`.

    Returns:
        `float`, positive and finite.

    Raises:
        ValueError: if there are no votes, or if they cannot identify such a strength.

    Example:

    ```python
    >>> import numpy as np
    >>> from trl_dprm.trainer.prior_strength import prior_strength
    >>> logits = np.log([[[0.7, 0.3]], [[0.2, 0.8]], [[0.5, 0.5]]])
    >>> shares = np.array([[[1.0, 0.0]], [[0.4, 0.6]], [[0.2, 0.8]]])
    >>> labels = {"target_probs": shares, "target_weight": np.full((3, 1), 5.0)}
    >>> round(prior_strength({"category_logits": logits}, labels), 2)
    3.87

    ```
    """
    judged = np.nan_to_num(labels["target_weight"]) > 0
    if not judged.any():
        raise ValueError("The dataset has no votes: give `target_counts` (or `target_probs` with `vote_weight`).")
    category_probs = softmax(predictions["category_logits"][judged].astype(np.float64), axis=-1)
    target_counts = labels["target_probs"][judged].astype(np.float64) * labels["target_weight"][judged, None]
    estimate = fit_model_prior_strength(category_probs, target_counts)
    if estimate.boundary is not None:
        raise ValueError(
            f"The votes put the prior strength at {estimate.boundary}: {_BOUNDARIES[estimate.boundary]}. Set "
            "`model.config.prior_strength` by hand, or fit it on more items with several votes each."
        )
    return estimate.prior_strength
