"""Files that are there whole or not at all."""

import json
import os
from pathlib import Path


def write_json(path: Path, content: dict) -> None:
    """Write under another name, then rename: a run that is stopped leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)
