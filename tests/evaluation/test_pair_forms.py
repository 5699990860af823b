"""Like with like on pairs: links fitted against links fitted, in tables, words and figures; and the best constant."""

import json
import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from trl_dprm.evaluation.data_report import EvaluationReport
from trl_dprm.evaluation.figures import report_figures
from trl_dprm.evaluation.findings import intervals_sentence, pair_findings
from trl_dprm.evaluation.intervals import Resampling
from trl_dprm.evaluation.judged_pairs import JudgedPairs
from trl_dprm.evaluation.pair_report import PairPredictions, pair_report
from trl_dprm.evaluation.report_json import report_dict
from trl_dprm.evaluation.tables import report_tables
from trl_dprm.metrics import davidson_probs, paired_difference

DRAW = np.random.default_rng(3)
TRUTH, TRUTH_OF_VALIDATION = DRAW.normal(size=(80, 2)), DRAW.normal(size=(60, 2))
FEW = Resampling(num_resamples=200, seed=5)


def votes(rewards):
    probs = davidson_probs(*rewards.T, 1.5, 0.6)
    return np.stack([DRAW.multinomial(5, row) for row in probs]).astype(float)


def judged(counts, with_ties=True, clusters=None):
    share = counts @ [1, 0.5, 0] / 5
    return JudgedPairs(share, np.full(len(counts), 5.0), clusters, counts[:, 1] / 5 if with_ties else None)


