"""Judgments beside the data: matched by ids, counted as `prepare` counts them."""

import numpy as np
import pandas as pd
import pytest

from trl_dprm.cli import main
from trl_dprm.evaluation.judgment_table import judgments_of_data, read_single_votes
from trl_dprm.preferences import AnnotationColumns, PreferenceCategories

QUALITY = PreferenceCategories(["bad", "good"], [0.0, 1.0])
ROWS = pd.DataFrame(
    {
        "item_id": ["a", "a", "b", "b", "b", "c"],
        "annotator_id": [1, 2, 1, 1, 3, 2],
        "category": ["good", "bad", "good", "bad", "good", "bad"],
        "group": ["young", "old", "young", "young", None, "old"],
    }
)


@pytest.fixture
def table(tmp_path):
    ROWS.to_csv(tmp_path / "judgments.csv", index=False)
    return str(tmp_path / "judgments.csv")


def test_votes_are_matched_to_rows_and_split_over_repeated_answers(table):
    votes = read_single_votes(table, ["b", "a"], QUALITY)
    assert votes.item.tolist() == [1, 1, 0, 0, 0]
    assert votes.category.tolist() == [1, 0, 1, 0, 1]
    assert votes.annotator.tolist() == ["1", "2", "1", "1", "3"]
    assert votes.weight.tolist() == [1, 1, 0.5, 0.5, 1]
    assert list(votes.groups["group"]) == ["young", "old", "young", "young", None]


def test_they_add_up_to_what_prepare_counted(table, tmp_path):
    folder = str(tmp_path / "data")
    quality = ["--category_names", "bad", "good", "--category_rewards", "0", "1"]
    main(["prepare", "--annotations", table, "--output_dir", folder, *quality])
    items = pd.read_parquet(tmp_path / "data" / "items.parquet")
    assert judgments_of_data(folder) == str(tmp_path / "data" / "judgments.parquet")
    for source in (folder, judgments_of_data(folder)):
        votes = read_single_votes(source, list(items["item_id"]), QUALITY)
        counts = np.zeros((3, 2))
        np.add.at(counts, (votes.item, votes.category), votes.weight)
        assert counts.tolist() == [list(row) for row in items["target_counts"]]


def test_the_columns_may_have_other_names(tmp_path):
    ROWS.rename(columns={"annotator_id": "who", "group": "age"}).to_parquet(tmp_path / "j.parquet")
    votes = read_single_votes(
        str(tmp_path / "j.parquet"), ["c"], QUALITY, AnnotationColumns(annotator_id="who", groups=("age",))
    )
    assert votes.annotator.tolist() == [2] and list(votes.groups["age"]) == ["old"]


def test_what_is_missing_is_named_with_a_remedy(table, tmp_path):
    with pytest.raises(ValueError, match="but of none of the 1 that were scored: their ids, such as 'z'"):
        read_single_votes(table, ["z"], QUALITY)
    with pytest.raises(FileNotFoundError, match=r"No table of judgments at .*nowhere.csv: give a .csv"):
        read_single_votes(str(tmp_path / "nowhere.csv"), ["a"], QUALITY)
    with pytest.raises(FileNotFoundError, match="No table of judgments"):
        read_single_votes(str(tmp_path), ["a"], QUALITY)
    with pytest.raises(ValueError, match="no column 'clan' for groups"):
        read_single_votes(table, ["a"], QUALITY, AnnotationColumns(groups=("clan",)))
    assert judgments_of_data("an/id") is None
