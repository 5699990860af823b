"""The tables of a model card, as Markdown."""

import math
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from transformers import TrainingArguments

from ..metrics import DISTRIBUTION_METRICS, PAIR_METRICS
from ..models import DPRMConfig
from .data_statistics import DataStatistics

RUN_METRICS = {
    "loss": "The training loss, on the evaluation set",
    "min_reward": "Lowest expected reward of a response",
    "mean_reward": "Mean expected reward of the responses",
    "max_reward": "Highest expected reward of a response",
    "num_tokens": "Tokens seen in training",
}
_SCORES = {**DISTRIBUTION_METRICS, **PAIR_METRICS}
_VERSIONS = ("trl", "transformers", "peft", "torch", "datasets")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table whose cells cannot break it.

    Args:
        header (`list[str]`): Column names.
        rows (`Iterable[Sequence]`): Cells; bars are escaped, line breaks become spaces.

    Returns:
        `str`.

    Example:

    ```python
    >>> from trl_dprm.hub.card_tables import markdown_table
    >>> print(markdown_table(["name", "reward"], [["good | fine", 1]]))
    | name | reward |
    |---|---|
    | good \\| fine | 1 |

    ```
    """
    lines = [header, ["---"] * len(header), *rows]
    cells = [[" ".join(str(cell).split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"|{'|'.join(c)}|" if c[0] == "---" else f"| {' | '.join(c)} |" for c in cells)


def category_table(config: DPRMConfig) -> str:
    """Number, name and reward of every category."""
    rows = zip(range(1, config.num_categories + 1), config.category_names, config.category_rewards, strict=True)
    return markdown_table(["", "category", "reward"], [[k, name, f"{reward:g}"] for k, name, reward in rows])


def cost_table(config: DPRMConfig) -> str:
    """The cost matrix, categories by their numbers."""
    numbers = range(1, config.num_categories + 1)
    rows = [[f"**{k}**", *(f"{cost:g}" for cost in row)] for k, row in zip(numbers, config.cost_matrix, strict=True)]
    return markdown_table(["from / to", *numbers], rows)


def metric_table(evaluations: dict[str | None, dict[str, float]]) -> str:
    """Every metric with its value on each evaluation set, which way is better, and its meaning.

    Args:
        evaluations (`dict[str | None, dict[str, float]]`):
            Metrics by the name of the set, `None` for an only one; a set may lack some.
    """
    names = dict.fromkeys(name for metrics in evaluations.values() for name in metrics)
    rows = [
        [
            f"`{name}`",
            *(metric_value(metrics[name]) if name in metrics else "" for metrics in evaluations.values()),
            *_described(name),
        ]
        for name in names
    ]
    values = ["value" if set_name is None else f"value on {set_name}" for set_name in evaluations]
    return markdown_table(["metric", *values, "better", "meaning"], rows)


def _described(name):
    """Which way a metric is better, and its meaning; one that nobody here knows came from the user's function."""
    if name in _SCORES:
        about = _SCORES[name]
        return _direction(about), about.meaning
    return ("lower" if name == "loss" else ""), RUN_METRICS.get(name, "Defined by the run's `compute_metrics`")


def _direction(about):
    """Towards which value a metric gets better."""
    if about.best in (about.low, about.high):
        return "lower" if about.best == about.low else "higher"
    return f"nearer to {about.best:g}"


def metric_value(value: float) -> str:
    """A metric as a reader wants it: counts whole, others with four decimals."""
    if not math.isfinite(value):
        return "not defined"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def data_table(statistics: DataStatistics) -> str:
    """Items, votes, agreement, pairs and annotators, each with what was counted."""
    rows = [["rows", f"{statistics.num_rows:,}"]]
    if statistics.num_items:
        spread = (statistics.min_votes, statistics.median_votes, statistics.max_votes)
        rows += [
            ["items (responses with votes)", f"{statistics.num_items:,}"],
            ["votes", _votes(statistics.num_votes)],
            ["votes per item: fewest, median, most", ", ".join(_votes(votes) for votes in spread)],
            ["agreement of two annotators of one item", _agreement(statistics.agreement)],
        ]
    rows.append(["pairs", f"{statistics.num_pairs:,} ({statistics.pair_share:.0%} of the rows)"])
    if statistics.num_annotators is not None:
        rows.append(["annotators", f"{statistics.num_annotators:,}"])
    return markdown_table(["training data", ""], rows)


def training_table(training: "DPRMTrainingArguments", with_targets: bool, with_pairs: bool) -> str:  # noqa: F821
    """The losses that took part in training and the settings of the run."""
    rows = []
    if with_targets:
        terms = zip(training.loss_weights, training.loss_type, strict=True)
        rows.append(["distribution loss", " + ".join(f"{weight:g} × `{name}`" for weight, name in terms)])
        if "optimal_transport" in training.loss_type and training.transport_exponent != 1:
            rows.append(["exponent p of the transport loss W_p^p", f"{training.transport_exponent:g}"])
    if with_pairs:
        rows.append(["ranking loss", f"{training.ranking_weight:g} × `{training.ranking_loss}`"])
    rows.append(["rows per optimizer step", _global_batch_size(training)])
    return markdown_table(["training", ""], rows + run_table(training))


def run_table(training: TrainingArguments) -> list[list]:
    """Rows that describe any run: its length, optimizer, precision, seed and versions."""
    steps = training.max_steps
    return [
        ["length", f"{steps} steps" if steps > 0 else f"{training.num_train_epochs:g} epochs"],
        ["learning rate", f"{training.learning_rate:g}"],
        ["schedule", f"{training.lr_scheduler_type.value}{_warmup(training)}"],
        ["optimizer", f"{training.optim.value}, weight decay {training.weight_decay:g}"],
        ["precision", "bfloat16" if training.bf16 else "float16" if training.fp16 else "float32"],
        ["seed", training.seed],
        ["versions", ", ".join(f"{name} {version(name)}" for name in _VERSIONS)],
    ]


def _global_batch_size(training):
    per_process = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return per_process * training.world_size


def _warmup(training):
    """Transformers reads `warmup_steps` below 1 as a share of all steps."""
    warmup = training.warmup_steps
    return "" if warmup == 0 else f", warm-up over {f'{warmup:.0%} of the' if warmup < 1 else f'{warmup:g}'} steps"


def _votes(votes):
    return f"{votes:,.0f}" if float(votes).is_integer() else f"{votes:,.2f}"


def _agreement(agreement):
    return "not defined: no item has two votes" if agreement is None else f"{agreement:.3f}"
