"""What one run of this recipe is described by; `convabuse.yaml` holds the values chosen on the validation part."""

from dataclasses import dataclass, field, replace


@dataclass
class RecipeArguments:
    """Data, backbone and the one training budget that every method gets."""

    dataset: str = field(metadata={"help": "ConvAbuse judgments, `PATH|HUB_ID`: a CSV file or a dataset on the Hub."})
    backbone: str = field(metadata={"help": "Checkpoint that every neural method starts from, `PATH|HUB_ID`."})
    output_dir: str = field(metadata={"help": "Folder for predictions and tables."})
    dataset_split: str = field(default="train", metadata={"help": "Split of a dataset on the Hub."})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4], metadata={"help": "One training per seed."})
    methods: list[str] | None = field(
        default=None, metadata={"help": "Train these methods only, so that processes can share them; by default all."}
    )
    transport_weights: list[float] = field(
        default_factory=lambda: [1.0, 2.0, 4.0],
        metadata={
            "help": "Weights w of cross-entropy + w * optimal transport, to choose from on the validation part."
        },
    )
    nats_margin: float = field(
        default=0.005,
        metadata={"help": "Validation nats per vote that a sum may lose to cross-entropy and still be chosen."},
    )
    context: bool = field(
        default=False,
        metadata={"help": "Whether the model reads the agent's turn before the judged turn."},
    )
    learning_rate: float = field(default=1e-4, metadata={"help": "Peak of the linear schedule."})
    learning_rates: list[str] = field(
        default_factory=list, metadata={"help": '`method=rate` for methods with another one, "" for none; `rates.py`.'}
    )
    num_train_epochs: float = field(default=2.0, metadata={"help": "Passes over the training part."})
    batch_size: int = field(default=16, metadata={"help": "Items per step."})
    warmup_share: float = field(default=0.1, metadata={"help": "Share of the steps in which the rate rises."})
    weight_decay: float = field(default=0.01, metadata={"help": "Of AdamW."})
    max_length: int = field(default=256, metadata={"help": "Longest text in tokens; no item of ConvAbuse is longer."})
    disable_dropout: bool = field(default=False, metadata={"help": "Whether the backbone trains without dropout."})
    readout_degrees: list[int] = field(
        default_factory=lambda: [1],
        metadata={"help": "Degrees of the score in readouts; of several the held-out validation votes choose."},
    )
    num_resamples: int = field(default=10_000, metadata={"help": "Bootstrap resamples of the conversations."})
    write_table: bool = field(
        default=True,
        metadata={"help": "Whether to write the table; without, processes can share the seeds."},
    )
    save_models: bool = field(
        default=False, metadata={"help": "Whether to keep the distributional models of the first seed."}
    )
    use_cpu: bool = field(default=True, metadata={"help": "Train on the CPU even where there is a GPU."})

    def __post_init__(self):
        self.learning_rates = [entry for entry in self.learning_rates if entry]

    def of_method(self, method: str) -> "RecipeArguments":
        """The same with the learning rate of a method.

        >>> arguments = RecipeArguments("data", "backbone", "out", learning_rates=["ordered_logit=2e-4"])
        >>> arguments.of_method("ordered_logit").learning_rate, arguments.of_method("cross_entropy").learning_rate
        (0.0002, 0.0001)
        """
        rates = dict(entry.split("=") for entry in self.learning_rates)
        return replace(self, learning_rate=float(rates.get(method, self.learning_rate)))
