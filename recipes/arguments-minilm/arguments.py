"""What one run is described by; the YAML file holds the values chosen on the validation clusters."""

from dataclasses import dataclass, field


@dataclass
class RecipeArguments:
    """Data, backbone, folds and the one training budget that every method gets."""

    dataset: str = field(metadata={"help": "Pairs with votes, `PATH|HUB_ID`; the README says in which form."})
    backbone: str = field(metadata={"help": "Checkpoint that every training starts from, `PATH|HUB_ID`."})
    output_dir: str = field(metadata={"help": "Folder for predictions and tables."})
    dataset_split: str = field(default="train", metadata={"help": "Split of a dataset on the Hub."})
    seeds: list[int] = field(
        default_factory=lambda: [0, 1, 2, 3, 4],
        metadata={"help": "One training per seed and method; seed s is tested on fold s modulo `num_folds`."},
    )
    num_folds: int = field(default=5, metadata={"help": "Folds of the clusters that are tested."})
    validation_share: float = field(
        default=0.25,
        metadata={"help": "Share of the clusters that choose settings and fit links: never trained on or tested."},
    )
    num_train_pairs: int = field(
        default=2_000, metadata={"help": "Pairs drawn for a training, the same ones for every method of a seed."}
    )
    num_categories: int = field(default=5, metadata={"help": "Categories of the distributional models."})
    learning_rate: float = field(default=1e-4, metadata={"help": "Peak of the linear schedule."})
    scale_learning_rate: float = field(
        default=1.0, metadata={"help": "Step size of the DPRM's Bradley-Terry scale, for that method alone."}
    )
    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the drawn pairs."})
    batch_size: int = field(default=16, metadata={"help": "Pairs per step."})
    warmup_share: float = field(default=0.1, metadata={"help": "Share of the steps in which the rate rises."})
    weight_decay: float = field(default=0.01, metadata={"help": "Of AdamW."})
    frozen_layers: int = field(
        default=0, metadata={"help": "Lowest layers that do not train; with any, the embeddings do not either."}
    )
    max_length: int = field(
        default=512, metadata={"help": "Longest text in tokens: pairs with a longer one are left out and counted."}
    )
    disable_dropout: bool = field(default=True, metadata={"help": "Whether the backbone trains without dropout."})
    bf16: bool = field(default=True, metadata={"help": "Whether training computes in bfloat16."})
    num_resamples: int = field(default=10_000, metadata={"help": "Bootstrap resamples of the clusters."})
    write_table: bool = field(
        default=True, metadata={"help": "Whether to write the table; without, processes can share the seeds."}
    )
    use_cpu: bool = field(default=True, metadata={"help": "Train on the CPU even where there is a GPU."})

    def __post_init__(self):
        if self.num_folds < 2:
            raise ValueError(f"`num_folds` is {self.num_folds}: at least 2, so that what is tested is not trained on.")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"`validation_share` is {self.validation_share}: give a share between 0 and 1.")

    @property
    def category_rewards(self) -> list[float]:
        """Rewards of the distributional models' categories, equally spaced from -1 to 1."""
        return [2 * k / (self.num_categories - 1) - 1 for k in range(self.num_categories)]
