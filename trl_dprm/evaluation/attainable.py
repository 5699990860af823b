"""What a perfect model could reach, with the best prior that the judged votes have not chosen."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from ..metrics.attainable_nats import AttainableNats, attainable_nats
from ..metrics.averages import weighted_mean
from ..metrics.item_scores import nats_per_vote
from ..metrics.vote_pairs import has_pairs, in_one_category

POOLED = "the shares of all these votes taken together, the same for every item"


def attainable_bracket(
    judged: Mapping[str, np.ndarray],
    validation: Mapping[str, np.ndarray],
    target_counts: np.ndarray,
    validation_counts: ArrayLike | None,
) -> tuple[AttainableNats | None, str]:
    """The bracket of [`attainable_nats`], its upper end brought down by the model that the validation votes like best.

    A model's prediction, corrected by an item's other votes, predicts a vote better than the table's pooled shares do,
    and whatever predicts votes it has not seen is above what is attainable. But of several models the one that is best
    *here* is best partly by luck. So the validation votes choose: the prediction, raw or recalibrated, of fewest nats
    per vote there, if it is below the entropy of their own pooled shares. Without validation votes no model is chosen.

    Args:
        judged (`dict` by name of `np.ndarray` of shape `(N, K)`): predictions for the judged items.
        validation (`dict` by name of `np.ndarray` of shape `(M, K)`): of some of these for the validation items.
        target_counts (`np.ndarray` of shape `(N, K)`): judged votes.
        validation_counts (array of shape `(M, K)`, *optional*): validation votes.

    Returns:
        [`~trl_dprm.metrics.AttainableNats`], and what its prior is, in words; `None` where no prior's strength is
        known: no item has two votes, or all votes are for one category and no model is chosen.

    Source: [ours].

    Example:

    >>> truth = np.array([[0.9, 0.1], [0.2, 0.8]] * 20)
    >>> votes = np.array([[3, 1], [0, 4]] * 20)
    >>> nats, prior = attainable_bracket({"model": truth}, {"model": truth}, votes, votes)
    >>> prior, nats.high < attainable_nats(votes).high
    ('the predictions of model', True)
    """
    if not has_pairs(target_counts).any():
        return None, POOLED
    name = None if validation_counts is None else _chosen(validation, np.asarray(validation_counts, dtype=np.float64))
    if name is None or (judged[name][target_counts > 0] == 0).any():  # impossible votes have no posterior
        return None if in_one_category(target_counts) else attainable_nats(target_counts), POOLED
    return attainable_nats(target_counts, judged[name]), f"the predictions of {name}"


def _chosen(validation: Mapping[str, np.ndarray], counts: np.ndarray) -> str | None:
    """The name of fewest nats per validation vote, `None` where saying nothing has fewer."""
    votes = counts.sum(axis=1)
    counts, voted, votes = counts[votes > 0], votes > 0, votes[votes > 0]
    shares = counts / votes[:, None]
    pooled = np.broadcast_to(counts.sum(axis=0) / votes.sum(), shares.shape)
    nats = {None: weighted_mean(nats_per_vote(pooled, shares), votes)}
    nats |= {name: weighted_mean(nats_per_vote(probs[voted], shares), votes) for name, probs in validation.items()}
    return min(nats, key=nats.__getitem__)
