"""What describes a training run of a distributional preference reward model."""

import json
from dataclasses import dataclass, field, fields

from transformers import TrainingArguments
from trl import RewardConfig

from ..losses.distribution_loss import DISTRIBUTION_LOSSES
from ..models import DPRMConfig

RESUME_HELP = (
    "Go on from a checkpoint: `true` for the last complete one in `output_dir`, or the folder of one. In Python pass "
    "it to `train()`."
)
RANKING_LOSSES = ("bradley_terry", "win_probability")


@dataclass
class DPRMTrainingArguments(RewardConfig):
    """Arguments of [`DPRMTrainer`]: those of [`~trl.RewardConfig`] and the ones below, described by their help texts.

    The categories are for a *new* model; a DPRM brings its own in its [`DPRMConfig`].

    Raises:
        ValueError: for an unknown loss, weights of another number than losses, or values out of range.

    Example:

    ```python
    >>> from trl_dprm import DPRMTrainingArguments
    >>> args = DPRMTrainingArguments("out", loss_type=["cross_entropy"], bf16=False, use_cpu=True, report_to="none")
    >>> args.loss_weights, args.ranking_loss
    ([1.0], 'bradley_terry')

    ```
    """

    category_names: list[str] | None = field(
        default=None,
        metadata={"help": "Names of the preference categories of a new model. Default: five Likert categories."},
    )
    category_rewards: list[float] | None = field(
        default=None,
        metadata={"help": "Reward of each category of a new model. Default: -1, -0.5, 0, 0.5, 1."},
    )
    ground_cost: str | None = field(
        default=None,
        metadata={
            "help": "Cost of moving probability between categories of a new model: 'rewards' (default, distance of "
            "their rewards), 'ranks', or a square matrix (nested lists, on the command line as JSON)."
        },
    )
    loss_type: list[str] = field(
        default_factory=lambda: ["cross_entropy", "optimal_transport"],
        metadata={
            "help": "Losses on target distributions, summed with `loss_weights`. Among: "
            + ", ".join(DISTRIBUTION_LOSSES)
        },
    )
    loss_weights: list[float] | None = field(
        default=None,
        metadata={"help": "One weight per loss in `loss_type`. Default: all 1."},
    )
    transport_exponent: float = field(
        default=1.0,
        metadata={"help": "p in the optimal-transport loss W_p^p on a line, at least 1."},
    )
    ranking_loss: str = field(
        default="bradley_terry",
        metadata={
            "help": "Loss on pairs: 'bradley_terry' (on expected rewards, with a learned scale) or 'win_probability' "
            "(on the two distributions; rows with `tie_vote_share` are learned three ways; `margin` has no meaning "
            "there and is not used)."
        },
    )
    ranking_weight: float = field(
        default=1.0,
        metadata={"help": "Weight of the ranking loss over every pair, beside the distribution loss."},
    )
    resume_from_checkpoint: str | None = field(default=None, metadata={"help": RESUME_HELP})
    bradley_terry_scale_learning_rate: float = field(
        default=1.0,
        metadata={
            "help": "Step size of the logarithm of the Bradley-Terry scale, once per optimizer step, times the share "
            "of its peak that the learning rate has reached. 0 keeps it."
        },
    )

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.ground_cost, str) and self.ground_cost.lstrip().startswith("["):
            self.ground_cost = json.loads(self.ground_cost)
        if self.loss_weights is None:
            self.loss_weights = [1.0] * len(self.loss_type)
        if self.ranking_loss not in RANKING_LOSSES:
            raise ValueError(f"`ranking_loss` is one of {', '.join(RANKING_LOSSES)}, got '{self.ranking_loss}'.")
        for name in ("ranking_weight", "bradley_terry_scale_learning_rate"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}` must be a finite number of at least 0, got {getattr(self, name)}.")
        if self.batch_eval_metrics:
            raise ValueError(
                "`batch_eval_metrics=True` is not supported: evaluation gathers the whole set, so that its numbers do "
                "not depend on the batch size. Remove the option."
            )

    @classmethod
    def from_reward_config(cls, args: RewardConfig) -> "DPRMTrainingArguments":
        """The same run as described by a plain `trl.RewardConfig`, our options at their defaults."""
        return cls(**{option.name: getattr(args, option.name) for option in fields(args) if option.init})


def check_training_arguments(args: object) -> DPRMTrainingArguments:
    """Accept what a DPRM run may be described by.

    Raises:
        TypeError: for a `DPRMConfig`, or arguments of another trainer; the message names the right class.
    """
    if isinstance(args, DPRMTrainingArguments):
        return args
    if isinstance(args, RewardConfig):
        return DPRMTrainingArguments.from_reward_config(args)
    if isinstance(args, DPRMConfig):
        raise TypeError(
            "`args` is a `DPRMConfig`, which describes a model. Describe the training run by `DPRMTrainingArguments` "
            "and pass the configuration with the model: `DPRMForSequenceClassification.from_pretrained(..., "
            "config=...)`."
        )
    hint = " It describes another trainer's run." if isinstance(args, TrainingArguments) else ""
    raise TypeError(
        f"`args` must be `DPRMTrainingArguments` or `trl.RewardConfig`, got `{type(args).__name__}`.{hint}"
    )
