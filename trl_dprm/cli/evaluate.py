"""`trl-dprm evaluate`: the numbers that training logs, for trained models and any data set, and a report on them."""

import os
import textwrap
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from datasets import Dataset

from ..evaluation.checkpoint_predictions import predict_dataset
from ..evaluation.data_report import EvaluationReport, JudgmentSource, data_report, refuse_other_categories
from ..evaluation.findings import intervals_sentence, report_notes
from ..evaluation.intervals import Resampling
from ..evaluation.judgment_table import judgments_of_data
from ..evaluation.page import report_page
from ..evaluation.report_json import report_dict
from ..evaluation.scalar_predictions import predict_scalar
from ..evaluation.scored_rows import ScoredRows
from ..evaluation.table import as_csv, as_text
from ..evaluation.tables import report_tables
from ..hub.evaluated_card import check_card
from ..hub.evaluation_section import EvaluatedData
from ..models import DPRMConfig
from ..preferences import AnnotationColumns
from ..rewards import RewardModelFunction
from ..rewards.loading import load_reward_model
from ..trainer import DPRMTrainer, DPRMTrainingArguments
from ..trainer.reading import read_split
from .checkpoint import CheckpointArguments, checkpoint_config, is_dprm, load_checkpoint, loading_options
from .evaluated_card import changed_options, write_into_card
from .parsing import CommandParser, errors_as_messages, option_of
from .processes import leave_together
from .writing import check_output, whole_file, write_metrics

_WIDTH = 120
_COPIED = 0.9


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


