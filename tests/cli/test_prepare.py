import json
import re
import subprocess
import sys

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trl_dprm.cli import main
from trl_dprm.preferences import (
    DPRM_CATEGORIES,
    PreferenceCategories,
    TargetOptions,
    prepare_targets,
    split_by_hash,
    write_prepared,
)
from trl_dprm.preferences.prepared_folder import new_folder

QUALITY = PreferenceCategories(["bad", "fair", "good"], [-1.0, 0.0, 1.0], [[0, 1, 3], [1, 0, 2], [3, 2, 0]])
OWN = ["--category_names", "bad", "fair", "good", "--category_rewards", "-1", "0", "1"]
OWN += ["--ground_cost", "[[0,1,3],[1,0,2],[3,2,0]]"]
CONFIG = """
category_names: [bad, fair, good]
category_rewards: [-1, 0, 1]
ground_cost: [[0, 1, 3], [1, 0, 2], [3, 2, 0]]
repeated: last
smoothing: uniform
smoothing_amount: 0.2
population:
  group: {g: 0.2, h: 0.8}
"""


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    items, who = rng.integers(60, size=500), rng.integers(10, size=500)
    return pa.table(
        {
            "item_id": [f"item {item}" for item in items],
            "annotator_id": who,
            "category": [QUALITY.names[k] for k in rng.integers(3, size=500)],
            "group": ["h" if annotator < 3 else "g" for annotator in who],
            "prompt": [f"prompt {item}" for item in items],
            "conversation": items // 4,
        }
    )


@pytest.fixture
def run(table, tmp_path, monkeypatch):
    """Function (*options) -> output folder; the table is `table.parquet`."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    pq.write_table(table, tmp_path / "table.parquet")

    def prepare(*options, output="prepared"):
        output = tmp_path / output
        main(["prepare", "--annotations", str(tmp_path / "table.parquet"), "--output_dir", str(output), *options])
        return output

    return prepare


def test_folder_holds_items_judgments_and_categories(run, table, capsys):
    folder = run(*OWN)
    expected = prepare_targets(table, QUALITY)
    assert datasets.load_dataset(str(folder), split="train").to_dict() == expected.items.to_dict()
    assert datasets.load_dataset(str(folder), "judgments", split="train").to_dict() == expected.judgments.to_dict()
    assert PreferenceCategories.from_dict(json.loads((folder / "categories.json").read_text())) == QUALITY
    assert f"{len(expected.items)} items from 500 judgments in {folder}" in capsys.readouterr().out


def test_yaml_file_gives_the_options(run, table, tmp_path):
    (tmp_path / "prepare.yaml").write_text(CONFIG)
    (tmp_path / "shares.yaml").write_text("group: {g: 0.2, h: 0.8}\n")
    options = TargetOptions("last", {"group": {"g": 0.2, "h": 0.8}}, smoothing="uniform", smoothing_amount=0.2)
    expected = prepare_targets(table, QUALITY, options=options).items["target_probs"]
    for more in ((), ("--population", str(tmp_path / "shares.yaml"))):
        folder = run("--config", str(tmp_path / "prepare.yaml"), "--overwrite", *more)
        assert pq.read_table(folder / "items.parquet")["target_probs"].to_pylist() == expected[:]


def test_split_keeps_conversations_together(run, table):
    folder = run(*OWN, "--split_by", "conversation", "--split_fractions", "0.5", "0.25", "0.25")
    parts = datasets.load_dataset(str(folder))
    assert set(parts) == {"train", "validation", "test"}
    fractions = {"train": 0.5, "validation": 0.25, "test": 0.25}
    for name, part in parts.items():
        assert split_by_hash(part["conversation"], fractions) == [name] * len(part)
    assert sum(map(len, parts.values())) == len(prepare_targets(table, QUALITY).items)
    assert len(datasets.load_dataset(str(folder), "judgments", split="train")) == 500


def test_ready_made_categories_and_posterior_means(tmp_path, run):
    prior = [[0.5, 0.1, 0.1, 0.1, 0.1, 0.1]] * 2
    rows = {"turn": [1, 1], "who": [1, 2], "choice": [0, 5], "prior_probs": prior}
    pq.write_table(pa.table(rows), tmp_path / "table.parquet")
    columns = ["--item_id_column", "turn", "--annotator_id_column", "who", "--category_column", "choice"]
    folder = run("--categories", "dprm", "--prior_strength", "2", *columns)
    (item,) = pq.read_table(folder / "items.parquet").to_pylist()
    np.testing.assert_allclose(item["target_probs"], [0.5, 0.05, 0.05, 0.05, 0.05, 0.3], rtol=1e-10)
    assert PreferenceCategories.from_dict(json.loads((folder / "categories.json").read_text())) == DPRM_CATEGORIES


def test_existing_output_is_kept_unless_overwritten(run, tmp_path, capsys):
    folder = run(*OWN)
    (folder / "mark").write_text("")
    with pytest.raises(SystemExit):
        run(*OWN)
    assert (
        f"output folder '{folder}' exists; choose another (`--output_dir`), or replace it by `--overwrite`"
        in capsys.readouterr().err
    )
    assert (folder / "mark").exists()
    run(*OWN, "--overwrite")
    assert not (folder / "mark").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("")
    with pytest.raises(SystemExit):
        run(*OWN, "--overwrite", output="other")
    assert "exists and holds other things; choose another" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]


def test_unwritable_output_is_refused_before_the_work(run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "table.parquet").unlink()  # would be the error if the work had begun
    with pytest.raises(SystemExit):
        run(*OWN, output="file/prepared")
    assert "cannot be made" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "row 0, column 'category': .* is no category; the known names are .*; .* `--category_names`"),
        (("--categories", "six"), "categories is 'six'; give \"dprm\""),
        (("--category_names", "a", "b"), "own categories need both .*; give --category_rewards too"),
        (("--category_rewards", "0", "1"), "own categories need both .*; give --category_names too"),
        ((*OWN, "--split_by", "speaker"), "split_by is 'speaker', not a column of the items"),
        ((*OWN, "--split_by", "prompt", "--split_fractions", "0.7", "0.3"), "split_fractions is .* give shares of"),
        ((*OWN, "--split_by", "prompt", "--split_fractions", "0.7", "0.3", "0.1"), "that sum to 1"),
    ],
)
def test_errors_leave_nothing_behind(run, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as stop:
        run(*options)
    assert stop.value.code == 1
    assert re.search(message, capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["table.parquet"]


def test_population_of_another_shape_is_refused(run, tmp_path, capsys):
    (tmp_path / "shares.yaml").write_text("g: 0.2\n")
    with pytest.raises(SystemExit):
        run(*OWN, "--population", str(tmp_path / "shares.yaml"))
    assert "population is {'g': 0.2}; write `column: {group: share" in capsys.readouterr().err


def test_interrupted_write_leaves_nothing_to_load(table, tmp_path):
    items = prepare_targets(table, QUALITY).items.data.table
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "prepared") as folder:
        write_prepared(folder, items, None, QUALITY)
        assert not (tmp_path / "prepared").exists()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_killed_process_leaves_nothing_to_load(table, tmp_path):
    program = (
        "import os\nfrom trl_dprm.preferences import new_folder\n"
        f"with new_folder({str(tmp_path / 'prepared')!r}) as folder:\n"
        "    (folder / 'items.parquet').write_text('half')\n    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert not (tmp_path / "prepared").exists()
    with new_folder(tmp_path / "prepared") as folder:
        (folder / "items.parquet").write_text("whole")
    assert (tmp_path / "prepared" / "items.parquet").read_text() == "whole"
