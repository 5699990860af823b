import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trl_dprm.preferences import (
    AnnotationColumns,
    PreferenceCategories,
    TargetOptions,
    likert_categories,
    open_annotations,
    prepare_targets,
)
from trl_dprm.preferences import annotations as annotations_module

QUALITY = PreferenceCategories(["bad", "fair", "good"], [-1.0, 0.0, 1.0])
TABLE = pa.table(
    {
        "item_id": ["a", "a", "b", "a"],
        "annotator_id": ["x", "y", "x", "z"],
        "category": ["good", "bad", "fair", "good"],
        "weight": [1.0, 2.0, 1.0, 0.5],
        "prompt": ['Two\n"lines", a comma', 'Two\n"lines", a comma', "été", 'Two\n"lines", a comma'],
    }
)


def written(folder, name):
    path = folder / name
    if name.endswith("parquet"):
        pq.write_table(TABLE, path)
    elif ".csv" in name:
        TABLE.to_pandas().to_csv(path, index=False)
    else:
        TABLE.to_pandas().to_json(path, orient="records", lines=name.endswith("jsonl"))
    return path


def hub_like(folder):
    """A folder that `load_dataset` reads by the very path of a Hub id."""
    pq.write_table(TABLE, folder / "train-00000-of-00001.parquet")
    return str(folder)


