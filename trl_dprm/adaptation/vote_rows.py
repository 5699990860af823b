"""New votes as rows of a data set, gathered into one entry per text: by item, and by item and group."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

TEXT_COLUMNS = ("prompt", "completion", "messages", "text", "input_ids", "tools", "chat_template_kwargs")
PAIR_COLUMNS = ("chosen", "rejected", "chosen_ids", "rejected_ids")


@dataclass(frozen=True)
class VotedItems:
    """The votes of N different texts.

    Attributes:
        rows (`np.ndarray` of shape `(N,)`): each item's first row in the data set.
        item_of_row (`np.ndarray` of shape `(R,)`): the place of each row's item among the N.
        target_counts (`np.ndarray` of shape `(N, K)`): its votes.
        group_names (`list[str]`): G groups, sorted; empty without a group column.
        group_counts (`np.ndarray` of shape `(G, N, K)`): the votes of each group.
        num_annotators (`int`, *optional*): different ones, where the column `annotator_id` says whose every vote is:
            no row with votes is without one, or holds votes of several.
    """

    rows: np.ndarray
    item_of_row: np.ndarray
    target_counts: np.ndarray
    group_names: list[str]
    group_counts: np.ndarray
    num_annotators: int | None


def gather_votes(
    columns: Mapping[str, Sequence], category_names: Sequence[str], group_column: str | None = None
) -> VotedItems:
    """Gather rows of votes by text.

    A row holds the votes of one text, `target_counts`, or one judgment of it, `category` (a name, or an index from 0);
    with a group column the votes of one group. Rows of the same text are votes on the same item. Where a column
    `annotator_id` says who judged, somebody's several judgments of one item share one vote evenly, as
    `trl-dprm prepare` counts them; judgments of nobody by name, and `target_counts`, are taken as they are.

    Args:
        columns (`Mapping` of columns of R entries): a data set, in the columns that training takes.
        category_names (sequence of K `str`): of the model.
        group_column (`str`, *optional*): the column that says whose votes a row holds.

    Returns:
        [`VotedItems`]

    Raises:
        ValueError: for pairs, missing columns, and the first row whose votes, category or group cannot be read.

    >>> votes = {"text": ["a", "b", "a"], "category": ["good", "bad", 0], "group": ["x", "x", "y"]}
    >>> gathered = gather_votes(votes, ["bad", "good"], "group")
    >>> gathered.target_counts.tolist(), gathered.group_names, gathered.group_counts[1].tolist()
    ([[1.0, 1.0], [1.0, 0.0]], ['x', 'y'], [[1.0, 0.0], [0.0, 0.0]])

    Somebody who judged a text twice has one vote on it:

    >>> twice = {"text": ["a", "a", "a"], "category": ["good", "bad", "bad"], "annotator_id": ["ann", "ann", "bob"]}
    >>> gather_votes(twice, ["bad", "good"]).target_counts.tolist()
    [[1.5, 0.5]]
    """
    _check_columns(columns, group_column)
    item, rows = _items(columns)
    votes = _votes(columns, list(category_names)) * _shares(columns, item)[:, None]
    groups = [None] * len(item) if group_column is None else list(columns[group_column])
    if group_column is not None and None in groups:
        raise ValueError(f"Row {groups.index(None)}, column `{group_column}`: no group. Name one, or remove the row.")
    names = [] if group_column is None else sorted({str(group) for group in groups})
    group_counts = np.zeros((max(len(names), 1), len(rows), len(category_names)))
    group = [names.index(str(name)) for name in groups] if names else np.zeros(len(item), dtype=int)
    np.add.at(group_counts, (group, item), votes)
    return VotedItems(
        rows,
        item,
        group_counts.sum(0),
        names,
        group_counts[: len(names)],
        _num_annotators(columns, votes),
    )


def _check_columns(columns, group_column):
    pair = next((name for name in PAIR_COLUMNS if name in columns), None)
    if pair is not None:
        raise ValueError(f"The data set holds pairs (column `{pair}`): adapt to votes on single responses.")
    if group_column is not None and group_column not in columns:
        raise ValueError(f"The data set has no column `{group_column}` for the groups; it has {sorted(columns)}.")
    if ("target_counts" in columns) == ("category" in columns):
        found = "both `target_counts` and `category`" if "category" in columns else "neither"
        raise ValueError(
            f"The data set has {found}; it has {sorted(columns)}. Give votes per row as `target_counts`, one number "
            "per category, or one judgment per row as `category`. `trl-dprm prepare` counts judgments."
        )


def _items(columns) -> tuple[np.ndarray, np.ndarray]:
    """Each row's item, numbered by first appearance, and each item's first row."""
    texts = [columns[name] for name in TEXT_COLUMNS if name in columns]
    if not texts:
        raise ValueError(f"The data set has no text: give one of {', '.join(TEXT_COLUMNS[:4])}.")
    place, item, rows = {}, [], []
    for row, text in enumerate(zip(*texts, strict=True)):
        key = json.dumps(text)
        if key not in place:
            place[key] = len(place)
            rows.append(row)
        item.append(place[key])
    return np.array(item), np.array(rows)


def _votes(columns, names) -> np.ndarray:
    """Votes of each row, `(R, K)`."""
    if "category" in columns:
        return np.eye(len(names))[[_category(value, row, names) for row, value in enumerate(columns["category"])]]
    for row, votes in enumerate(columns["target_counts"]):
        if votes is None or len(votes) != len(names):
            raise ValueError(
                f"Row {row}, column `target_counts`: {votes!r} for {len(names)} categories ({', '.join(names)}). Give "
                "one number per category of the model."
            )
        if not all(np.isfinite(votes)) or min(votes) < 0:
            raise ValueError(
                f"Row {row}, column `target_counts`: {list(votes)}. Votes are finite numbers of at least 0."
            )
    return np.array(list(columns["target_counts"]), dtype=np.float64)


def _shares(columns, item: np.ndarray) -> np.ndarray:
    """What each row's judgment counts, `(R,)`: one vote per annotator and item."""
    if "category" not in columns or "annotator_id" not in columns:
        return np.ones(len(item))
    judges = list(zip(item.tolist(), columns["annotator_id"], strict=True))
    answers = Counter(judges)
    return np.array([1.0 if judge[1] is None else 1 / answers[judge] for judge in judges])


def _num_annotators(columns, votes: np.ndarray) -> int | None:
    """Different annotators of the votes `(R, K)`, if each vote's is named."""
    votes_of_row = votes.sum(1)
    ids = [name for name, some in zip(columns.get("annotator_id", ()), votes_of_row > 0, strict=False) if some]
    return None if None in ids or (votes_of_row > 1).any() else len(set(ids)) or None


def _category(value, row, names) -> int:
    if isinstance(value, str) and value in names:
        return names.index(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return value
    raise ValueError(
        f"Row {row}, column `category`: {value!r} is no category of the model, nor an index from 0 to "
        f"{len(names) - 1}. It has {', '.join(names)}."
    )
