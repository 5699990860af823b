"""A report as a section of the first model's card: sentences, tables, figures, and numbers for the Hub's index."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from html import escape

from ..hub.calibration_figures import figure_png
from ..hub.card_tables import markdown_table
from ..hub.evaluation_section import EvaluatedData, EvaluationSection
from .counts import report_counts
from .data_report import EvaluationReport
from .figures import ReportFigure, report_figures
from .findings import intervals_sentence, report_findings, report_notes
from .table import Table, cell_text
from .tables import report_tables


def card_section(
    report: EvaluationReport, data: EvaluatedData, weights: str, remark: str = ""
) -> tuple[EvaluationSection, dict[str, bytes]]:
    """Write a section for the card of the first model.

    Texts of items never get into a card, even if the report may show them: a card is public, texts of people are not.

    Args:
        report ([`~trl_dprm.evaluation.data_report.EvaluationReport`]): what was found of something judged.
        data ([`~trl_dprm.hub.evaluation_section.EvaluatedData`]): what it was found on.
        weights (`str`): digest of the first model's weights ([`~trl_dprm.hub.evaluated_card.weights_digest`]).
        remark (`str`): of how the model was loaded and the data read, a sentence.

    Returns:
        The section, and the PNG files that it shows, by name.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    if report.items is not None:
        report = replace(report, items=replace(report.items, items=replace(report.items.items, texts=None)))
    figures = report_figures(report)
    files = {name: data.figure_file(name) for name in figures}
    scores, *further = report_tables(report)
    parts = [
        f"## Evaluation on {data.in_words}",
        _written(report, remark),
        _list(report_findings(report)),
        intervals_sentence(report),
        _headed("To bear in mind", _list(report_notes(report))),
        f"### {_safe(scores.title)}\n\n{_markdown(scores, scores.meanings)}",
        *(_figure(figure, files[name], data) for name, figure in figures.items()),
        *(_folded(table, _not_yet_told(table, scores)) for table in further),
    ]
    text = "\n\n".join(part for part in parts if part)
    pictures = {files[name]: figure_png(figure.figure) for name, figure in figures.items()}
    return EvaluationSection(data, weights, _first_metrics(report), text), pictures


def _written(report: EvaluationReport, remark: str) -> str:
    counts = ", ".join(f"{value:,} {noun}" for value, noun in report_counts(report))
    return f"Written by `trl-dprm evaluate` for the weights beside this card ({counts}). {_safe(remark)}".strip()


def _list(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {_safe(sentence)}" for sentence in sentences)


def _headed(title: str, content: str) -> str:
    return f"### {title}\n\n{content}" if content else ""


def _figure(figure: ReportFigure, file: str, data: EvaluatedData) -> str:
    """The paragraph that explains a figure, and the figure."""
    title = _safe(figure.title)
    alternative = f"{title} on {data.name}".replace("[", "(").replace("]", ")")
    return f"**{title}.** {_safe(figure.caption)}\n\n![{alternative}]({file})"


def _not_yet_told(table: Table, scores: Table) -> dict[str, str]:
    """What the rows of a table mean that the first table has not."""
    return {name: meaning for name, meaning in table.meanings.items() if name not in scores.rows}


def _folded(table: Table, meanings: Mapping[str, str]) -> str:
    return f"<details><summary>{_safe(table.title)}</summary>\n\n{_markdown(table, meanings)}\n\n</details>"


def _markdown(table: Table, meanings: Mapping[str, str]) -> str:
    """A table as Markdown, with the meanings of its rows in a last column."""
    header = [*map(_safe, ["", *table.columns])]
    rows = [[_row_name(name, table), *map(cell_text, cells)] for name, cells in table.rows.items()]
    if any(name in meanings for name in table.rows):
        header.append("meaning")
        rows = [[*row, _safe(meanings.get(name, ""))] for row, name in zip(rows, table.rows, strict=True)]
    return markdown_table(header, rows)


def _row_name(name: str, table: Table) -> str:
    """A metric's name as code, other words as they are."""
    return f"`{name}`" if name in table.meanings and name.isidentifier() else _safe(name)


def _safe(text: str) -> str:
    """Words in which names of groups and models stand: no markup but code, and no link."""
    return escape(" ".join(text.split()), quote=False).replace("](", "]\\(")


def _first_metrics(report: EvaluationReport) -> dict[str, float]:
    """The finite numbers of the model whose card it is, as it is."""
    first = next(iter(report.metrics))
    models = [model for part in (report.items, report.pairs) if part is not None for model in part.models]
    return {
        name: float(value)
        for model in models
        if model.title == first
        for name, value in model.metrics.items()
        if math.isfinite(value)
    }
