"""Judgments as rows, beside what `prepare` counts of the same table."""

import numpy as np
import pandas as pd
import pytest

from trl_dprm.adaptation import gather_votes
from trl_dprm.cli import main

NAMES = ["bad", "good"]
DRAW = np.random.default_rng(8)
ROWS = pd.DataFrame(
    {
        "item_id": DRAW.integers(0, 6, 60),
        "annotator_id": [f"annotator {who}" for who in DRAW.integers(0, 5, 60)],
        "category": [NAMES[k] for k in DRAW.integers(0, 2, 60)],
    }
)
ROWS["completion"] = [f"text {item}" for item in ROWS["item_id"]]
ROWS["age"] = np.where(ROWS["annotator_id"].isin(["annotator 0", "annotator 3"]), "old", "young")


@pytest.fixture(scope="module")
def gathered():
    return gather_votes(ROWS.to_dict("list"), NAMES, "age")


def test_votes_are_those_that_prepare_counts(gathered, tmp_path):
    ROWS.drop(columns="age").to_csv(tmp_path / "judgments.csv", index=False)
    table, folder = str(tmp_path / "judgments.csv"), tmp_path / "data"
    quality = ["--category_names", *NAMES, "--category_rewards", "0", "1"]
    main(["prepare", "--annotations", table, "--output_dir", str(folder), *quality])
    prepared = pd.read_parquet(folder / "items.parquet").set_index("completion")["target_counts"]
    assert len(prepared) == len(gathered.rows)
    for row, votes in zip(gathered.rows, gathered.target_counts, strict=True):
        assert votes == pytest.approx(prepared[ROWS["completion"][row]], rel=1e-6)
    assert gathered.target_counts.sum() < len(ROWS)


def test_each_annotator_has_one_vote_on_a_text_in_their_group(gathered):
    assert gathered.target_counts.sum() == pytest.approx(len(ROWS.groupby(["item_id", "annotator_id"])), rel=1e-12)
    assert gathered.num_annotators == 5 and gathered.group_names == ["old", "young"]
    for counts, group in zip(gathered.group_counts, gathered.group_names, strict=True):
        for row, votes in zip(gathered.rows, counts, strict=True):
            here = ROWS[(ROWS["completion"] == ROWS["completion"][row]) & (ROWS["age"] == group)]
            assert votes.sum() == pytest.approx(here["annotator_id"].nunique(), rel=1e-12)


def test_judgments_of_nobody_by_name_and_counts_are_taken_as_they_are():
    rows = {"text": ["a", "a", "a"], "category": ["good", "bad", "bad"], "annotator_id": [None, None, None]}
    assert gather_votes(rows, NAMES).target_counts.tolist() == [[2, 1]]
    del rows["annotator_id"]
    assert gather_votes(rows, NAMES).target_counts.tolist() == [[2, 1]]
    counted = {"text": ["a", "a"], "target_counts": [[1, 0], [0, 1]], "annotator_id": [1, 1]}
    assert gather_votes(counted, NAMES).target_counts.tolist() == [[1, 1]]