COUNTS, VALIDATION = votes(TRUTH), votes(TRUTH_OF_VALIDATION)
CLUSTERS = [row // 2 for row in range(80)]
NOISE, NOISE_OF_VALIDATION = DRAW.normal(size=(80, 2)), DRAW.normal(size=(60, 2))
MODELS = {
    "ours": PairPredictions(TRUTH, 0.2, TRUTH_OF_VALIDATION),
    "unit": PairPredictions(10 * TRUTH, 0.2, 10 * TRUTH_OF_VALIDATION),  # the same in another unit
    "bt": PairPredictions(TRUTH + 2 * NOISE, 1.0, TRUTH_OF_VALIDATION + 2 * NOISE_OF_VALIDATION),
}


@pytest.fixture(scope="module")
def report():
    return pair_report(MODELS, judged(COUNTS, clusters=CLUSTERS), judged(VALIDATION), FEW)


def of(report, title):
    return next(model for model in report.models if model.title == title)


def losses(rewards, validation_rewards):
    """Cross-entropy of each pair, κ by a scalar search on validation pairs."""

    def loss(scale, rewards, counts):
        lead, share = scale * (rewards[:, 0] - rewards[:, 1]), counts @ [1, 0.5, 0] / 5
        return share * np.log1p(np.exp(-lead)) + (1 - share) * np.log1p(np.exp(lead))

    found = minimize_scalar(lambda scale: loss(scale, validation_rewards, VALIDATION).mean(), bounds=(0, 9))
    return loss(found.x, rewards, COUNTS)


def test_fitted_is_compared_with_fitted_on_the_same_draws(report):
    by_hand = [losses(model.rewards, model.validation_rewards) for model in (MODELS["bt"], MODELS["ours"])]
    expected = paired_difference(*by_hand, np.full(80, 5.0), CLUSTERS, 200, 0.95, 5)
    got = of(report, "bt, κ fitted").fitted_differences["pair_log_loss"]
    assert got[:3] == pytest.approx(expected[:3], abs=1e-5) and expected.low > 0
    three_ways = of(report, "bt, κ fitted").fitted_differences["three_way_nats"]
    nats = [
        -(COUNTS * np.log(davidson_probs(*np.asarray(MODELS[name].rewards).T, *link[:2]))).sum() / COUNTS.sum()
        for name in ("bt", "ours")
        for link in (of(report, f"{name}, κ fitted").davidson,)
    ]
    assert three_ways.difference == pytest.approx(nats[0] - nats[1], rel=1e-9)


def test_the_unit_of_rewards_counts_against_nobody(report):
    unit = of(report, "unit, κ fitted")
    assert all(abs(found.difference) < 1e-6 for found in unit.fitted_differences.values())
    assert abs(unit.differences["pair_log_loss"].difference) > 0.05  # against the first as it is


def test_only_fitted_rows_have_a_fitted_difference(report):
    assert [model.title for model in report.models if model.fitted_differences][-1] == "bt, κ fitted"
    assert not any(model.fitted_differences for model in report.models if not model.refitted)
    assert of(report, "ours, κ fitted").fitted_differences == {}


def test_a_first_model_without_a_fit_has_none_to_compare_with():
    models = {"even": PairPredictions(TRUTH, 1.0, 0 * TRUTH_OF_VALIDATION), "bt": MODELS["bt"]}
    report = pair_report(models, judged(COUNTS), judged(VALIDATION), FEW)
    assert of(report, "bt, κ fitted").fitted_differences == {} != of(report, "bt, κ fitted").differences
    found = pair_findings(report)
    assert any("costs bt nats" in text or "costs bt 0" in text for text in found)
    assert not any("bt, κ fitted" in text for text in found)


def test_they_are_a_table_and_in_the_json(report):
    tables = {table.title: table for table in report_tables(EvaluationReport({}, None, report, []))}
    table, model = tables["Pairs: difference from ours, κ fitted"], of(report, "bt, κ fitted")
    cell = table.rows["pair_log_loss"][table.columns.index("bt, κ fitted")]
    assert (cell.value, cell.low, cell.high) == model.fitted_differences["pair_log_loss"][:3]
    content = json.loads(json.dumps(report_dict(EvaluationReport({}, None, report, []))))["pairs"]["models"]
    stored = content["bt, κ fitted"]["differences_from_first_fitted"]["three_way_nats"]
    assert stored["low"] == model.fitted_differences["three_way_nats"].low
    assert content["bt"]["differences_from_first_fitted"] == {} and content["bt, κ fitted"]["refitted"] is True


def test_sentences_compare_like_with_like(report):
    found = pair_findings(report)
    of_bt = [text for text in found if "costs bt" in text]
    difference = of(report, "bt, κ fitted").fitted_differences["pair_log_loss"].difference
    assert of_bt[0].startswith(f"By σ(κΔ) a vote on a pair costs bt, κ fitted, {difference:.4f} [")
    assert of_bt[0].endswith("nats more than ours, κ fitted.")
    assert of_bt[1].startswith("A vote for one of the two responses or a tie costs bt, κ fitted, ")
    assert len(of_bt) == 2  # κ as it is has no say where both are fitted
    without = pair_report(
        {name: PairPredictions(model.rewards) for name, model in MODELS.items()}, judged(COUNTS), resampling=FEW
    )
    assert any(text.startswith("By σ(κΔ) a vote on a pair costs bt ") for text in pair_findings(without))


def test_intervals_hold_the_fitted_links_as_they_are_and_say_so(report):
    without = pair_report({"a": PairPredictions(TRUTH)}, judged(COUNTS), resampling=FEW)
    for found, said in ((report, True), (without, False)):
        sentence = intervals_sentence(EvaluationReport({}, None, found, []))
        assert ("what was fitted on validation votes is held as it is" in sentence) == said


def test_figures_show_the_fitted_forms_where_there_are_any(report):
    def shown(report):
        figure = report_figures(EvaluationReport({}, None, report, []))["pairs"].figure
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert len(figure.axes[0].collections) == 2 * len(names)  # points and a band each
        return names

    assert shown(report) == ["ours, κ fitted", "unit, κ fitted", "bt, κ fitted"]
    without = pair_report({name: PairPredictions(TRUTH) for name in "ab"}, judged(COUNTS), resampling=FEW)
    assert shown(without) == ["a", "b"]
    alone = pair_report({"ours": MODELS["ours"]}, judged(COUNTS), judged(VALIDATION), FEW)
    assert shown(alone) == ["ours", "ours, κ fitted"]


# --- the best constant ---


def test_the_constant_is_the_likeliest_for_the_validation_votes(report):
    def nats(ties, counts):
        return -(counts.sum(0) @ np.log([(1 - ties) / 2, ties, (1 - ties) / 2])) / counts.sum()

    ties = minimize_scalar(lambda share: nats(share, VALIDATION), bounds=(0.01, 0.99), options={"xatol": 1e-9}).x
    assert report.constant.tie_share == pytest.approx(ties, rel=1e-5)
    constant = report.constant.metrics
    assert constant["three_way_nats"] == pytest.approx(nats(report.constant.tie_share, COUNTS), rel=1e-9)
    for name in ("pair_log_loss", "decisive_nats"):
        assert constant[name] == pytest.approx(math.log(2), rel=1e-12)
    assert f"calls {ties:.1%} of the votes ties, by the validation votes, and" in report.notes[-1]


def test_without_known_validation_ties_the_judged_votes_choose_and_it_is_said():
    report = pair_report(MODELS, judged(COUNTS), judged(VALIDATION, with_ties=False), FEW)
    assert report.constant.tie_share == pytest.approx(COUNTS[:, 1].sum() / COUNTS.sum(), rel=1e-12)
    assert "by the judged votes themselves, in its favour" in report.notes[-1]
    unknown = pair_report(MODELS, judged(COUNTS, with_ties=False), judged(VALIDATION), FEW)
    assert set(unknown.constant.metrics) == {"pair_log_loss"} and unknown.constant.tie_share is None


def test_which_response_is_called_chosen_does_not_matter():
    turned = np.where(np.arange(80)[:, None] % 3 == 0, COUNTS[:, ::-1], COUNTS)
    one, two = (pair_report(MODELS, judged(counts), None, FEW).constant.metrics for counts in (COUNTS, turned))
    assert one == pytest.approx(two, rel=1e-12)


def test_differences_from_the_constant_have_a_table_and_a_column(report):
    tables = {table.title: table for table in report_tables(EvaluationReport({}, None, report, []))}
    scores, table = tables["Pairs"], tables["Pairs: difference from the best constant"]
    assert scores.columns[-1] == "best constant" and list(table.rows) == [
        "pair_log_loss", "three_way_nats", "decisive_nats"
    ]  # fmt: skip
    assert all(len(cells) == len(scores.columns) for cells in scores.rows.values())
    assert scores.rows["pair_log_loss"][-1].value == pytest.approx(math.log(2), rel=1e-12)
    assert scores.rows["accuracy"][-1].value is None
    for column, title in enumerate(table.columns):
        for name, cells in table.rows.items():
            if cells[column].value is not None:
                expected = of(report, title).metrics[name] - report.constant.metrics[name]
                assert cells[column].value == pytest.approx(expected, rel=1e-9)
                assert cells[column].low < cells[column].value < cells[column].high


def test_less_than_the_constant_is_said_only_with_an_interval(report):
    sentences = {True: set(), False: set()}
    rewards = np.random.default_rng(6).normal(size=(140, 2))
    unrelated = {"noise": PairPredictions(rewards[:80] / 50, 1.0, rewards[80:])}
    for found in (report, pair_report(unrelated, judged(COUNTS), None, FEW)):
        for model in (model for model in found.models if model.name == found.models[0].name):
            difference = model.constant_differences["pair_log_loss"]
            told = difference.low > 0 or difference.high < 0
            (text,) = [text for text in pair_findings(found) if f"costs {model.title}" in text and "0.6931" in text][
                :1
            ]
            assert ("less than the best constant's 0.6931." in text) == (told and difference.difference < 0)
            assert ("cannot tell from the best constant's 0.6931 (diff" in text) == (not told)
            sentences[told].add(text)
    assert sentences[True] and sentences[False]


def test_votes_only_for_ties_do_not_end_the_report():
    ties = np.tile([0.0, 5.0, 0.0], (60, 1))
    report = pair_report({"a": PairPredictions(TRUTH)}, judged(COUNTS), judged(ties), FEW)
    assert report.constant.metrics["three_way_nats"] == math.inf and report.constant.tie_share == 1
    assert "three_way_nats" not in report.models[0].constant_differences
