"""The curve in votes against every choice of votes, one after the other."""

import itertools
import math

import numpy as np
import pytest

from trl_dprm.metrics import distribution_metrics, vote_shares
from trl_dprm.metrics.held_out_votes import HELD_OUT_METRICS, curve_items, held_out_votes_curve, votes_only_curve
from trl_dprm.preferences import estimate_prior_strength

RNG = np.random.default_rng(3)
LINE = [0.0, 1.0, 3.0]
COST = np.abs(np.subtract.outer(LINE, LINE))
PRIORS = RNG.dirichlet(np.ones(3), 4)
COUNTS = np.array([[3, 1, 1], [0, 2, 2], [1, 3, 0], [0, 0, 5]])
STRENGTH = 1.7


def by_every_choice(strength, step):
    """Means over items, weighted by votes, of means over every seen set and every unseen vote."""
    total = np.zeros(3)
    for prior, counts in zip(PRIORS, COUNTS, strict=True):
        votes = np.repeat(np.arange(3), counts)
        pairs = list(itertools.permutations(votes, 2))
        agreement, cost = np.mean([a == b for a, b in pairs]), np.mean([COST[a, b] for a, b in pairs])
        scores = []
        for seen in itertools.combinations(range(len(votes)), step):
            estimate = prior
            if step and math.isfinite(strength):
                estimate = (strength * prior + np.bincount(votes[list(seen)], minlength=3)) / (strength + step)
            for unseen in set(range(len(votes))) - set(seen):
                vote = votes[unseen]
                brier = estimate @ estimate - 2 * estimate[vote] + agreement
                energy = 2 * (estimate @ COST)[vote] - estimate @ COST @ estimate - cost
                scores.append([-math.log(estimate[vote]), brier, energy])
        total += len(votes) * np.mean(scores, axis=0)
    return total / COUNTS.sum()


@pytest.mark.parametrize("strength", [STRENGTH, 40.0, math.inf])
def test_scores_are_means_over_every_choice_of_votes(strength):
    curve = held_out_votes_curve(PRIORS, COUNTS, strength, COST, [0, 1, 2, 3])
    for step in curve.num_votes:
        got = [curve.scores[name][step] for name in HELD_OUT_METRICS]
        np.testing.assert_allclose(got, by_every_choice(strength, step), rtol=1e-10)
    assert curve.num_items == 4


def test_before_any_vote_the_scores_are_those_of_the_standard_report():
    curve = held_out_votes_curve(PRIORS, COUNTS, STRENGTH, COST, [0])
    metrics = distribution_metrics(PRIORS, *vote_shares(COUNTS), LINE, LINE, COST)
    assert {name: values[0] for name, values in curve.scores.items()} == pytest.approx(
        {name: metrics[name] for name in HELD_OUT_METRICS}, rel=1e-10
    )


def test_votes_of_a_certain_prior_change_nothing_and_those_of_a_weak_one_help_on_agreed_items():
    unanimous, prior = [[0, 0, 6]] * 3, [[0.4, 0.3, 0.3]] * 3
    certain = held_out_votes_curve(prior, unanimous, math.inf, COST, [0, 1, 4])
    weak = held_out_votes_curve(prior, unanimous, 1.0, COST, [0, 1, 4])
    for name in HELD_OUT_METRICS:
        assert len(set(certain.scores[name])) == 1
        assert weak.scores[name] == sorted(weak.scores[name], reverse=True) and len(set(weak.scores[name])) == 3


def test_every_step_is_on_the_same_items_and_fractions_are_left_out():
    counts = [[3, 0], [2, 1], [1, 4], [1, 1], [1, 0], [1.5, 0.5]]
    items, steps = curve_items(counts)
    assert items.tolist() == [True, True, True, False, False, False] and steps == [0, 1, 2]
    assert curve_items(counts, min_share=1.0) == (pytest.approx([True] * 4 + [False] * 2), [0, 1])
    nobody, none = curve_items([[1, 0], [0.5, 0.5]])
    assert none == [] and not nobody.any()


def test_votes_only_is_one_prior_for_all():
    reference = [[4, 0, 0], [0, 3, 1], [1, 1, 1]]
    prior = estimate_prior_strength(reference)
    same = np.tile(prior.prior_probs, (4, 1))
    expected = held_out_votes_curve(same, COUNTS, prior.prior_strength, COST, [0, 2])
    assert votes_only_curve(reference, COUNTS, COST, [0, 2]) == expected
    assert votes_only_curve([[1, 0, 0], [0, 1, 0]], COUNTS, COST, [0, 2]) is None


@pytest.mark.parametrize(
    ("counts", "strength", "message"),
    [
        ([[1.5, 0.5, 1]] * 4, 1.0, r"row 0 is \[1.5, 0.5, 1.0\]; give items with whole votes and more than 2"),
        (
            [[3, 0, 0]] * 3 + [[1, 1, 0]],
            1.0,
            r"row 3 is \[1.0, 1.0, 0.0\]; give items with whole votes and more than 2",
        ),
        (COUNTS, -1.0, r"prior_strength is -1.0; give a number of votes, at least 0"),
        (COUNTS, math.nan, r"prior_strength is nan"),
    ],
)
def test_what_cannot_be_held_out_is_refused(counts, strength, message):
    with pytest.raises(ValueError, match=message):
        held_out_votes_curve(PRIORS, counts, strength, COST, [0, 2])
