"""Tables and the page: every number once, every figure, nothing from elsewhere, and texts escaped or absent."""

import csv
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from trl_dprm.evaluation.data_report import EvaluationReport
from trl_dprm.evaluation.findings import intervals_sentence, item_findings, pair_findings, report_notes
from trl_dprm.evaluation.fitted_intervals import VALIDATION
from trl_dprm.evaluation.intervals import CROSSED, PANEL, Interval, Resampling
from trl_dprm.evaluation.item_report import ItemPredictions, item_report
from trl_dprm.evaluation.judged_pairs import JudgedPairs
from trl_dprm.evaluation.page import report_page
from trl_dprm.evaluation.pair_report import OTHER_PAIRS, PairPredictions, pair_report
from trl_dprm.evaluation.report_json import report_dict
from trl_dprm.evaluation.table import Cell, Table, as_csv, as_text, cell_text, number_text
from trl_dprm.evaluation.tables import report_tables
from trl_dprm.metrics import MeanInterval
from trl_dprm.metrics.votes_curve_intervals import AheadOfVotes

pytest.importorskip("matplotlib")
FEW = Resampling(num_resamples=50)
EVIL = '<script>alert("x")</script> & $5 <b>'
VOID = {"meta", "wbr", "br", "link", "img", "input", "hr"}
FIGURES = ["reliability", "contested", "expectations", "groups1", "votes", "pairs"]


