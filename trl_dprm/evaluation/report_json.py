"""The report as plain numbers under stable names, for JSON."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from .data_report import EvaluationReport
from .findings import report_notes
from .item_report import ItemReport, ModelNumbers
from .pair_report import PairReport
from .trainings import over_trainings


def report_dict(report: EvaluationReport) -> dict:
    """Every number of a report; no prediction and no text of an item is in it.

    Args:
        report ([`~trl_dprm.evaluation.data_report.EvaluationReport`]): what was found.

    Returns:
        `dict` of what JSON knows; a number that is not finite is `None`, "∞" or "−∞".
    """
    return {
        "items": None if report.items is None else _items(report.items),
        "pairs": None if report.pairs is None else _pairs(report.pairs),
        "notes": report_notes(report),
        "trainings": {
            part: _plain(over_trainings(found.models, report.methods, found.level))
            for part, found in (("items", report.items), ("pairs", report.pairs))
            if found is not None
        },
    }


def _items(report: ItemReport) -> dict:
    votes = report.items.single_votes
    return {
        "num_items": len(report.items),
        "num_votes": _plain(report.items.target_counts.sum()),
        "num_annotators": None if votes is None else len(np.unique(votes.annotator)),
        "intervals": {"level": report.level, "over": report.interval_over},
        "models": {model.title: _model(model, report.items.categories.names) for model in report.models},
        "best_constants": {"chosen_on": report.constants_from, **_plain(report.constants)},
        "attainable_nats": report.attainable and {"prior": report.attainable_prior, **_plain(report.attainable)},
        "votes_only_curve": _plain(report.votes_only),
    }


def _model(model: ModelNumbers, category_names: Sequence[str]) -> dict:
    coverage = model.coverage
    return {
        "temperature": model.temperature,
        "read_out": model.read_out,
        "metrics": _plain(model.metrics),
        "intervals": _plain(model.intervals),
        "differences_from_first": _plain(model.differences),
        "differences_from_first_fitted": _plain(model.fitted_differences),
        "differences_from_best_constant": _plain(model.constant_differences),
        "expected_calibration_error_if_calibrated": _plain(model.if_calibrated),
        "contested": _plain(model.contested),
        "sharpness": _plain(model.sharpness),
        "prior_strength": {"value": _plain(model.prior_strength), "source": model.prior_strength_source},
        "interval_coverage": coverage
        and {
            "level": coverage.level,
            "observed": _plain(coverage.overall_observed),
            "expected": _plain(coverage.overall_expected),
            "mean_width": _plain(coverage.overall_mean_width),
            "observed_by_category": _plain(coverage.observed),
            "expected_by_category": _plain(coverage.expected),
        },
        "votes_curve": _plain(model.votes_curve),
        "ahead_of_votes": _plain(model.ahead_of_votes),
        "reliability": _plain(dict(zip(category_names, model.reliability, strict=True))),
        "calibration_by_category": _plain(model.by_category),
        "groups": _plain(model.groups),
    }


def _pairs(report: PairReport) -> dict:
    models = {
        model.title: {
            "bradley_terry_scale": _plain(model.scale),
            "refitted": model.refitted,
            "davidson": _plain(model.davidson),
            "metrics": _plain(model.metrics),
            "intervals": _plain(model.intervals),
            "differences_from_first": _plain(model.differences),
            "differences_from_first_fitted": _plain(model.fitted_differences),
            "differences_from_best_constant": _plain(model.constant_differences),
            "calibration_error_if_calibrated": _plain(model.if_calibrated),
            "reliability": _plain(model.reliability),
        }
        for model in report.models
    }
    constant = report.constant
    best = {"chosen_on": constant.chosen_on, "tie_share": constant.tie_share, **_plain(constant.metrics)}
    return {"num_pairs": len(report.pairs), "level": report.level, "models": models, "best_constant": best}


def _plain(value):
    """Arrays, tuples with names and dataclasses as lists and dicts; numbers that JSON lacks as `None` or text."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(entry) for entry in value]
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return None
        return float(value) if math.isfinite(value) else "∞" if value > 0 else "−∞"
    return int(value) if isinstance(value, np.integer) else value
