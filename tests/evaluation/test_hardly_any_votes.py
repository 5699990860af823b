"""Votes that say little still make a report: all for one category, one item, one vote on each."""

import json
import math

import numpy as np
import pytest

from trl_dprm.evaluation.data_report import EvaluationReport
from trl_dprm.evaluation.intervals import Resampling
from trl_dprm.evaluation.item_report import ItemPredictions, ItemRewards, item_report
from trl_dprm.evaluation.judged_items import JudgedItems, SingleVotes
from trl_dprm.evaluation.page import report_page
from trl_dprm.evaluation.report_json import report_dict
from trl_dprm.evaluation.table import as_text
from trl_dprm.evaluation.tables import report_tables
from trl_dprm.preferences import PreferenceCategories

pytest.importorskip("matplotlib")
FEW = Resampling(num_resamples=20)
CATEGORIES = PreferenceCategories(["bad", "fair", "good"], [-1.0, 0.0, 2.0])
VALIDATION = np.random.default_rng(6).multinomial(4, [0.3, 0.3, 0.4], 20)


def judged(num_items, votes_each, only=None):
    """Items with votes of six annotators in two groups; all votes for one category if it is named."""
    draw = np.random.default_rng(num_items)
    item = np.repeat(np.arange(num_items), votes_each)
    who = np.concatenate([draw.permutation(6)[:votes_each] for _ in range(num_items)])
    category = draw.integers(0, 3, len(item)) if only is None else np.full(len(item), only)
    counts = np.zeros((num_items, 3))
    np.add.at(counts, (item, category), 1)
    groups = {"age": np.where(who < 3, "young", "old").tolist()}
    return JudgedItems(counts, CATEGORIES, single_votes=SingleVotes(item, who, category, groups=groups))


def reported(items, validation_counts=None):
    """Two models and a scalar one, of which the second has no validation predictions."""
    draw = np.random.default_rng(1)
    of_validation = {}
    if validation_counts is not None:
        of_validation = {"validation_probs": draw.dirichlet([1, 1, 1], 20)}
    models = {"m": ItemPredictions(draw.dirichlet([1, 1, 1], len(items)), 4.0, **of_validation)}
    models["flat"] = ItemPredictions(np.full((len(items), 3), 1 / 3))
    if validation_counts is not None:
        models["bt"] = ItemRewards(draw.normal(size=len(items)), draw.normal(size=20))
    return EvaluationReport({}, item_report(models, items, validation_counts, resampling=FEW), None, [])


def shown(items, validation_counts=None):
    """The report, after everything that shows it has."""
    report = reported(items, validation_counts)
    json.dumps(report_dict(report), allow_nan=False)
    tables = report_tables(report)
    page = report_page(report, "Report")
    assert all(as_text(table) for table in tables) and all(table.title in page for table in tables[:1])
    return report.items


@pytest.mark.parametrize("validation", [None, VALIDATION])
@pytest.mark.parametrize(
    ("num_items", "votes_each", "only"),
    [
        pytest.param(12, 3, 2, id="all votes in one category"),
        pytest.param(1, 3, None, id="a single item"),
        pytest.param(12, 1, None, id="one vote each"),
        pytest.param(1, 1, None, id="a single vote"),
    ],
)
def test_every_table_and_the_page_are_made(num_items, votes_each, only, validation):
    items = judged(num_items, votes_each, only)
    report = shown(items, validation)
    model = report.models[0]
    votes = items.single_votes
    nats = -np.log(model.category_probs[votes.item, votes.category]).mean()
    assert model.metrics["nats_per_vote"] == pytest.approx(nats, rel=1e-6)
    assert (num_items > 1) == ("nats_per_vote" in model.intervals)
    told = any("All judged votes are for" in note for note in report.notes)
    assert told == (len(set(votes.category)) == 1)


def test_unanimous_votes_leave_out_what_they_cannot_tell():
    alone, validated = (reported(judged(12, 3, 2), votes).items for votes in (None, VALIDATION))
    assert alone.votes_only is None and alone.attainable is None and alone.models[0].ahead_of_votes is None
    assert any("its prior comes from the judged votes themselves, all of which are for good" in n for n in alone.notes)
    assert alone.models[0].votes_curve is not None and alone.models[0].sharpness.observed == (0, 0, 0)
    assert math.isnan(alone.models[0].metrics["expected_reward_correlation"])
    assert validated.votes_only is not None and not any("curve of votes alone" in note for note in validated.notes)


def test_unanimous_validation_votes_fit_no_temperature():
    report = reported(judged(12, 3), np.tile([0, 0, 3], (20, 1))).items
    assert [model.title for model in report.models] == ["m", "flat", "bt, read out"]
    assert any(note.startswith("No temperature was fitted for ") for note in report.notes)
    assert report.votes_only is None and report.attainable is not None


def test_validation_votes_that_contradict_nothing_fit_no_temperature_either():
    votes = np.eye(3, dtype=int)[np.arange(20) % 3] * 2
    sure = ItemPredictions(np.full((12, 3), 1 / 3), validation_probs=0.1 + 0.7 * np.eye(3)[np.arange(20) % 3])
    report = item_report({"sure": sure}, judged(12, 3), votes, resampling=FEW)
    assert [model.title for model in report.models] == ["sure"]
    assert any(note.startswith("No temperature was fitted for sure: ") for note in report.notes)
    votes[0] = [1, 1, 0]
    assert len(item_report({"sure": sure}, judged(12, 3), votes, resampling=FEW).models) == 2
