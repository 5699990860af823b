"""Which tables a report has, and what stands in them."""

import math
from collections.abc import Mapping, Sequence

from ..metrics import DISTRIBUTION_METRICS, GroupScores, MeanInterval, MetricDescription, PairedDifference
from ..metrics.held_out_votes import VotesCurve
from .attainable import POOLED
from .data_report import EvaluationReport
from .intervals import CROSSED, PANEL
from .item_report import ItemReport, ModelNumbers
from .pair_calibration import OF_SCALE, OF_WIN
from .pair_report import OTHER_PAIRS, PairNumbers, PairReport
from .pair_scores import PAIR_REPORT_METRICS
from .subjects import shown_forms
from .table import Cell, Table
from .trainings import OTHER_TRAININGS, over_trainings

_IF_FITTED = (
    ". The interval of what was fitted on validation votes draws their items one by one, and is too narrow where "
    "these belong together"
)
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
    "prior_strength": MetricDescription(f"How many annotators the model is worth{_IF_FITTED}", 0, math.inf, math.nan),
    "interval_coverage": MetricDescription(
        "How often a category's vote share lies in the 90 % interval that the model predicted for it. In round "
        "brackets: how often it would if the model were right. That is above 90 %, since of three votes a share can "
        "only be 0, 1/3, 2/3 or 1, and an interval cannot cut between them",
        0,
        1,
        math.nan,
    ),
    "temperature": MetricDescription(
        f"What the logits were divided by, fitted on validation votes{_IF_FITTED}", 0, math.inf, 1
    ),
    "bradley_terry_scale": MetricDescription("κ in σ(κΔ)", 0, math.inf, math.nan),
    "pair_error_if_calibrated": MetricDescription(
        "The expected calibration error of σ(κΔ) that chance alone would give this model were it calibrated, and were "
        "votes independent given the pair; 95 % of the time it is below the number in brackets. Of votes with ties, "
        "which count half and vary less, an upper bound",
        0,
        1,
        0,
    ),
    "win_error_if_calibrated": MetricDescription("The same of P(win) + P(tie)/2", 0, 1, 0),
    "davidson_scale": MetricDescription("κ of Davidson's model, fitted on validation pairs", 0, math.inf, math.nan),
    "davidson_tie_propensity": MetricDescription(
        "ν of Davidson's model: equal responses tie with probability ν / (ν + 2)", 0, math.inf, math.nan
    ),
}


OWN_VOTES, AHEAD_OF_VOTES = "After some of the item's own votes", "Without a vote, minus votes alone"
_OF_GROUPS = [
    "votes",
    "nats per vote",
    "best constant's",
    "expected − mean reward",
    "calibration error",
    "debiased calibration error",
]


def report_tables(report: EvaluationReport) -> list[Table]:
    """Every table of a report, the most important first.

    Args:
        report ([`~trl_dprm.evaluation.data_report.EvaluationReport`]): what was found.
    """
    tables = []
    if report.items is not None:
        tables += [_item_scores(report.items), *_item_differences(report.items), _against_constant(report.items)]
        tables += _trainings_tables(report.items, report.methods, "", DISTRIBUTION_METRICS)
        tables += [_calibration_by_category(report.items), _attainable(report.items)]
        tables += [*_group_tables(report.items), *_votes_tables(report.items), *_ahead_tables(report.items)]
    if report.pairs is not None:
        tables += [_pair_scores(report.pairs), *_pair_differences(report.pairs)]
        tables += _trainings_tables(report.pairs, report.methods, "Pairs: ", PAIR_REPORT_METRICS)
    return [table for table in tables if table.rows]


def fitted_first(report: ItemReport) -> ModelNumbers:
    """The first model with what validation votes gave it, recalibrated or read out; without them as it is.

    Args:
        report ([`ItemReport`]): what was found.
    """
    first = report.models[0]
    return next((model for model in report.models if model.name == first.name and model.is_fitted), first)


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
        "prior_strength": lambda m: _cell(m, "prior_strength", m.prior_strength),
        "interval_coverage": _coverage_cell,
        "temperature": lambda m: _cell(m, "temperature", m.temperature),
    }
    for name, cell_of in further.items():
        cells = [cell_of(model) for model in report.models]
        if any(cell.value is not None for cell in cells):
            rows[name] = [*cells, Cell(None)]
    meanings = {name: about.meaning for name, about in {**DISTRIBUTION_METRICS, **_FURTHER}.items()}
    columns = [*(model.title for model in report.models), "best constant"]
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
    first, over = report.models[0], report.interval_over
    fitted = fitted_first(report)
    tables = []
    for title, of_model in (
        (first.title, lambda model: model.differences),
        (fitted.title, lambda model: model.fitted_differences),
    ):
        compared = {model.title: of_model(model) for model in report.models if of_model(model)}
        tables += _differences(compared, f"Difference from {title}", DISTRIBUTION_METRICS, over)
    return tables


