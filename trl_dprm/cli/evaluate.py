"""`trl-dprm evaluate`: the numbers that training logs, for trained models and any data set, and a report on them."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import Dataset

from ..evaluation.data_report import EvaluationReport, JudgmentSource, data_report, refuse_other_categories
from ..evaluation.findings import intervals_sentence, report_notes
from ..evaluation.intervals import Resampling
from ..evaluation.judgment_table import judgments_of_data
from ..evaluation.page import report_page
from ..evaluation.report_json import report_dict
from ..evaluation.scored_rows import ScoredRows
from ..evaluation.table import as_csv, as_text
from ..evaluation.tables import report_tables
from ..hub.evaluated_card import check_card
from ..hub.evaluation_section import EvaluatedData
from ..preferences import AnnotationColumns
from ..trainer import DPRMTrainingArguments
from ..trainer.reading import read_split
from .evaluated_card import changed_options, write_into_card
from .evaluated_models import EvaluatedCheckpoints, check_scalars, distributional, model_names, score_models
from .parsing import CommandParser, errors_as_messages, option_of
from .processes import leave_together
from .writing import check_output, whole_file, write_metrics

_WIDTH = 120
_COPIED = 0.9


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
        configs = distributional(checkpoints, names)
        refuse_other_categories(configs)
        card_folder = check_card(next(iter(names.values()))) if reporting.update_card else None
        dataset = read_split(arguments.dataset_name, arguments.split, arguments.dataset_config)
        validation = _validation_rows(dataset, arguments, reporting)
        check_scalars(names.keys() - configs.keys(), dataset, validation)
        trainer, scored, validated = score_models(
            checkpoints, names, configs, dataset, validation, arguments.max_length, _training_options(arguments)
        )
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


def _training_options(arguments: EvaluateArguments) -> dict[str, object]:
    """What the trainer's evaluation is told."""
    return {
        "per_device_eval_batch_size": arguments.per_device_eval_batch_size,
        "loss_type": arguments.loss_type,
        "loss_weights": arguments.loss_weights,
        "transport_exponent": arguments.transport_exponent,
        "ranking_loss": arguments.ranking_loss,
        "ranking_weight": arguments.ranking_weight,
        "bf16": arguments.bf16,
        "use_cpu": arguments.use_cpu or not torch.accelerator.is_available(),
    }


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
