"""What one run of this recipe is described by."""

from dataclasses import dataclass, field


@dataclass
class RecipeArguments:
    """Crowds, budgets and what to do; see `run.py --help`."""

    output_dir: str = field(metadata={"help": "Folder for predictions, tables and pictures."})
    crowds: list[str] = field(
        default_factory=lambda: ["simulated", "convabuse"], metadata={"help": "Among simulated and convabuse."}
    )
    dataset: str | None = field(
        default=None,
        metadata={"help": "ConvAbuse judgments, `PATH|HUB_ID`: a CSV file or a dataset on the Hub. For convabuse."},
    )
    dataset_split: str = field(default="train", metadata={"help": "Split of a dataset on the Hub."})
    backbone: str | None = field(
        default=None, metadata={"help": "Checkpoint that convabuse's models start from, `PATH|HUB_ID`."}
    )
    seeds: list[int] = field(
        default_factory=lambda: [0, 1, 2, 3, 4], metadata={"help": "Replications of everything that is drawn."}
    )
    methods: list[str] = field(
        default_factory=lambda: ["distribution", "regression", "pairs"],
        metadata={"help": "What to train, among distribution, regression and pairs (the last two at equal items)."},
    )

    num_items: int = field(default=2048, metadata={"help": "Judged items of the simulated crowd at one vote each."})
    max_votes: int = field(default=16, metadata={"help": "Most votes per item of the simulated crowd, a power of 2."})
    num_test_items: int = field(
        default=1000, metadata={"help": "Items of the simulated crowd that are not trained on."}
    )
    simulated_steps: int = field(default=200, metadata={"help": "Steps of a training on the simulated crowd."})
    simulated_batch_size: int = field(default=32, metadata={"help": "Items per step there."})
    simulated_learning_rate: float = field(default=3e-3, metadata={"help": "Peak of the schedule there."})

    convabuse_steps: int = field(default=160, metadata={"help": "Steps of a training on ConvAbuse."})
    convabuse_batch_size: int = field(default=16, metadata={"help": "Items per step there."})
    convabuse_learning_rate: float = field(default=1e-4, metadata={"help": "Peak of the schedule there."})

    write_table: bool = field(
        default=True, metadata={"help": "Whether to write tables and picture; without, processes can share the work."}
    )

    def __post_init__(self):
        for name, known in (("crowds", CROWDS), ("methods", METHODS)):
            unknown = sorted(set(getattr(self, name)) - set(known))
            if unknown:
                raise ValueError(f"`{name}` holds {', '.join(unknown)}; choose among {', '.join(known)}.")
        if "convabuse" in self.crowds and not (self.dataset and self.backbone):
            raise ValueError(
                "the crowd convabuse needs `--dataset` (its judgments, PATH|HUB_ID) and `--backbone` (an encoder, "
                "PATH|HUB_ID); without them run `--crowds simulated`."
            )


CROWDS = ("simulated", "convabuse")
METHODS = ("distribution", "regression", "pairs")