def _against_constant(report: ItemReport) -> Table:
    """What each model's scores are minus those of the best constant, where the votes' mean is the best one."""
    names = dict.fromkeys(name for model in report.models for name in model.constant_differences)
    rows = {
        name: [_difference_cell(model.constant_differences.get(name), report.interval_over) for model in report.models]
        for name in names
    }
    meanings = {name: DISTRIBUTION_METRICS[name].meaning for name in names}
    return Table("Difference from the best constant", [model.title for model in report.models], rows, meanings)


def _differences(
    compared: Mapping[str, Mapping[str, PairedDifference]],
    title: str,
    descriptions: Mapping[str, MetricDescription],
    over: str,
) -> list[Table]:
    """By model what its scores are minus those of one, on the same votes; no table where there is none."""
    if not compared:
        return []
    names = dict.fromkeys(name for differences in compared.values() for name in differences)
    rows = {
        name: [_difference_cell(differences.get(name), over) for differences in compared.values()] for name in names
    }
    return [Table(title, list(compared), rows, {name: descriptions[name].meaning for name in names})]


def _trainings_tables(
    report: ItemReport | PairReport,
    methods: Mapping[str, Sequence[str]],
    prefix: str,
    descriptions: Mapping[str, MetricDescription],
) -> list[Table]:
    """What methods with several trainings come to, and how they differ from the first."""
    found = over_trainings(report.models, methods, report.level)
    tables = []
    for title, by_column in (
        ("Mean over trainings", {method.name: method.means for method in found}),
        ("Differences over trainings", {f"{each.name} − {each.compared_with}": each.differences for each in found}),
    ):
        shown = {column: intervals for column, intervals in by_column.items() if intervals}
        names = [name for name in descriptions if any(name in intervals for intervals in shown.values())]
        rows = {
            name: [
                Cell(*intervals[name], over=OTHER_TRAININGS) if name in intervals else Cell(None)
                for intervals in shown.values()
            ]
            for name in names
        }
        meanings = {name: descriptions[name].meaning for name in names}
        tables.append(Table(prefix + title, list(shown), rows, meanings))
    return tables


def _difference_cell(difference: PairedDifference | None, over: str) -> Cell:
    if difference is None:
        return Cell(None)
    return Cell(difference.difference, difference.low, difference.high, over=over)


def _calibration_by_category(report: ItemReport) -> Table:
    """Both calibration errors of each category's probability, for every model."""
    kinds = {"expected": "calibration error", "debiased": "debiased calibration error"}
    rows = {
        category: [
            _cell_over(getattr(model.by_category[category], kind), report.interval_over)
            for model in report.models
            for kind in kinds
        ]
        for category in report.items.categories.names
    }
    columns = [f"{model.title}: {name}" for model in report.models for name in kinds.values()]
    return Table("Calibration by category", columns, rows, {})


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
    """For each model that figures show and each variable the numbers of every group."""
    tables = []
    for model in shown_forms(report.models):
        for variable, groups in model.groups.items():
            rows = {
                row.group: [
                    Cell(row.num_votes),
                    _interval_cell(row.nats_per_vote, row),
                    Cell(row.constant_nats_per_vote),
                    _interval_cell(row.reward_gap, row),
                    _interval_cell(row.expected_calibration_error, row),
                    _interval_cell(row.debiased_calibration_error, row),
                ]
                for row in groups.groups
            }
            tables.append(Table(f"Groups by {variable}: {model.title}", _OF_GROUPS, rows, {}))
    return tables


def _interval_cell(interval: MeanInterval, row: GroupScores) -> Cell:
    return _cell_over(interval, group_interval_over(row))


