"""UKPConvArg1: pairs of arguments on one question, five votes each for the first, the second, or equal."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from pair_data import TARGETS, VOTES, PairData

from trl_dprm.trainer.reading import read_split, require_existing_if_path

CHOICES = ("a1", "equal", "a2")
COLUMNS = ("id", "title", "arg1", "arg2", "votes", "gold")


def read_argument_pairs(source: str, split: str) -> PairData:
    """Pairs, votes and arguments.

    Args:
        source (`str`):
            A folder with `pairs.jsonl` (`id`, `title`, `arg1`, `arg2`, `votes` as a list of worker and choice, `gold`)
            and `args.json` (text of each argument), or a file or Hub id of such pairs where `arg1` and `arg2` are the
            texts.
        split (`str`): Of a Hub dataset.

    Raises:
        FileNotFoundError: if the folder lacks one of the files, or nothing of that name exists.
        ValueError: for a missing column, or a vote that is none of `a1`, `equal`, `a2`.
    """
    if Path(source).is_dir() and not Path(source, "dataset_info.json").exists():
        rows, texts = _read_folder(Path(source))
    else:
        require_existing_if_path(source, "data set")
        rows = read_split(source, None if Path(source).is_file() else split).to_pandas()
        texts = None
    missing = [name for name in COLUMNS if name not in rows]
    if missing:
        raise ValueError(f"`{source}` has no column {', '.join(missing)}; it has {', '.join(rows.columns)}.")
    counts = np.array([_count(*row) for row in zip(rows["id"], rows["votes"], strict=True)], dtype=np.float64)
    pairs = pd.DataFrame(
        {
            "pair_id": rows["id"].astype(str),
            "cluster": rows["title"],
            "first": rows["arg1"],
            "second": rows["arg2"],
            **dict(zip(VOTES, counts.T, strict=True)),
            **dict(zip(TARGETS, (counts / counts.sum(axis=1, keepdims=True)).T, strict=True)),
            "gold": rows["gold"].map({"a1": 1, "a2": -1}).fillna(0).astype(int),
        }
    )
    ids = sorted(set(pairs["first"]) | set(pairs["second"]))
    completions = [texts[name] if texts is not None else name for name in ids]
    responses = pd.DataFrame({"response_id": ids, "prompt": "", "completion": completions})
    return PairData(responses, pairs, left_out={})


def _read_folder(folder):
    for name in ("pairs.jsonl", "args.json"):
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder.absolute()} has no {name}: give the folder of UKPConvArg1, or a Hub id.")
    return (
        pd.read_json(folder / "pairs.jsonl", lines=True),
        json.loads((folder / "args.json").read_text(encoding="utf-8")),
    )


def _count(pair_id, votes):
    """Votes for the first argument, for a tie, for the second."""
    choices = [choice for _, choice in votes]
    unknown = sorted(set(choices) - set(CHOICES))
    if unknown or not choices:
        raise ValueError(f"Pair {pair_id}: the votes are {choices}; expected at least one, each of {CHOICES}.")
    return [choices.count(choice) for choice in CHOICES]
