"""Data sets by `PATH|HUB_ID`."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, IterableDataset
from transformers import AutoConfig

from trl_dprm.preferences.categories import DPRM_CATEGORIES
from trl_dprm.trainer.reading import (
    choose_split,
    count_annotators,
    naming_source,
    read_categories,
    read_split,
    read_splits,
    require_existing_if_path,
)

ROWS = [{"prompt": "a", "completion": "b", "target_probs": [0.25, 0.75]}, {"prompt": "c", "completion": "d"}]
FIRST = Dataset.from_list(ROWS[:1])


@pytest.fixture(
    params=["data.jsonl", "data.json", "data.csv", "data.parquet", "saved", "saved-splits", "folder", "folder/"]
)
def source(request, tmp_path):
    """The same row in every form that is read."""
    path = tmp_path / request.param
    match path.suffix or path.name:
        case ".jsonl" | ".json":
            path.write_text(json.dumps(ROWS[0]) + "\n")
        case ".csv":
            path.write_text('prompt,completion,target_probs\na,b,"[0.25, 0.75]"\n')
        case ".parquet":
            FIRST.to_parquet(path)
        case "saved":
            FIRST.save_to_disk(path)
        case "saved-splits":
            DatasetDict(train=FIRST).save_to_disk(path)
        case "folder":
            path.mkdir()
            FIRST.to_parquet(path / "train.parquet")
    return str(path)


@pytest.mark.parametrize("streaming", [False, True])
def test_every_form_gives_the_same_row(source, streaming):
    splits = read_splits(source, streaming=streaming)
    assert list(splits) == ["train"]
    assert isinstance(splits["train"], IterableDataset) == streaming
    assert list(splits["train"]) == ROWS[:1]
    assert list(read_split(source, streaming=streaming)) == ROWS[:1]


def prepared(folder, row):
    """A folder with a `configs` section in its README, as `trl-dprm prepare` and `push_to_hub` write it."""
    folder.mkdir(parents=True, exist_ok=True)
    Dataset.from_list([row]).to_parquet(folder / "train.parquet")
    card = "---\nconfigs:\n- config_name: items\n  data_files:\n  - split: train\n    path: train.parquet\n---\n"
    (folder / "README.md").write_text(card)


def test_folders_of_one_name_are_not_taken_for_each_other(tmp_path):
    for place in ("one", "two"):
        prepared(tmp_path / place / "data", {"completion": place})
    for place in ("one", "two"):
        assert read_split(str(tmp_path / place / "data"))["completion"] == [place]


def test_a_folder_that_was_written_anew_is_read_anew(tmp_path):
    for text in ("before", "after!", "longer than before"):
        prepared(tmp_path / "data", {"completion": text})
        assert read_split(str(tmp_path / "data"))["completion"] == [text]


@pytest.mark.parametrize("name", ["./data", "../x/y", "/a/b", "a/b/c", "data.jsonl", "~/data", "owner/name.csv"])
def test_what_can_only_be_a_path_must_exist(name):
    with pytest.raises(FileNotFoundError, match=r"No model at /.*is read as a path: correct it, or give a Hub id"):
        require_existing_if_path(name, "model")


@pytest.mark.parametrize("name", ["name", "owner/name", "owner/name-v1.5"])
def test_what_may_be_a_hub_id_passes(name):
    require_existing_if_path(name, "model")


@pytest.mark.parametrize("name", ["nomodel", "owner/name"])
def test_a_name_that_the_hub_cannot_give_is_named(name):
    message = f"The model \\(`--model`\\) `{name}` is no path in {os.getcwd()}, so it was read as a Hub id: "
    with pytest.raises(OSError, match=message), naming_source(name, "model (`--model`)"):
        AutoConfig.from_pretrained(name)


def test_errors_about_an_existing_path_stay_as_they_are(tmp_path):
    with pytest.raises(OSError, match="^disk$"), naming_source(str(tmp_path), "model"):
        raise OSError("disk")


@pytest.mark.parametrize("name", ["owner/name", "not a hub id"])
def test_a_name_that_is_neither_says_what_was_tried(name):
    with pytest.raises(FileNotFoundError, match=f"No file or folder `{name}` in {os.getcwd()}, and the Hub gave no"):
        read_splits(name)


def test_a_file_of_another_format_is_refused(tmp_path):
    (tmp_path / "data.txt").write_text("a")
    with pytest.raises(ValueError, match=r"its name must end in \.json, \.jsonl, \.csv, \.parquet"):
        read_splits(str(tmp_path / "data.txt"))


def test_the_split_is_chosen_by_name_or_is_the_only_one():
    splits = DatasetDict(train=FIRST, test=FIRST)
    assert choose_split(splits, "test", "x") is splits["test"]
    with pytest.raises(ValueError, match="`x` has the splits `train`, `test`: choose one of them"):
        choose_split(splits, None, "x")
    with pytest.raises(ValueError, match="`x` has the splits `train`, `test`: there is no split `dev`"):
        choose_split(splits, "dev", "x")


def test_categories_beside_the_data(tmp_path):
    assert read_categories(str(tmp_path)) is None
    (tmp_path / "categories.json").write_text(json.dumps(DPRM_CATEGORIES.to_dict()))
    assert read_categories(str(tmp_path)) == DPRM_CATEGORIES
    (tmp_path / "data.jsonl").write_text("{}")
    assert read_categories(str(tmp_path / "data.jsonl")) is None


def test_categories_of_a_hub_id_that_has_none():
    assert read_categories("owner/name") is None


def test_annotators_of_the_items_are_counted_in_the_judgments_beside_them(tmp_path):
    judgments = {"item_id": ["a", "a", "b", "c"], "annotator_id": [1, 2, 2, 3]}
    pq.write_table(pa.table(judgments), tmp_path / "judgments.parquet")
    items = Dataset.from_dict({"item_id": ["c", "a", "b"]})
    assert count_annotators(str(tmp_path), items) == 3
    assert count_annotators(str(tmp_path), items.select([1, 2])) == 2
    assert count_annotators(str(tmp_path / "nothing"), items) is None
