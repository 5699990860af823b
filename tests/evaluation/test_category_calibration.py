"""Calibration of each category: counts by hand, the overall errors as their means, draws one table at a time."""

from dataclasses import replace

import numpy as np
import pytest

from trl_dprm.evaluation.category_calibration import calibration_by_category
from trl_dprm.evaluation.data_report import EvaluationReport
from trl_dprm.evaluation.intervals import CROSSED, PANEL, Resampling
from trl_dprm.evaluation.item_report import item_report
from trl_dprm.evaluation.judged_items import JudgedItems
from trl_dprm.evaluation.report_json import report_dict
from trl_dprm.evaluation.tables import report_tables
from trl_dprm.metrics import crossed_statistic_interval, squared_calibration_error, vote_shares

FEW = Resampling(num_resamples=200, seed=5)


def test_errors_are_gaps_by_hand_and_average_to_the_metrics(items, models):
    """Two predictions, far apart: one bin for the even rows, one for the odd."""
    report = item_report(models, items, resampling=FEW)
    model = report.models[0]
    counts, votes = items.target_counts, items.vote_weight
    for place, name in enumerate(items.categories.names):
        gaps = [
            abs(counts[rows, place].sum() - votes[rows].sum() * models["good"][rows.start, place])
            for rows in (slice(0, None, 2), slice(1, None, 2))
        ]
        assert model.by_category[name].expected.mean == pytest.approx(sum(gaps) / votes.sum(), rel=1e-9)
    for kind, metric in (("expected", "expected_calibration_error"), ("debiased", "debiased_calibration_error")):
        errors = [getattr(found, kind).mean for found in model.by_category.values()]
        assert np.mean(errors) == pytest.approx(model.metrics[metric], rel=1e-9)


def test_intervals_are_those_of_tables_drawn_one_by_one(items, models):
    votes, probs = items.single_votes, models["good"]
    ids = votes.item, votes.annotator, votes.category, 12, 3, np.asarray(items.clusters)[votes.item], 200, 0.95, 5
    found = calibration_by_category(probs, items, FEW)

    def signed(rows, counts, place, clusters):
        shares, weight = vote_shares(counts)
        square = squared_calibration_error(probs[rows, place], shares[:, place], weight, cluster_ids=clusters[rows])
        return np.sign(square) * abs(square) ** 0.5

    clusters = np.array(items.clusters)
    for place, name in enumerate(items.categories.names):
        expected = crossed_statistic_interval(
            lambda rows, counts, place=place: signed(rows, counts, place, clusters), *ids
        )
        alone = squared_calibration_error(probs[:, place], items.target_probs[:, place], items.vote_weight)
        centre, got = np.sign(alone) * abs(alone) ** 0.5, found[name].debiased
        ends = expected.low - expected.value + centre, expected.high - expected.value + centre
        assert got[1:] == pytest.approx((max(min(ends[0], got.mean), 0), min(max(ends[1], got.mean), 1)), abs=1e-9)
        assert got.low <= got.mean <= got.high and found[name].expected.low <= found[name].expected.mean


def test_it_is_in_the_tables_and_in_the_json(items, models):
    for judged, over in ((items, CROSSED), (replace(items, single_votes=None), PANEL)):
        report = EvaluationReport({}, item_report(models, judged, resampling=FEW), None, [])
        (table,) = [table for table in report_tables(report) if table.title == "Calibration by category"]
        assert list(table.rows) == ["bad", "fair", "good"] and len(table.columns) == 4
        found = report.items.models[1].by_category["fair"]
        assert table.columns[2] == "flat: calibration error"
        cells = table.rows["fair"][2:]
        assert [(cell.value, cell.low, cell.high) for cell in cells] == list(found)
        assert all(cell.over == over for cell in cells)
        said = report_dict(report)["items"]["models"]["flat"]["calibration_by_category"]["fair"]
        assert said["expected"]["mean"] == found.expected.mean and said["debiased"]["high"] == found.debiased.high


def test_a_single_item_has_no_interval(items):
    alone = calibration_by_category(np.full((1, 3), 1 / 3), JudgedItems([[1, 1, 2]], items.categories), FEW)
    assert alone["good"].expected.mean == pytest.approx(1 / 6) and np.isnan(alone["good"].expected.low)
    assert np.isnan(alone["good"].debiased.mean)
