"""UKPConvArg1 with every method: `python recipes/arguments-minilm/run.py --help`."""

from argument_pairs import read_argument_pairs
from run_pairs import main

if __name__ == "__main__":
    main(read_argument_pairs)
