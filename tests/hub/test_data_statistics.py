from itertools import combinations

import numpy as np
import pytest
from datasets import Dataset

from trl_dprm.hub import pairwise_agreement, vote_statistics
from trl_dprm.hub.data_statistics import data_statistics


def shares(votes, num_categories):
    """Vote shares and number of votes of items given as lists of chosen categories."""
    counts = np.array([np.bincount(item, minlength=num_categories) for item in votes], dtype=float)
    return counts / counts.sum(1, keepdims=True), counts.sum(1)


def test_agreement_equals_the_share_of_agreeing_pairs_of_votes():
    votes = [[0, 0, 1], [2, 2], [0, 1, 2, 2, 2], [1]]
    by_hand = [np.mean([a == b for a, b in combinations(item, 2)]) for item in votes[:3]]
    assert by_hand == [1 / 3, 1.0, 3 / 10]
    assert pairwise_agreement(*shares(votes, 3)) == pytest.approx(np.mean(by_hand), rel=1e-10)


def test_agreement_of_weighted_annotators_with_kish_votes_weights_each_pair_by_both_weights():
    category, weight = np.array([0, 0, 1, 2, 2]), np.array([0.3, 2.0, 1.1, 0.7, 1.9])
    pairs = list(combinations(range(5), 2))
    agreeing = sum(weight[i] * weight[j] for i, j in pairs if category[i] == category[j])
    expected = agreeing / sum(weight[i] * weight[j] for i, j in pairs)
    probs = np.bincount(category, weight) / weight.sum()
    effective_votes = weight.sum() ** 2 / (weight**2).sum()
    assert pairwise_agreement(probs[None], np.array([effective_votes])) == pytest.approx(expected, rel=1e-10)


def test_agreement_is_unbiased_where_the_plain_squared_shares_are_not():
    probs = np.array([0.5, 0.3, 0.2])
    counts = np.random.default_rng(0).multinomial(3, probs, size=200_000)
    truth = (probs**2).sum()
    plain = ((counts / 3) ** 2).sum(1).mean()
    assert abs(pairwise_agreement(counts / 3, counts.sum(1)) - truth) < 0.005
    assert abs(plain - truth) > 0.05


def test_agreement_of_single_votes_is_unknown():
    assert pairwise_agreement(*shares([[0], [1], [1]], 2)) is None
    assert pairwise_agreement(np.zeros((0, 2)), np.zeros(0)) is None


def test_statistics_by_hand_leave_out_responses_without_votes():
    probs = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0], [0.25, 0.75]])
    statistics = vote_statistics(probs, np.array([1.0, 2.0, 0.0, 4.0]), num_rows=5, num_pairs=2, num_annotators=7)
    assert (statistics.num_rows, statistics.num_items, statistics.num_votes) == (5, 3, 7.0)
    assert (statistics.min_votes, statistics.median_votes, statistics.max_votes) == (1.0, 2.0, 4.0)
    assert statistics.agreement == pytest.approx((0 + 3 / 6) / 2, rel=1e-10)
    assert (statistics.pair_share, statistics.num_annotators) == (0.4, 7)


def test_statistics_without_any_votes():
    statistics = vote_statistics(np.zeros((4, 3)), np.zeros(4), num_rows=2, num_pairs=2)
    assert (statistics.num_items, statistics.num_votes, statistics.median_votes) == (0, 0.0, None)
    assert statistics.agreement is None


def test_prepared_dataset_counts_as_its_arrays_also_when_filtered():
    prepared = Dataset.from_list(
        [
            {"response_target_probs": [[1.0, 0.0]], "response_target_weight": [3.0], "length": 99},
            {"response_target_probs": [[0.5, 0.5]], "response_target_weight": [2.0], "length": 5},
            {
                "response_target_probs": [[0.25, 0.75], [0.0, 0.0]],
                "response_target_weight": [4.0, 0.0],
                "length": 5,
            },
            {"response_target_probs": [[0.0, 0.0]] * 2, "response_target_weight": [0.0, 0.0], "length": 5},
        ]
    ).filter(lambda row: row["length"] < 10)
    probs = np.array([[0.5, 0.5], [0.25, 0.75], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    weight = np.array([2.0, 4.0, 0.0, 0.0, 0.0])
    assert data_statistics(prepared, 9) == vote_statistics(probs, weight, num_rows=3, num_pairs=2, num_annotators=9)


def test_empty_dataset_is_refused():
    prepared = Dataset.from_list([{"response_target_probs": [[1.0, 0.0]], "response_target_weight": [3.0]}])
    with pytest.raises(ValueError, match=r"prepared dataset has no rows.*Check how it was filtered"):
        data_statistics(prepared.select([]))


@pytest.mark.parametrize("probs, weight", [(np.ones((2, 3)), np.ones(3)), (np.ones(3), np.ones(3))])
def test_arrays_that_do_not_belong_together_are_refused(probs, weight):
    with pytest.raises(ValueError, match=r"`target_probs` must be \(num_responses, num_categories\)"):
        vote_statistics(probs, weight, num_rows=1)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_bad_vote_weights_are_refused_by_their_place(bad):
    with pytest.raises(ValueError, match=r"`vote_weight\[1\]` is .*at least 0"):
        vote_statistics(np.full((2, 2), 0.5), np.array([1.0, bad]), num_rows=2)
