"""The standard report on predicted distributions: every distance and score, whichever loss trained."""

import math
from collections.abc import Sequence

from numpy.typing import ArrayLike

from .arrays import matching_distributions, weight_vector
from .averages import weighted_mean
from .calibration import category_calibration_errors
from .debiased_calibration import category_debiased_calibration_errors
from .description import MetricDescription
from .item_scores import item_scores
from .reward_agreement import reward_agreement
from .unbiased_scores import unbiased_brier_score, unbiased_energy_distance
from .vote_pairs import has_pairs

DISTRIBUTION_METRICS = {
    "nats_per_vote": MetricDescription(
        "Minus the mean log-probability of a vote; the truth has some too (`attainable_nats`)", 0, math.inf, 0
    ),
    "wasserstein_distance": MetricDescription(
        "Least cost of moving predicted probability onto the vote shares, in units of the ground cost", 0, math.inf, 0
    ),
    "ranked_probability_score": MetricDescription(
        "Squared distance of the cumulative distributions times the gaps between categories; only for categories on "
        "a line",
        0,
        math.inf,
        0,
    ),
    "energy_distance": MetricDescription(
        "2 q'Cp − q'Cq − p'Cp for the ground cost C (twice the ranked probability score on a line)", 0, math.inf, 0
    ),
    "brier_score": MetricDescription("Sum over categories of the squared error of the probability", 0, 2, 0),
    "expected_reward_mae": MetricDescription(
        "Mean absolute error of the expected reward against the mean reward of the votes", 0, math.inf, 0
    ),
    "unbiased_brier_score": MetricDescription(
        "Squared distance to the unknown true distribution, without bias, from items with two votes or more; may be "
        "negative by chance",
        -math.inf,
        2,
        0,
    ),
    "unbiased_energy_distance": MetricDescription(
        "Energy distance to the unknown true distribution, without bias, from items with two votes or more; may be "
        "negative by chance",
        -math.inf,
        math.inf,
        0,
    ),
    "expected_reward_correlation": MetricDescription(
        "Pearson correlation of expected reward and mean reward of the votes; NaN where one is constant", -1, 1, 1
    ),
    "expected_reward_correlation_ceiling": MetricDescription(
        "What that correlation would be for the true expected rewards, with so few votes an item; NaN where no item "
        "has two votes",
        0,
        1,
        1,
    ),
    "expected_reward_slope": MetricDescription(
        "Slope of the mean reward on the expected reward; below 1 the differences between items are exaggerated",
        -math.inf,
        math.inf,
        1,
    ),
    "expected_reward_intercept": MetricDescription("Intercept of the same line", -math.inf, math.inf, 0),
    "expected_calibration_error": MetricDescription(
        "Calibration error of a category's probability against its vote share, ten bins of equal width, mean over "
        "categories",
        0,
        1,
        0,
    ),
    "expected_calibration_error_equal_mass": MetricDescription(
        "The same with ten bins that hold equally many votes", 0, 1, 0
    ),
    "debiased_calibration_error": MetricDescription(
        "Root mean square calibration error without what finite votes add to it, ten bins of equal width, mean over "
        "categories; NaN where no bin has two items",
        0,
        1,
        0,
    ),
}


def distribution_metrics(
    category_probs: ArrayLike,
    target_probs: ArrayLike,
    vote_weight: ArrayLike | None,
    category_rewards: Sequence[float],
    category_positions: Sequence[float] | None,
    cost_matrix: Sequence[Sequence[float]],
) -> dict[str, float]:
    """How well predicted distributions match the votes; means over items are weighted by their votes.

    `DISTRIBUTION_METRICS` says what each number means, its range and its best value
    (`print(markdown_table(DISTRIBUTION_METRICS))`). All speak about *votes*, not about the unknown population: with
    few votes per item even the true distribution is far from the shares.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        target_probs (array of shape `(num_items, num_categories)`): raw vote shares, rows sum to 1 (`vote_shares`
            makes them from counts).
        vote_weight (array of shape `(num_items,)` or `None`): (effective) number of votes on each item; equal if
            `None`.
        category_rewards (sequence of `float`, length `num_categories`): reward of each category.
        category_positions (sequence of `float`, length `num_categories`, or `None`): where the categories lie on their
            line; with `None`, transport and energy distance follow `cost_matrix` and `ranked_probability_score` is
            left out.
        cost_matrix (nested sequence of shape `(num_categories, num_categories)`): ground cost.

    Returns:
        `dict[str, float]`: the keys of `DISTRIBUTION_METRICS`. NaN for what does not exist: a correlation or slope
        without differences between items, whatever needs two votes on an item, or two items in a bin.
        `nats_per_vote` is `inf` if a category that got a vote was given probability 0.

    Raises:
        ValueError: tables that are no distributions or of different shapes, weights that are negative or all zero, or
            rewards, positions or a cost for another number of categories.

    Example:

    >>> line, cost = [-1.0, 0.0, 1.0], [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    >>> predictions, votes = [[0.8, 0.1, 0.1], [0.2, 0.2, 0.6]], [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
    >>> metrics = distribution_metrics(predictions, votes, [1, 2], line, line, cost)
    >>> {name: round(metrics[name], 4) for name in ("nats_per_vote", "wasserstein_distance", "expected_reward_mae")}
    {'nats_per_vote': 0.7811, 'wasserstein_distance': 0.3, 'expected_reward_mae': 0.1667}
    """
    category_probs, target_probs = matching_distributions(category_probs, target_probs)
    weight = weight_vector("vote_weight", vote_weight, len(category_probs))
    scores = item_scores(category_probs, target_probs, category_rewards, category_positions, cost_matrix)
    metrics = {name: weighted_mean(values, weight) for name, values in scores.items()}
    target_counts = target_probs * weight[:, None]
    several = has_pairs(target_counts)
    for name, values in (
        ("unbiased_brier_score", unbiased_brier_score(category_probs, target_counts)),
        ("unbiased_energy_distance", unbiased_energy_distance(category_probs, target_counts, cost_matrix)),
    ):
        metrics[name] = weighted_mean(values[several], weight[several]) if several.any() else math.nan
    for name, value in reward_agreement(category_probs, target_counts, category_rewards)._asdict().items():
        metrics[f"expected_reward_{name}"] = value
    for suffix, binning in (("", "equal_width"), ("_equal_mass", "equal_mass")):
        errors = category_calibration_errors(category_probs, target_probs, weight, binning=binning)
        metrics[f"expected_calibration_error{suffix}"] = float(errors.mean())
    debiased = category_debiased_calibration_errors(category_probs, target_probs, weight)
    metrics["debiased_calibration_error"] = float(debiased.mean())
    return metrics
