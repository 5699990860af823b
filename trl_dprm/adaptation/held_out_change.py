"""What held-out votes say of two predictions of them: a difference with its interval, where there are votes enough."""

import numpy as np

from ..metrics import PairedDifference, paired_difference

LEAST_ITEMS_FOR_VERDICT = 30
"""With votes: on fewer the bootstrap's interval is far too narrow, and a verdict would be a guess."""


def nats_per_vote(log_probs: np.ndarray, target_counts: np.ndarray) -> float:
    """Nats per vote of predictions.

    Args:
        log_probs (`np.ndarray` of shape `(N, K)`): predicted.
        target_counts (`np.ndarray` of shape `(N, K)`): votes, one at least.

    >>> round(nats_per_vote(np.log([[0.5, 0.5]]), np.array([[3.0, 1.0]])), 4)
    0.6931
    """
    return float(-(target_counts * log_probs).sum() / target_counts.sum())


def nats_change(log_probs: np.ndarray, before: np.ndarray, target_counts: np.ndarray) -> PairedDifference | None:
    """Nats per vote of predictions minus those of others, with an interval over the items with votes.

    Args:
        log_probs (`np.ndarray` of shape `(N, K)`): predicted, without the item's own votes.
        before (`np.ndarray` of shape `(N, K)`): what they are compared with, likewise.
        target_counts (`np.ndarray` of shape `(N, K)`): votes.

    Returns:
        [`~trl_dprm.metrics.PairedDifference`]; `None` for fewer than `LEAST_ITEMS_FOR_VERDICT` items with votes.
    """
    votes = target_counts.sum(1)
    voted = votes > 0
    if voted.sum() < LEAST_ITEMS_FOR_VERDICT:
        return None
    nats = [-(target_counts * values).sum(1)[voted] / votes[voted] for values in (log_probs, before)]
    return paired_difference(*nats, weight=votes[voted])


def change_in_words(change: PairedDifference) -> str:
    """A difference with its interval, as verdicts and tables write it.

    Args:
        change ([`~trl_dprm.metrics.PairedDifference`]): In nats per vote.
    """
    return f"{change.difference:+.4f} (95 % interval {change.low:+.4f} to {change.high:+.4f})"
