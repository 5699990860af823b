"""Bins of a reliability curve on drawn items and annotators, many draws at once.

Predictions, and with them the bins, stay as they are; what is drawn are judgments. `crossed_resamples` and
`statistic_interval` draw the same, from the same seed, a table of votes at a time: here a draw costs less than the
making of its table, so that every group of every model can have its thousand draws.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from .bootstrap import multiplicities
from .calibration import NUM_BINS
from .debiased_calibration import signed_roots

_CELLS_AT_ONCE = 2**16  # a batch of draws that stays in the processor's cache, whatever the number of items
MOST_DRAWS = 1000


class BinDraws(NamedTuple):
    """Sums over the drawn judgments of each bin, for a batch of draws; bins of all categories, one after the other.

    Attributes:
        mass (`np.ndarray` of shape `(num_categories · NUM_BINS, num_draws)`): weight of the judgments.
        value (same shape): of their values, weighted.
        own_mass, own_value (same shape): sums over the drawn items (or clusters) of their squared sums.
        num_units (same shape): the different items (or clusters).
    """

    mass: np.ndarray
    value: np.ndarray
    own_mass: np.ndarray
    own_value: np.ndarray
    num_units: np.ndarray


class DrawnBins:
    """Function of a number of draws to the sums of the bins.

    Args:
        bins (`np.ndarray` of `int` of shape `(R, K)`): for each judgment and category the bin of the prediction.
        values (`np.ndarray` of shape `(R, K)`): what is summed: chosen or not, or that minus the prediction.
        weight (`np.ndarray` of shape `(R,)`): of the judgments, positive.
        units (`np.ndarray` of shape `(R,)`): item or cluster of each judgment, codes from 0.
        annotators (`np.ndarray` of shape `(R,)`, *optional*): who judged, codes from 0; without them the panel stays
            as it is.
    """

    def __init__(
        self,
        bins: np.ndarray,
        values: np.ndarray,
        weight: np.ndarray,
        units: np.ndarray,
        annotators: np.ndarray | None = None,
    ):
        num_judgments, num_categories = bins.shape
        self.num_cells, self.num_units = num_categories * NUM_BINS, int(units.max()) + 1
        self.num_annotators = 1 if annotators is None else int(annotators.max()) + 1
        cell = units[:, None] * self.num_cells + np.arange(num_categories) * NUM_BINS + bins
        places, place = np.unique(cell, return_inverse=True)
        judge = np.zeros(num_judgments, dtype=int) if annotators is None else annotators
        ids = place.ravel(), np.repeat(judge, num_categories)
        shape = len(places), self.num_annotators
        self.crossed = annotators is not None
        self.mass, self.value = (
            csr_array((column.ravel(), ids), shape=shape)
            for column in (np.broadcast_to(weight[:, None], bins.shape), weight[:, None] * values)
        )
        self.unit = places // self.num_cells
        self.by_cell = csr_array(
            (np.ones(len(places)), (places % self.num_cells, np.arange(len(places)))),
            shape=(self.num_cells, len(places)),
        )

    def __call__(self, num_draws: int, seed: int) -> Iterator[BinDraws]:
        """Batches of draws, `num_draws` in all.

        Args:
            num_draws (`int`, at least 1): how many.
            seed (`int`): the same seed gives the same draws.
        """
        generator = np.random.default_rng(seed)
        of_units, of_annotators = generator.spawn(2) if self.crossed else (generator, None)
        at_once = max(1, _CELLS_AT_ONCE // len(self.unit))
        for start in range(0, num_draws, at_once):
            size = min(at_once, num_draws - start)
            times = multiplicities(of_units, self.num_units, size)
            voices = multiplicities(of_annotators, self.num_annotators, size) if self.crossed else np.ones((size, 1))
            yield self.sums(times, voices)

    def as_given(self) -> BinDraws:
        """Of every judgment once, as a batch of one."""
        return self.sums(np.ones((1, self.num_units)), np.ones((1, self.num_annotators)))

    def sums(self, times: np.ndarray, voices: np.ndarray) -> BinDraws:
        """Of given draws.

        Args:
            times (`np.ndarray` of shape `(num_draws, num_units)`): how often each item (or cluster) is in each draw.
            voices (`np.ndarray` of shape `(num_draws, num_annotators)`): how often each annotator is.
        """
        drawn = times.T[self.unit]
        mass, value = drawn * (self.mass @ voices.T), drawn * (self.value @ voices.T)
        columns = (mass, value, mass**2, value**2, (mass > 0).astype(float))
        return BinDraws(*(self.by_cell @ column for column in columns))


def calibration_errors(draws: BinDraws, num_categories: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over categories of the expected calibration error, and of the debiased one with its sign, of each draw.

    Args:
        draws, num_categories: as [`category_errors`].

    Returns:
        Two `np.ndarray` of shape `(num_draws,)`: as [`category_errors`], NaN where one category's is.
    """
    plain, debiased = category_errors(draws, num_categories)
    return plain.mean(axis=0), debiased.mean(axis=0)


def category_errors(draws: BinDraws, num_categories: int) -> tuple[np.ndarray, np.ndarray]:
    """The expected calibration error of each category, and the debiased one with its sign, of each draw.

    Args:
        draws ([`BinDraws`]): of `value` chosen (1) or not (0), minus the prediction.
        num_categories (`int`): K.

    Returns:
        Two `np.ndarray` of shape `(K, num_draws)`, the second with numbers below 0; NaN for a draw without votes, and
        for the debiased one where every bin of a category has a single item (or cluster).

    Source: as [`~trl_dprm.metrics.category_calibration_errors`] and
        [`~trl_dprm.metrics.debiased_calibration.signed_calibration_error`], which says what the sign is for.
    """
    mass, value, own_mass, own_value, num_units = (column.reshape(num_categories, NUM_BINS, -1) for column in draws)
    several = num_units > 1
    products = np.where(several, value**2 - own_value, 0.0) / np.where(several, mass**2 - own_mass, 1.0)
    compared = np.where(several, mass, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        plain = np.abs(value).sum(axis=1) / mass.sum(axis=1)
        squares = (products * mass).sum(axis=1) / compared
    return plain, signed_roots(squares)
