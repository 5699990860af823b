"""A split rule that needs no stored list: the hash of a group decides its part."""

import math
from collections.abc import Iterable, Mapping
from hashlib import blake2b

SPLIT_FRACTIONS = {"train": 0.7, "validation": 0.1, "test": 0.2}


def split_by_hash(values: Iterable, fractions: Mapping[str, float] = SPLIT_FRACTIONS, salt: str = "") -> list[str]:
    """The part of each value: equal values (turns of one conversation) always fall into the same part.

    The first 8 bytes of BLAKE2b of the value's text, as a number in [0, 1), pick the part. So the split is the same on
    every machine, does not depend on the other rows or their order, and a later row never moves an earlier one.

    Args:
        values (iterable of N `str` or `int`): the group of each item, such as its conversation.
        fractions (`dict` of `float`): share of each part, in order, summing to 1.
        salt (`str`): put before each value; another salt is another split.

    Returns:
        `list` of N `str`.

    Raises:
        ValueError: for fractions that are negative or do not sum to 1, and for a missing value, with its row.

    >>> split_by_hash(["conversation 1", "conversation 2", "conversation 2", "conversation 17"])
    ['train', 'test', 'test', 'train']
    """
    if any(not 0 <= fraction <= 1 for fraction in fractions.values()) or not math.isclose(sum(fractions.values()), 1):
        raise ValueError(f"fractions is {dict(fractions)}; give shares from 0 to 1 that sum to 1.")
    part_of = {}
    parts = []
    for row, value in enumerate(values):
        if value is None:
            raise ValueError(f"row {row} has no value to split by; fill it in, or split by another column.")
        if value not in part_of:
            part_of[value] = _part(f"{salt}{value}", fractions)
        parts.append(part_of[value])
    return parts


def _part(text: str, fractions: Mapping[str, float]) -> str:
    """The part in whose range the hash of the text falls."""
    place = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
    end = 0.0
    for name, fraction in fractions.items():
        end += fraction
        if place < end:
            return name
    return next(name for name, fraction in reversed(fractions.items()) if fraction > 0)
