"""How much a report rests on."""

import numpy as np

from .data_report import EvaluationReport


def report_counts(report: EvaluationReport) -> list[tuple[int, str]]:
    """Models, and what they were judged by, each number with its noun.

    Args:
        report ([`~trl_dprm.evaluation.data_report.EvaluationReport`]): what was found.
    """
    counts = [(len(report.metrics) or len({model.name for model in report.items.models}), "model")]
    if report.items is not None:
        items = report.items.items
        counts += [(len(items), "item"), (round(items.target_counts.sum()), "vote")]
        if items.single_votes is not None:
            counts.append((len(np.unique(items.single_votes.annotator)), "annotator"))
    if report.pairs is not None:
        counts.append((len(report.pairs.pairs), "pair"))
    return [(value, name if value == 1 else f"{name}s") for value, name in counts]
