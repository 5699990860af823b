"""The report as one HTML page that loads nothing: tables, figures and what they mean, in light and dark."""

import re
from collections.abc import Iterable
from html import escape
from importlib.resources import files

from .counts import report_counts
from .data_report import EvaluationReport
from .figures import report_figures
from .findings import intervals_sentence, report_findings, report_notes
from .svg import inline_svg
from .table import Cell, Table, cell_text
from .tables import report_tables

_FIRST = 3  # scores, and what they are compared with
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def report_page(report: EvaluationReport, title: str) -> str:
    """The page. Texts of items are in it only if the report has them, escaped.

    Args:
        report ([`~trl_dprm.evaluation.data_report.EvaluationReport`]): what was found.
        title (`str`): of the page.

    Returns:
        `str`: HTML in UTF-8, without scripts and references to elsewhere.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    tables = report_tables(report)
    sections = [_findings(report), _notes(report)]
    sections += [_section(tables[:_FIRST], "Scores", _glossary(tables))] if tables else []
    sections += [*_figures(report), _further_tables(tables[_FIRST:])]
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>{_facts(report)}</header>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n<footer>Written by <code>trl-dprm evaluate</code>. Every score is on raw votes.</footer>\n"
        "</body>\n</html>\n"
    )


def _facts(report: EvaluationReport) -> str:
    """Counts of what was judged."""
    entries = "".join(f"<li><b>{value:,}</b><span>{name}</span></li>" for value, name in report_counts(report))
    return f'<ul class="facts">{entries}</ul>'


def _findings(report: EvaluationReport) -> str:
    sentences = report_findings(report)
    if not sentences:
        return "<section><h2>Nothing was judged</h2><p>No row has votes that fit these models.</p></section>"
    return f"<section><h2>What the numbers say</h2>{_list(sentences)}{_note(intervals_sentence(report))}</section>"


def _note(sentence: str) -> str:
    return f'<p class="note">{escape(sentence)}</p>' if sentence else ""


def _notes(report: EvaluationReport) -> str:
    notes = report_notes(report)
    return f"<section><h2>To bear in mind</h2>{_list(notes)}</section>" if notes else ""


def _list(sentences: Iterable[str]) -> str:
    return '<ul class="findings">' + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def _section(tables: list[Table], title: str, after: str = "") -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(map(_table, tables))}{after}</section>"


def _further_tables(tables: list[Table]) -> str:
    if not tables:
        return ""
    shown = "".join(f"<details><summary>{escape(table.title)}</summary>{_cells(table)}</details>" for table in tables)
    return f"<section><h2>More tables</h2>{shown}</section>"


def _table(table: Table) -> str:
    """A table under its title."""
    return f"<h3>{escape(table.title)}</h3>{_cells(table)}"


def _cells(table: Table) -> str:
    """A table that scrolls sideways within the page."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in ["", *table.columns])
    body = ""
    for name, cells in table.rows.items():
        shown = _key(name) if name in table.meanings else escape(name)
        body += f'<tr><th scope="row">{shown}</th>' + "".join(f"<td>{_cell(cell)}</td>" for cell in cells) + "</tr>\n"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    """The number, and each of what stands in brackets on a line below it."""
    number, *brackets = re.split(r" (?=[\[(])", cell_text(cell))
    return escape(number) + "".join(f"<small>{escape(bracket)}</small>" for bracket in brackets)


def _key(name: str) -> str:
    """The name of a metric, which may be broken after its underscores."""
    return f"<code>{escape(name).replace('_', '_<wbr>')}</code>"


def _glossary(tables: list[Table]) -> str:
    """What the rows mean."""
    meanings = {name: table.meanings[name] for table in tables for name in table.rows if name in table.meanings}
    rows = "".join(
        f'<tr><th scope="row">{_key(name)}</th><td>{escape(meaning)}</td></tr>' for name, meaning in meanings.items()
    )
    table = f'<div class="scroll"><table class="glossary"><tbody>{rows}</tbody></table></div>'
    return f"<details><summary>What the rows mean</summary>{table}</details>"


def _figures(report: EvaluationReport) -> Iterable[str]:
    for name, (title, caption, figure) in report_figures(report).items():
        yield (
            f'<section><h2>{escape(title)}</h2><figure id="{name}"><div class="scroll" role="img" '
            f'aria-label="{escape(title)}" tabindex="0">{inline_svg(figure, name)}</div>'
            f"<figcaption>{escape(caption)}</figcaption></figure></section>"
        )
