"""What every metric asks of its arrays, checked once, with errors that say where and what to do."""

import numpy as np
from numpy.typing import ArrayLike

from ..models.distributions import PROBABILITY_TOLERANCE


def vote_shares(target_counts: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Vote counts as the two arrays that the metrics take: shares, and how many votes stand behind them.

    Args:
        target_counts (array of shape `(num_items, num_categories)`): non-negative, may be fractional (an annotator
            split over two answers), at least one vote in every row.

    Returns:
        `target_probs` of shape `(num_items, num_categories)`, rows sum to 1, and `vote_weight` of shape
        `(num_items,)`.

    Raises:
        ValueError: not two-dimensional, a count that is negative or not finite, or a row without votes.

    Example:

    >>> target_probs, vote_weight = vote_shares([[1, 0, 3], [2, 0, 0]])
    >>> target_probs.tolist(), vote_weight.tolist()
    ([[0.25, 0.0, 0.75], [1.0, 0.0, 0.0]], [4.0, 2.0])
    """
    counts = _non_negative_table("target_counts", target_counts)
    vote_weight = counts.sum(axis=1)
    if (vote_weight == 0).any():
        row = int((vote_weight == 0).argmax())
        raise ValueError(f"target_counts row {row} has no votes; leave out items that nobody judged")
    return counts / vote_weight[:, None], vote_weight


def distribution_table(name: str, values: ArrayLike) -> np.ndarray:
    """One distribution per row, as float64 of shape `(num_items, num_categories)`.

    Raises:
        ValueError: not two-dimensional, no items, an entry that is negative or not finite, or a row whose sum is off
            one by more than `PROBABILITY_TOLERANCE`.

    Example:

    >>> distribution_table("category_probs", [[0.5, 0.5], [2.0, 1.0]])
    Traceback (most recent call last):
    ValueError: category_probs row 1 sums to 3, not 1; give probabilities (softmax of logits, or counts / their sum)
    """
    table = _non_negative_table(name, values)
    sums = table.sum(axis=1)
    off = np.abs(sums - 1) > PROBABILITY_TOLERANCE
    if off.any():
        row = int(off.argmax())
        raise ValueError(
            f"{name} row {row} sums to {sums[row]:g}, not 1; give probabilities (softmax of logits, or counts / "
            "their sum)"
        )
    return table


def matching_distributions(category_probs: ArrayLike, target_probs: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets of the same items over the same categories.

    Raises:
        ValueError: as `distribution_table`, or shapes that differ.
    """
    predictions = distribution_table("category_probs", category_probs)
    targets = distribution_table("target_probs", target_probs)
    if predictions.shape != targets.shape:
        raise ValueError(
            f"category_probs has shape {predictions.shape} but target_probs has {targets.shape}; give one row per "
            "item and one column per category in both"
        )
    return predictions, targets


def matching_counts(category_probs: ArrayLike, target_counts: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and raw votes of the same items over the same categories; items may have no votes.

    Raises:
        ValueError: as `distribution_table` and `count_table`, or shapes that differ.
    """
    predictions = distribution_table("category_probs", category_probs)
    counts = count_table(target_counts)
    if predictions.shape != counts.shape:
        raise ValueError(
            f"category_probs has shape {predictions.shape} but target_counts has {counts.shape}; give one row per "
            "item and one column per category in both"
        )
    return predictions, counts


def matching_whole_counts(category_probs: ArrayLike, target_counts: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and raw votes as `matching_counts`, for what is only defined by whole votes.

    Raises:
        ValueError: as `matching_counts`, or a count that is not whole.

    Example:

    >>> matching_whole_counts([[0.5, 0.5]], [[1.5, 0.5]])
    Traceback (most recent call last):
    ValueError: target_counts row 0, category 0 is 1.5; give whole votes (not weighted or split ones)
    """
    predictions, counts = matching_counts(category_probs, target_counts)
    broken = counts != np.rint(counts)
    if broken.any():
        row, column = np.argwhere(broken)[0]
        raise ValueError(
            f"target_counts row {row}, category {column} is {counts[row, column]:g}; give whole votes (not weighted "
            "or split ones)"
        )
    return predictions, counts


def count_table(target_counts: ArrayLike) -> np.ndarray:
    """Raw votes as float64 of shape `(num_items, num_categories)`; they may be fractional, rows may be empty.

    Raises:
        ValueError: not two-dimensional, no items, or a count that is negative or not finite.

    Example:

    >>> count_table([[2, -1]])
    Traceback (most recent call last):
    ValueError: target_counts row 0, category 1 is -1; give a finite number >= 0
    """
    return _non_negative_table("target_counts", target_counts)


def cost_table(cost_matrix: ArrayLike, num_categories: int) -> np.ndarray:
    """The ground cost as float64 of shape `(num_categories, num_categories)`, the mean of its two directions.

    Raises:
        ValueError: another shape, an entry that is negative or not finite, or a diagonal other than zero.

    Example:

    >>> cost_table([[0, 1], [3, 0]], 2)
    array([[0., 2.],
           [2., 0.]])
    """
    cost = _float64(cost_matrix)
    if cost.shape != (num_categories, num_categories):
        raise ValueError(
            f"cost_matrix has shape {cost.shape} for {num_categories} categories; give one row and column for each"
        )
    bad = ~(np.isfinite(cost) & (cost >= 0)) | ((cost != 0) & np.eye(num_categories, dtype=bool))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"cost_matrix[{row}][{column}] is {cost[row, column]:g}; give finite, non-negative costs with zeros on "
            "the diagonal"
        )
    return (cost + cost.T) / 2


def weight_vector(name: str, values: ArrayLike | None, length: int) -> np.ndarray:
    """Weights of the items as float64 of shape `(length,)`; ones for `None`.

    Raises:
        ValueError: another length, a weight that is negative or not finite, or nothing but zeros.

    Example:

    >>> weight_vector("vote_weight", [3, -1], 2)
    Traceback (most recent call last):
    ValueError: vote_weight[1] is -1; give a finite weight of at least 0
    """
    if values is None:
        return np.ones(length)
    weight = finite_vector(name, values, length)
    if (weight < 0).any():
        place = int((weight < 0).argmax())
        raise ValueError(f"{name}[{place}] is {weight[place]:g}; give a finite weight of at least 0")
    if not weight.any():
        raise ValueError(f"{name} is zero everywhere; at least one item must count")
    return weight


def finite_vector(name: str, values: ArrayLike, length: int | None = None) -> np.ndarray:
    """Finite numbers as float64 of shape `(length,)`, or of any length above 0 for `None`.

    Raises:
        ValueError: not one-dimensional, empty, another length, or an entry that is not finite.

    Example:

    >>> finite_vector("chosen_rewards", [0.5, float("nan")])
    Traceback (most recent call last):
    ValueError: chosen_rewards[1] is nan; give finite numbers
    """
    vector = _float64(values)
    if vector.ndim != 1 or len(vector) == 0:
        raise ValueError(f"{name} has shape {vector.shape}; give one dimension with at least one entry")
    if length is not None and len(vector) != length:
        raise ValueError(f"{name} has {len(vector)} entries where {length} are needed; give one for each")
    if not np.isfinite(vector).all():
        place = int((~np.isfinite(vector)).argmax())
        raise ValueError(f"{name}[{place}] is {vector[place]}; give finite numbers")
    return vector


def share_vector(name: str, values: ArrayLike, length: int | None = None) -> np.ndarray:
    """Numbers between 0 and 1 as float64 of shape `(length,)`; a rounding error beyond is clipped.

    Raises:
        ValueError: as `finite_vector`, or an entry outside [0, 1] by more than `PROBABILITY_TOLERANCE`.

    Example:

    >>> share_vector("chosen_vote_share", [0.5, 3.0])
    Traceback (most recent call last):
    ValueError: chosen_vote_share[1] is 3; give a share between 0 and 1 (votes for / all votes)
    """
    shares = finite_vector(name, values, length)
    outside = (shares < -PROBABILITY_TOLERANCE) | (shares > 1 + PROBABILITY_TOLERANCE)
    if outside.any():
        place = int(outside.argmax())
        raise ValueError(f"{name}[{place}] is {shares[place]:g}; give a share between 0 and 1 (votes for / all votes)")
    return shares.clip(0, 1)


def _non_negative_table(name: str, values: ArrayLike) -> np.ndarray:
    table = _float64(values)
    if table.ndim != 2 or 0 in table.shape:
        raise ValueError(f"{name} has shape {table.shape}; give (num_items, num_categories), at least one of each")
    bad = ~(np.isfinite(table) & (table >= 0))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(f"{name} row {row}, category {column} is {table[row, column]:g}; give a finite number >= 0")
    return table


def _float64(values: ArrayLike) -> np.ndarray:
    """Contiguous and writable, as PyTorch wants them, copied only if need be: `np.broadcast_to` is welcome."""
    return np.require(values, np.float64, ["C", "W"])