SOURCES = {
    "arrow": lambda folder: TABLE,
    "pandas": lambda folder: TABLE.to_pandas(),
    "pandas categories": lambda folder: TABLE.to_pandas().astype("category"),
    "datasets": lambda folder: datasets.Dataset(TABLE),
    "shuffled datasets": lambda folder: datasets.Dataset(TABLE.take([3, 2, 1, 0])).select([3, 2, 1, 0]),
    "parquet": lambda folder: written(folder, "t.parquet"),
    "csv": lambda folder: str(written(folder, "t.csv")),
    "csv.gz": lambda folder: written(folder, "t.csv.gz"),
    "json": lambda folder: written(folder, "t.json"),
    "jsonl": lambda folder: written(folder, "t.jsonl"),
    "load_dataset": hub_like,
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_same_items_and_judgments(source, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    prepared = prepare_targets(SOURCES[source](folder), QUALITY)
    expected = prepare_targets(TABLE, QUALITY)
    assert prepared.items.to_dict() == expected.items.to_dict()
    assert prepared.judgments.to_dict() == expected.judgments.to_dict()
    assert expected.items["prompt"] == ['Two\n"lines", a comma', "été"]


@pytest.mark.parametrize("batch_rows", [1, 3, 1000])
def test_batches_of_any_size_give_the_same(batch_rows, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    items = rng.integers(30, size=400)
    table = pa.table(
        {
            "item_id": items,
            "annotator_id": rng.integers(9, size=400),
            "category": rng.integers(3, size=400),
            "prompt": [f"prompt {item}" for item in items],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=70)
    monkeypatch.setattr(annotations_module, "BATCH_ROWS", batch_rows)
    prepared = prepare_targets(tmp_path / "t.parquet", QUALITY).items
    assert prepared["item_id"] == list(dict.fromkeys(items.tolist()))
    assert prepared["prompt"] == [f"prompt {item}" for item in prepared["item_id"]]
    frame = table.to_pandas()
    once = frame.groupby(["item_id", "annotator_id"]).size()
    frame["vote"] = [1 / once[pair] for pair in zip(frame.item_id, frame.annotator_id, strict=True)]
    counts = frame.pivot_table(index="item_id", columns="category", values="vote", aggfunc="sum", fill_value=0)
    np.testing.assert_allclose(prepared["target_counts"], counts.loc[prepared["item_id"]], rtol=1e-10, atol=1e-14)


def test_difference_far_into_a_file_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(annotations_module, "BATCH_ROWS", 7)
    prompts = ["same"] * 100
    prompts[61] = "other"
    pq.write_table(
        pa.table({"item_id": [1] * 100, "annotator_id": range(100), "category": [0] * 100, "prompt": prompts}),
        tmp_path / "t.parquet",
    )
    with pytest.raises(ValueError, match="row 61, column 'prompt': item 1 has 'other' here and 'same' in row 0"):
        prepare_targets(tmp_path / "t.parquet", QUALITY)


def test_numbers_are_names_where_the_names_are_numbers():
    rows = {"item_id": ["a"] * 3, "annotator_id": [1, 2, 3]}
    for stars in ([1, 5, 5], ["1", "5", "5"], [1.0, 5.0, 5.0]):
        items = prepare_targets(pa.table({**rows, "category": stars}), likert_categories(5)).items
        assert items["target_counts"] == [[1.0, 0.0, 0.0, 0.0, 2.0]]
    message = r"row 0, column 'category': 0 is no category; .*'5'\]; correct the value, or give the categories"
    with pytest.raises(ValueError, match=message):
        prepare_targets(pa.table({**rows, "category": [0, 1, 4]}), likert_categories(5))


def test_indices_as_text_in_a_csv_file(tmp_path):
    (tmp_path / "t.csv").write_text("item_id,annotator_id,category\n007,1,2\n007,2,0\n")
    items = prepare_targets(tmp_path / "t.csv", QUALITY).items
    assert items["item_id"] == ["007"]
    assert items["target_counts"] == [[1.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    "times",
    [
        [3, 1, 2],
        [0.3, 0.1, 0.2],
        ["2024-03-01", "2024-01-01", "2024-02-01"],
        pd.to_datetime(["2024-03-01", "2024-01-01", "2024-02-01"]),
    ],
)
def test_last_answer_by_any_kind_of_time(times):
    table = pa.table({"item_id": ["a"] * 3, "annotator_id": ["x"] * 3, "category": [0, 1, 2], "timestamp": times})
    last = prepare_targets(table, QUALITY, options=TargetOptions(repeated="last"))
    first = prepare_targets(table, QUALITY, options=TargetOptions(repeated="first"))
    assert last.items["target_counts"] == [[1.0, 0.0, 0.0]]
    assert first.items["target_counts"] == [[0.0, 1.0, 0.0]]


def test_refused_sources(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'nowhere.csv', which does not exist; correct the path"):
        open_annotations("nowhere.csv")
    with pytest.raises(TypeError, match="annotations are a DatasetDict; give one split"):
        open_annotations(datasets.DatasetDict())
    (tmp_path / "t.xlsx").write_text("")
    with pytest.raises(ValueError, match=r"t.xlsx'; its name ends in .csv, .json, .jsonl or .parquet"):
        open_annotations(tmp_path / "t.xlsx")


CONVABUSE_COLUMNS = [f"is_abuse.{level}" for level in (-3, -2, -1, 0, 1)]
CONVABUSE_ITEM = ("conv_id", "prev_agent", "prev_user", "agent", "user", "bot")


@pytest.mark.slow
@pytest.mark.parametrize("repeated", ["split", "last"])
def test_convabuse_equals_a_loop(repeated, shared_data):
    """8 annotators, 12,768 judgments as one-hot columns, items known by their texts, some judged twice."""
    path = shared_data / "convabuse" / "ConvAbuseEMNLPfull.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    others = [name for name in frame if name.startswith(("type.", "target.", "direction."))]
    columns = AnnotationColumns(
        item_id=CONVABUSE_ITEM, category_columns=CONVABUSE_COLUMNS, judgment=["example_no", *others]
    )
    categories = PreferenceCategories(["-3", "-2", "-1", "0", "1"], [-3, -2, -1, 0, 1])
    prepared = prepare_targets(path, categories, columns, TargetOptions(repeated=repeated))

    answers = {}
    for row in frame.to_dict("records"):
        (level,) = (k for k, name in enumerate(CONVABUSE_COLUMNS) if row[name] == "1")
        key = tuple(row[name] for name in CONVABUSE_ITEM)
        answers.setdefault(key, {}).setdefault(row["annotator_id"], []).append(level)
    assert len({who for of_item in answers.values() for who in of_item}) == 8
    assert sum(len(given) > 1 for of_item in answers.values() for given in of_item.values()) == 345
    counts = np.zeros((len(answers), 5))
    for item, of_item in enumerate(answers.values()):
        for given in of_item.values():
            for level in given if repeated == "split" else given[-1:]:
                counts[item, level] += 1 / len(given) if repeated == "split" else 1.0

    items = prepared.items
    assert len(prepared.judgments) == 12_768
    assert list(zip(*(items[name] for name in CONVABUSE_ITEM), strict=True)) == list(answers)
    np.testing.assert_allclose(items["target_counts"], counts, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(items["vote_weight"], [len(of_item) for of_item in answers.values()], rtol=1e-10)
    assert items["num_annotators"] == [len(of_item) for of_item in answers.values()]
