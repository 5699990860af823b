"""Tülu-1 human evaluation: five ordered answers to "which response is better?", one to a few evaluators a pair."""

import numpy as np
import pandas as pd
from pair_data import TARGETS, VOTES, PairData

from trl_dprm.trainer.reading import read_split

LEVELS = ("a-is-better", "a-is-slightly-better", "tie", "b-is-slightly-better", "b-is-better")
AS_VOTES = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], dtype=np.float64)
AS_SHARES = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]], dtype=np.float64)
COLUMNS = ("prompt", "completion_a", "completion_b", "preference")


def read_judgments(source: str, split: str) -> PairData:
    """Pairs of responses to one prompt with their judgments.

    Judgments of the same two responses are one pair, in whichever order they were shown. "Slightly better" is a vote
    for that response; as a target of training it is half a vote for it and half a tie. Equal responses are left out.

    Args:
        source (`str`): File or Hub id with `prompt`, `completion_a`, `completion_b` and `preference`.
        split (`str`): Of a Hub dataset.

    Raises:
        FileNotFoundError: if nothing of that name exists.
        ValueError: for a missing column or another preference.
    """
    rows = read_split(source, None if source.endswith((".json", ".jsonl", ".csv", ".parquet")) else split).to_pandas()
    missing = [name for name in COLUMNS if name not in rows]
    if missing:
        raise ValueError(f"`{source}` has no column {', '.join(missing)}; it has {', '.join(rows.columns)}.")
    unknown = sorted(set(rows["preference"]) - set(LEVELS))
    if unknown:
        raise ValueError(f"`{source}` has the preferences {', '.join(unknown)}; expected {', '.join(LEVELS)}.")
    equal = rows["completion_a"] == rows["completion_b"]
    rows = rows[~equal].reset_index(drop=True)
    sides = [rows[["prompt", f"completion_{side}"]].set_axis(["prompt", "completion"], axis=1) for side in "ab"]
    responses = pd.concat(sides).drop_duplicates().sort_values(["prompt", "completion"]).reset_index(drop=True)
    responses.insert(0, "response_id", [f"r{number:04d}" for number in range(len(responses))])
    ids = responses.set_index(["prompt", "completion"])["response_id"]
    first, second = (ids.loc[pd.MultiIndex.from_frame(side)].to_numpy() for side in sides)
    level = rows["preference"].map(LEVELS.index).to_numpy()
    swapped = first > second
    level = np.where(swapped, len(LEVELS) - 1 - level, level)
    judged = pd.DataFrame(
        {
            "cluster": rows["prompt"],
            "first": np.where(swapped, second, first),
            "second": np.where(swapped, first, second),
            **dict(zip(VOTES, AS_VOTES[level].T, strict=True)),
            **dict(zip(TARGETS, AS_SHARES[level].T, strict=True)),
        }
    )
    sums = dict.fromkeys(VOTES, "sum") | dict.fromkeys(TARGETS, "mean")
    pairs = judged.groupby(["cluster", "first", "second"], as_index=False).agg(sums)
    pairs.insert(0, "pair_id", pairs["first"] + "-" + pairs["second"])
    half = pairs[VOTES].sum(axis=1) / 2
    gold = (pairs["first_votes"] > half).astype(int) - (pairs["second_votes"] > half).astype(int)
    return PairData(responses, pairs.assign(gold=gold), {"two equal responses (judgments)": int(equal.sum())})