@dataclass
class EvaluateArguments:
    """What is evaluated, and how. The losses only enter `eval_loss`: give those of training to get its number."""

    dataset_name: str = field(
        metadata={"help": "PATH|HUB_ID of the data: a folder written by `trl-dprm prepare`, a file, or a Hub id."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    split: str | None = field(default=None, metadata={"help": "Split to evaluate on. Default: the only one."})
    output: str | None = field(default=None, metadata={"help": "JSON file to write every number to."})
    max_length: int | None = field(
        default=None, metadata={"help": "Longer rows, in tokens, are left out. Default: as in training."}
    )
    per_device_eval_batch_size: int = option_of(DPRMTrainingArguments, "per_device_eval_batch_size")
    loss_type: list[str] = option_of(DPRMTrainingArguments, "loss_type")  # noqa: RUF009 - a field
    loss_weights: list[float] | None = option_of(DPRMTrainingArguments, "loss_weights")  # noqa: RUF009
    transport_exponent: float = option_of(DPRMTrainingArguments, "transport_exponent")
    ranking_loss: str = option_of(DPRMTrainingArguments, "ranking_loss")
    ranking_weight: float = option_of(DPRMTrainingArguments, "ranking_weight")
    bf16: bool | None = option_of(DPRMTrainingArguments, "bf16")
    use_cpu: bool = option_of(DPRMTrainingArguments, "use_cpu")


@dataclass
class ReportArguments:
    """The report beyond the metrics of training; any of these, or a second model, asks for it."""

    report: str | None = field(
        default=None, metadata={"help": "HTML file for the report with its figures, one page that loads nothing."}
    )
    csv: str | None = field(default=None, metadata={"help": "CSV file for the report's tables."})
    judgments: str | None = field(
        default=None,
        metadata={
            "help": "PATH of the table of judgments (`item_id`, `annotator_id`, `category`, groups), for intervals "
            "over annotators and numbers per group. Default: the one in the folder of `trl-dprm prepare`."
        },
    )
    group_columns: list[str] | None = field(
        default=None,
        metadata={"help": "Columns of the judgments that name the annotators' groups. Default: `group`, if present."},
    )
    cluster_column: str | None = field(
        default=None,
        metadata={"help": "Column of rows that belong together, such as a conversation: intervals draw them whole."},
    )
    validation_split: str | None = field(
        default=None,
        metadata={"help": "Split of validation votes: a temperature and `prior_strength` are fitted on them."},
    )
    validation_dataset: str | None = field(
        default=None, metadata={"help": "PATH|HUB_ID of the validation votes, if they lie in other data."}
    )
    show_texts: bool = field(
        default=False, metadata={"help": "Show texts of contested rows in the report; they may offend."}
    )
    update_card: bool = field(
        default=False,
        metadata={
            "help": "Write findings, tables and figures into the card (README.md) in the first model's folder, in "
            "place of those on the same data and split. Texts and paths never get into it."
        },
    )
    num_resamples: int = field(default=2000, metadata={"help": "Draws of the bootstrap behind every interval."})
    seed: int = field(default=0, metadata={"help": "Seed of the bootstrap."})


def main(argv: Sequence[str] | None = None) -> None:
    """Print the metrics as a table, and write them and a report if asked."""
    parser = CommandParser(
        "evaluate",
        "Measure trained models on a data set.",
        (EvaluatedCheckpoints, EvaluateArguments, ReportArguments),
    )
    checkpoints, arguments, reporting = parser.parse(argv)
    with errors_as_messages("evaluate"):
        for path, ending in ((arguments.output, ".json"), (reporting.report, ".html"), (reporting.csv, ".csv")):
            if path:
                check_output(path, (ending,))
        if reporting.report or reporting.update_card:
            _require_matplotlib("report" if reporting.report else "update_card")
        names, methods = model_names(checkpoints)
        configs = _distributional(checkpoints, names)
        refuse_other_categories(configs)
        card_folder = check_card(next(iter(names.values()))) if reporting.update_card else None
        dataset = read_split(arguments.dataset_name, arguments.split, arguments.dataset_config)
        validation = _validation_rows(dataset, arguments, reporting)
        _check_scalars(names.keys() - configs.keys(), dataset, validation)
        trainer, scored, validated = _score(checkpoints, names, configs, dataset, validation, arguments)
        if trainer.is_world_process_zero():
            report = None
            if asks_for_report(names, reporting):
                report = _report(scored, dataset, validated, methods, arguments, reporting)
            _write(scored, report, arguments, reporting)
            if card_folder is not None:
                data = EvaluatedData.named(arguments.dataset_name, arguments.dataset_config, arguments.split)
                options = changed_options(checkpoints, arguments) | {"bf16": bool(trainer.args.bf16)}
                write_into_card(report, card_folder, data, options)
        leave_together(trainer)


def model_names(checkpoints: EvaluatedCheckpoints) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What the report calls each model, and where it is; and the trainings of each method that has several.

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


def _distributional(checkpoints: EvaluatedCheckpoints, names: Mapping[str, str]) -> dict[str, DPRMConfig]:
    """The configurations of the models that are DPRMs, of which there must be one."""
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


def _check_scalars(scalars: Set[str], dataset: Dataset, validation: Dataset | None) -> None:
    """Refuse rewards that could not be judged, before anything is scored."""
    if scalars and validation is None and not {"rejected", "rejected_ids"} & set(dataset.column_names):
        raise ValueError(
            f"{', '.join(sorted(scalars))}: one number for a text, while the data have votes on categories. Name "
            "validation votes, which say which distribution goes with which number: `--validation_split` or "
            "`--validation_dataset`."
        )


def asks_for_report(names: Mapping[str, str], reporting: ReportArguments) -> bool:
    """Whether more is wanted than the metrics of training, for one model."""
    wanted = (reporting.report, reporting.csv, reporting.judgments, reporting.group_columns, reporting.cluster_column)
    wanted += (reporting.update_card, reporting.validation_split, reporting.validation_dataset)
    return len(names) > 1 or any(wanted)


def _require_matplotlib(option: str) -> None:
    """Find out before the work whether the figures of an option can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise ValueError(
            f'`{option}` has figures, which need matplotlib; install it with: pip install "trl-dprm[plots]"'
        ) from None


def _validation_rows(dataset: Dataset, arguments: EvaluateArguments, reporting: ReportArguments) -> Dataset | None:
    if reporting.validation_split is None and reporting.validation_dataset is None:
        return None
    source = reporting.validation_dataset or arguments.dataset_name
    if source == arguments.dataset_name and reporting.validation_split == arguments.split:
        raise ValueError(
            f"`validation_split` is `{reporting.validation_split}`, the rows that are evaluated: what is fitted on "
            "them cannot be judged by them. Name another split."
        )
    config = arguments.dataset_config if reporting.validation_dataset is None else None
    validation = read_split(source, reporting.validation_split, config)
    _refuse_the_same_rows(dataset, validation)
    return validation


def _refuse_the_same_rows(dataset: Dataset, validation: Dataset) -> None:
    """Equal texts with equal votes are common; that nearly all rows are equal in every column is a mistake."""
    columns = sorted({*dataset.column_names} & {*validation.column_names})
    known = {repr(row) for row in validation.select_columns(columns)}
    repeated = sum(repr(row) in known for row in dataset.select_columns(columns))
    if repeated > _COPIED * len(dataset):
        raise ValueError(
            f"{repeated} of {len(dataset)} rows that are evaluated stand among the validation votes, equal in every "
            "column: what is fitted on them cannot be judged by them. Name other validation votes."
        )


def _score(
    checkpoints: EvaluatedCheckpoints,
    names: Mapping[str, str],
    configs: Mapping[str, DPRMConfig],
    dataset: Dataset,
    validation: Dataset | None,
    arguments: EvaluateArguments,
) -> tuple[DPRMTrainer, dict[str, ScoredRows], dict[str, ScoredRows] | None]:
    """What each model says of the rows, one model in memory at a time; the DPRMs' trainer knows of the processes."""
    options = {
        "per_device_eval_batch_size": arguments.per_device_eval_batch_size,
        "loss_type": arguments.loss_type,
        "loss_weights": arguments.loss_weights,
        "transport_exponent": arguments.transport_exponent,
        "ranking_loss": arguments.ranking_loss,
        "ranking_weight": arguments.ranking_weight,
        "bf16": arguments.bf16,
        "use_cpu": arguments.use_cpu or not torch.accelerator.is_available(),
    }
    scored, validated = dict.fromkeys(names), dict.fromkeys(names)  # in this order
    categories = next(iter(configs.values())).category_names
    for name in sorted(names, key=configs.__contains__):  # scalar ones first: less of them has been checked
        chosen = replace(checkpoints, model=names[name])
        if name in configs:
            model, tokenizer = load_checkpoint(chosen)
            if validation is not None:
                _, validated[name] = predict_dataset(model, tokenizer, validation, arguments.max_length, options)
            trainer, scored[name] = predict_dataset(model, tokenizer, dataset, arguments.max_length, options)
            continue
        function = RewardModelFunction(*load_reward_model(chosen.model, **loading_options(chosen)), name=name)
        if validation is not None:
            validated[name] = predict_scalar(function, validation, categories, arguments.max_length, options)
        scored[name] = predict_scalar(function, dataset, categories, arguments.max_length, options)
    return trainer, scored, validated if validation is not None else None


def _report(scored, dataset, validated, methods, arguments, reporting) -> EvaluationReport:
    """The report, with the judgments that lie beside the data unless others are named."""
    judgments = None
    source = reporting.judgments or judgments_of_data(arguments.dataset_name)
    if source is not None:
        judgments = JudgmentSource(source, AnnotationColumns(groups=tuple(reporting.group_columns or ())))
    elif reporting.group_columns:
        raise ValueError("`group_columns` are columns of a table of judgments: name it by `--judgments`.")
    return data_report(
        scored,
        dataset,
        validated,
        judgments,
        reporting.cluster_column,
        reporting.show_texts,
        Resampling(num_resamples=reporting.num_resamples, seed=reporting.seed),
        methods,
    )


def _write(
    scored: Mapping[str, ScoredRows],
    report: EvaluationReport | None,
    arguments: EvaluateArguments,
    reporting: ReportArguments,
) -> None:
    """Print, and write what was asked for."""
    metrics = {name: predictions.metrics for name, predictions in scored.items()}
    flat = next(iter(metrics.values())) if len(metrics) == 1 else None
    if flat is not None:
        print(table(flat))
    tables = report_tables(report) if report is not None else []
    for shown in tables:
        print(f"\n{as_text(shown)}")
    if tables:
        print(f"\n{textwrap.fill(intervals_sentence(report), _WIDTH)}")
    for note in report_notes(report) if report is not None else ():
        print(textwrap.fill(note, _WIDTH, initial_indent="* ", subsequent_indent="  "))
    if arguments.output:
        content = flat if flat is not None else {"models": metrics}
        write_metrics(content if report is None else {**content, "report": report_dict(report)}, arguments.output)
        print(f"Metrics: {arguments.output}")
    if reporting.csv:
        with whole_file(reporting.csv) as unfinished:
            unfinished.write_text(as_csv(tables), encoding="utf-8")
        print(f"Tables: {reporting.csv}")
    if reporting.report:
        title = f"Evaluation on {Path(arguments.dataset_name).name}"
        title += f", {arguments.split} split" if arguments.split else ""
        with whole_file(reporting.report) as unfinished:
            unfinished.write_text(report_page(report, title), encoding="utf-8")
        print(f"Report: {reporting.report}")


def table(metrics: dict[str, float]) -> str:
    """The metrics (`dict[str, float]`, by name) as aligned lines."""
    width = max(map(len, metrics))
    return "\n".join(f"{name:<{width}}  {value:>12.6g}" for name, value in metrics.items())


if __name__ == "__main__":
    main()
