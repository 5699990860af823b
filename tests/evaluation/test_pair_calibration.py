"""Calibration in the report on pairs: both kinds of probabilities, three errors each, and what chance would give."""

import numpy as np
import pytest
from scipy.special import expit

from trl_dprm.evaluation.intervals import Resampling
from trl_dprm.evaluation.judged_pairs import OTHER_PAIRS, JudgedPairs
from trl_dprm.evaluation.pair_calibration import OF_SCALE, OF_WIN, pair_calibration
from trl_dprm.evaluation.pair_report import PairPredictions, pair_report
from trl_dprm.metrics import debiased_calibration_error, pair_vote_metrics
from trl_dprm.metrics.pair_calibration import drawn_pair_calibration_errors

DRAW = np.random.default_rng(4)
REWARDS, THREE_WAYS = DRAW.normal(size=(40, 2)), DRAW.dirichlet([2, 1, 2], 40)
COUNTS = DRAW.multinomial(6, [0.45, 0.2, 0.35], 40).astype(float)
PAIRS = JudgedPairs(COUNTS @ [1, 0.5, 0] / 6, np.full(40, 6.0), [row // 2 for row in range(40)], COUNTS[:, 1] / 6)
FEW = Resampling(num_resamples=200, seed=5)


@pytest.fixture(scope="module")
def model():
    return pair_report({"a": PairPredictions(REWARDS, 1.3, None, THREE_WAYS)}, PAIRS, resampling=FEW).models[0]


def kinds():
    wins = expit(1.3 * (REWARDS[:, 0] - REWARDS[:, 1]))
    return (OF_SCALE, np.stack([wins, 0 * wins, 1 - wins], 1)), (OF_WIN, THREE_WAYS)


def test_errors_are_those_of_votes_of_three_kinds(model):
    for names, probs in kinds():
        expected = pair_vote_metrics(probs, COUNTS)
        assert model.metrics[names.equal_width] == pytest.approx(expected["win_calibration_error"], rel=1e-9)
        equal_mass = expected["win_calibration_error_equal_mass"]
        assert model.metrics[names.equal_mass] == pytest.approx(equal_mass, rel=1e-9)
        columns = probs @ [1, 0.5, 0], PAIRS.chosen_vote_share, PAIRS.pair_weight
        debiased = debiased_calibration_error(*columns, both_orders=True, cluster_ids=PAIRS.clusters)
        assert model.metrics[names.debiased] == pytest.approx(debiased, rel=1e-9)
        assert debiased != debiased_calibration_error(*columns, both_orders=True)  # clusters matter


def test_intervals_are_the_spread_of_drawn_errors_about_the_error(model):
    for names, probs in kinds():
        for name, binning in ((names.equal_width, "equal_width"), (names.equal_mass, "equal_mass")):
            columns = probs @ [1, 0.5, 0], PAIRS.chosen_vote_share, PAIRS.pair_weight
            draws, _ = drawn_pair_calibration_errors(*columns, binning, PAIRS.units, 200, 5)
            ends = np.quantile(draws, [0.025, 0.975]) + model.metrics[name] - draws.mean()
            assert model.intervals[name][:2] == pytest.approx((max(ends[0], 0), ends[1]), rel=1e-9)
            assert model.intervals[name].over == OTHER_PAIRS


def test_a_calibrated_model_is_seldom_told_from_calibrated():
    """Draws of an error that is cut off at 0 would exclude it about one time in four."""
    draw, excluded = np.random.default_rng(1), 0
    for _ in range(60):
        truth = draw.uniform(0.1, 0.9, 60)
        pairs = JudgedPairs(draw.binomial(5, truth) / 5, np.full(60, 5.0))
        found = pair_calibration(truth, OF_SCALE, pairs, FEW)
        interval, error = found.intervals[OF_SCALE.debiased], found.metrics[OF_SCALE.debiased]
        assert interval.low <= error <= interval.high
        excluded += interval.low > 0
    assert excluded <= 6


def test_the_level_is_that_of_votes_drawn_from_the_predictions(model):
    draw = np.random.default_rng(7)
    for names, probs in kinds():
        wins, errors = probs @ [1, 0.5, 0], []
        table = np.stack([wins, 0 * wins, 1 - wins], 1)
        for _ in range(300):
            chosen = draw.binomial(6, wins)
            counts = np.stack([chosen, 0 * chosen, 6 - chosen], 1)
            errors.append(pair_vote_metrics(table, counts)["win_calibration_error"])
        level = model.if_calibrated[names.if_calibrated]
        assert level.mean == pytest.approx(np.mean(errors), rel=0.05)
        assert level.high == pytest.approx(np.quantile(errors, 0.95), rel=0.1)


def test_a_single_cluster_has_errors_without_intervals_and_none_without_bias():
    alone = JudgedPairs([1.0, 0.4], [5, 5], ["a", "a"])
    found = pair_calibration(np.array([0.8, 0.8]), OF_SCALE, alone, FEW)
    assert found.intervals == {} and np.isnan(found.metrics[OF_SCALE.debiased])
    assert found.metrics[OF_SCALE.equal_width] == pytest.approx(0.1, rel=1e-9)
