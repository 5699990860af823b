"""Intervals of a reliability curve's points against drawn vote tables, one after the other."""

import numpy as np
import pytest

from trl_dprm.metrics import crossed_resamples, reliability_curve, vote_shares
from trl_dprm.metrics.calibration import calibration_bins
from trl_dprm.metrics.reliability_intervals import reliability_points

RNG = np.random.default_rng(9)
PROBS = RNG.dirichlet(np.ones(3), 40)
ITEM = np.repeat(np.arange(40), 3)
WHO = np.concatenate([RNG.permutation(6)[:3] for _ in range(40)])
CATEGORY = np.array([RNG.choice(3, p=PROBS[row]) for row in ITEM])
COUNTS = np.zeros((40, 3))
np.add.at(COUNTS, (ITEM, CATEGORY), 1)
TALKS = np.arange(40) // 4


def ends(drawn, category, place):
    """Percentiles of the share of a bin, table after table; draws that leave it empty are left out."""
    bins = calibration_bins(PROBS[:, category], COUNTS.sum(axis=1), 10, "equal_mass")
    inside = [(counts[bins[rows] == place], rows) for rows, counts in drawn]
    shares = [counts[:, category].sum() / counts.sum() for counts, _ in inside if counts.sum()]
    return np.quantile(shares, [0.025, 0.975])


def panel_resamples(num_resamples, seed):
    """Whole conversations with all of their votes."""
    draw = np.random.default_rng(seed)
    for _ in range(num_resamples):
        rows = np.concatenate([np.flatnonzero(talk == TALKS) for talk in draw.integers(10, size=10)])
        yield rows, COUNTS[rows]


@pytest.mark.parametrize("crossed", [True, False])
def test_points_are_the_curve_and_their_intervals_those_of_drawn_tables(crossed):
    how = {"cluster_ids": TALKS, "num_resamples": 120, "seed": 3}
    got = reliability_points(PROBS, COUNTS, ITEM, CATEGORY, WHO if crossed else None, **how)
    drawn = list(panel_resamples(120, 3))
    if crossed:
        drawn = list(crossed_resamples(ITEM, WHO, CATEGORY, 40, 3, TALKS[ITEM], 120, 3))
    shares, votes = vote_shares(COUNTS)
    for category, points in enumerate(got):
        curve = reliability_curve(PROBS[:, category], shares[:, category], votes, 10, "equal_mass")
        for mine, expected in zip(points[:3], curve, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-12)
        for place in range(10):
            np.testing.assert_allclose(
                [points.low[place], points.high[place]], ends(drawn, category, place), rtol=1e-9
            )


def test_weights_count_as_judgments_do():
    rows, columns = np.nonzero(COUNTS)
    weighted = reliability_points(PROBS, COUNTS, rows, columns, weight=COUNTS[rows, columns], num_resamples=50)
    each = reliability_points(PROBS, COUNTS, ITEM, CATEGORY, num_resamples=50)
    for one, other in zip(weighted, each, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_equal_predictions_are_one_point_and_one_conversation_has_no_interval():
    same = np.tile([0.2, 0.3, 0.5], (40, 1))
    points = reliability_points(same, COUNTS, ITEM, CATEGORY, num_resamples=50)
    assert [len(column) for point in points for column in point] == [1] * 15
    assert points[0].low[0] < points[0].observed[0] < points[0].high[0]
    alone = reliability_points(PROBS, COUNTS, ITEM, CATEGORY, cluster_ids=["talk"] * 40)
    assert all(np.isnan([point.low, point.high]).all() for point in alone)


def test_the_more_is_drawn_the_wider_the_intervals():
    """A panel that stays as it is, and annotators of one opinion each."""
    opinion = np.array([0, 0, 0, 1, 1, 1])[WHO]
    counts = np.stack([np.bincount(ITEM, opinion == k, 40) for k in (0, 1)], axis=1)
    probs = np.full((40, 2), 0.5)
    panel, crossed = (reliability_points(probs, counts, ITEM, opinion, who)[0] for who in (None, WHO))
    assert crossed.high[0] - crossed.low[0] > 2 * (panel.high[0] - panel.low[0])
