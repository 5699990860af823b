"""Three-way votes against counts by hand and loops over votes; links of pairs against their definitions."""

import math

import numpy as np
import pytest
import torch

from trl_dprm.losses import davidson_loss
from trl_dprm.metrics import (
    PAIR_VOTE_METRICS,
    davidson_probs,
    expected_calibration_error,
    nats_per_vote,
    pair_metrics,
    pair_vote_metrics,
    pair_vote_scores,
    win_tie_probs,
)
from trl_dprm.models.distributions import win_probability

RNG = np.random.default_rng(14)
PROBS = RNG.dirichlet(np.ones(3), 60)
COUNTS = RNG.multinomial(RNG.integers(1, 6, 60), [0.5, 0.2, 0.3])


def test_scores_and_metrics_equal_a_loop_over_votes():
    nats, decisive = [], []
    for q, counts in zip(PROBS, COUNTS, strict=True):
        for outcome, count in enumerate(counts):
            nats += [-math.log(q[outcome])] * count
            if outcome != 1:
                decisive += [-math.log(q[outcome] / (q[0] + q[2]))] * count
    metrics, scores = pair_vote_metrics(PROBS, COUNTS), pair_vote_scores(PROBS, COUNTS)
    assert metrics["three_way_nats"] == pytest.approx(np.mean(nats), rel=1e-10)
    assert metrics["decisive_nats"] == pytest.approx(np.mean(decisive), rel=1e-10)
    assert scores.votes @ scores.three_way_nats == pytest.approx(sum(nats), rel=1e-10)
    assert scores.decisive_votes @ scores.decisive_nats == pytest.approx(sum(decisive), rel=1e-10)
    assert np.isfinite(scores.decisive_nats).all() and (scores.decisive_votes == 0).any()


def test_majorities_by_hand():
    probs = [[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.3, 0.4, 0.3], [0.1, 0.8, 0.1], [0.6, 0.1, 0.3], [0.6, 0.1, 0.3]]
    votes = [[3, 1, 1], [3, 1, 1], [0, 2, 3], [2, 2, 1], [0, 3, 0], [1, 0, 1]]
    # Strict majorities: the first three pairs. Right, wrong, undecided.
    metrics = pair_vote_metrics(probs, votes)
    assert metrics["majority_pairs"] == 3
    assert metrics["majority_accuracy"] == pytest.approx(1 / 3)
    assert metrics["majority_accuracy_ties_half"] == pytest.approx(1 / 2)


def test_the_names_of_the_responses_do_not_matter():
    metrics, turned = (pair_vote_metrics(PROBS[:, order], COUNTS[:, order]) for order in ([0, 1, 2], [2, 1, 0]))
    assert turned == pytest.approx(metrics, rel=1e-9)
    assert set(metrics) == set(PAIR_VOTE_METRICS)
    for name, value in metrics.items():
        assert PAIR_VOTE_METRICS[name].low <= value <= PAIR_VOTE_METRICS[name].high


def test_calibration_counts_every_vote_from_both_sides():
    predicted, observed = {"win": [], "decisive": [], "tie": []}, {"win": [], "decisive": [], "tie": []}
    for q, counts in zip(PROBS, COUNTS, strict=True):
        for outcome, count in enumerate(counts):
            for side in (0, 2):
                predicted["win"] += [q[side] + q[1] / 2] * count
                observed["win"] += [{0: 1.0, 1: 0.5, 2: 0.0}[abs(outcome - side)]] * count
                if outcome != 1:
                    predicted["decisive"] += [q[side] / (q[0] + q[2])] * count
                    observed["decisive"] += [float(outcome == side)] * count
            predicted["tie"] += [q[1]] * count
            observed["tie"] += [float(outcome == 1)] * count
    metrics = pair_vote_metrics(PROBS, COUNTS)
    for name in predicted:
        expected = expected_calibration_error(predicted[name], observed[name])
        assert metrics[f"{name}_calibration_error"] == pytest.approx(expected, rel=1e-9)
    # Equal mass puts equal predictions together, and the votes of a pair have equal predictions.
    for name in ("win", "decisive"):
        expected = expected_calibration_error(predicted[name], observed[name], binning="equal_mass")
        assert metrics[f"{name}_calibration_error_equal_mass"] == pytest.approx(expected, rel=1e-9)


def test_bradley_terry_without_ties_has_the_numbers_of_the_pair_report():
    chosen, rejected = RNG.normal(size=(2, 60))
    counts = COUNTS * [1, 0, 1] + [1, 0, 0]
    votes = counts.sum(axis=1)
    report = pair_metrics(chosen, rejected, counts[:, 0] / votes, votes, bradley_terry_scale=1.7)
    metrics = pair_vote_metrics(davidson_probs(chosen, rejected, 1.7, 0.0), counts)
    assert metrics["three_way_nats"] == pytest.approx(report["pair_log_loss"], rel=1e-9)
    assert metrics["decisive_nats"] == pytest.approx(report["pair_log_loss"], rel=1e-9)
    assert metrics["win_calibration_error"] == pytest.approx(report["pair_expected_calibration_error"], rel=1e-9)


