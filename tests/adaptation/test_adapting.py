"""Cross-validation, choice of a kind, verdicts, posteriors, and votes gathered from rows."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from trl_dprm.adaptation import (
    adapt,
    choose_logit_map,
    fit_logit_map,
    gather_votes,
    held_out_log_probs,
    item_posteriors,
    refitted_prior_strength,
)


def simulated(num_items, votes, bias=0.0, slope=1.0, seed=0):
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(num_items, 3)) * 2
    probs = softmax(slope * logits + bias, axis=1)
    return logits, np.array([draw.multinomial(votes, p) for p in probs])


def test_each_item_is_predicted_by_a_map_of_the_others():
    logits, counts = simulated(7, 3, bias=[1.0, 0.0, -1.0])
    counts[2] = 0
    found = held_out_log_probs(logits, counts, "bias", prior_weight=2.0, num_folds=10)  # as many folds as items
    for item in range(7):
        others = [row for row in range(7) if row not in (item, 2)]
        by_hand = fit_logit_map(logits[others], counts[others], "bias", 2.0).logit_map.log_probs(logits[item])
        np.testing.assert_allclose(found[item], by_hand, rtol=1e-9)


@pytest.mark.parametrize(
    ("kind", "truth"), [("temperature", {"slope": 0.3}), ("bias", {"bias": [1.5, 0.0, -1.5]}), ("identity", {})]
)
def test_the_kind_with_the_least_nats_is_the_true_one(kind, truth):
    logits, counts = simulated(150, 3, **truth, seed=2)
    chosen = choose_logit_map(logits, counts)
    assert chosen.fitted.kind == kind
    for tried, nats in chosen.nats_by_kind.items():
        log_probs = held_out_log_probs(logits, counts, tried)
        assert nats == pytest.approx(-(counts * log_probs).sum() / 450)
        assert nats >= chosen.nats_by_kind[kind]
    assert "bias" not in choose_logit_map(logits[:20], counts[:20], with_bias=False).nats_by_kind


def test_the_verdict_is_about_held_out_votes():
    logits, counts = simulated(100, 3, bias=[1.0, 0.0, -1.0])
    adaptation = adapt(logits, counts)
    assert adaptation.change.high < 0 and adaptation.verdict.endswith(": it pays.")
    before = -(counts * log_softmax(logits, axis=1)).sum() / 300
    assert adaptation.nats_before == pytest.approx(before)
    by_auto = held_out_log_probs(logits, counts, "auto")
    assert adaptation.change.difference == pytest.approx(-(counts * by_auto).sum() / 300 - before)
    single = adapt(logits[:1], counts[:1], "bias")
    assert single.change is None and "is not known: too few items" in single.verdict
    noise, same = simulated(40, 1, seed=3)
    assert not adapt(noise, same, "matrix", prior_weight=0.1).verdict.endswith(": it pays.")


def test_there_is_no_verdict_on_a_few_texts():
    for seed in range(10):
        logits, counts = simulated(5, 3, seed=seed)
        assert adapt(logits, counts, "bias").verdict == (
            "Whether the map pays is not known: too few items have votes (5; a verdict needs 30)."
        )


def test_the_prior_strength_is_refitted_to_what_was_held_out():
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(1500, 3))
    probs = softmax(logits + np.array([0.8, 0.0, -0.8]), axis=1)
    counts = np.array([draw.multinomial(6, draw.dirichlet(5.0 * p)) for p in probs])
    adaptation = adapt(logits, counts, "bias", prior_strength=5.0)
    assert adaptation.prior_strength == pytest.approx(5.0, rel=0.1)
    assert refitted_prior_strength(softmax(logits, axis=1), counts) < 4.5  # the shift makes the old one worth less
    assert refitted_prior_strength(probs[:29], counts[:29]) is None
    assert refitted_prior_strength(probs, np.eye(3)[draw.integers(3, size=1500)]) is None


def test_posteriors_are_updates_of_the_predictions():
    columns = item_posteriors(np.log([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]]), [[0, 0, 4], [0, 0, 0]], 4.0)
    np.testing.assert_allclose(columns["target_probs"], [[0.25, 0.125, 0.625], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(columns["vote_weight"], [8.0, 4.0])
    np.testing.assert_allclose(columns["prior_probs"], [[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]])


@pytest.mark.parametrize(
    ("items", "options", "message"),
    [
        (1, {"kind": "bias"}, "1 of 1 items have votes, and cross-validation over items needs 2"),
        (2, {"kind": "auto"}, "2 of 2 items have votes, and cross-validation over items needs 3"),
        (5, {"num_folds": 1}, "num_folds is 1; cross-validation needs at least 2"),
    ],
)
def test_what_cannot_be_held_out_is_refused(items, options, message):
    with pytest.raises(ValueError, match=message):
        held_out_log_probs(*simulated(items, 3), **options)


class TestGatherVotes:
    NAMES = ("bad", "good")

    def test_rows_of_one_text_are_one_item(self):
        columns = {
            "prompt": ["x", "y", "x", "x"],
            "completion": ["1", "1", "1", "2"],
            "target_counts": [[1, 0], [0, 3], [2.5, 1], [0, 1]],
            "team": [7, 7, 3, 3],
        }
        voted = gather_votes(columns, self.NAMES, "team")
        assert voted.rows.tolist() == [0, 1, 3]
        assert voted.target_counts.tolist() == [[3.5, 1], [0, 3], [0, 1]]
        assert voted.group_names == ["3", "7"]
        assert voted.group_counts.tolist() == [[[2.5, 1], [0, 0], [0, 1]], [[1, 0], [0, 3], [0, 0]]]
        assert voted.num_annotators is None
        assert gather_votes(columns, self.NAMES).group_counts.shape == (0, 3, 2)

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"chosen": ["a"], "rejected": ["b"]}, r"holds pairs \(column `chosen`\)"),
            ({"text": ["a"]}, "The data set has neither; it has"),
            ({"text": ["a"], "category": [0], "target_counts": [[1, 0]]}, "both `target_counts` and `category`"),
            ({"category": [0]}, "The data set has no text: give one of prompt, completion, messages, text"),
            ({"text": ["a", "b"], "category": [0, 2]}, "Row 1, column `category`: 2 is no category of the model"),
            ({"text": ["a"], "category": ["fine"]}, "'fine' is no category of the model.*It has bad, good"),
            ({"text": ["a"], "target_counts": [[1, 0, 0]]}, r"Row 0, column `target_counts`: \[1, 0, 0\] for 2 cat"),
            ({"text": ["a"], "target_counts": [None]}, "Row 0, column `target_counts`: None for 2 categories"),
        ],
    )
    def test_rows_that_cannot_be_read_are_named(self, columns, message):
        with pytest.raises(ValueError, match=message):
            gather_votes(columns, self.NAMES)

    def test_groups_must_be_named(self):
        with pytest.raises(ValueError, match="has no column `team` for the groups"):
            gather_votes({"text": ["a"], "category": [0]}, self.NAMES, "team")
        with pytest.raises(ValueError, match="Row 1, column `team`: no group"):
            gather_votes({"text": ["a", "b"], "category": [0, 1], "team": ["x", None]}, self.NAMES, "team")
