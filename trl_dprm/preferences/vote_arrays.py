"""Checks of the arrays that the Bayesian updaters take: each refusal names the value, its place and the remedy."""

import math
from collections.abc import Sequence

import numpy as np

from ..models.distributions import PROBABILITY_TOLERANCE


def as_counts(target_counts, num_categories: int | None = None, name: str = "target_counts") -> np.ndarray:
    """Votes per item as float64; they may be fractional (effective votes), never negative.

    Args:
        target_counts (array of shape `(N, K)`): finite votes, at least 0; K >= 2.
        num_categories (`int`, *optional*): the K that is expected.
        name (`str`): what messages call the array.

    Returns:
        `np.ndarray` of shape `(N, K)`.

    Raises:
        ValueError: for another shape, and for the first vote that is negative, NaN or infinite, by row and column.

    >>> as_counts([[2, 0], [0.5, 1]])
    array([[2. , 0. ],
           [0.5, 1. ]])
    """
    counts = np.asarray(target_counts, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[1] < 2:
        raise ValueError(
            f"{name} has shape {counts.shape}; give one row per item and one column per category, (N, K) with K >= 2."
        )
    if num_categories is not None and counts.shape[1] != num_categories:
        raise ValueError(
            f"{name} has {counts.shape[1]} columns but the prior has {num_categories} categories; "
            "give one column per category, in the prior's order."
        )
    refuse_first(~(counts >= 0) | np.isinf(counts), counts, name, "votes are finite and not negative; correct the row")
    return counts


def as_probs(probs, name: str = "prior_probs") -> np.ndarray:
    """Distributions as float64; a rounding error in the sum, up to `PROBABILITY_TOLERANCE`, is divided out.

    Args:
        probs (array of shape `(K,)` or `(N, K)`): finite, at least 0, with sums of 1; K >= 2.
        name (`str`): what messages call the array.

    Returns:
        `np.ndarray` of the same shape.

    Raises:
        ValueError: for another shape, for the first entry that is negative, NaN or infinite, and for the first row
            that does not sum to 1.

    >>> as_probs([0.25, 0.75])
    array([0.25, 0.75])
    """
    probs = np.asarray(probs, dtype=np.float64)
    if probs.ndim not in (1, 2) or probs.shape[-1] < 2:
        raise ValueError(f"{name} has shape {probs.shape}; give (K,) for all items or (N, K) per item, with K >= 2.")
    refuse_first(~(probs >= 0) | np.isinf(probs), probs, name, "probabilities lie between 0 and 1; correct it")
    sums = probs.sum(-1, keepdims=True)
    wrong = np.abs(sums - 1) > PROBABILITY_TOLERANCE
    if wrong.any():
        row = "" if probs.ndim == 1 else f" in row {np.argmax(wrong)}"
        raise ValueError(f"{name}{row} sums to {sums[wrong][0]:.6g}, not to 1; divide it by its sum.")
    return probs / sums


def refuse_first(bad: np.ndarray, values: np.ndarray, name: str, remedy: str) -> None:
    """Refuse an array for the first of its bad entries.

    Args:
        bad (`np.ndarray` of `bool`, shape `(K,)` or `(N, K)`): which entries are bad.
        values (`np.ndarray` of the same shape): what stands there.
        name (`str`): of the array, for the message.
        remedy (`str`): what is wrong and what to do, for the message.

    Raises:
        ValueError: naming value, row and column, if any entry is bad.
    """
    if bad.any():
        place = np.unravel_index(np.argmax(bad), bad.shape)
        where = f"column {place[-1]}" if len(place) == 1 else f"row {place[0]}, column {place[1]}"
        raise ValueError(f"{name} is {values[place]} at {where}; {remedy}.")


def refuse_votes_without_prior(counts: np.ndarray, probs: np.ndarray, name: str = "prior_probs") -> None:
    """Refuse votes for a category with prior probability 0: its posterior is 0 whatever the votes.

    Args:
        counts (`np.ndarray` of shape `(N, K)`): votes.
        probs (`np.ndarray` of shape `(K,)` or `(N, K)`): prior means.
        name (`str`): what the message calls the prior.

    Raises:
        ValueError: naming row and column of the first such vote.
    """
    impossible = (counts > 0) & (probs == 0)
    if impossible.any():
        row, column = np.unravel_index(np.argmax(impossible), impossible.shape)
        raise ValueError(
            f"row {row} has {counts[row, column]:g} votes in column {column}, where {name} is 0; "
            "no number of votes can revive it: give every category that can occur a positive prior probability."
        )


def positive_number(value, name: str, meaning: str) -> float:
    """A finite number above 0; 0 and infinity (boundary estimates) are refused with what they mean.

    Args:
        value (number): to check.
        name (`str`), meaning (`str`): of the value, for the message.

    Returns:
        `float` above 0.

    Raises:
        ValueError: for any other number, NaN included.
    """
    number = float(value)
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{name} is {value}; it is {meaning}: give a finite number above 0.")
    return number


def unit_number(value, name: str, meaning: str) -> float:
    """A number from 0 to 1.

    Args:
        value (number): to check.
        name (`str`), meaning (`str`): of the value, for the message.

    Returns:
        `float` in [0, 1].

    Raises:
        ValueError: for any other number, NaN included.
    """
    number = float(value)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} is {value}; it is {meaning}: give a number from 0 to 1.")
    return number


