"""The report's numbers as tables: one list of rows, printed as text, written as CSV, or drawn as HTML."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..metrics import DISTRIBUTION_METRICS, GroupScores, MeanInterval, MetricDescription, PairedDifference
from .attainable import POOLED
from .data_report import EvaluationReport
from .intervals import CROSSED, PANEL
from .item_report import ItemReport, ModelNumbers
from .pair_report import OTHER_PAIRS, PairNumbers, PairReport
from .pair_scores import PAIR_REPORT_METRICS

_FURTHER = {
    "error_if_calibrated": MetricDescription(
        "The expected calibration error that chance alone would give this model were it calibrated, and were votes "
        "independent given the item; 95 % of the time it is below the number in brackets",
        0,
        1,
        0,
    ),
    "contested_concordance": MetricDescription(
        "Of two items with equally many votes, how often the more contested one was predicted to be; 0.5 is chance",
        0,
        1,
        1,
    ),
    "predicted_disagreement": MetricDescription(
        "Expected cost between two draws from the predicted distribution", 0, math.inf, math.nan
    ),
    "observed_disagreement": MetricDescription("Mean cost between two annotators of an item", 0, math.inf, math.nan),
    "prior_strength": MetricDescription("How many annotators the model is worth", 0, math.inf, math.nan),
    "interval_coverage": MetricDescription(
        "How often a category's vote share lies in the 90 % interval that the model predicted for it. In round "
        "brackets: how often it would if the model were right. That is above 90 %, since of three votes a share can "
        "only be 0, 1/3, 2/3 or 1, and an interval cannot cut between them",
        0,
        1,
        math.nan,
    ),
    "temperature": MetricDescription("What the logits were divided by, fitted on validation votes", 0, math.inf, 1),
    "bradley_terry_scale": MetricDescription("κ in σ(κΔ)", 0, math.inf, math.nan),
    "davidson_scale": MetricDescription("κ of Davidson's model, fitted on validation pairs", 0, math.inf, math.nan),
    "davidson_tie_propensity": MetricDescription(
        "ν of Davidson's model: equal responses tie with probability ν / (ν + 2)", 0, math.inf, math.nan
    ),
}


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


def report_tables(report: EvaluationReport) -> list[Table]:
    """Every table of a report, the most important first.

    Args:
        report ([`~trl_dprm.evaluation.data_report.EvaluationReport`]): what was found.
    """
    tables = []
    if report.items is not None:
        tables += [_item_scores(report.items), *_item_differences(report.items), _against_constant(report.items)]
        tables.append(_attainable(report.items))
        tables += [*_group_tables(report.items), *_votes_tables(report.items)]
    if report.pairs is not None:
        tables += [_pair_scores(report.pairs), *_pair_differences(report.pairs)]
    return [table for table in tables if table.rows]


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


def column_name(model: ModelNumbers | PairNumbers) -> str:
    """What tables and figures call a model, raw or recalibrated.

    Args:
        model ([`ModelNumbers`] or [`PairNumbers`]): of a report.
    """
    if isinstance(model, PairNumbers):
        return f"{model.name}, κ fitted" if model.refitted else model.name
    return model.name if model.temperature is None else f"{model.name}, recalibrated"


def _item_scores(report: ItemReport) -> Table:
    """Every metric of every model, and of the best constants."""
    rows = {
        name: [_cell(model, name, model.metrics.get(name)) for model in report.models] for name in DISTRIBUTION_METRICS
    }
    rows = {name: cells for name, cells in rows.items() if any(cell.value is not None for cell in cells)}
    for name, cells in rows.items():
        cells.append(Cell(report.constants.get(name)))
    further = {
        "error_if_calibrated": lambda m: Cell(m.if_calibrated.mean, beside=m.if_calibrated.high),
        "contested_concordance": lambda m: _cell(m, "contested_concordance", m.contested and m.contested.probability),
        "predicted_disagreement": lambda m: _cell(
            m, "predicted_disagreement", m.sharpness and m.sharpness.predicted.pair_cost
        ),
        "observed_disagreement": lambda m: _cell(
            m, "observed_disagreement", m.sharpness and m.sharpness.observed.pair_cost
        ),
        "prior_strength": lambda m: Cell(m.prior_strength),
        "interval_coverage": _coverage_cell,
        "temperature": lambda m: Cell(m.temperature),
    }
    for name, cell_of in further.items():
        cells = [cell_of(model) for model in report.models]
        if any(cell.value is not None for cell in cells):
            rows[name] = [*cells, Cell(None)]
    meanings = {name: about.meaning for name, about in {**DISTRIBUTION_METRICS, **_FURTHER}.items()}
    columns = [*map(column_name, report.models), "best constant"]
    return Table("Predicted distributions against votes", columns, rows, meanings)


def _cell(model: ModelNumbers | PairNumbers, name: str, value: float | None, beside: float | None = None) -> Cell:
    """A number with its interval, if it has one."""
    interval = model.intervals.get(name)
    if interval is None:
        return Cell(value, beside=beside)
    return Cell(value, interval.low, interval.high, beside, interval.over)


def _coverage_cell(model: ModelNumbers) -> Cell:
    if model.coverage is None:
        return Cell(None)
    return _cell(model, "interval_coverage", model.coverage.overall_observed, model.coverage.overall_expected)


def _item_differences(report: ItemReport) -> list[Table]:
    title = f"Difference from {report.models[0].name}"
    return _differences(report.models, title, DISTRIBUTION_METRICS, report.interval_over)


def _against_constant(report: ItemReport) -> Table:
    """What each model's scores are minus those of the best constant, where the votes' mean is the best one."""
    names = dict.fromkeys(name for model in report.models for name in model.constant_differences)
    rows = {
        name: [_difference_cell(model.constant_differences.get(name), report.interval_over) for model in report.models]
        for name in names
    }
    meanings = {name: DISTRIBUTION_METRICS[name].meaning for name in names}
    return Table("Difference from the best constant", [column_name(model) for model in report.models], rows, meanings)


def _differences(models, title, descriptions, over) -> list[Table]:
    """What each model's scores are minus the first one's, on the same votes."""
    others = [model for model in models if model.differences]
    if not others:
        return []
    names = dict.fromkeys(name for model in others for name in model.differences)
    rows = {name: [_difference_cell(model.differences.get(name), over) for model in others] for name in names}
    meanings = {name: descriptions[name].meaning for name in names}
    return [Table(title, [column_name(model) for model in others], rows, meanings)]


def _difference_cell(difference: PairedDifference | None, over: str) -> Cell:
    if difference is None:
        return Cell(None)
    return Cell(difference.difference, difference.low, difference.high, over=over)


def _attainable(report: ItemReport) -> Table:
    """The bracket of what a perfect model could reach."""
    title = "What a perfect model could reach, in nats per vote"
    if report.attainable is None:
        return Table(title, [], {}, {})
    low, middle, high, _ = report.attainable
    rows = {
        "entropy of the item's own votes": [Cell(low)],
        "if the truth is Dirichlet": [Cell(middle)],
        "each vote from the item's other votes": [Cell(high)],
    }
    meanings = {
        "entropy of the item's own votes": "Too low: few votes look more united than the people are",
        "if the truth is Dirichlet": "Expected entropy of the true distributions, under the fitted Dirichlet prior "
        f"around {report.attainable_prior}",
        "each vote from the item's other votes": f"Too high; the prior is {report.attainable_prior}"
        + (", and a model that reads the items may be below" if report.attainable_prior == POOLED else ""),
    }
    return Table(title, ["nats per vote"], rows, meanings)


def _group_tables(report: ItemReport) -> list[Table]:
    """For each model as it is and each variable the numbers of every group."""
    tables = []
    for model in report.models:
        for variable, groups in model.groups.items() if model.temperature is None else ():
            rows = {
                row.group: [
                    Cell(row.num_votes),
                    _interval_cell(row.nats_per_vote, row),
                    Cell(row.constant_nats_per_vote),
                    _interval_cell(row.reward_gap, row),
                    Cell(row.expected_calibration_error),
                ]
                for row in groups.groups
            }
            columns = ["votes", "nats per vote", "best constant's", "expected − mean reward", "calibration error"]
            tables.append(Table(f"Groups by {variable}: {model.name}", columns, rows, {}))
    return tables


def _interval_cell(interval: MeanInterval, row: GroupScores) -> Cell:
    if not math.isfinite(interval.low):
        return Cell(interval.mean)
    return Cell(interval.mean, interval.low, interval.high, over=group_interval_over(row))


def group_interval_over(row: GroupScores) -> str:
    """What a group's intervals speak of: a single person has no others (`str`).

    Args:
        row ([`~trl_dprm.metrics.GroupScores`]): of a group report.
    """
    return PANEL if row.num_annotators is None else CROSSED


def _votes_tables(report: ItemReport) -> list[Table]:
    """The learning curve in votes per item."""
    curves = [(column_name(model), model.votes_curve) for model in report.models if model.votes_curve is not None]
    if report.votes_only is not None:
        curves.append(("votes only", report.votes_only))
    if not curves:
        return []
    steps = curves[0][1].num_votes
    tables = []
    for metric in curves[0][1].scores:
        rows = {name: [Cell(value) for value in curve.scores[metric]] for name, curve in curves}
        columns = [f"{step} vote{'s' * (step != 1)}" for step in steps]
        tables.append(Table(f"After some of the item's own votes: {metric}", columns, rows, {}))
    return tables


def _pair_scores(report: PairReport) -> Table:
    rows = {
        name: [_cell(model, name, model.metrics.get(name)) for model in report.models] for name in PAIR_REPORT_METRICS
    }
    rows["bradley_terry_scale"] = [Cell(model.scale) for model in report.models]
    rows["davidson_scale"] = [Cell(model.davidson and model.davidson.scale) for model in report.models]
    rows["davidson_tie_propensity"] = [
        Cell(model.davidson and model.davidson.tie_propensity) for model in report.models
    ]
    rows = {name: cells for name, cells in rows.items() if any(cell.value is not None for cell in cells)}
    meanings = {name: about.meaning for name, about in {**PAIR_REPORT_METRICS, **_FURTHER}.items()}
    return Table("Pairs", [column_name(model) for model in report.models], rows, meanings)


def _pair_differences(report: PairReport) -> list[Table]:
    title = f"Pairs: difference from {report.models[0].name}"
    return _differences(report.models, title, PAIR_REPORT_METRICS, OTHER_PAIRS)
