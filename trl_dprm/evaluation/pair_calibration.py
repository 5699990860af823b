"""Calibration of the probabilities that a report has of pairs: σ(κΔ), and P(win) + P(tie)/2."""

from dataclasses import dataclass

import numpy as np

from ..metrics import CalibratedLevel, calibration_error_if_calibrated, expected_calibration_error
from ..metrics.debiased_calibration import signed_roots, squared_calibration_error
from ..metrics.pair_calibration import drawn_pair_calibration_errors
from ..metrics.resampled_report import recentred_interval
from .intervals import MOST_DRAWS, Interval, Resampling
from .judged_pairs import OTHER_PAIRS, JudgedPairs


@dataclass(frozen=True)
class CalibrationNames:
    """What the numbers of one kind of probability are called in a report.

    Attributes:
        equal_width, equal_mass (`str`): the error in ten bins of one width, and in ten of equally many votes.
        debiased (`str`): the error without what finite votes add.
        if_calibrated (`str`): what chance alone would give to `equal_width`.
    """

    equal_width: str
    equal_mass: str
    debiased: str
    if_calibrated: str


OF_SCALE = CalibrationNames(
    "pair_expected_calibration_error",
    "pair_expected_calibration_error_equal_mass",
    "pair_debiased_calibration_error",
    "pair_error_if_calibrated",
)
OF_WIN = CalibrationNames(
    "win_calibration_error",
    "win_calibration_error_equal_mass",
    "win_debiased_calibration_error",
    "win_error_if_calibrated",
)


@dataclass(frozen=True)
class PairCalibration:
    """What [`pair_calibration`] found.

    Attributes:
        metrics (`dict[str, float]`): the three errors; the debiased one is NaN where no bin has two pairs (or
            clusters).
        intervals (`dict` of [`Interval`]): of these, over other pairs, none where there is one pair (or cluster).
        if_calibrated (`dict` of [`~trl_dprm.metrics.CalibratedLevel`]): what chance alone would give.
    """

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    if_calibrated: dict[str, CalibratedLevel]


def pair_calibration(
    win_probs: np.ndarray, names: CalibrationNames, pairs: JudgedPairs, resampling: Resampling
) -> PairCalibration:
    """Calibration of probabilities to be preferred, every pair in both orders, which are drawn as one.

    Args:
        win_probs (`np.ndarray` of shape `(N,)`): of the chosen responses, a tie as half a win.
        names ([`CalibrationNames`]): what the numbers are called.
        pairs ([`JudgedPairs`]): N of them. Where they have clusters, the debiased error compares pairs of different
            clusters only.
        resampling ([`Resampling`]): of the intervals.

    Example:

    >>> pairs = JudgedPairs([1.0, 0.4, 0.6, 0.8], [5, 5, 5, 5])
    >>> found = pair_calibration(np.array([0.9, 0.9, 0.6, 0.6]), OF_SCALE, pairs, Resampling(num_resamples=100))
    >>> {name: round(value, 4) for name, value in found.metrics.items()}
    {'pair_expected_calibration_error': 0.15, 'pair_expected_calibration_error_equal_mass': 0.15, \
'pair_debiased_calibration_error': 0.0}
    """
    columns = win_probs, pairs.chosen_vote_share, pairs.pair_weight
    plain = {
        name: (binning, expected_calibration_error(*columns, binning=binning, both_orders=True))
        for name, binning in ((names.equal_width, "equal_width"), (names.equal_mass, "equal_mass"))
    }
    square = squared_calibration_error(*columns, both_orders=True, cluster_ids=pairs.units)
    signed = float(signed_roots(np.array(square)))
    debiased = float(np.maximum(signed, 0.0))
    intervals = {}
    if len(np.unique(pairs.units[pairs.pair_weight > 0])) > 1:
        for name, (binning, value) in plain.items():
            draws, signed_draws = _drawn(columns, binning, pairs, resampling)
            intervals[name] = recentred_interval(value, draws, resampling.level)
            if binning == "equal_width":
                ends = recentred_interval(signed, signed_draws, resampling.level)
                intervals[names.debiased] = ends and (min(ends[0], debiased), max(ends[1], debiased))
    level = calibration_error_if_calibrated(*columns[::2], both_orders=True, seed=resampling.seed)
    return PairCalibration(
        {**{name: value for name, (_, value) in plain.items()}, names.debiased: debiased},
        {
            name: Interval(max(ends[0], 0.0), min(ends[1], 1.0), OTHER_PAIRS)
            for name, ends in intervals.items()
            if ends is not None
        },
        {names.if_calibrated: level},
    )


def _drawn(columns, binning: str, pairs: JudgedPairs, resampling: Resampling) -> tuple[np.ndarray, np.ndarray]:
    """The error of drawn pairs, and the debiased one with its sign."""
    num_draws = min(resampling.num_resamples, MOST_DRAWS)
    return drawn_pair_calibration_errors(*columns, binning, pairs.units, num_draws, resampling.seed)
