"""Imports point one way, from `cli` down to `models`.

cli -> parity, evaluation -> serving, ppo, reward_bench -> rewards -> trainer -> hub -> adaptation -> losses, metrics,
preferences -> models; metrics may know preferences, which knows neither metrics nor losses.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "trl_dprm"
BASE = {"losses", "metrics", "preferences", "models"}
ALLOWED = {
    "models": set(),
    "losses": {"models"},
    "preferences": {"models"},
    "metrics": {"losses", "preferences", "models"},
    "adaptation": BASE,
    "hub": {"adaptation", *BASE},
    "trainer": {"hub", "adaptation", *BASE},
    "rewards": {"trainer", "hub", *BASE},
    "ppo": {"rewards", "trainer", "hub", *BASE},
    "reward_bench": {"rewards", "trainer", "hub", "metrics", "models"},
    "serving": {"rewards", "trainer", "metrics", "models"},
    "parity": {"serving", "ppo", "rewards", "trainer", "hub", "metrics", "models"},
    "evaluation": {"rewards", "trainer", "hub", "adaptation", *BASE},
    "cli": {
        "evaluation",
        "adaptation",
        "parity",
        "serving",
        "reward_bench",
        "ppo",
        "rewards",
        "trainer",
        "hub",
        *BASE,
    },
}


def imported_rooms(file: Path) -> set[str]:
    """Rooms of the package that a file imports from, its own left out."""
    own = file.relative_to(PACKAGE).parts[0]
    package = ["trl_dprm", *file.relative_to(PACKAGE).parent.parts]
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "trl_dprm" and len(parts) > 1:
                found.add(parts[1])
    return found - {own}


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_rooms_import_only_what_lies_below_them(room):
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files, f"no files in {room}"
    for file in files:
        upward = imported_rooms(file) - ALLOWED[room]
        assert not upward, f"{file.relative_to(PACKAGE)} imports from {sorted(upward)}"


def test_every_room_is_drawn():
    rooms = {folder.name for folder in PACKAGE.iterdir() if folder.is_dir() and not folder.name.startswith("__")}
    assert rooms == set(ALLOWED)


def test_the_walk_sees_relative_and_absolute_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    (tmp_path / "models").mkdir()
    file = tmp_path / "models" / "m.py"
    lines = [
        "from ..trainer.rows import x",
        "import trl_dprm.cli",
        "from trl_dprm import hub",
        "from . import sibling",
    ]
    file.write_text("\n".join(lines))
    assert imported_rooms(file) == {"trainer", "cli", "hub"}
