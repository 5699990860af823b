"""What could a perfect model reach? A bracket for the nats per vote of the true distributions."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from ..preferences import estimate_prior_strength
from .arrays import vote_shares
from .averages import weighted_mean
from .item_scores import nats_per_vote


class AttainableNats(NamedTuple):
    """Nats per vote that the true distributions of these items would attain: between `low` and `high`.

    Attributes:
        low (`float`): entropy of each item's own votes; too low, since few votes look more united than the people.
        dirichlet_multinomial (`float`): expected entropy of the true distributions given the votes, if they follow the
            fitted Dirichlet distribution.
        high (`float`): each vote predicted from the item's other votes and the fitted Dirichlet prior; too high, since
            the predictor knows the truth from few votes only.
        prior_strength (`float`): of the fitted Dirichlet prior, in votes; `0.0` or `inf` at a boundary.
    """

    low: float
    dirichlet_multinomial: float
    high: float
    prior_strength: float


def attainable_nats(target_counts: ArrayLike, prior_probs: ArrayLike | None = None) -> AttainableNats:
    """The irreducible part of `nats_per_vote`, bracketed instead of guessed by one "floor".

    The mean over votes of the entropy `H(p_i)` of the unknown true distributions is what remains of the nats when
    nothing is left to learn. With `c` the votes of an item, `n` their number, and a Dirichlet prior `n0 · π` fitted to
    the table (`estimate_prior_strength`: `π` the pooled shares, or a model's prediction for the item):

    * `low = H(c / n)`: by Jensen's inequality its expectation is below `H(p)`.
    * `high = -sum_k c_k / n log((c_k - 1 + n0 π_k) / (n - 1 + n0))`: a vote is predicted without having been seen, so
      that the expectation is `H(p)` plus the Kullback–Leibler distance of that predictor from `p`.
    * `dirichlet_multinomial = ψ(A + 1) - sum_k a_k / A ψ(a_k + 1)` with `a = n0 π + c`, `A = n0 + n`: the mean of
      `H(p)` under the posterior Dirichlet(a). It leans on the Dirichlet form; the ends do not.

    The ends hold in expectation, whatever the truth is; a table of few votes may break them by chance, and the prior's
    few fitted numbers have seen the votes that `high` predicts, which tells only in tables of a few dozen items. With
    few votes per item the bracket is wide: nobody can know more. A model reads the item and may get below the `high`
    of the pooled shares; with its predictions as `prior_probs` that end comes down, for a model corrected by the
    item's other votes is a predictor too. Below `low` no model can stay. Means are over votes.

    Args:
        target_counts (array of shape `(num_items, num_categories)`): raw votes, at least one in every row. Of a
            fractional vote, `high` leaves out the fraction only.
        prior_probs (array of shape `(num_items, num_categories)`, *optional*): predictions of a model that has not
            seen these votes; the pooled vote shares if not given.

    Returns:
        [`AttainableNats`].

    Raises:
        ValueError: bad counts, a row without votes, predictions that are no distributions or of another shape, votes
            where they are 0, or votes that cannot identify the prior's strength (no item has two votes).

    Source: the bracket [ours]; entropy's downward bias: Paninski (2003); posterior mean entropy: Wolpert & Wolf,
        *Estimating functions of probability distributions from a finite set of samples* (1995).

    Example:

    >>> nats = attainable_nats([[3, 0], [0, 3], [2, 1], [1, 2]])
    >>> [round(value, 4) for value in nats]
    [0.3183, 0.5, 0.6059, 2.0]
    """
    target_probs, votes = vote_shares(target_counts)
    counts = target_probs * votes[:, None]
    prior = estimate_prior_strength(counts, prior_probs)
    probs = np.broadcast_to(prior.prior_probs, counts.shape)
    per_item = (
        nats_per_vote(target_probs, target_probs),
        _posterior_mean_entropy(counts, prior.prior_strength, probs),
        _left_out_nats(counts, prior.prior_strength, probs),
    )
    return AttainableNats(*(weighted_mean(nats, votes) for nats in per_item), prior.prior_strength)


def _posterior_mean_entropy(counts: np.ndarray, strength: float, prior_probs: np.ndarray) -> np.ndarray:
    """`E[H(p)]` for `p ~ Dirichlet(strength · prior_probs + counts)`, with its limits at a strength of 0 and ∞."""
    if np.isinf(strength):
        return nats_per_vote(prior_probs, prior_probs)
    concentration = strength * prior_probs + counts
    total = concentration.sum(axis=1, keepdims=True)
    return (concentration / total * (digamma(total + 1) - digamma(concentration + 1))).sum(axis=1)


def _left_out_nats(counts: np.ndarray, strength: float, prior_probs: np.ndarray) -> np.ndarray:
    """Mean over the votes of an item of `-log` of their posterior predictive probability without themselves."""
    left_out = np.minimum(counts, 1.0)
    others, rest = counts.sum(axis=1, keepdims=True) - left_out, counts - left_out
    if np.isinf(strength):
        predictive = prior_probs
    else:
        mass = others + strength
        predictive = np.where(mass > 0, (rest + strength * prior_probs) / np.where(mass > 0, mass, 1.0), prior_probs)
    return nats_per_vote(predictive, counts / counts.sum(axis=1, keepdims=True))
