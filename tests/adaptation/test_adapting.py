"""Cross-validation, choice of a kind, verdicts, posteriors, and votes gathered from rows."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from trl_dprm.adaptation import (
    adapt,
    adapt_groups,
    choose_logit_map,
    fit_logit_map,
    gather_votes,
    held_out_group_probs,
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
    noise, same = simulated(40, 1, seed=3)
    assert not adapt(noise, same, "matrix", prior_weight=0.1).verdict.endswith(": it pays.")


def test_the_map_never_speaks_against_its_verdict():
    """Whether the votes tell a gain, hint at one, or show none: what is done is what the sentence says."""
    seen = set()
    for seed in range(4):
        for logits, counts in (simulated(32, 1, seed=seed), simulated(32, 2, bias=[0.4, 0.0, -0.4], seed=seed)):
            adaptation = adapt(logits, counts, num_folds=3)
            by_auto = held_out_log_probs(logits, counts, "auto", num_folds=3)
            gain = (counts * (by_auto - log_softmax(logits, axis=1))).sum()
            if adaptation.fitted.logit_map.is_identity:
                assert gain <= 0 or min(adaptation.nats_by_kind, key=adaptation.nats_by_kind.get) == "identity"
                assert adaptation.verdict.endswith("the model is left as it was.")
                np.testing.assert_array_equal(adaptation.category_log_probs, log_softmax(logits, axis=1))
                seen.add("nothing" if adaptation.dropped_kind is None else "dropped")
            else:
                assert gain > 0 and adaptation.dropped_kind is None
                told = adaptation.change.high < 0
                assert ("it pays" in adaptation.verdict) == told
                assert ("not told from zero" in adaptation.verdict) == (not told)
                assert ("`--map identity` changes nothing" in adaptation.verdict) == (not told)
                seen.add("told" if told else "hinted")
    assert seen == {"nothing", "dropped", "told", "hinted"}


def test_what_is_dropped_had_the_fewest_nats_and_is_named():
    adaptation = adapt(*simulated(32, 1, seed=3), num_folds=3)
    assert adaptation.dropped_kind == min(adaptation.nats_by_kind, key=adaptation.nats_by_kind.get) == "temperature"
    assert adaptation.fitted.kind == "identity" and adaptation.change.difference > 0
    assert adaptation.verdict.startswith("The map with the fewest nats, temperature, gains nothing on votes that had")
    asked = adapt(*simulated(32, 1, seed=3), kind="temperature", num_folds=3)
    assert asked.fitted.kind == "temperature" and asked.dropped_kind is None  # who asks for a kind gets it
    assert not asked.fitted.logit_map.is_identity and "left as it was" not in asked.verdict


def test_a_map_that_was_asked_for_is_fitted_and_judged():
    """A matrix from 40 votes with next to no prior."""
    harm, unclear = (adapt(*simulated(40, 1, seed=seed), "matrix", prior_weight=0.01, num_folds=3) for seed in (1, 2))
    assert harm.change.low > 0 and harm.verdict.endswith("it does harm, do not use it.")
    assert unclear.change.low < 0 < unclear.change.high
    assert unclear.verdict.endswith("these votes do not show that it pays.")
    assert harm.fitted.kind == unclear.fitted.kind == "matrix" and harm.dropped_kind is None
    assert adapt(*simulated(3, 1), "identity").verdict == "No map was asked for: the model is left as it was."


def test_there_is_no_verdict_on_a_few_texts():
    for seed in range(10):
        logits, counts = simulated(5, 3, seed=seed)
        assert adapt(logits, counts, "bias").verdict == (
            "Whether the map pays is not known: too few texts have votes (5; a verdict needs 30)."
        )
    logits, counts = simulated(10, 1, bias=[4.0, 0.0, -4.0])
    adaptation = adapt(logits, counts)
    assert adaptation.fitted.kind != "identity" and adaptation.change is None
    assert adaptation.verdict.endswith("ahead on held-out votes; `--map identity` changes nothing.")


def test_items_that_cannot_be_held_out_are_predicted_by_the_model_as_it_was():
    """Their votes made the map: its predictions would count them twice."""
    logits, counts = simulated(2, 3, bias=[3.0, 0.0, -3.0])
    adaptation = adapt(logits, counts, "bias", prior_weight=1.0)
    assert not adaptation.fitted.logit_map.is_identity
    np.testing.assert_array_equal(adaptation.category_log_probs, log_softmax(logits, axis=1))


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
    np.testing.assert_allclose(columns["posterior_probs"], [[0.25, 0.125, 0.625], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(columns["posterior_strength"], [8.0, 4.0])
    assert not {"target_probs", "vote_weight"} & set(columns)  # the names by which training would learn from itself
    np.testing.assert_allclose(columns["prior_probs"], [[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]])


@pytest.mark.parametrize("items", [1, 2])
@pytest.mark.parametrize(
    "held_out",
    [
        held_out_log_probs,
        lambda *arrays: held_out_log_probs(*arrays, kind="bias"),
        choose_logit_map,
        adapt,
        lambda logits, counts: held_out_group_probs(logits, counts[None], ["a"]),
        lambda logits, counts: adapt_groups(logits, counts[None], ["a"], "bias", "bias"),
    ],
)
def test_one_rule_says_what_cannot_be_held_out(items, held_out):
    message = (
        f"{items} of {items} texts have votes, and cross-validation over texts needs 3: give votes on more texts, or"
    )
    with pytest.raises(ValueError, match=message):
        held_out(*simulated(items, 3))


def test_three_items_can_be_held_out_and_one_fold_is_none():
    for kind in ("bias", "auto"):
        assert held_out_log_probs(*simulated(3, 3), kind=kind).shape == (3, 3)
    with pytest.raises(ValueError, match="num_folds is 1; cross-validation needs at least 2"):
        held_out_log_probs(*simulated(5, 3), num_folds=1)


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
        assert voted.rows.tolist() == [0, 1, 3] and voted.item_of_row.tolist() == [0, 1, 0, 2]
        assert voted.target_counts.tolist() == [[3.5, 1], [0, 3], [0, 1]]
        assert voted.group_names == ["3", "7"]
        assert voted.group_counts.tolist() == [[[2.5, 1], [0, 0], [0, 1]], [[1, 0], [0, 3], [0, 0]]]
        assert voted.num_annotators is None
        assert gather_votes(columns, self.NAMES).group_counts.shape == (0, 3, 2)

    def test_annotators_are_counted_only_where_every_vote_names_its_own(self):
        columns = {"text": ["a", "b", "a"], "target_counts": [[1, 0], [0, 0], [0, 1]], "annotator_id": [7, None, 3]}
        assert gather_votes(columns, self.NAMES).num_annotators == 2
        for changes in ({"annotator_id": [7, 2, None]}, {"target_counts": [[3, 0], [0, 0], [0, 1]]}):
            assert gather_votes(columns | changes, self.NAMES).num_annotators is None

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
