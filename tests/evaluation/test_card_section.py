"""The section of a card: no text of an item gets into it, not even into a picture."""

import numpy as np

from trl_dprm.evaluation import EvaluationReport, JudgedItems, figures, item_report
from trl_dprm.evaluation.card_section import card_section
from trl_dprm.hub.evaluation_section import EvaluatedData
from trl_dprm.preferences import PreferenceCategories

TEXTS = ["what a fool", "you liar", "go away"]


def test_texts_that_the_report_shows_are_in_neither_words_nor_pictures(monkeypatch):
    titles = []
    original = figures.plot_contested

    def recorded(models, counts, names, shown):
        titles.append(shown)
        return original(models, counts, names, shown)

    monkeypatch.setattr(figures, "plot_contested", recorded)
    categories = PreferenceCategories(["no", "yes"], [0.0, 1.0])
    items = JudgedItems([[2, 1], [1, 1], [0, 3]], categories, texts=TEXTS)
    found = item_report({"ours": np.array([[0.6, 0.4], [0.5, 0.5], [0.2, 0.8]])}, items)
    report = EvaluationReport({"ours": {}}, found, None, [])
    figures.report_figures(report)
    section, pictures = card_section(report, EvaluatedData("votes", False), "weights")
    of_report, of_card = titles
    assert set(of_report) <= set(TEXTS)
    assert sorted(of_card) == ["item 1 (3 votes)", "item 3 (3 votes)"]
    assert not any(text in section.text for text in TEXTS)
    assert "evaluation-votes.contested.png" in pictures
    assert section.metrics["nats_per_vote"] == found.models[0].metrics["nats_per_vote"]
