"""Tülu-1's human judgments with the methods of `arguments-minilm`: `python recipes/tulu-pairs/run.py --help`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "arguments-minilm"))

from judgments import read_judgments
from run_pairs import main

if __name__ == "__main__":
    main(read_judgments)
