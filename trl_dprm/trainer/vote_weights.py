"""Vote weights that got lost: where pandas has NaN, Arrow has nothing, and nothing in a column means "not given"."""

from collections.abc import Mapping

from datasets import Dataset

KIND_COLUMNS = (
    "rejected",
    "rejected_ids",
    "target_counts",
    "target_probs",
    "chosen_target_counts",
    "chosen_target_probs",
    "rejected_target_counts",
    "rejected_target_probs",
)


class VoteWeightCheck:
    """Refuses a row without `vote_weight` among rows of its kind that have one.

    `None` in a column means that a row lacks it, so that rows of several kinds may stand in one dataset. Two rows are
    of one kind if they fill the same columns of `KIND_COLUMNS`; of these, either all have a weight or none.

    Args:
        name (`str`): What messages call the dataset.

    Example:

    ```python
    >>> from trl_dprm.trainer.vote_weights import VoteWeightCheck
    >>> check = VoteWeightCheck("train")
    >>> check({"target_probs": [0.5, 0.5], "vote_weight": 3.0}, 0), check({"chosen": "a", "rejected": "b"}, 1)
    ({}, {})

    ```
    """

    def __init__(self, name: str):
        self.name = name
        self._first: dict[tuple[str, ...], tuple[int, bool]] = {}

    def __call__(self, example: Mapping, row: int) -> dict:
        """Check one row of a stream; the empty `dict` leaves it as it is under `map`."""
        self.check(tuple(name for name in KIND_COLUMNS if example.get(name) is not None), row, _given(example))
        return {}

    def check(self, kind: tuple, row: int, has_weight: bool) -> None:
        """Compare a row with the first one of its kind.

        Args:
            kind (`tuple`): Equal for rows of one kind.
            row (`int`): Place in the dataset.
            has_weight (`bool`): Whether it has a `vote_weight`.

        Raises:
            ValueError: naming the row without a weight, the column and the row with one.
        """
        first, first_has_weight = self._first.setdefault(kind, (row, has_weight))
        if first_has_weight != has_weight:
            without, other = (row, first) if first_has_weight else (first, row)
            raise ValueError(
                f"Row {without} of the {self.name} dataset, column `vote_weight`: no number (None, or NaN in pandas), "
                f"but row {other} has one. Give the number of votes behind every row, 1 where it is not known, or "
                "remove the column."
            )


def check_vote_weights(dataset: Dataset, name: str) -> None:
    """Refuse a dataset in memory with a `vote_weight` column that is empty, or is so in some rows of a kind.

    Args:
        dataset ([`~datasets.Dataset`]): As the user has it.
        name (`str`): What messages call it.

    Raises:
        ValueError: naming row, column and remedy.
    """
    if "vote_weight" not in dataset.column_names:
        return
    present = [column for column in KIND_COLUMNS if column in dataset.column_names]
    columns = dataset.select_columns([*present, "vote_weight"]).with_format("arrow")
    check, start, weights = VoteWeightCheck(name), 0, 0
    for table in columns.iter(batch_size=10_000):
        *kinds, given = (table[column].is_valid().to_pylist() for column in (*present, "vote_weight"))
        weights += sum(given)
        for row, (*kind, has_weight) in enumerate(zip(*kinds, given, strict=True), start):
            check.check(tuple(kind), row, has_weight)
        start += len(table)
    if not weights:
        raise ValueError(
            f"Row 0 of the {name} dataset, column `vote_weight`: no number (None, or NaN in pandas), and none in any "
            "other row. Give the number of votes behind every row, or remove the column."
        )


def _given(example):
    """Whether a row has a weight."""
    return example.get("vote_weight") is not None
