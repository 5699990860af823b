"""`trl-dprm rewardbench`: a reward model's numbers on RewardBench, or on any data in one of its forms."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..reward_bench import (
    Benchmark,
    benchmark_intervals,
    benchmark_results,
    read_benchmark,
    read_prior_sets,
    result_files,
    results_table,
    score_benchmark,
)
from ..reward_bench.intervals import LEVEL
from ..reward_bench.layout import check_model_name
from ..reward_bench.scoring import READ_AS
from ..rewards import RewardModelFunction, RewardStatistic, load_reward_model
from ..rewards.statistics import STATISTICS
from ..trainer.reading import read_split, read_splits
from ..trainer.scoring import OVERLONG
from .checkpoint import CheckpointArguments, default_device, loading_options
from .parsing import CommandParser, errors_as_messages
from .writing import whole_file


@dataclass
class RewardBenchArguments:
    """What is measured, and how. `--model` is a DPRM or a reward model with one label."""

    dataset_name: str = field(
        metadata={
            "help": "PATH|HUB_ID of data in v1 form (`prompt`, `chosen`, `rejected`, `subset`) or v2 form (lists in "
            "`chosen` and `rejected`): `allenai/reward-bench` with `--split filtered`, `allenai/reward-bench-2`, "
            "a file, a folder."
        }
    )
    output_dir: str = field(metadata={"help": "Folder for the result files, in RewardBench's layout."})
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    split: str | None = field(default=None, metadata={"help": "Split to measure on. Default: the only one."})
    prior_sets: str | None = field(
        default=None,
        metadata={
            "help": "PATH|HUB_ID of the prior sets, one split each (`allenai/preference-test-sets`): the fifth "
            "section of v1, at half weight."
        },
    )
    result_name: str | None = field(
        default=None,
        metadata={
            "help": "`owner/name` of the model in the results. Default: its Hub id, or `local/` and the folder's "
            "name; with the revision and the statistic if they are not the defaults."
        },
    )
    read_as: Literal[READ_AS] = field(
        default="messages",
        metadata={
            "help": "`messages`: prompt and response as turns of a conversation, through the chat template. `text`: "
            "joined as plain text."
        },
    )
    statistic: Literal[STATISTICS] = field(
        default="expected_reward", metadata={"help": "What of a DPRM's distribution is the reward."}
    )
    cvar_level: float = field(
        default=0.1, metadata={"help": "Share of the least satisfied annotators that `cvar` looks at."}
    )
    semideviation_weight: float = field(
        default=1.0, metadata={"help": "Weight of the semideviation in `lower_semideviation`, in [0, 1]."}
    )
    batch_size: int = field(default=32, metadata={"help": "Responses at a time; they are sorted by length."})
    max_length: int | None = field(
        default=None, metadata={"help": "Longest response with its prompt, in tokens. Default: as in training."}
    )
    overlong: Literal[OVERLONG] = field(
        default="refuse",
        metadata={
            "help": "Prompts with a longer response: `refuse` the data, `score` them in full, or `skip` them (the "
            "averages then lack them). Text is never cut."
        },
    )
    device: str | None = field(
        default=None,
        metadata={"help": "Device, such as `cpu` or `cuda:1`; `auto` spreads a large model. Default: GPU if any."},
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Score the benchmark, print the table and write the files."""
    parser = CommandParser(
        "rewardbench", "Measure a reward model on RewardBench.", (CheckpointArguments, RewardBenchArguments)
    )
    checkpoint, arguments = parser.parse(argv)
    with errors_as_messages("rewardbench"):
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise ValueError("RewardBench runs in one process; `--device auto` spreads a large model over the GPUs.")
        statistic = RewardStatistic(arguments.statistic, arguments.cvar_level, arguments.semideviation_weight)
        if arguments.result_name is not None:
            check_model_name(arguments.result_name)
        _make_folder(Path(arguments.output_dir))
        benchmark = _read(arguments)
        model, tokenizer = load_reward_model(
            checkpoint.model, **loading_options(checkpoint, arguments.device or default_device())
        )
        function = RewardModelFunction(model, tokenizer, statistic, batch_size=arguments.batch_size)
        scored = score_benchmark(
            function, benchmark, arguments.read_as, max_length=arguments.max_length, overlong=arguments.overlong
        )
        results = benchmark_results(scored)
        intervals = benchmark_intervals(scored)
        print(results_table(results, scored.num_skipped, intervals))
        name = arguments.result_name or result_name(checkpoint, statistic)
        settings = _settings(checkpoint, arguments, function)
        settings["intervals"] = None if intervals is None else {"level": LEVEL, **intervals._asdict()}
        files = result_files(scored, results, function.tokenizer, arguments.read_as, name, settings)
        for path, content in files.items():
            print(_write(Path(arguments.output_dir) / path, content))


def _make_folder(folder):
    if folder.is_file():
        raise NotADirectoryError(f"`output_dir` is `{folder}`, a file: name a folder for the result files.")
    folder.mkdir(parents=True, exist_ok=True)


def _read(arguments) -> Benchmark:
    benchmark = read_benchmark(read_split(arguments.dataset_name, arguments.split, arguments.dataset_config))
    if arguments.prior_sets is None:
        return benchmark
    if benchmark.form != "v1":
        raise ValueError(
            "`prior_sets` belong to the first RewardBench, but the data set is in the form of the second."
        )
    prior = read_prior_sets(read_splits(arguments.prior_sets))
    return Benchmark("v1", [*benchmark.questions, *prior.questions])


def result_name(checkpoint: CheckpointArguments, statistic: RewardStatistic) -> str:
    """What the results call a model: its Hub id, or a folder's name with an owner, as RewardBench's scripts want one.

    Args:
        checkpoint ([`CheckpointArguments`]): Whose path and revision.
        statistic ([`RewardStatistic`]): Another one than the default is another reward model.
    """
    name = f"local/{Path(checkpoint.model).resolve().name}" if os.path.exists(checkpoint.model) else checkpoint.model
    name += "" if checkpoint.revision == "main" else f"-{checkpoint.revision.replace('/', '-')}"
    return name + ("" if statistic.is_trained else f"-{statistic.statistic}")


def _settings(checkpoint, arguments, function) -> dict[str, object]:
    """How the numbers came about, for the summary."""
    statistic = {"statistic": arguments.statistic} if function.is_distributional else {}
    options = {"cvar": ("cvar_level",), "lower_semideviation": ("semideviation_weight",)}
    statistic |= {name: getattr(arguments, name) for name in options.get(arguments.statistic, ())}
    return {
        "checkpoint": checkpoint.model,
        "revision": checkpoint.revision,
        "dtype": checkpoint.dtype,
        "dataset": arguments.dataset_name,
        "split": arguments.split,
        "prior_sets": arguments.prior_sets,
        "read_as": arguments.read_as,
        "overlong": arguments.overlong,
        "max_length": arguments.max_length,
        **statistic,
    }


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=4, sort_keys=True) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