def level_number(level) -> float:
    """The coverage of an interval.

    Args:
        level (number): strictly between 0 and 1.

    Returns:
        `float`.

    Raises:
        ValueError: for any other number, NaN included.
    """
    number = float(level)
    if not 0 < number < 1:
        raise ValueError(
            f"level is {level}; it is an interval's coverage: give a number between 0 and 1, such as 0.9."
        )
    return number


def as_rewards(category_rewards, num_categories: int) -> np.ndarray:
    """Category rewards as float64.

    Args:
        category_rewards (sequence of K numbers): finite, in any order, ties allowed.
        num_categories (`int`): K.

    Returns:
        `np.ndarray` of shape `(K,)`.

    Raises:
        ValueError: for another shape, and for the first reward that is NaN or infinite, by its place.
    """
    rewards = np.asarray(category_rewards, dtype=np.float64)
    if rewards.shape != (num_categories,):
        raise ValueError(
            f"category_rewards has shape {rewards.shape} for {num_categories} categories; give one per category."
        )
    refuse_first(~np.isfinite(rewards), rewards, "category_rewards", "rewards are finite numbers; correct it")
    return rewards


def as_category_names(category_names: Sequence[str], num_categories: int) -> list[str]:
    """Names of the categories that columns of votes stand for.

    Args:
        category_names (sequence of K distinct `str`): in the order of the columns.
        num_categories (`int`): K.

    Returns:
        `list` of `str`.

    Raises:
        ValueError: for another number of names, a name that is no text, and one that stands twice.

    >>> as_category_names(("bad", "good"), 2)
    ['bad', 'good']
    """
    names = [category_names] if isinstance(category_names, str) else list(category_names)
    if len(names) != num_categories:
        raise ValueError(
            f"category_names has {len(names)} names for {num_categories} categories; give one per column."
        )
    for place, name in enumerate(names):
        if not isinstance(name, str) or name in names[:place]:
            raise ValueError(f"category_names[{place}] is {name!r}; give each category its own name, as text.")
    return names


def as_item_ids(item_ids: Sequence, num_rows: int | None = None) -> list[str | int]:
    """Item ids as Python strings or integers: the two kinds that JSON keeps apart.

    Args:
        item_ids (sequence or array of `str` or `int`): NumPy's kinds of them included.
        num_rows (`int`, *optional*): how many are expected.

    Returns:
        `list` of `str` and `int`, in the same order.

    Raises:
        ValueError: for another number of ids, and for the first one of another type (`bool` and `float` among them).

    >>> as_item_ids(np.array([3, 1]))
    [3, 1]
    """
    ids = item_ids.tolist() if isinstance(item_ids, np.ndarray) else list(item_ids)
    ids = [item.item() if isinstance(item, np.generic) else item for item in ids]
    if num_rows is not None and len(ids) != num_rows:
        raise ValueError(f"item_ids has {len(ids)} entries for {num_rows} rows; give one id per row.")
    if not set(map(type, ids)) <= {str, int}:
        row = next(i for i, item in enumerate(ids) if type(item) not in (str, int))
        raise ValueError(
            f"item_ids is {ids[row]!r} ({type(ids[row]).__name__}) at row {row}; ids are strings or integers."
        )
    return ids


def as_timestamps(timestamp, num_rows: int) -> np.ndarray:
    """Timestamps as finite float64; one number stands for every row.

    Args:
        timestamp (number, or array of shape `(num_rows,)`): in any fixed unit; no dates.
        num_rows (`int`): number of rows.

    Returns:
        `np.ndarray` of shape `(num_rows,)`.

    Raises:
        ValueError: for another type or shape, and for the first time that is NaN or infinite, by its row.

    >>> as_timestamps(3, num_rows=2)
    array([3., 3.])
    """
    times = np.asarray(timestamp)
    if times.dtype.kind not in "iuf":
        raise ValueError(
            f"timestamp has dtype {times.dtype}; give numbers in one unit of your choice, for example days: "
            "(times - np.datetime64('2024-01-01')) / np.timedelta64(1, 'D')."
        )
    if times.shape not in ((), (num_rows,)):
        raise ValueError(f"timestamp has shape {times.shape} for {num_rows} rows; give one number, or one per row.")
    times = np.broadcast_to(times.astype(np.float64), num_rows)
    if not np.isfinite(times).all():
        row = np.argmin(np.isfinite(times))
        raise ValueError(f"timestamp is {times[row]} at row {row}; give a finite number or drop the row.")
    return times
