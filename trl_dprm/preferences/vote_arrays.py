"""Checks of the arrays that the Bayesian updaters take: each refusal names the value, its place and the remedy."""

import math
from collections.abc import Sequence

import numpy as np

SUM_TOLERANCE = 1e-5


def as_counts(target_counts, num_categories: int | None = None, name: str = "target_counts") -> np.ndarray:
    """Votes per item as float64 of shape `(N, K)`; they may be fractional (effective votes), never negative."""
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
    """Distributions as float64 of shape `(K,)` or `(N, K)`; a rounding error up to 1e-5 in the sum is divided out."""
    probs = np.asarray(probs, dtype=np.float64)
    if probs.ndim not in (1, 2) or probs.shape[-1] < 2:
        raise ValueError(f"{name} has shape {probs.shape}; give (K,) for all items or (N, K) per item, with K >= 2.")
    refuse_first(~(probs >= 0) | np.isinf(probs), probs, name, "probabilities lie between 0 and 1; correct it")
    sums = probs.sum(-1, keepdims=True)
    wrong = np.abs(sums - 1) > SUM_TOLERANCE
    if wrong.any():
        row = "" if probs.ndim == 1 else f" in row {np.argmax(wrong)}"
        raise ValueError(f"{name}{row} sums to {sums[wrong][0]:.6g}, not to 1; divide it by its sum.")
    return probs / sums


def refuse_first(bad: np.ndarray, values: np.ndarray, name: str, remedy: str) -> None:
    """Raise for the first entry marked in `bad`, naming value, row and column."""
    if bad.any():
        place = np.unravel_index(np.argmax(bad), bad.shape)
        where = f"column {place[-1]}" if len(place) == 1 else f"row {place[0]}, column {place[1]}"
        raise ValueError(f"{name} is {values[place]} at {where}; {remedy}.")


def refuse_votes_without_prior(counts: np.ndarray, probs: np.ndarray, name: str = "prior_probs") -> None:
    """A category with prior probability 0 has posterior 0 whatever the votes: refuse votes for it."""
    impossible = (counts > 0) & (probs == 0)
    if impossible.any():
        row, column = np.unravel_index(np.argmax(impossible), impossible.shape)
        raise ValueError(
            f"row {row} has {counts[row, column]:g} votes in column {column}, where {name} is 0; "
            "no number of votes can revive it: give every category that can occur a positive prior probability."
        )


def positive_number(value, name: str, meaning: str) -> float:
    """A finite number above 0; 0 and infinity (boundary estimates) are refused with what they mean."""
    number = float(value)
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{name} is {value}; it is {meaning}: give a finite number above 0.")
    return number


def unit_number(value, name: str, meaning: str) -> float:
    """A number in [0, 1]."""
    number = float(value)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} is {value}; it is {meaning}: give a number from 0 to 1.")
    return number


def level_number(level) -> float:
    """The coverage of an interval, strictly between 0 and 1."""
    number = float(level)
    if not 0 < number < 1:
        raise ValueError(
            f"level is {level}; it is an interval's coverage: give a number between 0 and 1, such as 0.9."
        )
    return number


def as_rewards(category_rewards, num_categories: int) -> np.ndarray:
    """Category rewards as float64 of shape `(K,)`."""
    rewards = np.asarray(category_rewards, dtype=np.float64)
    if rewards.shape != (num_categories,):
        raise ValueError(
            f"category_rewards has shape {rewards.shape} for {num_categories} categories; give one per category."
        )
    refuse_first(~np.isfinite(rewards), rewards, "category_rewards", "rewards are finite numbers; correct it")
    return rewards


def as_item_ids(item_ids: Sequence, num_rows: int | None = None) -> list[str | int]:
    """Item ids as Python strings or integers (the two kinds that JSON keeps apart), one per row."""
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
    """Timestamps as finite float64 of shape `(num_rows,)`; one number stands for every row."""
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
