"""What was promised of the table: its paths, and that the READMEs show it for five architectures."""

import re
from pathlib import Path

import pytest

from trl_dprm.parity import BOUND, PATHS

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURES = ("llama", "qwen3", "gpt2", "bert", "modernbert")
SHARED = "`ExpectedRewardPPOTrainer`, shared backbone"
NO_SUCH_PATH = {
    "README.md": {SHARED: ("bert", "modernbert")},  # adapters
    "recipes/parity/README.md": dict.fromkeys(
        ("adapter by `PeftModel`", "adapter merged", SHARED), ARCHITECTURES
    ),  # full models
}
PROMISED = [
    "direct forward",
    "batched and shuffled",
    "right padding",
    "left padding",
    "padding to a multiple of 8",
    "saved and reloaded",
    "remote code, without this package",
    "adapter by `PeftModel`",
    "adapter merged",
    "stock export",
    '`pipeline("text-classification")`',
    "`GRPOTrainer` by path",
    "`GRPOTrainer` by instance",
    "`RLOOTrainer` by path",
    "`RLOOTrainer` by instance",
    "`ExpectedRewardPPOTrainer`",
    "bfloat16",
    "8-bit",
    "4-bit",
]


def test_every_path_that_was_promised_is_there():
    assert [path.name for path in PATHS if path.name in PROMISED] == PROMISED


@pytest.mark.parametrize("readme", NO_SUCH_PATH)
def test_the_readmes_table(readme):
    """Five architectures, every path, all float32 errors within the bound."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    ((head, body),) = re.findall(r"^(\| path +\| llama .*)\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert cells_of(head) == ["path", *ARCHITECTURES]
    rows = [cells_of(line) for line in body.splitlines()]
    assert [name for name, *_ in rows] == [path.name for path in PATHS]
    for name, *cells in rows:
        for architecture, cell in zip(ARCHITECTURES, cells, strict=True):
            if architecture in NO_SUCH_PATH[readme].get(name, ()):
                assert cell == "–"
            elif name in ("bfloat16", "8-bit", "4-bit"):
                assert re.fullmatch(r"\d\.\de-0\d \((0\.\d{3}|1\.000)\)", cell), (name, architecture)
            else:
                assert float(cell.removesuffix(" †")) <= BOUND, (name, architecture)


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
