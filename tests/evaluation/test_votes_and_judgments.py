"""Judgments beside the votes that they should have made: counted by hand, refused, or named in a note."""

from dataclasses import replace

import numpy as np
import pytest

from trl_dprm.evaluation.intervals import Resampling
from trl_dprm.evaluation.item_report import item_report
from trl_dprm.evaluation.judged_items import JudgedItems, SingleVotes
from trl_dprm.evaluation.votes_and_judgments import JudgmentsBesideVotes, refuse_other_judgments
from trl_dprm.preferences import PreferenceCategories

FEW = Resampling(num_resamples=20)


def with_judgments(items, **columns):
    return replace(items, single_votes=replace(items.single_votes, **columns))


def test_judgments_that_were_all_replaced_are_refused(items, models):
    votes = items.single_votes
    wrong = with_judgments(items, category=(votes.category + 1) % 3)
    on = [row for row in range(12) if ((items.target_counts[row] == 0) & (counted(wrong)[row] > 0)).any()]
    first = on[0]
    said = r"bad {:g}, fair {:g}, good {:g} in the data, bad {:g}, fair {:g}, good {:g} in the judgments".format(
        *items.target_counts[first], *counted(wrong)[first]
    )
    message = rf"on {len(on)} of 12 judged items .* The first is item {first + 1}: {said}\. Give the table"
    with pytest.raises(ValueError, match=message):
        item_report(models, wrong, resampling=FEW)
    named = replace(wrong, item_names=[f"row {row + 7}" for row in range(12)])
    with pytest.raises(ValueError, match=f"The first is row {first + 7}: "):
        refuse_other_judgments(named)


def counted(items):
    votes, counts = items.single_votes, np.zeros((12, 3))
    for row, category, weight in zip(votes.item, votes.category, votes.weight, strict=True):
        counts[row, category] += weight
    return counts


def test_half_of_the_items_may_differ_and_one_more_may_not(items):
    """A judgment of weight 0 is none; an item without judgments does not count."""
    quality = items.categories
    votes = SingleVotes([0, 1, 2, 3, 3], list("ababc"), [0, 0, 1, 1, 2], [1, 1, 1, 1, 0])
    refuse_other_judgments(JudgedItems([[1, 0, 0]] * 5, quality, single_votes=votes))
    with pytest.raises(ValueError, match="on 3 of 5 judged items"):
        more = SingleVotes([0, 1, 2, 3, 4], list("ababc"), [0, 0, 1, 1, 2])
        refuse_other_judgments(JudgedItems([[1, 0, 0]] * 5, quality, single_votes=more))
    refuse_other_judgments(replace(items, single_votes=None))


def test_missing_judgments_are_counted_in_a_note(items, models):
    votes = items.single_votes
    kept = np.arange(len(votes.item)) % 2 == 0
    half = {name: getattr(votes, name)[kept] for name in ("item", "annotator", "category", "weight")}
    report = item_report(
        models, with_judgments(items, **half, groups={"age": votes.groups["age"][kept]}), resampling=FEW
    )
    missing, differing = (~kept).sum(), len(set(votes.item[~kept]))
    (note,) = [note for note in report.notes if "other votes than the data" in note]
    assert note.startswith(f"The table of judgments has other votes than the data on {differing} of 12 items: ")
    assert f"{missing} of {len(kept)} votes are in no judgment, and 0 votes of the judgments are not in" in note


def test_weights_of_a_population_are_no_error_and_the_same_votes_are_not_noted(items, models):
    assert JudgmentsBesideVotes.of(items).note() == []
    weighted = with_judgments(items, weight=np.where(items.single_votes.groups["age"] == "old", 2.5, 0.5))
    refuse_other_judgments(weighted)
    found, more = JudgmentsBesideVotes.of(weighted), counted(weighted) - items.target_counts
    assert found.num_without_vote == pytest.approx(more[more > 0].sum(), rel=1e-12)
    assert found.num_without_judgment == pytest.approx(-more[more < 0].sum(), rel=1e-12)
    assert "is right where the votes are weighted for a population" in found.note()[0]
    assert not any("other votes" in note for note in item_report(models, items, resampling=FEW).notes)


def test_what_single_precision_does_to_thirds_of_votes_is_no_difference():
    item, who, category = np.zeros(303, int), np.arange(303) // 3, np.arange(303) % 3
    counts = np.array([[101 / 3, 101 / 3, 101 / 3]])
    rounded = (counts / 101).astype(np.float32).astype(float) * 101
    quality = PreferenceCategories(["bad", "fair", "good"], [-1.0, 0.0, 1.0])
    votes = SingleVotes(item, who, category, np.full(303, 1 / 3))
    assert np.abs(rounded - counts).max() > 1e-6
    assert JudgmentsBesideVotes.of(JudgedItems(rounded, quality, single_votes=votes)).note() == []
