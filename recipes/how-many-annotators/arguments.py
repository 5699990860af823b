"""What one run of this recipe is described by."""

from dataclasses import dataclass, field

from crowds.arguments import CrowdArguments

METHODS = ("distribution", "regression", "pairs")


@dataclass
class RecipeArguments(CrowdArguments):
    """Crowds, budgets and what to do; see `run.py --help`."""

    seeds: list[int] = field(
        default_factory=lambda: [0, 1, 2, 3, 4], metadata={"help": "Replications of everything that is drawn."}
    )
    methods: list[str] = field(
        default_factory=lambda: list(METHODS),
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

    def __post_init__(self):
        unknown = sorted(set(self.methods) - set(METHODS))
        if unknown:
            raise ValueError(f"`methods` holds {', '.join(unknown)}; choose among {', '.join(METHODS)}.")
        super().__post_init__()
