"""What one run of this recipe is described by."""

from dataclasses import dataclass, field

from crowds.arguments import CrowdArguments


@dataclass
class RecipeArguments(CrowdArguments):
    """Crowds, numbers of new votes and budgets; see `run.py --help`."""

    seeds: list[int] = field(
        default_factory=lambda: [0, 1, 2, 3, 4], metadata={"help": "Replications of the simulated crowd."}
    )
    convabuse_seeds: list[int] = field(
        default_factory=lambda: [0, 1], metadata={"help": "Trainings per annotator that is left out."}
    )
    left_out: list[str] | None = field(
        default=None, metadata={"help": "Annotators of ConvAbuse to leave out, one after the other. Default: all."}
    )
    new_votes: list[int] = field(
        default_factory=lambda: [10, 100, 1000], metadata={"help": "Numbers of new votes, each on another item."}
    )
    num_draws: int = field(
        default=5,
        metadata={"help": "Draws of the new votes for what needs no training; trainings see the first draw."},
    )

    new_share: float = field(
        default=0.8,
        metadata={"help": "Share of the second group (0.35 so far) in the simulated crowd's new population."},
    )
    num_items: int = field(
        default=1792, metadata={"help": "Items of the simulated crowd that the model is trained on."}
    )
    votes_per_item: int = field(default=4, metadata={"help": "Votes on each of these, and on validation items."})
    num_other_items: int = field(
        default=1000, metadata={"help": "Items that new votes may fall on, and as many again to test on."}
    )
    simulated_steps: int = field(default=200, metadata={"help": "Steps of a training on the simulated crowd."})
    group_steps: int = field(
        default=500,
        metadata={"help": "Steps of the simulated crowd's model that reads the group: it has more to learn."},
    )
    simulated_batch_size: int = field(default=32, metadata={"help": "Items per step there."})
    simulated_learning_rate: float = field(default=3e-3, metadata={"help": "Peak of the schedule there."})

    convabuse_steps: int = field(default=200, metadata={"help": "Steps of a training on ConvAbuse."})
    convabuse_batch_size: int = field(default=16, metadata={"help": "Items per step there."})
    convabuse_learning_rate: float = field(default=1e-4, metadata={"help": "Peak of the schedule there."})
    simulated_trained_votes: list[int] = field(
        default_factory=lambda: [10, 100, 1000],
        metadata={"help": "Numbers of new votes with which the simulated crowd's model is trained on, and again."},
    )
    convabuse_trained_votes: list[int] = field(
        default_factory=lambda: [100, 1000],
        metadata={"help": "Numbers of new votes with which ConvAbuse's model is trained on."},
    )
    convabuse_trained_again: list[int] = field(
        default_factory=lambda: [1000],
        metadata={"help": "Numbers of new votes for which ConvAbuse's model is trained again on old and new votes."},
    )

    continued_steps: int = field(default=40, metadata={"help": "Steps of a training that goes on from the old model."})
    continued_rate: float = field(
        default=0.5, metadata={"help": "Its learning rate, as a multiple of the first training's."}
    )

    def __post_init__(self):
        if not 0 <= self.new_share <= 1:
            raise ValueError(f"`new_share` is {self.new_share}; give a share from 0 to 1.")
        super().__post_init__()
