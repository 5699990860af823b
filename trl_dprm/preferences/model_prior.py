"""A trained model as the prior: what its predicted distribution is worth in votes, and what new votes make of it."""

import numpy as np

from .dirichlet_distribution import DirichletDistribution
from .prior_strength import PriorStrengthEstimate, estimate_prior_strength
from .vote_arrays import as_counts, as_probs, refuse_votes_without_prior


def fit_model_prior_strength(category_probs, target_counts) -> PriorStrengthEstimate:
    """Fit how many annotators the model is worth, on votes that it was not trained on.

    One number for the whole model, kept as `prior_strength` in its configuration. A model that is often surely wrong
    gets a small one. Training votes would flatter the model: use the validation part.

    Args:
        category_probs (array of shape `(N, K)`): the model's distribution for each validation item.
        target_counts (array of shape `(N, K)`): the item's votes, more than one on some items.

    Returns:
        [`~trl_dprm.preferences.PriorStrengthEstimate`]; look at its `boundary` before storing the number.

    Raises:
        ValueError: as [`~trl_dprm.preferences.estimate_prior_strength`]; a model probability that underflowed to 0
            where there are votes is refused: compute the softmax in float32 or wider.

    Source: [ours].

    >>> estimate = fit_model_prior_strength([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]], [[5, 0], [2, 3], [1, 4]])
    >>> round(estimate.prior_strength, 2)
    3.87
    """
    probs = _model_probs(category_probs)
    counts = as_counts(target_counts, probs.shape[1])
    if len(counts) != len(probs):
        raise ValueError(f"target_counts has {len(counts)} rows for {len(probs)} predictions; give one row per item.")
    refuse_votes_without_prior(counts, probs, name="category_probs")
    return estimate_prior_strength(counts, prior_probs=probs)


def model_as_prior(category_probs, prior_strength: float) -> DirichletDistribution:
    """The model's knowledge about each item as a Dirichlet distribution, ready to be updated with votes.

    `model_as_prior(q, n0).updated(target_counts)` is the distribution after new votes, with its `mean` and
    `expected_reward`; items without votes (rows of zeros) stay where the model put them. Before any votes,
    `vote_share_interval` says what shares `n` annotators may show, which a bare softmax cannot. To follow a population
    that shifted on *all* items, votes on a few are not enough: refit or recalibrate the model.

    Args:
        category_probs (array of shape `(N, K)`): the model's distribution for each item.
        prior_strength (`float`, above 0): see [`fit_model_prior_strength`].

    Returns:
        [`~trl_dprm.preferences.DirichletDistribution`] of N items.

    Raises:
        ValueError: for bad probabilities, or a strength that is not finite and positive.

    Source: [ours].

    >>> prior = model_as_prior([[0.5, 0.5], [0.9, 0.1]], prior_strength=6)
    >>> prior.updated([[0, 6], [0, 0]]).expected_reward([0.0, 1.0])
    array([0.75, 0.1 ])
    """
    return DirichletDistribution.from_mean(_model_probs(category_probs), prior_strength)


def _model_probs(category_probs) -> np.ndarray:
    """The model's distributions as float64 of shape `(N, K)`."""
    probs = as_probs(category_probs, "category_probs")
    if probs.ndim != 2:
        raise ValueError(f"category_probs has shape {probs.shape}; give one row per item, (N, K).")
    return probs
