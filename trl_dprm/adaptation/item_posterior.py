"""Items with new votes: what they and the model together say of each."""

import numpy as np

from ..preferences import model_as_prior


def item_posteriors(category_log_probs, target_counts, prior_strength: float) -> dict[str, np.ndarray]:
    """Each item's distribution with the model as the prior of its votes, beside the votes themselves.

    Two things of different use. `posterior_probs` is the best guess of the item: what to believe, or to serve. The
    votes, `target_counts`, are what to train on: training takes their shares, each item with the weight of its votes.
    The posterior is no target, and no column that training reads: a model worth hundreds of votes makes it nearly its
    own prediction, so training would teach it what it said before, at the weight of hundreds of people. Who wants just
    that, for example to hold another model near this one, says so and how much it shall weigh: `trl-dprm prepare
    --prior_strength` makes targets of `prior_probs` and `target_counts`.

    Args:
        category_log_probs (array of shape `(N, K)`): from [`adapt`]: predictions that the items' own votes did not
            make, or these would count twice.
        target_counts (array of shape `(N, K)`): their votes; rows of zeros keep the prediction.
        prior_strength (`float`): votes that the predictions are worth.

    Returns:
        `dict` of columns: `target_counts`, `prior_probs` (the prediction), `posterior_probs` (the posterior mean),
        each `(N, K)`, and `posterior_strength` `(N,)`, what the posterior is worth in votes: `prior_strength` plus
        the item's own.

    Raises:
        ValueError: as [`~trl_dprm.preferences.model_as_prior`].

    Source: [ours].

    Three people contradict a model that is worth 297. The guess moves by a hundredth; who trains on the row trains on
    three votes:

    >>> import numpy as np
    >>> item = item_posteriors(np.log([[0.9, 0.1]]), [[0, 3]], prior_strength=297.0)
    >>> item["posterior_probs"].round(3), item["posterior_strength"]
    (array([[0.891, 0.109]]), array([300.]))
    >>> item["target_counts"]
    array([[0., 3.]])
    """
    counts = np.asarray(target_counts, dtype=np.float64)
    prior_probs = np.exp(category_log_probs)
    posterior = model_as_prior(prior_probs, prior_strength).updated(counts)
    return {
        "target_counts": counts,
        "prior_probs": prior_probs,
        "posterior_probs": posterior.mean(),
        "posterior_strength": prior_strength + counts.sum(1),
    }
