"""How large is the calibration error of a model that is right? Votes drawn from the predictions themselves answer."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import distribution_table, share_vector, weight_vector
from .calibration import NUM_BINS, calibration_bins, in_both_orders

NUM_SIMULATIONS = 500
_HIGH = 0.95


class CalibratedLevel(NamedTuple):
    """The expected calibration error that chance alone gives to calibrated predictions.

    Attributes:
        mean (`float`): expected value; an error near it is no evidence against the model.
        high (`float`): 95 % quantile; an error above it is not chance alone.
    """

    mean: float
    high: float


class CategoryCalibratedLevels(NamedTuple):
    """The same for each category, and for the mean over categories.

    Attributes:
        categories (`list` of [`CalibratedLevel`], length `num_categories`): one for each category.
        mean_over_categories ([`CalibratedLevel`]): of the mean of the categories' errors.
    """

    categories: list[CalibratedLevel]
    mean_over_categories: CalibratedLevel


def calibration_error_if_calibrated(
    predicted: ArrayLike,
    num_votes: ArrayLike,
    num_bins: int = NUM_BINS,
    binning: str = "equal_width",
    both_orders: bool = False,
    prior_strength: float = np.inf,
    num_simulations: int = NUM_SIMULATIONS,
    seed: int = 0,
) -> CalibratedLevel:
    """`expected_calibration_error` on votes drawn from the predictions, with as many votes per item as there are.

    Votes of one item share its probability. By default that probability *is* the prediction: binomial votes, the least
    that chance can do. A model can be calibrated and yet not know every item: with a finite `prior_strength` `n0` an
    item's probability is drawn around the prediction first, from the Beta(`n0 q`, `n0 (1 - q)`) that
    `fit_model_prior_strength` fits, and votes of one item lie closer together than chance. Of one vote per item both
    are the same.

    Args:
        predicted (array of shape `(num_items,)`): predicted probability of one category, or of one side of a pair
            (`win_probability`, `σ(κΔ)`). Where ties count half a vote, votes vary less than drawn here, and the level
            is an upper bound.
        num_votes (array of shape `(num_items,)`): votes of each item, also the weights; 0 leaves an item out. To draw,
            effective (fractional) votes are rounded to whole ones, at least 1.
        num_bins, binning, both_orders: as [`reliability_curve`]; both orders of a pair are one draw.
        prior_strength (`float`, above 0): how many votes the prediction is worth.
        num_simulations (`int`, at least 1): draws of all votes.
        seed (`int`): the same seed gives the same level.

    Returns:
        [`CalibratedLevel`].

    Raises:
        ValueError: as [`reliability_curve`], or `prior_strength` or `num_simulations` out of range.

    Source: Bröcker & Smith, *Increasing the reliability of reliability diagrams* (2007), consistency resampling.
        Differs: predictions are kept and several votes of one item drawn together; the prior strength [ours].

    Example:

    >>> level = calibration_error_if_calibrated([0.5] * 100, [1] * 100)
    >>> round(level.mean, 2), round((2 / np.pi / 400) ** 0.5, 2)  # mean deviation of a normal distribution
    (0.04, 0.04)
    """
    predicted = share_vector("predicted", predicted)
    votes = weight_vector("num_votes", num_votes, len(predicted))
    predicted, votes = predicted[votes > 0], votes[votes > 0]
    effects = _effects(predicted, votes, num_bins, binning, both_orders)
    two_sides = np.stack([predicted, 1 - predicted], axis=1)
    drawn = _drawn_shares(two_sides, votes, prior_strength, num_simulations, seed)
    return _level(np.array([_error(shares[:, 0] - predicted, effects) for shares in drawn]))


def category_calibration_errors_if_calibrated(
    category_probs: ArrayLike,
    num_votes: ArrayLike,
    num_bins: int = NUM_BINS,
    binning: str = "equal_width",
    prior_strength: float = np.inf,
    num_simulations: int = NUM_SIMULATIONS,
    seed: int = 0,
) -> CategoryCalibratedLevels:
    """`category_calibration_errors` on votes drawn from the predictions: multinomial, all categories together.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        num_votes (array of shape `(num_items,)`): as [`calibration_error_if_calibrated`].
        num_bins, binning: as [`reliability_curve`].
        prior_strength (`float`, above 0): how many votes the prediction is worth; if finite, the item's distribution
            is drawn from Dirichlet(`prior_strength · category_probs`) first.
        num_simulations, seed: as [`calibration_error_if_calibrated`].

    Returns:
        [`CategoryCalibratedLevels`].

    Raises:
        ValueError: a table that is no distribution; else as [`calibration_error_if_calibrated`].

    Source: as [`calibration_error_if_calibrated`].

    Example:

    >>> levels = category_calibration_errors_if_calibrated([[0.5, 0.5]] * 100, [1] * 100)
    >>> [round(level.mean, 2) for level in levels.categories], round(levels.mean_over_categories.mean, 2)
    ([0.04, 0.04], 0.04)
    """
    probs = distribution_table("category_probs", category_probs)
    votes = weight_vector("num_votes", num_votes, len(probs))
    probs, votes = probs[votes > 0], votes[votes > 0]
    effects = [_effects(column, votes, num_bins, binning, both_orders=False) for column in probs.T]
    drawn = _drawn_shares(probs, votes, prior_strength, num_simulations, seed)
    errors = np.array(
        [[_error(gap, effect) for gap, effect in zip((shares - probs).T, effects, strict=True)] for shares in drawn]
    )
    return CategoryCalibratedLevels([_level(column) for column in errors.T], _level(errors.mean(axis=1)))


def _effects(predicted: np.ndarray, votes: np.ndarray, num_bins: int, binning: str, both_orders: bool) -> np.ndarray:
    """What a share above its prediction adds to the weighted gap of each bin, `(num_items, num_bins)`.

    The other order of a pair lies in its own bin and is below its prediction by as much.
    """
    items, share = np.arange(len(predicted)), votes / votes.sum()
    if not both_orders:
        bins = calibration_bins(predicted, votes, num_bins, binning)
        effects = np.zeros((len(predicted), num_bins))
        effects[items, bins] = share
        return effects
    there, back = calibration_bins(in_both_orders(predicted), np.tile(votes, 2), num_bins, binning).reshape(2, -1)
    effects = np.zeros((len(predicted), num_bins))
    effects[items, there] += share / 2
    effects[items, back] -= share / 2
    return effects


def _error(gap: np.ndarray, effects: np.ndarray) -> float:
    """Expected calibration error for `observed - predicted` of each item."""
    return np.abs(gap @ effects).sum()


def _drawn_shares(
    probs: np.ndarray, votes: np.ndarray, prior_strength: float, num_simulations: int, seed: int
) -> Iterator[np.ndarray]:
    """Vote shares `(num_items, num_categories)`, once for each simulation."""
    if not prior_strength > 0:
        raise ValueError(f"prior_strength is {prior_strength}; give a number of votes above 0 (inf: no item differs)")
    if num_simulations < 1:
        raise ValueError(f"num_simulations is {num_simulations}; give at least 1 (500 for a level)")
    generator = np.random.default_rng(seed)
    whole = np.maximum(np.rint(votes), 1).astype(np.int64)
    probs = probs / probs.sum(axis=1, keepdims=True)
    for _ in range(num_simulations):
        drawn_from = probs if np.isinf(prior_strength) else _dirichlet(prior_strength * probs, generator)
        yield generator.multinomial(whole, drawn_from) / whole[:, None]


def _dirichlet(concentration: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """One draw per row, in logarithms: `log Γ(a)-variate = log Γ(a + 1)-variate + log(uniform) / a` stays finite."""
    with np.errstate(divide="ignore"):
        logs = np.log(generator.standard_gamma(concentration + 1))
        logs += np.log(generator.uniform(size=concentration.shape)) / concentration
    drawn = np.exp(logs - logs.max(axis=1, keepdims=True))
    return drawn / drawn.sum(axis=1, keepdims=True)


def _level(errors: np.ndarray) -> CalibratedLevel:
    return CalibratedLevel(float(errors.mean()), float(np.quantile(errors, _HIGH)))