def test_ties_alone_have_no_decisive_numbers():
    metrics = pair_vote_metrics([[0.25, 0.5, 0.25]], [[0, 3, 0]])
    assert {name for name, value in metrics.items() if math.isnan(value)} == {
        "decisive_nats",
        "majority_accuracy",
        "majority_accuracy_ties_half",
        "decisive_calibration_error",
        "decisive_calibration_error_equal_mass",
    }
    assert metrics["three_way_nats"] == pytest.approx(math.log(2))


def test_a_model_that_rules_ties_out_pays_for_one_but_not_where_none_is_voted():
    metrics = pair_vote_metrics([[0.7, 0.0, 0.3], [0.0, 1.0, 0.0]], [[1, 1, 1], [0, 2, 0]])
    assert metrics["three_way_nats"] == math.inf
    assert metrics["decisive_nats"] == pytest.approx(-(math.log(0.7) + math.log(0.3)) / 2)


def test_davidson_probabilities_by_their_definition_and_by_the_loss():
    chosen, rejected = RNG.normal(size=(2, 60))
    strength, other = np.exp(2.5 * chosen), np.exp(2.5 * rejected)
    weights = np.stack([strength, 0.8 * np.sqrt(strength * other), other], axis=1)
    probs = davidson_probs(chosen, rejected, scale=2.5, tie_propensity=0.8)
    np.testing.assert_allclose(probs, weights / weights.sum(axis=1, keepdims=True), rtol=1e-10)
    shares = torch.from_numpy(COUNTS / COUNTS.sum(axis=1, keepdims=True))
    loss = davidson_loss(
        torch.from_numpy(chosen), torch.from_numpy(rejected), 0.8, shares[:, 0], shares[:, 1], scale=2.5
    )
    np.testing.assert_allclose(nats_per_vote(probs, shares.numpy()), loss.numpy(), rtol=1e-10)
    np.testing.assert_allclose(davidson_probs([1.0, 5.0], [0.0, 0.0], 0.0, 2.0), [[0.25, 0.5, 0.25]] * 2, rtol=1e-12)


def test_win_and_tie_of_two_distributions_equal_a_double_loop():
    rewards = [1.0, 0.5, -1.0, -1.0, -3.0]  # a tie of rewards
    chosen, rejected = RNG.dirichlet(np.ones(5), (2, 10))
    probs = win_tie_probs(chosen, rejected, rewards)
    for q, p, three in zip(chosen, rejected, probs, strict=True):
        expected = [0.0, 0.0, 0.0]
        for i in range(5):
            for j in range(5):
                outcome = 0 if rewards[i] > rewards[j] else 1 if rewards[i] == rewards[j] else 2
                expected[outcome] += q[i] * p[j]
        np.testing.assert_allclose(three, expected, rtol=1e-10)
    win = win_probability(torch.from_numpy(chosen), torch.from_numpy(rejected), rewards)
    np.testing.assert_allclose(probs[:, 0] + probs[:, 1] / 2, win.numpy(), rtol=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: pair_vote_metrics([[0.5, 0.5]], [[1, 1]]),
            r"pair_probs has 2 columns; give 3: chosen, tie, rejected",
        ),
        (lambda: pair_vote_metrics([[0.5, 0.5, 0.5]], [[1, 1, 1]]), r"pair_probs row 0 sums to 1.5, not 1"),
        (lambda: pair_vote_metrics([[0.5, 0.2, 0.3]], [[1, 1]]), r"vote_counts has shape \(1, 2\) for 1 pairs"),
        (lambda: pair_vote_metrics([[0.5, 0.2, 0.3]], [[0, 0, 0]]), r"vote_counts row 0 has no votes"),
        (lambda: pair_vote_metrics([[0.5, 0.2, 0.3]], [[0, -1, 2]]), r"vote_counts row 0, column 1 is -1; give a n"),
        (lambda: pair_vote_metrics([[0.5, 0.2, 0.3]], [[1, 1, 1]], num_bins=0), r"num_bins is 0; give at least 1"),
        (lambda: davidson_probs([1.0], [0.0], math.inf, 1.0), r"scale is inf; give a finite number of at least 0"),
        (lambda: davidson_probs([1.0], [0.0], 1.0, -1.0), r"tie_propensity is -1.0; give a finite number"),
        (lambda: davidson_probs([1.0], [0.0, 1.0], 1.0, 1.0), r"rejected_rewards has 2 entries where 1 are needed"),
        (lambda: win_tie_probs([[0.5, 0.5]], [[1.0]], [0, 1]), r"chosen_category_probs has shape \(1, 2\) but rejec"),
        (lambda: win_tie_probs([[0.5, 0.5]], [[0.5, 0.5]], [0]), r"category_rewards has 1 entries where 2 are need"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
