"""Updater states as JSON files: written whole or not at all, and refused on reading unless complete."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

FORMAT_VERSION = 1


def write_state(path: str | os.PathLike, kind: str, state: dict) -> None:
    """Write `state` beside `path` and move it into place, so that an interrupted write leaves the old file.

    Args:
        path (`str` or `PathLike`): the file to write; its folder must exist.
        kind (`str`): what the state belongs to, checked on reading.
        state (`dict`): JSON values; floats keep every bit, NaN and infinity are refused.

    Raises:
        OSError: if the folder is missing or cannot be written.
        ValueError: for NaN or infinity.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps({"kind": kind, "version": FORMAT_VERSION, **state}, allow_nan=False)
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_state(path: str | os.PathLike, kind: str, fields: set[str], later_fields: Mapping | None = None) -> dict:
    """Read what [`write_state`] wrote; another kind, version or set of fields is refused.

    Args:
        path (`str` or `PathLike`): the file.
        kind (`str`): the class that reads it.
        fields (`set` of `str`): the fields that the state must have; it has no others but `later_fields`.
        later_fields (`dict`, *optional*): fields that earlier releases did not write, with what stands for them.

    Returns:
        `dict` of all these fields.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, what is wrong in it and the remedy.
    """
    try:
        state = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise ValueError(
            f"{path} is not a complete JSON file ({error}); "
            "restore a backup or rebuild the state from the annotations."
        ) from error
    if not isinstance(state, dict) or "kind" not in state:
        raise ValueError(f"{path} holds no updater state; give a file that {kind}.save wrote.")
    if state["kind"] != kind:
        raise ValueError(
            f"{path} holds the state of {state['kind']}; load it with {state['kind']}.load, not {kind}.load."
        )
    if state.get("version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {state.get('version')}, this release reads {FORMAT_VERSION}; "
            "load it with the release that wrote it, or rebuild the state from the annotations."
        )
    later_fields = later_fields or {}
    found = set(state) - {"kind", "version", *later_fields}
    if found != fields:
        raise ValueError(
            f"{path} lacks the fields {sorted(fields - found)} or has unknown ones {sorted(found - fields)}; "
            "restore a backup or rebuild the state from the annotations."
        )
    return {**later_fields, **{name: state[name] for name in (*fields, *later_fields) if name in state}}


def _refuse_constant(text: str):
    """Refuse NaN and infinity, which Python's JSON would read."""
    raise ValueError(f"{text} is not a number")