class Page(HTMLParser):
    """Tags in their order, with a check that each is closed where it should be."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.text, self.urls = [], [], [], "", []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.urls += [attrs[name] for name in ("src", "href", "xlink:href", "action", "srcset") if name in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def report(items, models):
    predictions = {name: ItemPredictions(probs, 6.0) for name, probs in models.items()}
    draw = np.random.default_rng(1)
    pairs = JudgedPairs(draw.integers(0, 4, 20) / 3, np.full(20, 3.0))
    of_pairs = pair_report({EVIL: PairPredictions(draw.normal(size=(20, 2)))}, pairs, resampling=FEW)
    return EvaluationReport({}, item_report(predictions, items, resampling=FEW), of_pairs, ["A note & more."])


@pytest.fixture(scope="module")
def html(report):
    return report_page(report, EVIL)


def test_the_page_is_well_formed_and_has_every_figure(html):
    page = Page(html)
    assert page.open == []
    assert [name for name in page.ids if name in FIGURES] == FIGURES
    assert page.tags.count("svg") == len(FIGURES) == page.tags.count("figcaption")
    assert len(page.ids) == len(set(page.ids))


def test_nothing_is_loaded_and_nothing_runs(html):
    page = Page(html)
    assert "script" not in page.tags and not {"link", "img", "iframe", "object", "base"} & set(page.tags)
    assert all(url.startswith("#") and url[1:] in page.ids for url in page.urls) and page.urls
    assert "http" not in html.replace("http-equiv", "") and "@import" not in html
    assert all(url[1:] in page.ids for url in re.findall(r"url\((.*?)\)", html))
    assert "default-src &#x27;none&#x27;" in html
    assert not re.search(r"\son\w+=", html)


def test_names_are_escaped_and_texts_are_absent_unless_given(report, items, html):
    assert EVIL not in html and Page(html).text.count('<script>alert("x")</script>') >= 3
    texts = [f'{EVIL[:8]} id="a" #000000' for _ in range(len(items))]  # the first line of a title
    with_texts = replace(report, items=replace(report.items, items=replace(items, texts=texts)))
    page = Page(report_page(with_texts, "Report"))
    assert "script" not in page.tags
    assert page.text.count('<script> id="a" #000000') == 6
    assert "number 3" not in Page(html).text


def test_every_cell_of_every_table_is_on_the_page_and_in_the_csv(report, html):
    text = re.sub(r"\s+", "", Page(html).text)
    rows = list(csv.DictReader(io.StringIO(as_csv(report_tables(report)))))
    by_place = {(row["table"], row["row"], row["column"]): row for row in rows}
    for table in report_tables(report):
        printed = as_text(table)
        for name, cells in table.rows.items():
            for column, cell in zip(table.columns, cells, strict=True):
                assert cell_text(cell) in printed
                assert re.sub(r"\s+", "", cell_text(cell)) in text
                if cell.value is None:
                    assert (table.title, name, column) not in by_place
                else:
                    row = by_place.pop((table.title, name, column))
                    assert float(row["value"]) == pytest.approx(cell.value, nan_ok=True)
                    assert (row["low"] == "") == (cell.low is None)
                    assert row["interval_over"] == (cell.over or "")
    assert by_place == {}


def test_the_scores_table_has_the_models_metrics_and_the_constants(report):
    table = report_tables(report)[0]
    assert table.columns == ["good", "flat", "best constant"]
    for name, value in report.items.models[1].metrics.items():
        assert table.rows[name][1].value == pytest.approx(value, nan_ok=True)
    assert table.rows["brier_score"][2].value == report.items.constants["brier_score"]
    assert table.rows["unbiased_brier_score"][2].value is None
    assert set(table.rows) <= set(table.meanings)


def test_every_number_that_has_an_interval_is_shown_with_it(report):
    scores = report_tables(report)[0]
    for column, model in enumerate(report.items.models):
        for name, interval in model.intervals.items():
            cell = scores.rows[name][column]
            assert (cell.low, cell.high, cell.over) == interval
    pairs = next(table for table in report_tables(report) if table.title == "Pairs")
    without = ("bradley_terry_scale", "pair_error_if_calibrated")
    assert all(cells[0].low is not None for name, cells in pairs.rows.items() if name not in without)


def test_a_line_says_what_the_intervals_speak_of(report, html):
    line = (
        "Square brackets hold 95 % intervals over other items and other annotators; those of "
        "contested_concordance, interval_coverage and the item's own votes over other items, for this panel of "
        "annotators; those of pairs over other pairs, for this panel of annotators."
    )
    assert intervals_sentence(report) == line and line in Page(html).text
    panel = replace(report.items, interval_over=PANEL)
    assert intervals_sentence(replace(report, items=panel, pairs=None)).count("over") > 1  # crossed ones stand out


def test_columns_that_do_not_fit_follow_below():
    table = Table("Scores", ["one", "two", "three"], {"nats": [Cell(1.0, 0.5, 1.5)] * 3}, {})
    narrow, wide = as_text(table, width=60).splitlines(), as_text(table).splitlines()
    assert len(wide) == 3 and wide[2].count("1.0000 [0.5000, 1.5000]") == 3
    assert [line.split()[0] for line in narrow] == ["Scores", "one", "nats", "three", "nats"]
    assert max(map(len, narrow)) <= 60 and [line.count("[") for line in narrow] == [0, 0, 2, 0, 1]


def test_a_correlation_above_its_ceiling_is_explained(report):
    first = report.items.models[0]
    for correlation, said in ((0.9, True), (0.7, False), (float("nan"), False)):
        metrics = {**first.metrics, "expected_reward_correlation": correlation}
        metrics["expected_reward_correlation_ceiling"] = 0.8
        above = replace(report.items, models=[replace(first, metrics=metrics)])
        assert any("above its ceiling, 0.8000" in sentence for sentence in item_findings(above)) == said


def test_one_is_not_many(report, html):
    text = Page(html).text
    assert "2models" in text and "12items" in text
    one = replace(report, items=replace(report.items, models=report.items.models[:1]), pairs=None)
    assert "1model" in Page(report_page(one, "One")).text and "1models" not in Page(report_page(one, "One")).text


def test_json_has_no_texts_predictions_or_numbers_that_json_lacks(report, items):
    texts = ["a secret text"] * len(items)
    with_texts = replace(report, items=replace(report.items, items=replace(items, texts=texts)))
    content = json.loads(json.dumps(report_dict(with_texts), allow_nan=False))
    assert "a secret text" not in json.dumps(content) and "category_probs" not in json.dumps(content)
    good = content["items"]["models"]["good"]
    assert good["metrics"]["nats_per_vote"] == report.items.models[0].metrics["nats_per_vote"]
    intervals = report.items.models[0].intervals
    assert {name: tuple(interval.values()) for name, interval in good["intervals"].items()} == intervals
    assert len(intervals) > len(report.items.models[0].metrics) and content["items"]["attainable_nats"]["prior"]
    of_pairs = next(iter(content["pairs"]["models"].values()))["intervals"]
    assert set(of_pairs) == set(report.pairs.models[0].metrics)
    assert content["items"]["models"]["flat"]["metrics"]["expected_reward_correlation"] is None
    assert content["items"]["num_annotators"] == 6 and content["notes"][0] == "A note & more."


def test_findings_say_what_the_numbers_are(report):
    sentences = item_findings(report.items)
    nats = report.items.models[0].metrics["nats_per_vote"]
    assert f"A vote costs good {nats:.4f} [" in sentences[0]
    constant = report.items.constants["nats_per_vote"]
    assert (
        f"the best constant distribution's {constant:.4f} (chosen on these very votes, in its favour)" in sentences[0]
    )
    difference = report.items.models[1].differences["nats_per_vote"]
    told = next(sentence for sentence in sentences if sentence.startswith("A vote costs flat"))
    assert ("cannot tell" in told) == (difference.low <= 0 <= difference.high)
    assert "agrees with" in pair_findings(report.pairs)[0]


def test_better_than_the_constant_is_said_by_the_paired_interval(report):
    first = report.items.models[0]
    paired = first.constant_differences["nats_per_vote"]
    cases = {
        (-0.3, -0.4, -0.1): "nats, 0.3000 [0.1000, 0.4000] less than the best constant",
        (-0.1, -0.3, 0.1): "which these votes cannot tell from the best constant",
        (0.2, 0.1, 0.4): "nats, 0.2000 [0.1000, 0.4000] more than the best constant",
    }
    for (value, low, high), said in cases.items():
        difference = {"nats_per_vote": paired._replace(difference=value, low=low, high=high)}
        model = replace(first, constant_differences=difference)
        assert said in item_findings(replace(report.items, models=[model]))[0]
    alone = replace(report.items, models=[replace(first, constant_differences={})])
    assert "the difference has no interval here" in item_findings(alone)[0]


def test_the_difference_from_the_constant_is_a_table_and_in_the_json(report):
    table = next(table for table in report_tables(report) if table.title == "Difference from the best constant")
    for column, model in enumerate(report.items.models):
        expected = model.metrics["brier_score"] - report.items.constants["brier_score"]
        cell = table.rows["brier_score"][column]
        assert cell.value == pytest.approx(expected, rel=1e-9) and cell.low < cell.value < cell.high
        of_json = report_dict(report)["items"]["models"][model.name]["differences_from_best_constant"]
        assert of_json["brier_score"]["low"] == cell.low


def test_the_farthest_group_is_told_from_right_or_said_not_to_be(report):
    first = report.items.models[0]
    groups = first.groups["age"]
    nan = float("nan")
    cases = {
        (0.3, 0.1, 0.5): "is farthest off for young (",
        (0.3, -0.1, 0.5): "looks farthest off for young (",
        (-0.3, -0.5, 0.1): "is not told from right there: good promises 0.3000 less",
        (0.3, nan, nan): "than this group finds (no interval).",
    }
    for gap, said in cases.items():
        rows = [row._replace(reward_gap=MeanInterval(*gap)) for row in groups.groups if row.group == "young"]
        model = replace(first, groups={"age": groups._replace(groups=tuple(rows), worst_by_reward_gap="young")})
        (sentence,) = [text for text in item_findings(replace(report.items, models=[model])) if "By age" in text]
        assert said in sentence


def test_ahead_of_votes_alone_is_said_as_far_as_paired_intervals_go(report):
    first = report.items.models[0]
    below, about, above, unknown = (-0.2, -0.3, -0.1), (0.01, -0.05, 0.07), (0.2, 0.1, 0.3), (-0.2, math.nan, math.nan)
    of_below, of_about, of_above = (
        f"(difference {number_text(mean)} [{number_text(low)}, {number_text(high)}])"
        for mean, low, high in (below, about, above)
    )
    cases = {
        (below, below, about): f"ahead of 1 vote alone {of_below} and not told from 2 votes alone {of_about}",
        (below, below, below): f"ahead of 2 votes alone {of_below}, the most that can be tried here",
        (below, about, above): f"ahead of one prior for all items {of_below}, not told from 1 vote alone {of_about} "
        f"and behind 2 votes alone {of_above}",
        (about, below, about): f"not told from one prior for all items {of_about} or 2 votes alone {of_about}",
        (above, above, above): f"behind one prior for all items {of_above}",
        (unknown,): "not told from one prior for all items (difference −0.2000, no interval)",
    }
    for steps, said in cases.items():
        differences = {"unbiased_brier_score": [MeanInterval(*step) for step in steps]}
        ahead = AheadOfVotes([0, 1, 2][: len(steps)], differences)
        found = item_findings(replace(report.items, models=[replace(first, ahead_of_votes=ahead)]))
        (sentence,) = [text for text in found if text.startswith("In squared distance")]
        assert sentence.endswith(f" without a vote of the item is {said}; over {PANEL}.")
    silent = replace(report.items, models=[replace(first, ahead_of_votes=None)])
    assert not any("In squared distance" in text for text in item_findings(silent))


def test_the_curve_and_what_is_ahead_of_it_have_intervals_in_tables_and_json(report):
    tables = {table.title: table for table in report_tables(report)}
    content = json.loads(json.dumps(report_dict(report), allow_nan=False))["items"]
    for model in report.items.models:
        of_json = content["models"][model.name]
        assert set(of_json["votes_curve"]) == {"num_votes", "scores", "num_items", "intervals"}
        assert list(of_json["reliability"]) == ["bad", "fair", "good"]
        for points, expected in zip(of_json["reliability"].values(), model.reliability, strict=True):
            assert points["low"] == expected.low.tolist() and points["observed"] == expected.observed.tolist()
        for metric, ends in model.votes_curve.intervals.items():
            cells = tables[f"After some of the item's own votes: {metric}"].rows[model.name]
            assert [(cell.low, cell.high, cell.over) for cell in cells] == [(*pair, PANEL) for pair in ends]
            cells = tables[f"Without a vote, minus votes alone: {metric}"].rows[model.name]
            steps = model.ahead_of_votes.differences[metric]
            assert [(cell.value, cell.low, cell.high, cell.over) for cell in cells] == [
                (*step, PANEL) for step in steps
            ]
            assert [step["high"] for step in of_json["ahead_of_votes"]["differences"][metric]] == [
                step.high for step in steps
            ]
    assert all(
        cell.low is not None for cell in tables["After some of the item's own votes: nats_per_vote"].rows["votes only"]
    )
    groups = tables["Groups by age: good"]
    young = report.items.models[0].groups["age"].groups[1]
    expected = young.expected_calibration_error, young.debiased_calibration_error
    assert [(cell.value, cell.low, cell.high) for cell in groups.rows["young"][4:]] == list(expected)


def test_a_temperature_is_told_from_one_or_said_not_to_be(report):
    first = report.items.models[0]
    cases = {(1.2, 1.1, 1.3): "1.2000 [1.1000, 1.3000] (above 1: flatter", (1.2, 0.9, 1.5): "(not told from 1)"}
    for (value, low, high), said in cases.items():
        intervals = {**first.intervals, "temperature": Interval(low, high, VALIDATION)}
        model = replace(first, temperature=value, intervals=intervals)
        shown = replace(report.items, models=[first, model])
        assert any(f"give good is {said}" in text or said in text for text in item_findings(shown))
        assert "; those of temperature over other validation items" in intervals_sentence(replace(report, items=shown))


def test_a_model_that_hardly_tells_items_apart_is_named(items):
    nearly = np.full((12, 3), 1 / 3) + np.linspace(-1e-3, 1e-3, 12)[:, None] * [-1, 0, 1]
    apart = np.full((12, 3), 1 / 3) + np.linspace(-1e-1, 1e-1, 12)[:, None] * [-1, 0, 1]
    for probs, said in ((nearly, True), (apart, False)):
        report = item_report({"m": probs}, items, resampling=FEW)
        found = [text for text in item_findings(report) if "hardly tells items apart" in text]
        assert bool(found) == said
        if said:
            deviation = (probs @ items.categories.rewards).std()
            slope = report.models[0].metrics["expected_reward_slope"]
            assert f"deviation of {deviation:.2g} where the rewards span 3." in found[0]
            assert number_text(slope) in found[0]


def test_intervals_of_groups_and_differences_say_what_they_are_over(report, items):
    votes = items.single_votes
    both = replace(votes, groups={"annotator": votes.annotator, **votes.groups})
    models = {"a": np.full((12, 3), 1 / 3), "b": np.tile([0.2, 0.3, 0.5], (12, 1))}
    crossed = item_report(models, replace(items, single_votes=both), resampling=FEW)
    rows = list(csv.DictReader(io.StringIO(as_csv(report_tables(EvaluationReport({}, crossed, None, []))))))
    assert all((row["interval_over"] != "") == (row["low"] != "") for row in rows)
    over = {row["table"].split(":")[0]: set() for row in rows}
    for row in rows:
        over[row["table"].split(":")[0]] |= {row["interval_over"]} - {""}
    assert over["Groups by annotator"] == {PANEL} and over["Groups by age"] == {CROSSED}
    assert over["Difference from a"] == over["Difference from the best constant"] == {CROSSED}
    assert "and groups by annotator over other items, for this" in intervals_sentence(
        EvaluationReport({}, crossed, None, [])
    )
    of_pairs = pair_report(
        {"a": PairPredictions([[1, 0], [0, 1], [1, 0]]), "b": PairPredictions([[0, 1], [0, 1], [1, 0]])},
        JudgedPairs([0.8, 0.6, 0.4], [5, 5, 5]),
        resampling=FEW,
    )
    cells = [cell for table in report_tables(EvaluationReport({}, None, of_pairs, [])) for cell in table.rows.values()]
    assert {cell.over for row in cells for cell in row if cell.low is not None} == {OTHER_PAIRS}


def test_notes_are_the_same_everywhere_and_said_once(report, items, html):
    few = replace(items, clusters=[row % 3 for row in range(12)])
    said = "The rows are in 3 clusters: intervals from so few are too narrow."
    assert said in item_report({"m": np.full((12, 3), 1 / 3)}, few, resampling=FEW).notes
    notes = report_notes(report)
    own = "; those of groups on the groups' judged votes."
    assert notes[-1] == f"The best constants were chosen on the judged votes themselves{own}"
    assert report_dict(report)["notes"] == notes and all(note in Page(html).text for note in notes)
    twice = replace(report, notes=[said], pairs=replace(report.pairs, notes=[said]))
    assert report_notes(twice).count(said) == 1


def test_a_report_of_nothing_says_so():
    assert "Nothing was judged" in report_page(EvaluationReport({"m": {}}, None, None, []), "Empty")
