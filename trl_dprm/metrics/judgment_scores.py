"""How far a prediction is from each single judgment: what crossed intervals and per-group reports are made of."""

import numpy as np
from numpy.typing import ArrayLike

from .arrays import distribution_table


def judgment_nats(category_probs: ArrayLike, judged_items: ArrayLike, judged_categories: ArrayLike) -> np.ndarray:
    """`-log q` of the category that each judgment chose; their mean is `nats_per_vote`, weighted by votes.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        judged_items (array of `int` of shape `(num_judgments,)`): row of `category_probs` that was judged.
        judged_categories (array of `int` of shape `(num_judgments,)`): column that was chosen.

    Returns:
        `np.ndarray` of shape `(num_judgments,)`, in nats; `inf` where a chosen category was given probability 0.

    Raises:
        ValueError: a table that is no distribution, lengths that differ, or an index that is no whole number in range.

    Source: standard.

    Example:

    >>> judgment_nats([[0.5, 0.5], [1.0, 0.0]], judged_items=[0, 1, 1], judged_categories=[1, 0, 0]).round(4) + 0.0
    array([0.6931, 0.    , 0.    ])
    """
    probs = distribution_table("category_probs", category_probs)
    items, categories = judgment_indices(judged_items, judged_categories, probs.shape)
    with np.errstate(divide="ignore"):
        return -np.log(probs[items, categories])


def judgment_indices(
    judged_items: ArrayLike, judged_categories: ArrayLike, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a table of `shape` that judgments point to, checked.

    Raises:
        ValueError: not one dimension, no judgments, lengths that differ, or an index that is no whole number in range.

    Example:

    >>> judgment_indices([0, 2], [1, 1], (2, 2))
    Traceback (most recent call last):
    ValueError: judged_items[1] is 2; give whole numbers from 0 to 1
    """
    items = _indices("judged_items", judged_items, shape[0])
    categories = _indices("judged_categories", judged_categories, shape[1])
    if len(items) != len(categories):
        raise ValueError(
            f"judged_items has {len(items)} entries but judged_categories has {len(categories)}; give one of each per "
            "judgment"
        )
    return items, categories


def _indices(name: str, values: ArrayLike, size: int) -> np.ndarray:
    indices = np.asarray(values)
    if indices.ndim != 1 or len(indices) == 0 or indices.dtype.kind not in "iu":
        raise ValueError(
            f"{name} has shape {indices.shape} and dtype {indices.dtype}; give one whole number per judgment"
        )
    outside = (indices < 0) | (indices >= size)
    if outside.any():
        place = int(outside.argmax())
        raise ValueError(f"{name}[{place}] is {indices[place]}; give whole numbers from 0 to {size - 1}")
    return indices
