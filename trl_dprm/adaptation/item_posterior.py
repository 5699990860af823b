"""Items with new votes: what they and the model together say of each."""

import numpy as np

from ..preferences import model_as_prior


def item_posteriors(category_log_probs, target_counts, prior_strength: float) -> dict[str, np.ndarray]:
    """Each item's distribution with the model as the prior of its votes, in the columns that training takes.

    Args:
        category_log_probs (array of shape `(N, K)`): from [`adapt`]: predictions that the items' own votes did not
            make, or these would count twice.
        target_counts (array of shape `(N, K)`): their votes; rows of zeros keep the prediction.
        prior_strength (`float`): votes that the predictions are worth.

    Returns:
        `dict` of columns: `prior_probs`, `target_counts`, `target_probs` (the posterior mean), each `(N, K)`, and
        `vote_weight` `(N,)`, `prior_strength` plus the item's votes.

    Raises:
        ValueError: as [`~trl_dprm.preferences.model_as_prior`].

    >>> import numpy as np
    >>> item_posteriors(np.log([[0.5, 0.5]]), [[6, 0]], prior_strength=6.0)["target_probs"]
    array([[0.75, 0.25]])
    """
    counts = np.asarray(target_counts, dtype=np.float64)
    prior_probs = np.exp(category_log_probs)
    posterior = model_as_prior(prior_probs, prior_strength).updated(counts)
    return {
        "prior_probs": prior_probs,
        "target_counts": counts,
        "target_probs": posterior.mean(),
        "vote_weight": prior_strength + counts.sum(1),
    }
