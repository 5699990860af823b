"""Judgments in ConvAbuse's form, for tests of the recipes that share `recipes/crowds`."""

import csv
from pathlib import Path

TURN = ("conv_id", "prev_agent", "prev_user", "agent", "user")
LEVELS = (1, 0, -1, -2, -3)  # in the order of the file's columns


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
