"""The model card of a distributional preference reward model."""

import math
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.utils import HFValidationError, validate_repo_id

from ..models import DPRMConfig
from ..models.base_precision_dprm import precision_in_words, precision_options
from .card_tables import category_table, cost_table, data_table, metric_table, training_table
from .data_statistics import DataStatistics

_TEMPLATE = "dprm_model_card.md"
_TAGS = ("dprm", "reward-model", "reward-trainer", "trl", "trl_dprm")
_TASK = "text-classification"


def dprm_model_card(
    config: DPRMConfig,
    model_name: str | None,
    base_model: str | None,
    training: "DPRMTrainingArguments",  # noqa: F821
    data_statistics: DataStatistics | None,
    metrics: dict[str, float] | dict[str, dict[str, float]] | None,
    dataset_name: str | None = None,
    tags: list[str] | None = None,
    is_adapter: bool = False,
    figures: dict[str | None, dict[str, str]] | None = None,
) -> ModelCard:
    """Fill the card template with what is known of a trained model.

    No machine path gets into a card: what is no Hub id is called by its last name and kept out of the metadata. A name
    is a Hub id if it has the form of one and no file or folder of that name exists here.

    Args:
        config ([`DPRMConfig`]): With its tokenisation rule. Unanchored ones get a card without categories.
        model_name (`str`, *optional*): Title. `None` or empty: the last name of `training.output_dir`.
        base_model (`str`, *optional*): Hub id or path of the checkpoint that training started from.
        training ([`DPRMTrainingArguments`]):
            The run. Its `hub_model_id`, where complete, is what the usage example loads; otherwise the card's folder.
        data_statistics ([`DataStatistics`], *optional*): Of the training set; `None` for streams.
        metrics (`dict`, *optional*):
            As an evaluation logs them, without prefix; of several evaluation sets, a `dict` of such dicts by name.
        dataset_name (`str`, *optional*): Hub id or path of the training data.
        tags (`list[str]`, *optional*): More tags for the Hub.
        is_adapter (`bool`, *optional*, defaults to `False`): Whether the folder holds a PEFT adapter.
        figures (`dict`, *optional*):
            File names of the figures beside the card, by evaluation set and what they show ([`CalibrationFigures`]).

    Returns:
        [`~huggingface_hub.ModelCard`].

    Raises:
        ValueError: if `config.tokenization` is `None`.
        FileNotFoundError: if neither the wheel nor a checkout around the package holds the template.

    Example:

    ```python
    >>> from trl_dprm import DPRMConfig, DPRMTrainingArguments
    >>> from trl_dprm.hub import dprm_model_card
    >>> config = DPRMConfig(tokenization={"add_special_tokens": True, "append_eos": True, "max_length": 512})
    >>> args = DPRMTrainingArguments("out", bf16=False, use_cpu=True, report_to="none")
    >>> card = dprm_model_card(config, "my-model", "org/base", args, data_statistics=None, metrics={"accuracy": 0.75})
    >>> card.data.base_model, card.data.pipeline_tag, card.data.eval_results[0].metric_value
    ('org/base', 'text-classification', 0.75)

    ```
    """
    if config.tokenization is None:
        raise ValueError(
            "`config.tokenization` is None, but a reward belongs to token ids. Set the rule that was used in "
            "training, as `DPRMTrainer` does."
        )
    model_name = model_name or Path(training.output_dir).resolve().name
    evaluations = _by_set(metrics or {})
    with_pairs = data_statistics is None or data_statistics.num_pairs > 0
    return ModelCard.from_template(
        _metadata(model_name, base_model, dataset_name, evaluations, tags, is_adapter),
        template_path=str(template_path(_TEMPLATE)),
        model_name=model_name,
        base_model=hub_link(base_model, "checkpoint"),
        dataset_name=hub_link(dataset_name, "dataset", "https://huggingface.co/datasets/"),
        checkpoint=checkpoint_in_card(training.hub_model_id),
        config=config,
        is_adapter=is_adapter,
        precision_in_words=precision_in_words,
        precision_options=precision_options,
        with_pairs=with_pairs,
        with_votes=data_statistics is not None and data_statistics.num_items > 0,
        category_table=category_table(config),
        cost_table=cost_table(config),
        training_table=training_table(training, config.anchored, with_pairs),
        data_table=data_table(data_statistics) if data_statistics else None,
        metric_table=metric_table(evaluations) if evaluations else None,
        figures=figures or {},
    )


def template_path(name: str) -> Path:
    """Where a template lies: an installed wheel has it beside this file, a checkout in `model_cards/templates`.

    Args:
        name (`str`): Of the template's file.

    Returns:
        `Path`: The wheel's place wherever it exists. A checkout, editable or not, lacks it, so there is no choice.
    """
    shipped = Path(__file__).parent / "templates"
    checkout = Path(__file__).parents[2] / "model_cards" / "templates"
    return (shipped if shipped.is_dir() else checkout) / name


def hub_link(name: str | None, noun: str, address: str = "https://huggingface.co/") -> str | None:
    """What a card calls a checkpoint or a dataset: a link for a Hub id, the last name for a path, `None` for nothing.

    Args:
        name (`str`, *optional*): Hub id or path.
        noun (`str`): What lies at a path.
        address (`str`, *optional*, defaults to the models' address): What precedes a Hub id.

    Example:

    ```python
    >>> from trl_dprm.hub.model_card import hub_link
    >>> hub_link("org/base", "checkpoint")
    '[org/base](https://huggingface.co/org/base)'
    >>> hub_link("some/local/folder/base", "checkpoint")
    'the local checkpoint `base`'

    ```
    """
    if not name:
        return None
    return f"[{name}]({address}{name})" if is_hub_id(name) else f"the local {noun} `{Path(name).resolve().name}`"


def is_hub_id(name: str | None) -> bool:
    """Whether a name has the form of a Hub id and nothing here bears it (`bool`)."""
    try:
        validate_repo_id(name or "")
    except HFValidationError:
        return False
    return not Path(name).exists()


def _metadata(model_name, base_model, dataset_name, evaluations, tags, is_adapter):
    base_model = base_model if is_hub_id(base_model) else None
    dataset_id = dataset_name if is_hub_id(dataset_name) else None
    return ModelCardData(
        model_name=model_name,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag=_TASK,
        base_model=base_model,
        base_model_relation=base_model and ("adapter" if is_adapter else "finetune"),
        datasets=dataset_id and [dataset_id],
        tags=[*_TAGS, *(tags or [])],
        eval_results=[
            EvalResult(
                task_type=_TASK,
                dataset_type=dataset_id or "unpublished",
                dataset_name=dataset_id or f"evaluation set{f' {set_name}' if set_name else ''} of the training run",
                dataset_split=set_name,
                metric_type=name,
                metric_value=value,
            )
            for set_name, metrics in evaluations.items()
            for name, value in metrics.items()
            if math.isfinite(value)
        ]
        or None,
    )


def checkpoint_in_card(hub_model_id: str | None) -> str:
    """The usage example's checkpoint: a complete Hub id, or the folder in which the card lies."""
    return hub_model_id if hub_model_id and "/" in hub_model_id else "."


def _by_set(metrics):
    """One `dict` of Python numbers, which YAML can write, per evaluation set; the name of an only one is `None`."""
    several = all(isinstance(values, dict) for values in metrics.values())
    sets = metrics if several else {None: metrics}
    return {
        set_name: {name: value.item() if hasattr(value, "item") else value for name, value in values.items()}
        for set_name, values in sets.items()
    }
