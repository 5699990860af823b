"""What a run of either recipe is described by, whatever it asks of the crowds."""

from dataclasses import dataclass, field

CROWDS = ("simulated", "convabuse")
OF_CONVABUSE = ("dataset", "dataset_split", "backbone")
"""Options that a run on the simulated crowd alone does not depend on."""


@dataclass
class CrowdArguments:
    """Which crowds, from where, and where the results go."""

    output_dir: str = field(metadata={"help": "Folder for predictions, tables and pictures."})
    crowds: list[str] = field(
        default_factory=lambda: list(CROWDS), metadata={"help": "Among simulated and convabuse."}
    )
    dataset: str | None = field(
        default=None,
        metadata={"help": "ConvAbuse judgments, `PATH|HUB_ID`: a CSV file or a dataset on the Hub. For convabuse."},
    )
    dataset_split: str = field(default="train", metadata={"help": "Split of a dataset on the Hub."})
    backbone: str | None = field(
        default=None, metadata={"help": "Checkpoint that convabuse's models start from, `PATH|HUB_ID`."}
    )
    write_table: bool = field(
        default=True, metadata={"help": "Whether to write tables and pictures; without, processes can share the work."}
    )

    def __post_init__(self):
        unknown = sorted(set(self.crowds) - set(CROWDS))
        if unknown:
            raise ValueError(f"`crowds` holds {', '.join(unknown)}; choose among {', '.join(CROWDS)}.")
        if "convabuse" in self.crowds and not (self.dataset and self.backbone):
            raise ValueError(
                "the crowd convabuse needs `--dataset` (its judgments, PATH|HUB_ID) and `--backbone` (an encoder, "
                "PATH|HUB_ID); without them run `--crowds simulated`."
            )