def _cell_over(interval: MeanInterval, over: str) -> Cell:
    """A number with what its interval speaks of, if it has one."""
    if not math.isfinite(interval.low):
        return Cell(interval.mean)
    return Cell(interval.mean, interval.low, interval.high, over=over)


def group_interval_over(row: GroupScores) -> str:
    """What a group's intervals speak of: a single person has no others (`str`).

    Args:
        row ([`~trl_dprm.metrics.GroupScores`]): of a group report.
    """
    return PANEL if row.num_annotators is None else CROSSED


def _votes_tables(report: ItemReport) -> list[Table]:
    """The learning curve in votes per item."""
    curves = [(model.title, model.votes_curve) for model in report.models if model.votes_curve is not None]
    if report.votes_only is not None:
        curves.append(("votes only", report.votes_only))
    if not curves:
        return []
    columns = _steps(curves[0][1].num_votes)
    tables = []
    for metric in curves[0][1].scores:
        rows = {name: _curve_cells(curve, metric) for name, curve in curves}
        tables.append(Table(f"{OWN_VOTES}: {metric}", columns, rows, {}))
    return tables


def _curve_cells(curve: VotesCurve, metric: str) -> list[Cell]:
    values = curve.scores[metric]
    ends = curve.intervals.get(metric, [(math.nan, math.nan)] * len(values))
    return [_panel_cell(MeanInterval(value, *pair)) for value, pair in zip(values, ends, strict=True)]


def _panel_cell(interval: MeanInterval) -> Cell:
    """A mean over items, with its interval if it has one."""
    if not math.isfinite(interval.low):
        return Cell(interval.mean)
    return Cell(interval.mean, interval.low, interval.high, over=PANEL)


def _steps(num_votes: Sequence[int]) -> list[str]:
    return [f"{step} vote{'s' * (step != 1)}" for step in num_votes]


def _ahead_tables(report: ItemReport) -> list[Table]:
    """Each model without a vote of the item, minus the estimate from votes alone after some of them."""
    compared = {model.title: model.ahead_of_votes for model in report.models if model.ahead_of_votes}
    if not compared:
        return []
    num_votes = next(iter(compared.values())).num_votes
    metrics = next(iter(compared.values())).differences
    return [
        Table(
            f"{AHEAD_OF_VOTES}: {metric}",
            _steps(num_votes),
            {name: [_panel_cell(step) for step in ahead.differences[metric]] for name, ahead in compared.items()},
            {},
        )
        for metric in metrics
    ]


def _pair_scores(report: PairReport) -> Table:
    rows = {
        name: [_cell(model, name, model.metrics.get(name)) for model in report.models] for name in PAIR_REPORT_METRICS
    }
    rows = {name: cells for name, cells in rows.items() if any(cell.value is not None for cell in cells)}
    for name, cells in rows.items():
        cells.append(Cell(report.constant.metrics.get(name)))
    for names in (OF_SCALE, OF_WIN):
        levels = [model.if_calibrated.get(names.if_calibrated) for model in report.models]
        rows[names.if_calibrated] = [Cell(level and level.mean, beside=level and level.high) for level in levels]
    rows["bradley_terry_scale"] = [Cell(model.scale) for model in report.models]
    rows["davidson_scale"] = [Cell(model.davidson and model.davidson.scale) for model in report.models]
    rows["davidson_tie_propensity"] = [
        Cell(model.davidson and model.davidson.tie_propensity) for model in report.models
    ]
    columns = [*(model.title for model in report.models), "best constant"]
    rows = {
        name: [*cells, *[Cell(None)] * (len(columns) - len(cells))]
        for name, cells in rows.items()
        if any(cell.value is not None for cell in cells)
    }
    meanings = {name: about.meaning for name, about in {**PAIR_REPORT_METRICS, **_FURTHER}.items()}
    return Table("Pairs", columns, rows, meanings)


def _pair_differences(report: PairReport) -> list[Table]:
    """From the first model, as it is and with its links fitted, and from the best constant."""
    name = report.models[0].name
    tables = []
    for title, of_model in (
        (name, lambda model: model.differences),
        (f"{name}, κ fitted", lambda model: model.fitted_differences),
        ("the best constant", lambda model: model.constant_differences),
    ):
        compared = {model.title: of_model(model) for model in report.models if of_model(model)}
        tables += _differences(compared, f"Pairs: difference from {title}", PAIR_REPORT_METRICS, OTHER_PAIRS)
    return tables
