"""Scores of single judgments add up to those of the items."""

import numpy as np
import pytest

from trl_dprm.metrics import judgment_nats, nats_per_vote, vote_shares

RNG = np.random.default_rng(10)
PROBS = RNG.dirichlet(np.ones(3), 12)
ITEMS, CATEGORIES = np.append(np.arange(12), RNG.integers(0, 12, 30)), RNG.integers(0, 3, 42)


def test_their_mean_is_nats_per_vote():
    counts = np.array([[sum((i == ITEMS) & (k == CATEGORIES)) for k in range(3)] for i in range(12)])
    shares, votes = vote_shares(counts)
    expected = np.average(nats_per_vote(PROBS, shares), weights=votes)
    assert judgment_nats(PROBS, ITEMS, CATEGORIES).mean() == pytest.approx(expected, rel=1e-12)


def test_an_impossible_choice_is_infinitely_surprising():
    np.testing.assert_array_equal(judgment_nats([[1.0, 0.0]], [0, 0], [1, 0]), [np.inf, 0])


@pytest.mark.parametrize(
    ("items", "categories", "message"),
    [
        ([0, 12], [0, 0], r"judged_items\[1\] is 12; give whole numbers from 0 to 11"),
        ([0, 1], [0, -1], r"judged_categories\[1\] is -1; give whole numbers from 0 to 2"),
        ([0, 1], [0], r"judged_items has 2 entries but judged_categories has 1; give one of each"),
        ([0.5], [0], r"judged_items has shape \(1,\) and dtype float64; give one whole number per judgment"),
        ([], [], r"judged_items has shape \(0,\)"),
    ],
)
def test_bad_input_is_refused(items, categories, message):
    with pytest.raises(ValueError, match=message):
        judgment_nats(PROBS, items, categories)
