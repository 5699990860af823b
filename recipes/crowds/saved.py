"""Results on disk: whole files or none, and no mixture of different runs in one folder."""

import json
import os
from pathlib import Path

import numpy as np


def save_arrays(path: Path, **arrays) -> None:
    """Write under another name, then rename: a run that is stopped leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.unfinished")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)
    unfinished.replace(path)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what `save_arrays` wrote."""
    with np.load(path) as arrays:
        return dict(arrays)


def check_same_run(folder: Path, facts: dict) -> None:
    """Refuse to mix the results of runs with other data, backbone or budget in one folder.

    Args:
        folder (`Path`): Of the run; `arguments.json` in it remembers the facts.
        facts (`dict`): What must not change between the runs that share the folder.

    Raises:
        ValueError: naming the options that differ.
    """
    file = folder / "arguments.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    changed = sorted(name for name in facts if facts[name] != before.get(name, facts[name]))
    if changed:
        raise ValueError(f"{folder} holds a run with other {', '.join(changed)}. Choose another `output_dir`.")
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.unfinished")
    unfinished.write_text(json.dumps(before | facts, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(file)
