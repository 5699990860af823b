"""The files of this room travel with a checkpoint, so they may import nothing that is not there."""

import ast
import sys
from pathlib import Path

import pytest

import trl_dprm.models

ROOM = Path(trl_dprm.models.__file__).parent
FILES = sorted(ROOM.glob("*.py"))
ALLOWED = {"torch", "transformers", *sys.stdlib_module_names}


def foreign_imports(source, siblings):
    """Names of imported modules that are neither allowed packages nor `.sibling` files."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] not in ALLOWED]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [node.module] if node.module.split(".")[0] not in ALLOWED else []
        elif isinstance(node, ast.ImportFrom) and (node.level > 1 or node.module not in siblings):
            found.append("." * node.level + (node.module or ""))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_imports_only_torch_transformers_and_siblings(file):
    assert foreign_imports(file.read_text(encoding="utf-8"), {other.stem for other in FILES}) == []


def test_the_walk_sees_what_is_forbidden():
    source = (
        "import numpy\nfrom trl_dprm.models import x\nfrom ..losses import y\nfrom .other import z\nfrom . import w"
    )
    source += "\ndef late():\n    import peft.utils"
    assert foreign_imports(source, {"sibling"}) == [
        "numpy",
        "trl_dprm.models",
        "..losses",
        ".other",
        ".",
        "peft.utils",
    ]
    assert foreign_imports("import os.path\nfrom torch import nn\nfrom .sibling import s", {"sibling"}) == []


def test_every_file_that_a_checkpoint_needs_is_saved_with_it(tiny_dprm, tmp_path):
    tiny_dprm().save_pretrained(tmp_path)
    saved = {file.name for file in tmp_path.glob("*.py")}
    assert saved == {file.name for file in FILES} - {"__init__.py"}
    assert all((tmp_path / name).read_bytes() == (ROOM / name).read_bytes() for name in saved)
