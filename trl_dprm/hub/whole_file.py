"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside `path` to write to: it takes its place at the end, or vanishes if the writing fails.

    Args:
        path (`str` or `os.PathLike`): The file to write; its folder must exist.

    Yields:
        `Path`, in the same folder.

    Raises:
        OSError: if `path` cannot be replaced; what stood there stays.
    """
    path = Path(path)
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
