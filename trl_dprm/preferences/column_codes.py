"""From the columns of a table to integer codes and numbers; a value that cannot be used is refused with its row."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..models.distributions import PROBABILITY_TOLERANCE
from .categories import PreferenceCategories

LIST_TYPES = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
KEY_SEPARATOR = "\x1f"
CODED_TYPES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean)


def encode(column: pa.ChunkedArray, name: str) -> tuple[np.ndarray, pa.Array]:
    """Codes of a column's values, −1 where a value is missing (null or blank), and the values.

    Args:
        column (`pyarrow.ChunkedArray` of length R): text, whole numbers (also those that pandas made floating because
            some are missing) or booleans.
        name (`str`): of the column, for messages.

    Returns:
        `np.ndarray` of shape `(R,)`, int32, numbered in the order of first appearance, and `pyarrow.Array` with the
        value of each code.

    Raises:
        ValueError: for a column of another type.

    >>> codes, values = encode(pa.chunked_array([["b", "a", None], ["b", " "]]), "group")
    >>> codes, values.to_pylist()
    (array([ 0,  1, -1,  0, -1], dtype=int32), ['b', 'a'])
    """
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    column = _whole(column, name)
    encoded = column.dictionary_encode().combine_chunks()
    codes, values = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), encoded.dictionary
    if pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        return codes, values
    filled = pc.not_equal(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0).to_numpy(zero_copy_only=False)
    if filled.all():
        return codes, values
    renumbered = np.where(filled, np.cumsum(filled) - 1, -1).astype(np.int32)
    return np.append(renumbered, np.int32(-1))[codes], values.filter(pa.array(filled))


def encode_items(rows: pa.Table, key: Sequence[str]) -> tuple[np.ndarray, pa.Array]:
    """Codes and ids of the items; where several columns identify them, the ids are 128-bit hashes of their values.

    Args:
        rows (`pyarrow.Table` of R rows): with these columns.
        key (sequence of `str`): the columns that identify the item, of the types of [`encode`].

    Returns:
        `np.ndarray` of shape `(R,)`, int32, numbered in the order of first appearance, and `pyarrow.Array` with the id
        of each item.

    Raises:
        ValueError: naming the row and the columns, for one without an id.

    >>> codes, ids = encode_items(pa.table({"dialogue": ["x", "x", "x"], "turn": [1, 2, 1]}), ("dialogue", "turn"))
    >>> codes, ids[0]
    (array([0, 1, 0], dtype=int32), <pyarrow.StringScalar: '646d8c33f47f9eaa2bbe7514b625cfec'>)
    """
    if len(key) == 1:
        codes, ids = encode(rows[key[0]], key[0])
    else:
        texts = [rows[name].cast(pa.string()) for name in key]
        codes, texts = encode(pc.binary_join_element_wise(*texts, KEY_SEPARATOR), " + ".join(key))
        ids = pa.array([blake2b(text.encode(), digest_size=16).hexdigest() for text in texts.to_pylist()], pa.string())
    refuse_rows(codes < 0, " + ".join(key), "the item id is empty; give every row its item")
    return codes, ids


def encode_categories(
    column: pa.ChunkedArray, name: str, categories: PreferenceCategories, row_of: np.ndarray | None = None
) -> np.ndarray:
    """Category of each row, −1 where it is missing.

    A value is a category's name, or its index from 0. Where the names themselves are numbers (a Likert scale's points)
    every number is a name, so that a scale from 1 to 5 is never read as indices by mistake.

    Args:
        column (`pyarrow.ChunkedArray` of length R): text or whole numbers.
        name (`str`): of the column, for messages.
        categories ([`PreferenceCategories`]): the known ones.
        row_of (`np.ndarray` of shape `(R,)`, *optional*): the table's row of each value, for messages.

    Returns:
        `np.ndarray` of shape `(R,)`, int32.

    Raises:
        ValueError: for a value that is no category, listing the known ones.

    >>> from trl_dprm.preferences import likert_categories
    >>> encode_categories(pa.chunked_array([[5, 1, None]]), "stars", likert_categories(5))
    array([ 4,  0, -1], dtype=int32)
    """
    codes, values = encode(column, name)
    place_of = {text: place for place, text in enumerate(categories.names)}
    named_by_numbers = all(text.lstrip("-").isdigit() for text in categories.names)
    if not named_by_numbers:
        place_of = {str(place): place for place in range(len(categories))} | place_of
    places = []
    for code, value in enumerate(values.to_pylist()):
        place = place_of.get(str(value))
        if place is None:
            indices = "" if named_by_numbers else f" (or their indices, 0 to {len(categories) - 1})"
            known = f"the known names are {list(categories.names)}{indices}"
            remedy = (
                "correct the value, or give the categories that people chose among: `--category_names` and "
                "`--category_rewards` on the command line, `PreferenceCategories(names, rewards)` in Python"
            )
            refuse_rows(codes == code, name, f"{value!r} is no category; {known}; {remedy}", row_of)
        places.append(place)
    return np.array([*places, -1], dtype=np.int32)[codes]


def encode_one_hot(rows: pa.Table, names: Sequence[str], num_categories: int) -> np.ndarray:
    """Category of each row from one 0/1 column per category, −1 where none is marked.

    Args:
        rows (`pyarrow.Table` of R rows): with these columns.
        names (sequence of K `str`): the columns, in the order of the categories.
        num_categories (`int`): K.

    Returns:
        `np.ndarray` of shape `(R,)`, int32.

    Raises:
        ValueError: for another number of columns, and naming row and column for a value other than 0 and 1 and for a
            row that marks several categories.

    >>> encode_one_hot(pa.table({"no": [1, 0], "yes": [0, 1]}), ["no", "yes"], 2)
    array([0, 1], dtype=int32)
    """
    if len(names) != num_categories:
        raise ValueError(
            f"category_columns has {len(names)} columns for {num_categories} categories; give one per category, in "
            "their order."
        )
    codes = np.full(len(rows), -1, dtype=np.int32)
    for place, name in enumerate(names):
        marks = as_numbers(rows[name], name)
        refuse_rows((marks != 0) & (marks != 1), name, "a category column holds 0 or 1; correct it")
        refuse_rows((marks == 1) & (codes >= 0), name, "a second category is marked; mark one, or split the row")
        codes[marks == 1] = place
    return codes


def as_numbers(column: pa.ChunkedArray, name: str, needed: np.ndarray | None = None) -> np.ndarray:
    """Finite, not negative numbers from a column of numbers, booleans or text.

    Args:
        column (`pyarrow.ChunkedArray` of length R): what the table has.
        name (`str`): of the column, for messages.
        needed (`np.ndarray` of `bool`, shape `(R,)`, *optional*): rows that must have such a number, default all. The
            others may hold anything; what is no number there gives NaN.

    Returns:
        `np.ndarray` of shape `(R,)`, float64.

    Raises:
        ValueError: naming row, column and value, for one that is missing (null, or NaN in pandas), no number, negative
            or not finite.

    >>> as_numbers(pa.chunked_array([["1", "0.5"]]), "weight")
    array([1. , 0.5])
    """
    try:
        numbers = column.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        numbers = pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(np.float64)
    bad = (~(numbers >= 0) | np.isinf(numbers)) & (True if needed is None else needed)
    if bad.any():
        value = column[int(np.argmax(bad))].as_py()
        shown = "None or NaN" if value is None else repr(value)
        refuse_rows(bad, name, f"{shown} is not a finite number of at least 0; correct it or remove the row")
    return numbers


def as_times(column: pa.ChunkedArray, name: str, needed: np.ndarray | None = None) -> np.ndarray:
    """Numbers that order a column of numbers, dates, Arrow timestamps or ISO 8601 text.

    Args:
        column (`pyarrow.ChunkedArray` of length R): what the table has.
        name (`str`): of the column, for messages.
        needed (`np.ndarray` of `bool`, shape `(R,)`, *optional*): rows that must have their time, default all.

    Returns:
        `np.ndarray` of shape `(R,)`: numbers as they are, times in microseconds since 1970; 0 where one is missing.

    Raises:
        ValueError: for text that is no such time, and for a missing time, with its row.

    >>> as_times(pa.chunked_array([["2024-05-01", "2024-04-30 12:00:00"]]), "timestamp").argsort()
    array([1, 0])
    """
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.if_else(pc.equal(column, ""), None, column)
    missing = column.is_null().to_numpy() & (True if needed is None else needed)
    refuse_rows(missing, name, "the time is missing; fill it in, or leave the column out")
    if pa.types.is_temporal(column.type):
        return column.cast(pa.timestamp("us")).cast(pa.int64()).fill_null(0).to_numpy()
    for kind in (pa.float64(), pa.timestamp("us")):
        try:
            times = column.cast(kind)
            return (times if kind == pa.float64() else times.cast(pa.int64())).fill_null(0).to_numpy()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    raise ValueError(f"column {name!r} holds text that is no time, such as {column[0].as_py()!r}; write ISO 8601.")


def as_vectors(column: pa.ChunkedArray, name: str, width: int, row_of: np.ndarray | None = None) -> np.ndarray:
    """Finite, not negative vectors from a column of lists.

    Args:
        column (`pyarrow.ChunkedArray` of length R): lists of numbers.
        name (`str`): of the column, for messages.
        width (`int`): length that every list must have.
        row_of (`np.ndarray` of shape `(R,)`, *optional*): the table's row of each list, for messages.

    Returns:
        `np.ndarray` of shape `(R, width)`, float64.

    Raises:
        ValueError: naming row, column, place and remedy, for missing or null entries, another length, and numbers that
            are negative or not finite.

    >>> as_vectors(pa.chunked_array([[[2, 1], [0, 3]]]), "target_counts", 2)
    array([[2., 1.],
           [0., 3.]])
    """
    if not any(is_kind(column.type) for is_kind in LIST_TYPES):
        raise ValueError(f"column {name!r} holds {column.type}; give a list of {width} numbers per row.")
    lengths = pc.list_value_length(column).fill_null(0).to_numpy()
    refuse_rows(lengths != width, name, f"not {width} values; give one per category, in their order", row_of)
    values = pc.list_flatten(column).cast(pa.float64()).to_numpy().reshape(-1, width)
    bad = ~(values >= 0) | np.isinf(values)
    if bad.any():
        row, place = np.argwhere(bad)[0]
        remedy = f"{values[row, place]} at place {place} is not a finite number of at least 0; correct it"
        refuse_rows(bad.any(axis=1), name, remedy, row_of)
    return values


def as_distributions(column: pa.ChunkedArray, name: str, width: int, row_of: np.ndarray | None = None) -> np.ndarray:
    """Probabilities from a column of lists; sums within `PROBABILITY_TOLERANCE` of 1 are divided out.

    Args:
        column, name, width, row_of: as in [`as_vectors`].

    Returns:
        `np.ndarray` of shape `(R, width)`, float64; rows sum to 1.

    Raises:
        ValueError: as [`as_vectors`], and for rows that do not sum to 1.

    >>> as_distributions(pa.chunked_array([[[0.25, 0.75]]]), "target_probs", 2)
    array([[0.25, 0.75]])
    """
    probs = as_vectors(column, name, width, row_of)
    sums = probs.sum(axis=1, keepdims=True)
    wrong = np.abs(sums[:, 0] - 1) > PROBABILITY_TOLERANCE
    if wrong.any():
        total = sums[np.argmax(wrong), 0]
        remedy = f"sums to {total:.6g}, not to 1 (within {PROBABILITY_TOLERANCE:g}); divide it by its sum"
        refuse_rows(wrong, name, remedy, row_of)
    return probs / sums


def refuse_rows(bad: np.ndarray, name: str, remedy: str, row_of: np.ndarray | None = None) -> None:
    """Refuse a table for the first of its bad rows.

    Args:
        bad (`np.ndarray` of `bool`, shape `(R,)`): which rows are bad.
        name (`str`): of the column at fault, for the message.
        remedy (`str`): what is wrong and what to do, for the message.
        row_of (`np.ndarray` of shape `(R,)`, *optional*): the table's row of each entry, default its place.

    Raises:
        ValueError: naming row, column and remedy, if any row is bad.
    """
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"row {row if row_of is None else row_of[row]}, column {name!r}: {remedy}.")


def _whole(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """The column where it can be encoded, whole numbers that are floating as integers; else a `ValueError`."""
    kind = column.type
    if pa.types.is_floating(kind):
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid:
            pass
    elif any(is_kind(kind) for is_kind in CODED_TYPES):
        return column
    raise ValueError(f"column {name!r} holds {kind}; give text or whole numbers, such as {name}=str(value).")
