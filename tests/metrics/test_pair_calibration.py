"""Calibration of drawn pairs against loops over draws, pairs and bins."""

import numpy as np
import pytest

from trl_dprm.metrics import debiased_calibration_error, expected_calibration_error, reliability_curve
from trl_dprm.metrics.calibration import calibration_bins
from trl_dprm.metrics.pair_calibration import drawn_pair_calibration_errors, pair_reliability_points

DRAW = np.random.default_rng(2)
PROBS, SHARE = DRAW.uniform(size=24), DRAW.integers(0, 5, 24) / 4
WEIGHT = DRAW.integers(1, 6, 24).astype(float)
WEIGHT[:3] = 0
CLUSTERS = np.array([f"prompt {row // 2}" for row in range(24)])  # the first of them has no weight
VOTED = np.flatnonzero(WEIGHT > 0)


def drawn_rows(num_draws, seed):
    """Of the pairs with weight, by whole clusters; beside each its cluster."""
    names = np.unique(CLUSTERS[VOTED])
    draw = np.random.default_rng(seed)
    for _ in range(num_draws):
        chosen = names[draw.integers(len(names), size=len(names))]
        yield np.concatenate([VOTED[CLUSTERS[VOTED] == name] for name in chosen])


def errors_of(rows, binning):
    """Both errors in bins that all pairs have cut, by loops; the debiased one by its sign and square."""
    twice = np.concatenate([PROBS[VOTED], 1 - PROBS[VOTED]])
    bins = calibration_bins(twice, np.tile(WEIGHT[VOTED], 2), 10, binning)
    of_row = {row: (bins[place], bins[place + len(VOTED)]) for place, row in enumerate(VOTED)}
    gaps, masses = [{} for _ in range(10)], [{} for _ in range(10)]
    for row in rows:
        for number, sign in zip(of_row[row], (1, -1), strict=True):
            unit = CLUSTERS[row]
            gaps[number][unit] = gaps[number].get(unit, 0) + sign * WEIGHT[row] * (SHARE[row] - PROBS[row])
            masses[number][unit] = masses[number].get(unit, 0) + WEIGHT[row]
    total = sum(sum(mass.values()) for mass in masses)
    plain = sum(abs(sum(gap.values())) for gap in gaps) / total
    square, compared = 0.0, 0.0
    for gap, mass in zip(gaps, masses, strict=True):
        others = [(one, two) for one in gap for two in gap if one != two]
        if others:
            product = sum(gap[one] * gap[two] for one, two in others) / sum(
                mass[one] * mass[two] for one, two in others
            )
            square += sum(mass.values()) * product
            compared += sum(mass.values())
    square = square / compared if compared else np.nan
    return plain, np.sign(square) * abs(square) ** 0.5


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
def test_drawn_errors_are_those_of_loops_over_whole_clusters(binning):
    plain, signed = drawn_pair_calibration_errors(PROBS, SHARE, WEIGHT, binning, CLUSTERS, 20, seed=3)
    expected = np.array([errors_of(rows, binning) for rows in drawn_rows(20, seed=3)])
    np.testing.assert_allclose(np.stack([plain, signed], 1), expected, rtol=1e-9, atol=1e-12)
    assert (signed < 0).any() or binning == "equal_mass"


def test_the_loops_are_right_on_all_pairs():
    plain, signed = errors_of(VOTED, "equal_width")
    columns = PROBS, SHARE, WEIGHT
    assert plain == pytest.approx(expected_calibration_error(*columns, both_orders=True), rel=1e-9)
    debiased = debiased_calibration_error(*columns, both_orders=True, cluster_ids=CLUSTERS)
    assert max(signed, 0.0) == pytest.approx(debiased, rel=1e-9)


def test_points_have_the_percentiles_of_what_was_drawn_in_their_bins():
    points = pair_reliability_points(PROBS, SHARE, WEIGHT, CLUSTERS, 200, 0.9, seed=4)
    curve = reliability_curve(PROBS, SHARE, WEIGHT, 10, "equal_mass", both_orders=True)
    for column, expected in zip(points, curve, strict=False):
        np.testing.assert_allclose(column, expected, rtol=1e-12)
    twice = np.concatenate([PROBS[VOTED], 1 - PROBS[VOTED]])
    bins = calibration_bins(twice, np.tile(WEIGHT[VOTED], 2), 10, "equal_mass")
    place = {row: number for number, row in enumerate(VOTED)}
    drawn = [[] for _ in range(10)]
    for rows in drawn_rows(200, seed=4):
        places = np.array([place[row] for row in rows])
        for number in range(10):
            there, back = rows[bins[places] == number], rows[bins[places + len(VOTED)] == number]
            mass = WEIGHT[there].sum() + WEIGHT[back].sum()
            if mass:
                drawn[number].append((WEIGHT[there] @ SHARE[there] + WEIGHT[back] @ (1 - SHARE[back])) / mass)
    ends = np.array([np.quantile(values, [0.05, 0.95]) for values in drawn])
    np.testing.assert_allclose(np.stack([points.low, points.high], 1), ends, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(points.low + points.high[::-1], 1.0, rtol=1e-9)  # the other order is the same fact


def test_one_cluster_has_points_without_intervals():
    points = pair_reliability_points([0.8, 0.7], [1.0, 0.5], cluster_ids=["a", "a"])
    assert len(points.observed) == 4 and np.isnan([points.low, points.high]).all()


def test_other_numbers_of_clusters_are_refused():
    with pytest.raises(ValueError, match=r"cluster_ids has shape \(1,\) for 2 pairs"):
        drawn_pair_calibration_errors([0.5, 0.5], [1.0, 0.0], cluster_ids=["a"])
