"""Drawn votes against a loop over annotators, with pairs of distinct annotators counted one by one."""

from itertools import product

import numpy as np
import pytest

from trl_dprm.metrics import vote_pair_cost
from trl_dprm.metrics.vote_draws import crossed_draws, panel_draws, votes_as_given

RNG = np.random.default_rng(3)
ITEMS, PEOPLE = RNG.integers(0, 8, 40), RNG.integers(0, 5, 40)
CATEGORIES = RNG.integers(0, 3, 40)  # some judged an item several times
CELLS = list(zip(ITEMS, PEOPLE, strict=True))
WEIGHT = np.array([1 / CELLS.count(cell) for cell in CELLS])
COST = np.array([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]])
CLUSTERS = ITEMS // 3


def by_hand(voices):
    """Counts, pairs and mean cost of each of nine items (the last has no judgment), annotator by annotator."""
    counts, pairs, costs = np.zeros((9, 3)), np.zeros(9), np.zeros(9)
    for item in range(9):
        of = {who: np.zeros(3) for who in range(5)}
        for row in np.flatnonzero(item == ITEMS):
            of[PEOPLE[row]][CATEGORIES[row]] += WEIGHT[row] * voices[PEOPLE[row]]
        counts[item] = sum(of.values())
        for one, other in product(of, of):
            if one != other:
                pairs[item] += of[one].sum() * of[other].sum()
                costs[item] += of[one] @ COST @ of[other]
    return counts, pairs, np.divide(costs, pairs, out=np.full(9, np.nan), where=pairs > 1e-9)


@pytest.mark.parametrize("cluster_ids", [None, CLUSTERS], ids=["items", "clusters"])
def test_crossed_draws_equal_a_loop_over_annotators(cluster_ids):
    drawn = list(crossed_draws(ITEMS, PEOPLE, CATEGORIES, (9, 3), [COST], WEIGHT, cluster_ids, 20, seed=2))
    of_units, of_annotators = np.random.default_rng(2).spawn(2)
    units = ITEMS if cluster_ids is None else cluster_ids
    names = sorted(set(units))
    assert len(drawn) == 20
    for draw in drawn:
        here = [names[unit] for unit in of_units.integers(len(names), size=len(names))]
        voices = np.bincount(of_annotators.integers(5, size=5), minlength=5)
        counts, pairs, costs = by_hand(voices)
        np.testing.assert_allclose(draw.counts, counts, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(draw.pairs, pairs, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(draw.pair_costs[0], costs, rtol=1e-9, atol=1e-12)
        for item in set(ITEMS):
            assert draw.times[item] == here.count(units[item == ITEMS][0])


def test_votes_as_given_are_those_of_the_table():
    counts = np.array([[3.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.5, 1.0]])
    given = votes_as_given(counts, [COST, 1 - np.eye(3)])
    assert given.times.tolist() == [1, 1, 1] and given.pairs.tolist() == [12, 0, 2]
    np.testing.assert_array_equal(
        given.pair_costs, [vote_pair_cost(counts, COST), vote_pair_cost(counts, 1 - np.eye(3))]
    )


def test_panel_draws_are_whole_clusters_with_their_own_votes():
    counts, clusters = np.eye(3)[[0, 1, 2, 0]] * 2, ["a", "b", "a", "c"]
    for draw in panel_draws(counts, [COST], clusters, num_resamples=20, seed=1):
        assert draw.times[0] == draw.times[2] and draw.times[[0, 1, 3]].sum() == 3
        assert (draw.counts == counts).all()


def test_judgments_of_no_weight_are_none_and_nobody():
    weight = np.where(PEOPLE == 4, 0.0, 1.0)
    kept = PEOPLE != 4
    drawn = crossed_draws(ITEMS, PEOPLE, CATEGORIES, (9, 3), [COST], weight, num_resamples=5)
    without = crossed_draws(ITEMS[kept], PEOPLE[kept], CATEGORIES[kept], (9, 3), [COST], num_resamples=5)
    for one, other in zip(drawn, without, strict=True):
        assert (one.counts == other.counts).all() and (one.pairs == other.pairs).all()


def test_a_single_annotator_cannot_be_drawn():
    with pytest.raises(ValueError, match="annotator_ids has 1 unit with weight"):
        next(crossed_draws([0, 1], ["a", "a"], [0, 1], (2, 2), [1 - np.eye(2)]))
