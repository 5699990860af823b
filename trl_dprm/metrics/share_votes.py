"""Votes from shares that were kept in single precision: whole ones exactly so."""

import numpy as np
from numpy.typing import ArrayLike

_SINGLE_PRECISION = 1e-6


def votes_of_shares(target_probs: ArrayLike, vote_weight: ArrayLike) -> np.ndarray:
    """The counts behind vote shares; what is whole but for the rounding of the shares is made whole.

    Args:
        target_probs (array of shape `(num_items, num_categories)`): vote shares, of any precision.
        vote_weight (array of shape `(num_items,)`): votes of each item.

    Returns:
        `np.ndarray` of shape `(num_items, num_categories)`, float64.

    Example:

    >>> votes_of_shares(np.array([[1 / 3, 2 / 3], [0.25, 0.75]], dtype=np.float32), [3.0, 2.0])
    array([[1. , 2. ],
           [0.5, 1.5]])
    """
    weight = np.asarray(vote_weight, dtype=np.float64)[:, None]
    counts = np.asarray(target_probs, dtype=np.float64) * weight
    return np.where(np.abs(counts - np.rint(counts)) < _SINGLE_PRECISION * weight, np.rint(counts), counts)
