"""The console command `trl-dprm`: one file per subcommand, each a thin wrapper around the library."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from .four_bit_notice import hold_four_bit_notice

COMMANDS = {
    "prepare": "turn a table of annotator judgments into training targets",
    "train": "train a distributional preference reward model",
    "evaluate": "measure a trained model on a data set",
    "adapt": "adapt a trained model to new votes, or recalibrate it",
    "ppo": "train a policy on the expected reward",
    "score": "write the reward and its distribution beside every row of a data set",
    "serve": "answer requests for rewards over HTTP",
    "merge": "merge an adapter into its base, to a full model",
    "export": "write a stock classifier of the categories, for vLLM and TEI",
    "parity": "compare a model's rewards over every way of loading and using it",
    "rewardbench": "measure a reward model on RewardBench, v1 or v2",
}

hold_four_bit_notice()


def main(argv: Sequence[str] | None = None) -> None:
    """Run `trl-dprm <command> …`.

    Args:
        argv (`Sequence[str]`, *optional*): The command and its options. Defaults to those of the process.

    Raises:
        SystemExit: with code 2 for wrong options, with code 1 for faults in data or files, after a message.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}} {summary}" for name, summary in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="trl-dprm",
        usage="%(prog)s COMMAND [--config FILE.yaml] [--option VALUE ...]",
        description="Distributional preference reward models beside TRL.",
        epilog=f"commands:\n{listed}\n\n`trl-dprm COMMAND --help` lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    command = parser.parse_args(argv[:1]).command
    import_module(f".{command}", __name__).main(argv[1:])
