"""Pairs of distinct annotators against a double loop over annotators, split and weighted ones included."""

import numpy as np
import pyarrow as pa
import pytest

from trl_dprm.metrics import vote_pair_cost, vote_reward_variance
from trl_dprm.preferences import AnnotationColumns, count_votes, likert_categories, open_annotations, read_judgments

COST = np.array([[0.0, 1.0, 2.5], [1.0, 0.0, 3.0], [2.5, 3.0, 0.0]])
REWARDS = [-2.0, 0.5, 1.0]


def loop_over_annotators(votes, cost, weights=None):
    """Mean cost between the votes (one distribution each) of two distinct annotators, by weights of pairs."""
    weights = np.ones(len(votes)) if weights is None else weights
    total, pairs = 0.0, 0.0
    for m, vote in enumerate(votes):
        for other, other_vote in enumerate(votes):
            if m != other:
                total += (
                    weights[m]
                    * weights[other]
                    * sum(vote[i] * other_vote[j] * cost[i, j] for i in range(3) for j in range(3))
                )
                pairs += weights[m] * weights[other]
    return total / pairs


@pytest.mark.parametrize("answers", [(0, 0), (0, 2), (0, 1, 2), (2, 2, 1, 0, 0), (1, 1, 1)])
def test_whole_votes(answers):
    votes = np.eye(3)[list(answers)]
    expected = loop_over_annotators(votes, COST)
    assert vote_pair_cost([votes.sum(axis=0)], COST)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "votes",
    [
        [[1, 0, 0], [0, 0.5, 0.5]],
        [[1, 0, 0], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3]],
        [[0, 0.25, 0.75], [0, 0, 1], [0, 1, 0], [0, 0, 1]],
        [[1, 0, 0], [0.4, 0.35, 0.25], [0.4, 0.35, 0.25]],  # two who are split alike
    ],
)
def test_split_annotators_are_not_compared_with_themselves(votes):
    votes = np.array(votes)
    expected = loop_over_annotators(votes, COST)
    assert vote_pair_cost([votes.sum(axis=0)], COST)[0] == pytest.approx(expected, rel=1e-12)


def test_weighted_annotators_as_counted_by_the_preparation():
    answers, weights = [1, 1, 3, 2, 3], np.array([3.0, 0.5, 1.0, 1.5, 0.2])
    rows = pa.table({"item_id": ["a"] * 5, "annotator_id": range(5), "category": answers})
    judgments = read_judgments(open_annotations(rows), likert_categories(3), AnnotationColumns())
    counts = count_votes(judgments, num_categories=3, annotator_weights=weights).target_counts
    expected = loop_over_annotators(np.eye(3)[np.array(answers) - 1], COST, weights)
    assert vote_pair_cost(counts, COST)[0] == pytest.approx(expected, rel=1e-12)


def test_two_annotators_of_unequal_weight_are_two():
    counts = np.array([3.0, 0.0, 1.0]) * (4 / 10)  # Kish: (3 + 1)² / (9 + 1) = 1.6 votes
    np.testing.assert_allclose(vote_pair_cost([counts], COST), 2.5, rtol=1e-12)


def test_fewer_than_two_votes_say_nothing():
    values = vote_pair_cost([[0, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 1, 1]], COST)
    np.testing.assert_array_equal(np.isnan(values), [True, True, True, False])


@pytest.mark.parametrize("votes", [1, 10, 1000])
def test_counts_from_float32_shares_are_whole_votes(votes):
    counts = np.full((1, 3), votes)
    rounded = counts + votes * np.array([-4e-7, -4e-7, 8e-7])  # what float32 does to shares, at most
    np.testing.assert_allclose(vote_pair_cost(rounded, COST), vote_pair_cost(counts, COST), rtol=2e-6)


def test_of_an_asymmetric_cost_the_mean_of_both_directions_counts():
    cost = np.triu(COST)
    np.testing.assert_allclose(vote_pair_cost([[1, 2, 1]], cost), vote_pair_cost([[1, 2, 1]], COST / 2), rtol=1e-12)


def test_reward_variance_is_the_sample_variance():
    counts = np.array([[3, 0, 2], [1, 1, 1], [0, 2, 0]])
    expected = [np.repeat(REWARDS, row).var(ddof=1) for row in counts]
    np.testing.assert_allclose(vote_reward_variance(counts, REWARDS), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("counts", "cost", "message"),
    [
        ([[1, -1, 0]], COST, "target_counts row 0, category 1 is -1; give a finite number >= 0"),
        ([[1, 1]], COST, r"cost_matrix has shape \(3, 3\) for 2 categories; give one row and column for each"),
        ([[1, 1, 1]], COST + np.eye(3), r"cost_matrix\[0\]\[0\] is 1; give finite, non-negative costs with zeros on"),
        ([[1, 1, 1]], -COST, r"cost_matrix\[0\]\[1\] is -1; give finite, non-negative costs"),
        ([[1, 1, 1]], COST * [1, np.nan, 1], r"cost_matrix\[0\]\[1\] is nan; give finite, non-negative costs"),
    ],
)
def test_bad_input_is_refused(counts, cost, message):
    with pytest.raises(ValueError, match=message):
        vote_pair_cost(counts, cost)
