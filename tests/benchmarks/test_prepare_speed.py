"""`trl-dprm prepare` on ten million judgments of one million items, against pandas: `pytest -m benchmark -s`."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.benchmark

ITEMS, VOTES_PER_ITEM = 1_000_000, 10
NAMES = ["very bad", "bad", "fair", "good", "very good"]
PROMPT = "Explain to somebody who has never heard of it why the sky is blue at noon and red in the evening. "
ANSWER = "Light of short waves is scattered more than light of long waves, so we see it from all sides. " * 2
SECONDS, GIGABYTES = 60, 4

PANDAS = """
import sys
import pandas as pd
source, target = sys.argv[1:]
frame = pd.read_parquet(source) if source.endswith("parquet") else pd.read_csv(source)
frame["vote"] = 1 / frame.groupby(["item_id", "annotator_id"])["category"].transform("size")
counts = frame.pivot_table(index="item_id", columns="category", values="vote", aggfunc="sum", fill_value=0, sort=False)
own = frame.groupby("item_id", sort=False)[["prompt", "completion"]]
assert (own.nunique() == 1).all().all()
names = ["very bad", "bad", "fair", "good", "very good"]
items = own.first()
items["target_counts"] = counts[names].to_numpy().tolist()
items["vote_weight"] = counts.sum(axis=1)
items["target_probs"] = counts[names].div(counts.sum(axis=1), axis=0).to_numpy().tolist()
items.reset_index().to_parquet(target)
"""


def write_judgments(folder: Path, suffix: str) -> Path:
    """Rows in random order; an annotator judges the same item now and then twice."""
    rng = np.random.default_rng(0)
    item = rng.permutation(np.repeat(np.arange(ITEMS), VOTES_PER_ITEM))
    ids = pa.array([f"item-{number:07d}" for number in range(ITEMS)])
    prompts = pa.array([f"Question {number}: {PROMPT}" for number in range(ITEMS)])
    completions = pa.array([f"Answer {number}: {ANSWER}" for number in range(ITEMS)])
    annotators = pa.array([f"annotator-{number:04d}" for number in range(5_000)])
    path, writer = folder / f"judgments{suffix}", None
    for rows in np.array_split(item, 20):
        who = (rows * 7 + rng.integers(0, 100, len(rows))) % 5_000
        part = pa.table(
            {
                "item_id": ids.take(pa.array(rows)),
                "annotator_id": annotators.take(pa.array(who)),
                "category": pa.array(NAMES).take(pa.array(rng.integers(0, 5, len(rows)))),
                "prompt": prompts.take(pa.array(rows)),
                "completion": completions.take(pa.array(rows)),
            }
        )
        writer = writer or (pq.ParquetWriter if suffix == ".parquet" else pyarrow.csv.CSVWriter)(path, part.schema)
        writer.write_table(part)
    writer.close()
    return path


def measured(command: list[str]) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak resident gigabytes of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_ten_million_judgments_in_one_command(suffix, tmp_path):
    judgments = write_judgments(tmp_path, suffix)
    command = [sys.executable, "-m", "trl_dprm.cli", "prepare", "--annotations", str(judgments)]
    command += ["--output_dir", str(tmp_path / "prepared"), "--category_names", *NAMES]
    command += ["--category_rewards", "-1", "-0.5", "0", "0.5", "1"]
    seconds, processor, gigabytes = measured(command)
    pandas_items = tmp_path / "pandas.parquet"
    rival = measured([sys.executable, "-c", PANDAS, str(judgments), str(pandas_items)])
    for name, (wall, cpu, peak) in {"prepare": (seconds, processor, gigabytes), "pandas": rival}.items():
        speed = ITEMS * VOTES_PER_ITEM / wall
        print(
            f"\n{name} {suffix}: {wall:.1f} s ({cpu:.1f} s cpu), {speed:,.0f} judgments/s, peak {peak:.2f} GB", end=""
        )
    print(f"\nratio: {rival[0] / seconds:.2f} times faster, {rival[2] / gigabytes:.2f} times less memory")
    ours, theirs = (pq.read_table(path) for path in (tmp_path / "prepared" / "items.parquet", pandas_items))
    for name in ("item_id", "prompt", "completion"):
        assert ours[name].to_pylist() == theirs[name].to_pylist()
    for name in ("target_counts", "target_probs"):
        values = [table[name].combine_chunks().flatten().to_numpy() for table in (ours, theirs)]
        np.testing.assert_allclose(*values, rtol=1e-10, atol=1e-14)
    assert seconds < SECONDS
    assert gigabytes < GIGABYTES
