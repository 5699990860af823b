"""The models of a `trl-dprm evaluate`: what they are called, whether they can be judged together, what they say."""

import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from datasets import Dataset

from ..evaluation.checkpoint_predictions import predict_dataset
from ..evaluation.scalar_predictions import predict_scalar
from ..evaluation.scored_rows import ScoredRows
from ..models import DPRMConfig
from ..rewards import RewardModelFunction
from ..rewards.loading import load_reward_model
from ..trainer import DPRMTrainer
from .checkpoint import CheckpointArguments, checkpoint_config, is_dprm, load_checkpoint, loading_options


@dataclass
class EvaluatedCheckpoints(CheckpointArguments):
    """Which trained models are evaluated, and how they are loaded."""

    model: list[str] = field(
        metadata={
            "help": "PATH|HUB_ID of a trained model or adapter, or of several: these are compared with the first, on "
            "the rows that all of them can read. Beside a DPRM scalar reward models with one label are welcome; on "
            "ratings they need validation votes, which say which distribution goes with which reward."
        }
    )
    model_names: list[str] | None = field(
        default=None,
        metadata={
            "help": "What tables and figures call the models. Default: their last names. The same name for several "
            "says that they are trainings of one method: its numbers are averaged over them, too."
        },
    )


def model_names(checkpoints: EvaluatedCheckpoints) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What the report calls each model, and where it is; and the trainings of each method that has several.

    Args:
        checkpoints ([`EvaluatedCheckpoints`]): Which models.

    Raises:
        ValueError: for names that are not one for each model, and models that would be called alike by chance.
    """
    paths = [checkpoints.model] if isinstance(checkpoints.model, str) else checkpoints.model  # YAML gives one as text
    names = checkpoints.model_names or [Path(os.path.abspath(path)).name for path in paths]
    if len(names) != len(paths):
        raise ValueError(f"`model_names` has {len(names)} names for {len(paths)} models: give one for each.")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not repeated:
        return dict(zip(names, paths, strict=True)), {}
    if checkpoints.model_names is None:
        raise ValueError(f"Several models would be called {repeated}: tell them apart by `--model_names`.")
    methods, models = {name: [] for name in names}, {}
    for name, path in zip(names, paths, strict=True):
        methods[name].append(f"{name} #{len(methods[name]) + 1}" if name in repeated else name)
        models[methods[name][-1]] = path
    return models, methods


def distributional(checkpoints: EvaluatedCheckpoints, names: Mapping[str, str]) -> dict[str, DPRMConfig]:
    """The configurations of the models that are DPRMs, of which there must be one.

    Args:
        checkpoints ([`EvaluatedCheckpoints`]): How models are loaded.
        names (`dict[str, str]`): Where each model is.

    Raises:
        FileNotFoundError, ValueError: as [`checkpoint_config`]; if there is no DPRM among them.
    """
    options = {name: replace(checkpoints, model=path) for name, path in names.items()}
    configs = {name: checkpoint_config(chosen) for name, chosen in options.items() if is_dprm(chosen)}
    if not configs:
        try:
            checkpoint_config(next(iter(options.values())))
        except ValueError as error:
            raise ValueError(
                f"{error} A scalar reward model is evaluated beside a DPRM, which says what the votes are on: "
                "`--model YOUR_DPRM YOUR_SCALAR`."
            ) from None
    return configs


def check_scalars(scalars: Set[str], dataset: Dataset, validation: Dataset | None) -> None:
    """Refuse rewards that could not be judged, before anything is scored.

    Args:
        scalars (`set[str]`): Names of the models with one number for a text.
        dataset, validation ([`~datasets.Dataset`]): What is scored; validation votes are optional.

    Raises:
        ValueError: for ratings without validation votes.
    """
    if scalars and validation is None and not {"rejected", "rejected_ids"} & set(dataset.column_names):
        raise ValueError(
            f"{', '.join(sorted(scalars))}: one number for a text, while the data have votes on categories. Name "
            "validation votes, which say which distribution goes with which number: `--validation_split` or "
            "`--validation_dataset`."
        )


def score_models(
    checkpoints: EvaluatedCheckpoints,
    names: Mapping[str, str],
    configs: Mapping[str, DPRMConfig],
    dataset: Dataset,
    validation: Dataset | None,
    max_length: int | None,
    training_options: Mapping[str, object],
) -> tuple[DPRMTrainer, dict[str, ScoredRows], dict[str, ScoredRows] | None]:
    """What each model says of the rows, one model in memory at a time.

    Args:
        checkpoints ([`EvaluatedCheckpoints`]): How models are loaded.
        names (`dict[str, str]`): Where each model is, as [`model_names`] says.
        configs (`dict[str, DPRMConfig]`): Of the DPRMs among them.
        dataset, validation ([`~datasets.Dataset`]): What is scored; validation votes are optional.
        max_length (`int`, *optional*): Longest row, in tokens.
        training_options (`dict`): Fields of [`DPRMTrainingArguments`].

    Returns:
        The last DPRM's trainer, which knows of the processes, and what each model said of `dataset` and `validation`.
    """
    scored, validated = dict.fromkeys(names), dict.fromkeys(names)  # in this order
    categories = next(iter(configs.values())).category_names
    for name in sorted(names, key=configs.__contains__):  # scalar ones first: less of them has been checked
        chosen = replace(checkpoints, model=names[name])
        if name in configs:
            model, tokenizer = load_checkpoint(chosen)
            if validation is not None:
                _, validated[name] = predict_dataset(model, tokenizer, validation, max_length, training_options)
            trainer, scored[name] = predict_dataset(model, tokenizer, dataset, max_length, training_options)
            continue
        function = RewardModelFunction(*load_reward_model(chosen.model, **loading_options(chosen)), name=name)
        if validation is not None:
            validated[name] = predict_scalar(function, validation, categories, max_length, training_options)
        scored[name] = predict_scalar(function, dataset, categories, max_length, training_options)
    return trainer, scored, validated if validation is not None else None
