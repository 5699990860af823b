"""Every number of the report on drawn votes, quickly: what intervals of a model's metrics are made of.

The formulas are those of `distribution_metrics`, written for a thousand draws of the same items: predictions, and with
them the bins of calibration, stay as they are, and draws enter as weights. `nats_per_vote` is not among them, being a
mean over judgments (`crossed_interval`, `mean_interval`).
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from .arrays import cost_table, distribution_table, finite_vector
from .bootstrap import percentile_interval
from .calibration import NUM_BINS, calibration_bins
from .debiased_calibration import signed_roots
from .vote_draws import VoteDraw

RESAMPLED_METRICS = (
    "wasserstein_distance",
    "ranked_probability_score",
    "energy_distance",
    "brier_score",
    "expected_reward_mae",
    "unbiased_brier_score",
    "unbiased_energy_distance",
    "expected_reward_correlation",
    "expected_reward_correlation_ceiling",
    "expected_reward_slope",
    "expected_reward_intercept",
    "expected_calibration_error",
    "expected_calibration_error_equal_mass",
    "debiased_calibration_error",
    "signed_calibration_error",
    "predicted_disagreement",
    "observed_disagreement",
)
"""What [`ResampledReport`] computes of a draw. The last two are `pair_cost` of [`compare_sharpness`]. The signed
error ([`~trl_dprm.metrics.debiased_calibration.signed_calibration_error`]) is what the debiased one's interval is made
of."""


_CONSTANT = 1e-12  # expected rewards that differ by less than this, relatively, are one


def pair_costs(category_rewards: Sequence[float], cost_matrix: ArrayLike) -> list[np.ndarray]:
    """What a draw must know of two annotators: do they differ, at what cost, and how far apart are their rewards?

    Args:
        category_rewards (sequence of `float`, length `num_categories`): reward of each category.
        cost_matrix (array of shape `(num_categories, num_categories)`): ground cost.

    Example:

    >>> [float(cost[0, 1]) for cost in pair_costs([0.0, 2.0], [[0, 3], [3, 0]])]
    [1.0, 3.0, 2.0]
    """
    rewards = np.asarray(category_rewards, dtype=np.float64)
    apart = (rewards[:, None] - rewards) ** 2 / 2
    return [1 - np.eye(len(rewards)), cost_table(cost_matrix, len(rewards)), apart]


class ResampledReport:
    """Function of a [`VoteDraw`] to the numbers of `RESAMPLED_METRICS` for one prediction.

    Args:
        category_probs (array of shape `(N, K)`): prediction, rows sum to 1.
        vote_weight (array of shape `(N,)`): votes of each item, by which bins of equal mass are cut, once for all
            draws.
        category_rewards (sequence of K `float`): rewards.
        category_positions (sequence of K `float`, or `None`): on their line; without it `wasserstein_distance` and
            `ranked_probability_score` are NaN.
        cost_matrix (array of shape `(K, K)`): ground cost. Draws need the costs of [`pair_costs`].

    Example:

    >>> from trl_dprm.metrics.vote_draws import votes_as_given
    >>> line, cost = [0.0, 1.0], [[0, 1], [1, 0]]
    >>> report = ResampledReport([[0.75, 0.25], [0.5, 0.5]], [4, 4], line, line, cost)
    >>> numbers = report(votes_as_given([[2, 2], [2, 2]], pair_costs(line, cost)))
    >>> float(numbers[RESAMPLED_METRICS.index("wasserstein_distance")])
    0.125
    """

    def __init__(
        self,
        category_probs: ArrayLike,
        vote_weight: ArrayLike,
        category_rewards: Sequence[float],
        category_positions: Sequence[float] | None,
        cost_matrix: ArrayLike,
    ):
        self.probs = distribution_table("category_probs", category_probs)
        self.num_items, self.num_categories = self.probs.shape
        self.rewards = finite_vector("category_rewards", category_rewards, self.num_categories)
        self.positions = None if category_positions is None else np.asarray(category_positions, dtype=np.float64)
        self.cost = cost_table(cost_matrix, self.num_categories)
        self.expected = self.probs @ self.rewards
        self.predicted_cost = ((self.probs @ self.cost) * self.probs).sum(axis=1)
        weight = np.asarray(vote_weight, dtype=np.float64)
        self.equal_width, self.equal_mass = (self._cells(weight, binning) for binning in ("equal_width", "equal_mass"))

    def _cells(self, weight: np.ndarray, binning: str) -> np.ndarray:
        """Bin of each probability among those of all categories, `(N · K,)`."""
        bins = [
            calibration_bins(column, weight, NUM_BINS, binning) + NUM_BINS * category
            for category, column in enumerate(self.probs.T)
        ]
        return np.stack(bins, axis=1).ravel()

    def __call__(self, draw: VoteDraw) -> np.ndarray:
        """The numbers, float64 of shape `(len(RESAMPLED_METRICS),)`; NaN for what the draw does not define."""
        votes = draw.counts.sum(axis=1)
        weight = draw.times * votes
        shares = draw.counts / np.where(votes > 0, votes, 1.0)[:, None]
        error = np.where(votes[:, None] > 0, self.probs - shares, 0.0)
        return np.array(
            [
                *self._on_a_line(error, weight),
                _mean(-((error @ self.cost) * error).sum(axis=1), weight),
                _mean((error**2).sum(axis=1), weight),
                _mean(np.abs(error @ self.rewards), weight),
                *self._without_bias(shares, draw, weight),
                *self._agreement(shares @ self.rewards, draw, votes, weight),
                *self._calibration(error, weight),
                *self._disagreement(draw, weight),
            ]
        )

    def _on_a_line(self, error: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
        if self.positions is None:
            return np.nan, np.nan
        order = np.argsort(self.positions, kind="stable")
        gaps = np.diff(self.positions[order])
        between = error[:, order[:-1]].cumsum(axis=1)
        return _mean(np.abs(between) @ gaps, weight), _mean(between**2 @ gaps, weight)

    def _without_bias(self, shares: np.ndarray, draw: VoteDraw, weight: np.ndarray) -> tuple[float, float]:
        several = draw.pairs > 0
        to_truth = self.probs * (self.probs - 2 * shares)
        brier = to_truth.sum(axis=1) + 1 - draw.pair_costs[0]
        energy = 2 * ((self.probs @ self.cost) * shares).sum(axis=1) - self.predicted_cost - draw.pair_costs[1]
        return _mean(brier[several], weight[several]), _mean(energy[several], weight[several])

    def _agreement(
        self, mean: np.ndarray, draw: VoteDraw, votes: np.ndarray, weight: np.ndarray
    ) -> tuple[float, float, float, float]:
        """Correlation, its ceiling, slope and intercept, as [`reward_agreement`]."""
        centre, mean_centre = _mean(self.expected, weight), _mean(mean, weight)
        across, variance, observed = (
            _mean(product, weight)
            for product in (
                (self.expected - centre) * (mean - mean_centre),
                (self.expected - centre) ** 2,
                (mean - mean_centre) ** 2,
            )
        )
        ceiling = np.sqrt(np.clip(1 - _noise(draw, votes, weight) / observed, 0.0, None)) if observed > 0 else np.nan
        if np.sqrt(variance) <= _CONSTANT * np.abs(self.expected).max():
            return np.nan, ceiling, np.nan, np.nan
        slope = across / variance
        correlation = across / np.sqrt(variance * observed) if observed > 0 else np.nan
        return correlation, ceiling, slope, mean_centre - slope * centre

    def _calibration(self, error: np.ndarray, weight: np.ndarray) -> tuple[float, float, float, float]:
        """Mean over categories of the calibration error: bins of equal width, of equal mass, debiased, signed."""
        gaps, mass = (weight[:, None] * error).ravel(), np.repeat(weight, self.num_categories)
        sums = [self._by_bin(cells, gaps) for cells in (self.equal_width, self.equal_mass)]
        plain = [np.abs(by_bin).sum() / weight.sum() / self.num_categories for by_bin in sums]
        own_gaps, own_mass, total, count = (
            self._by_bin(self.equal_width, values) for values in (gaps**2, mass**2, mass, (mass > 0).astype(float))
        )
        several = count > 1
        products = np.where(several, sums[0] ** 2 - own_gaps, 0.0) / np.where(several, total**2 - own_mass, 1.0)
        compared = np.where(several, total, 0.0).sum(axis=1)
        if not compared.all():
            return *plain, np.nan, np.nan
        squares = (products * total).sum(axis=1) / compared
        return *plain, np.sqrt(squares.clip(min=0)).mean(), signed_roots(squares).mean()

    def _by_bin(self, cells: np.ndarray, values: np.ndarray) -> np.ndarray:
        size = self.num_categories * NUM_BINS
        return np.bincount(cells, values, size).reshape(self.num_categories, NUM_BINS)

    def _disagreement(self, draw: VoteDraw, weight: np.ndarray) -> tuple[float, float]:
        several = draw.pairs > 0
        return _mean(self.predicted_cost[several], weight[several]), _mean(
            draw.pair_costs[1][several], weight[several]
        )


def resampled_metrics(reports: Sequence[ResampledReport], draws: Iterable[VoteDraw]) -> np.ndarray:
    """All models on the same draws, `(number of draws, number of models, len(RESAMPLED_METRICS))`.

    Args:
        reports (sequence of [`ResampledReport`]): one for each model.
        draws (iterable of [`VoteDraw`]): such as [`crossed_draws`] gives them.
    """
    return np.array([[report(draw) for report in reports] for draw in draws])


def recentred_interval(value: float, draws: np.ndarray, level: float) -> tuple[float, float] | None:
    """Percentiles of the draws, moved so that their mean lies at the value; `None` where nothing is finite.

    Repeated items and annotators make a calibration error or a distance of vote shares larger than it is; only the
    spread of the draws is used.

    Args:
        value (`float`): on all data.
        draws (`np.ndarray` of shape `(num_draws,)`): those that are not finite are left out.
        level (`float`, between 0 and 1): coverage of the interval.

    Example:

    >>> recentred_interval(1.0, np.array([2.0, 3.0, 4.0, np.nan]), level=0.5)
    (0.5, 1.5)
    """
    draws = draws[np.isfinite(draws)]
    if len(draws) == 0 or not np.isfinite(value):
        return None
    return percentile_interval(draws + (value - draws.mean()), level)


def _mean(values: np.ndarray, weight: np.ndarray) -> float:
    """Weighted mean, NaN without weight; items of weight 0 may be NaN."""
    total = weight.sum()
    return float(np.where(weight > 0, values, 0.0) @ weight / total) if total > 0 else np.nan


def _noise(draw: VoteDraw, votes: np.ndarray, weight: np.ndarray) -> float:
    """Expected part of the variance of mean rewards that is due to finite votes; NaN where none can be seen."""
    several = (draw.pairs > 0) & (weight > 0)
    if not several.any():
        return np.nan
    safe = np.where(votes > 0, votes, 1.0)
    within = draw.pair_costs[2].copy()
    within[draw.pairs <= 0] = _mean(within[several], (draw.times * draw.pairs / safe)[several])
    share = votes / weight.sum()
    of_mean = within * (1 - draw.pairs / safe**2)  # an annotator drawn twice is no second opinion
    return float((draw.times * share * (1 - share) * of_mean)[weight > 0].sum())
