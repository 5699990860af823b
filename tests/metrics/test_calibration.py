"""Calibration against loops over bins, and against a population whose truth is known."""

import numpy as np
import pytest

from trl_dprm.metrics import category_calibration_errors, expected_calibration_error, reliability_curve

RNG = np.random.default_rng(3)
PREDICTED, OBSERVED, WEIGHT = RNG.uniform(size=200), RNG.uniform(size=200), RNG.integers(0, 5, 200).astype(float)


def loop_over_bins(inside):
    """Means of the items in each bin, one bin per mask, empty bins skipped."""
    rows = []
    for mask in inside:
        total = sum(WEIGHT[mask])
        if total > 0:
            rows.append(
                [sum(WEIGHT[mask] * PREDICTED[mask]) / total, sum(WEIGHT[mask] * OBSERVED[mask]) / total, total]
            )
    return np.array(rows).T


def test_equal_width_equals_a_loop():
    expected = loop_over_bins([(b / 7 <= PREDICTED) & ((b + 1) / 7 > PREDICTED) for b in range(7)])
    np.testing.assert_allclose(reliability_curve(PREDICTED, OBSERVED, WEIGHT, num_bins=7), expected, rtol=1e-10)


def test_equal_mass_without_weights_is_a_split_of_the_sorted_items():
    groups = np.array_split(np.argsort(PREDICTED), 10)
    curve = reliability_curve(PREDICTED, OBSERVED, binning="equal_mass")
    np.testing.assert_allclose(curve.predicted, [PREDICTED[group].mean() for group in groups], rtol=1e-10)
    np.testing.assert_allclose(curve.observed, [OBSERVED[group].mean() for group in groups], rtol=1e-10)
    np.testing.assert_array_equal(curve.weight, 20)


def test_equal_mass_with_weights_is_the_split_of_repeated_items_up_to_one_item():
    curve = reliability_curve(PREDICTED, OBSERVED, WEIGHT, num_bins=5, binning="equal_mass")
    assert len(curve.weight) == 5
    assert np.abs(curve.weight - WEIGHT.sum() / 5).max() <= WEIGHT.max()
    assert curve.weight.sum() == WEIGHT.sum()
    assert (np.diff(curve.predicted) > 0).all()


def test_equal_mass_puts_an_item_where_the_middle_of_its_weight_lies():
    curve = reliability_curve([0.1, 0.2, 0.3], [0.0, 0.0, 1.0], [1, 1, 8], num_bins=2, binning="equal_mass")
    np.testing.assert_allclose(curve, [[0.15, 0.3], [0.0, 1.0], [2.0, 8.0]], rtol=1e-12)


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
def test_error_is_the_weighted_gap_of_the_curve(binning):
    curve = reliability_curve(PREDICTED, OBSERVED, WEIGHT, binning=binning)
    by_hand = sum(w * abs(o - p) for p, o, w in zip(*curve, strict=True)) / sum(curve.weight)
    error = expected_calibration_error(PREDICTED, OBSERVED, WEIGHT, binning=binning)
    assert error == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
def test_both_orders_are_a_second_pair_with_the_sides_exchanged(binning):
    predicted, observed = np.append(PREDICTED, 1 - PREDICTED), np.append(OBSERVED, 1 - OBSERVED)
    expected = reliability_curve(predicted, observed, np.append(WEIGHT, WEIGHT), binning=binning)
    curve = reliability_curve(PREDICTED, OBSERVED, WEIGHT, binning=binning, both_orders=True)
    np.testing.assert_allclose(curve, expected, rtol=1e-12)
    error = expected_calibration_error(PREDICTED, OBSERVED, WEIGHT, binning=binning, both_orders=True)
    assert error == pytest.approx(expected.calibration_error, rel=1e-12)


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
def test_equal_predictions_share_a_bin(binning):
    curve = reliability_curve([0.3] * 4, [0.0, 0.0, 1.0, 1.0], [1, 1, 1, 5], binning=binning)
    np.testing.assert_allclose(curve, [[0.3], [0.75], [8.0]], rtol=1e-12)


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
def test_ends_of_the_unit_interval_belong_to_the_outer_bins(binning):
    curve = reliability_curve([0.0, 1.0], [0.0, 1.0], num_bins=2, binning=binning)
    np.testing.assert_array_equal(curve, [[0.0, 1.0], [0.0, 1.0], [1.0, 1.0]])


def test_the_truth_is_calibrated_and_a_sharpened_truth_is_not():
    generator = np.random.default_rng(0)
    truth = generator.dirichlet(np.ones(3), 20_000)
    votes = generator.multinomial(3, truth) / 3
    sharpened = truth**3 / (truth**3).sum(axis=1, keepdims=True)
    for binning in ("equal_width", "equal_mass"):
        assert category_calibration_errors(truth, votes, binning=binning).max() < 0.01
        assert category_calibration_errors(sharpened, votes, binning=binning).min() > 0.05


def test_each_category_is_judged_by_its_own_column():
    probs, votes = RNG.dirichlet(np.ones(3), 50), RNG.dirichlet(np.ones(3), 50)
    errors = category_calibration_errors(probs, votes, num_bins=4)
    expected = [expected_calibration_error(probs[:, k], votes[:, k], num_bins=4) for k in range(3)]
    np.testing.assert_allclose(errors, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predicted": [0.5, 1.5]}, r"predicted\[1\] is 1.5; give a share between 0 and 1"),
        ({"observed": [0.5]}, r"observed has 1 entries where 2 are needed; give one for each"),
        ({"weight": [0.0, 0.0]}, r"weight is zero everywhere; at least one item must count"),
        ({"num_bins": 0}, r"num_bins is 0; give at least 1"),
        ({"binning": "quantile"}, r'binning is "quantile"; choose one of equal_width, equal_mass'),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        reliability_curve(**{"predicted": [0.2, 0.8], "observed": [0.0, 1.0], **arguments})
