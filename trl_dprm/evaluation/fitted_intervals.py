"""How sure are the temperature and the prior strength? Refits on drawn validation items, by a product of matrices.

Both are the maximum of a sum over items of functions of one number. So each item's function is tabulated once, on a
grid that is fine where the maximum may lie; a draw of items is then a weighted sum of rows, and its maximum, by a
parabola through three points of the grid, is the refit.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax

from ..metrics.bootstrap import multiplicities
from ..preferences.dirichlet_multinomial import log_rising_factorial
from ..preferences.prior_strength import SEARCHED_STRENGTHS
from .intervals import MOST_DRAWS, Interval, Resampling

VALIDATION = "other validation items"
_STANDARD_ERRORS = np.linspace(-6.0, 6.0, 97)
_COARSE = np.log(SEARCHED_STRENGTHS[::8])  # from end to end, for draws far off
_WIDEST = 1.0  # a standard error of a logarithm; the grid of a less certain one is as wide
_STEP = 1e-3  # of a logarithm, for derivatives
_CELLS_AT_ONCE = 2**20


def fitted_intervals(
    temperature: float | None,
    prior_strength: float | None,
    validation_probs: np.ndarray | None,
    validation_counts: ArrayLike | None,
    resampling: Resampling,
) -> dict[str, Interval]:
    """Intervals of what was fitted on validation votes.

    They are over items, each for itself: which validation items belong together is not known here, and where they do
    (one conversation, one annotator for many) the intervals are too narrow.

    Args:
        temperature (`float`, *optional*): what was fitted; `None` for a model as it is.
        prior_strength (`float`, *optional*): as fitted on `validation_probs`; what these were fitted by, such as the
            temperature, is held as it is.
        validation_probs (`np.ndarray` of shape `(M, K)`, *optional*): the model's predictions, recalibrated if there
            is a temperature. Without them nothing was fitted.
        validation_counts (array of shape `(M, K)`, *optional*): votes on the validation items.
        resampling ([`Resampling`]): how.

    Returns:
        `dict[str, Interval]` with `temperature` and `prior_strength`, where they are; the end of a strength may be 0
        or infinite.
    """
    if validation_probs is None or validation_counts is None or len(validation_probs) < 2:
        return {}
    counts = np.asarray(validation_counts, dtype=np.float64)
    how = min(resampling.num_resamples, MOST_DRAWS), resampling.seed
    refits = {}
    if temperature is not None:
        refits["temperature"] = temperature * temperature_refits(validation_probs, counts, *how)
    if prior_strength is not None:
        refits["prior_strength"] = prior_strength_refits(validation_probs, counts, prior_strength, *how)
    ends = [(1 - resampling.level) / 2, (1 + resampling.level) / 2]
    return {
        name: Interval(*np.quantile(values, ends, method="inverted_cdf").tolist(), VALIDATION)  # ∞ has no middle
        for name, values in refits.items()
        if len(values)
    }


def temperature_refits(
    validation_probs: np.ndarray, validation_counts: np.ndarray, num_draws: int, seed: int
) -> np.ndarray:
    """What a fitted temperature would have been with other validation items, as a multiple of what it is.

    Args:
        validation_probs (`np.ndarray` of shape `(M, K)`): positive predictions, recalibrated by the temperature.
        validation_counts (`np.ndarray` of shape `(M, K)`): votes on the validation items.
        num_draws (`int`), seed (`int`): of the items, with replacement.

    Returns:
        `np.ndarray` of shape `(num_draws,)`; empty where the votes do not say what the temperature is.

    Source: the bootstrap as [`~trl_dprm.metrics.mean_interval`]; refits on a grid [ours].

    Example:

    >>> probs, counts = np.array([[0.75, 0.25]] * 40), np.array([[1, 0]] * 30 + [[0, 1]] * 10)
    >>> float(np.median(temperature_refits(probs, counts, 200, 0)).round(1))
    1.0
    """
    logits = np.log(validation_probs)

    def of_items(log_temperature):
        return (validation_counts * log_softmax(logits * np.exp(-log_temperature), axis=1)).sum(axis=1)

    fine = _around(of_items, 0.0)
    return np.array([]) if fine is None else np.exp(_refits(of_items, fine, num_draws, seed))


def prior_strength_refits(
    validation_probs: np.ndarray, validation_counts: np.ndarray, prior_strength: float, num_draws: int, seed: int
) -> np.ndarray:
    """What a fitted prior strength would have been with other validation items.

    Args:
        validation_probs (`np.ndarray` of shape `(M, K)`): predictions, the priors' means.
        validation_counts (`np.ndarray` of shape `(M, K)`): votes on the validation items.
        prior_strength (`float`, above 0, finite): what was fitted on them.
        num_draws (`int`), seed (`int`): of the items, with replacement.

    Returns:
        `np.ndarray` of shape `(num_draws,)`, 0 and infinity among them as in
        [`~trl_dprm.preferences.estimate_prior_strength`]; empty where the votes do not say what the strength is.

    Source: as [`temperature_refits`].

    Example:

    >>> probs, counts = np.array([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]] * 20), np.array([[5, 0], [2, 3], [1, 4]] * 20)
    >>> refits = prior_strength_refits(probs, counts, 3.87, 200, 0)
    >>> bool(refits.min() < 3.87 < refits.max())
    True
    """
    votes = validation_counts.sum(axis=1)

    def of_items(log_strength):
        strength = np.exp(log_strength)
        cells = log_rising_factorial(strength * validation_probs, validation_counts).sum(axis=1)
        return cells - log_rising_factorial(strength, votes)

    fine = _around(of_items, np.log(prior_strength))
    if fine is None:
        return np.array([])
    fine = fine[(fine > _COARSE[0]) & (fine < _COARSE[-1])]
    grid = np.concatenate([_COARSE[fine[0] > _COARSE], fine, _COARSE[fine[-1] < _COARSE]])
    found = _refits(of_items, grid, num_draws, seed)
    return np.where(found <= grid[0], 0.0, np.where(found >= grid[-1], np.inf, np.exp(found)))


def _around(of_items: Callable[[float], np.ndarray], centre: float) -> np.ndarray | None:
    """A grid about the maximum, by its standard error (of a sandwich); `None` where it is no maximum."""
    below, at, above = (of_items(centre + step) for step in (-_STEP, 0.0, _STEP))
    curvature = -(below + above - 2 * at).sum() / _STEP**2
    scatter = np.sqrt(np.square((above - below) / (2 * _STEP)).sum())
    if not curvature > 0 or scatter == 0:
        return None
    return centre + min(scatter / curvature, _WIDEST) * _STANDARD_ERRORS


def _refits(of_items: Callable[[float], np.ndarray], grid: np.ndarray, num_draws: int, seed: int) -> np.ndarray:
    """Where the sum over drawn items is largest; the ends of the grid stand for what is beyond."""
    table = np.stack([of_items(place) for place in grid], axis=1)
    table -= table.mean(axis=1, keepdims=True)  # the same for all places, and digits are kept
    generator, at_once = np.random.default_rng(seed), max(1, _CELLS_AT_ONCE // len(table))
    found = []
    for start in range(0, num_draws, at_once):
        times = multiplicities(generator, len(table), min(at_once, num_draws - start))
        found.append(_largest(grid, times @ table))
    return np.concatenate(found)


def _largest(grid: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of each row of values, the place of the largest: the top of the parabola through it and its neighbours."""
    best = values.argmax(axis=1)
    middle = best.clip(1, len(grid) - 2)
    rows = np.arange(len(values))
    left, right = (
        (values[rows, to] - values[rows, to - 1]) / (grid[to] - grid[to - 1]) for to in (middle, middle + 1)
    )
    before, after = grid[middle] - grid[middle - 1], grid[middle + 1] - grid[middle]
    slope = (left * after + right * before) / (before + after)
    bend = (left - right) / (before + after)
    top = grid[middle] + slope / (2 * np.where(bend > 0, bend, np.inf))
    return np.where(best == middle, top.clip(grid[middle - 1], grid[middle + 1]), grid[best])
