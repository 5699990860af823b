"""A table of numbers with their intervals: printed as text, written as CSV, drawn elsewhere as HTML and Markdown."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A number of a table.

    Args:
        value (`float`, *optional*): `None` where there is none.
        low, high (`float`, *optional*): ends of its interval.
        beside (`float`, *optional*): what it is to be compared with, shown in brackets.
        over (`str`, *optional*): what the interval speaks of.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    beside: float | None = None
    over: str | None = None


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Args:
        title (`str`): what it shows.
        columns (`list[str]`): names of its columns of numbers.
        rows (`dict[str, list[Cell]]`): by row name one cell for each column.
        meanings (`dict[str, str]`): of the rows that need words.
    """

    title: str
    columns: list[str]
    rows: dict[str, list[Cell]]
    meanings: dict[str, str]


def as_text(table: Table, width: int = 120) -> str:
    """A table as aligned lines; columns that do not fit beside the others follow below.

    Args:
        table ([`Table`]): with cells.
        width (`int`): of a line, in characters, unless one column alone needs more.

    Example:

    >>> print(as_text(Table("Scores", ["ours"], {"nats": [Cell(0.5, 0.4, 0.65)]}, {})))
    Scores
            ours
    nats    0.5000 [0.4000, 0.6500]
    """
    names = ["", *table.rows]
    columns = [
        [column, *(cell_text(cells[place]) for cells in table.rows.values())]
        for place, column in enumerate(table.columns)
    ]
    blocks, room = [], -1
    for column in columns:
        room -= 2 + _width(column)
        if room < 0:
            blocks.append([])
            room = width - _width(names) - 2 - _width(column)
        blocks[-1].append(column)
    return "\n".join([table.title, *("\n".join(_lines([names, *block])) for block in blocks)])


def _width(column: Sequence[str]) -> int:
    return max(6, *map(len, column))


def _lines(columns: Sequence[Sequence[str]]) -> list[str]:
    """Columns of text beside each other."""
    widths = [_width(column) for column in columns]
    rows = zip(*columns, strict=True)
    return ["  ".join(text.ljust(size) for text, size in zip(row, widths, strict=True)).rstrip() for row in rows]


def as_csv(tables: Sequence[Table]) -> str:
    """All tables as one CSV: a line for each number, with its table, row, column and interval.

    Args:
        tables (sequence of [`Table`]): of a report.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "row", "column", "value", "low", "high", "beside", "interval_over"])
    for table in tables:
        for name, cells in table.rows.items():
            for column, cell in zip(table.columns, cells, strict=True):
                if cell.value is not None:
                    numbers = (cell.value, cell.low, cell.high, cell.beside)
                    texts = ("" if number is None else repr(float(number)) for number in numbers)
                    writer.writerow([table.title, name, column, *texts, cell.over or ""])
    return out.getvalue()


def cell_text(cell: Cell) -> str:
    """A cell as a reader wants it: a number, its interval in brackets.

    Args:
        cell ([`Cell`]): of a table.

    Example:

    >>> cell_text(Cell(0.123456, beside=0.1)), cell_text(Cell(float("nan"))), cell_text(Cell(None))
    ('0.1235 (0.1000)', 'not defined', '')
    """
    if cell.value is None:
        return ""
    text = number_text(cell.value)
    if cell.low is not None and math.isfinite(cell.low):
        text += f" [{number_text(cell.low)}, {number_text(cell.high)}]"
    return text + (f" ({number_text(cell.beside)})" if cell.beside is not None else "")


def number_text(value: float) -> str:
    """A number with four decimals, or four digits above 10; whole numbers of some size as they are.

    Example:

    >>> number_text(0.00001), number_text(12.3456), number_text(-1.0), number_text(2255)
    ('0.0000', '12.35', '−1.0000', '2,255')
    """
    if math.isnan(value):
        return "not defined"
    if abs(value) >= 10 and math.isfinite(value):
        text = f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.4g}"
    else:
        text = f"{value:.4f}"
    return text.replace("inf", "∞").replace("-", "−")
