"""The recipes that share `recipes/crowds`: their modules, and judgments in ConvAbuse's form, for tests."""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
TURN = ("conv_id", "prev_agent", "prev_user", "agent", "user")
LEVELS = (1, 0, -1, -2, -3)  # in the order of the file's columns


@contextmanager
def recipe_modules(name: str) -> Iterator[SimpleNamespace]:
    """The recipe's modules as attributes; others have modules of the same names, so none stays imported."""
    folders = [str(RECIPES / name), str(RECIPES)]
    modules = [file.stem for file in (RECIPES / name).glob("*.py")]
    kept = {module: sys.modules.pop(module) for module in modules if module in sys.modules}
    sys.path[:0] = folders
    try:
        yield SimpleNamespace(**{module: __import__(module) for module in modules})
    finally:
        for folder in folders:
            sys.path.remove(folder)
        for module in modules:
            sys.modules.pop(module, None)
        sys.modules.update(kept)


def write_judgments(path: Path, judgments: list[tuple[str, str, str, int]]) -> str:
    """Write (annotator, conversation, user turn, level) as a file of ConvAbuse's form; the turn's context is equal."""
    columns = ["example_no", "annotator_id", *TURN, *(f"is_abuse.{level}" for level in LEVELS)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for number, (annotator, conversation, user, level) in enumerate(judgments):
            marks = [int(level == mark) for mark in LEVELS]
            writer.writerow([number, annotator, conversation, "hello", "_", "go on", user, *marks])
    return str(path)


def many_judgments(num_conversations: int = 120, num_annotators: int = 4) -> list[tuple[str, str, str, int]]:
    """Two turns per conversation; three or four annotators each, who see a word's level and differ by one at times."""
    words = {"fool": -2, "please": 1, "idiot": -3, "maybe": 0, "boring": -1}
    judgments = []
    for number in range(2 * num_conversations):
        word = list(words)[number % len(words)]
        for annotator in range(num_annotators):
            if (number + annotator) % 3 or number % 2:  # half of the items lack one annotator or two
                level = min(1, max(-3, words[word] + (number * (annotator + 2)) % 3 - 1))
                judgments.append((f"Annotator{annotator}", f"c{number // 2}", f"{word} {number % 7}", level))
    return judgments
