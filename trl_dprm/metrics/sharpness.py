"""How much disagreement a model predicts, beside how much there is: is it too sure of people, or not sure enough?"""

from collections.abc import Sequence
from typing import NamedTuple

from numpy.typing import ArrayLike

from .arrays import cost_table, distribution_table, finite_vector, matching_counts, weight_vector
from .attainable_nats import attainable_nats
from .averages import weighted_mean
from .item_scores import nats_per_vote
from .vote_pairs import has_pairs, in_one_category, vote_pair_cost, vote_reward_variance


class Sharpness(NamedTuple):
    """Disagreement of distributions, mean over items; lower is sharper.

    Attributes:
        entropy (`float`): in nats.
        reward_variance (`float`): of the reward of one draw, in squared reward units.
        pair_cost (`float`): expected cost between two independent draws, in units of the ground cost.
    """

    entropy: float
    reward_variance: float
    pair_cost: float


class SharpnessComparison(NamedTuple):
    """Predicted and observed disagreement on the same items, weighted by their votes.

    Attributes:
        predicted ([`Sharpness`]): of the predicted distributions.
        observed ([`Sharpness`]): of the people, as far as the votes tell.
    """

    predicted: Sharpness
    observed: Sharpness


def sharpness(
    category_probs: ArrayLike,
    category_rewards: Sequence[float],
    cost_matrix: Sequence[Sequence[float]],
    vote_weight: ArrayLike | None = None,
) -> Sharpness:
    """How concentrated predictions are, votes apart: entropy, variance of the reward, cost between two draws.

    No virtue by itself: of two *calibrated* models the sharper one is better.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        category_rewards (sequence of `float`, length `num_categories`): reward of each category.
        cost_matrix (nested sequence of shape `(num_categories, num_categories)`): ground cost, non-negative, zero
            diagonal.
        vote_weight (array of shape `(num_items,)`, *optional*): how much each item counts; equal if not given.

    Returns:
        [`Sharpness`].

    Raises:
        ValueError: a table that is no distribution, weights that are negative or all zero, or rewards or a cost for
            another number of categories.

    Source: Gneiting, Balabdaoui & Raftery, *Probabilistic forecasts, calibration and sharpness* (2007); Rao's
        quadratic entropy (1982) for the cost.

    Example:

    >>> sharpness([[0.5, 0.5], [1.0, 0.0]], [0.0, 1.0], [[0, 1], [1, 0]])
    Sharpness(entropy=0.34657359027997264, reward_variance=0.125, pair_cost=0.25)
    """
    probs = distribution_table("category_probs", category_probs)
    rewards = finite_vector("category_rewards", category_rewards, probs.shape[1])
    cost = cost_table(cost_matrix, probs.shape[1])
    weight = weight_vector("vote_weight", vote_weight, len(probs))
    deviations = rewards - (probs @ rewards)[:, None]
    per_item = nats_per_vote(probs, probs), (probs * deviations**2).sum(axis=1), ((probs @ cost) * probs).sum(axis=1)
    return Sharpness(*(weighted_mean(values, weight) for values in per_item))


def compare_sharpness(
    category_probs: ArrayLike,
    target_counts: ArrayLike,
    category_rewards: Sequence[float],
    cost_matrix: Sequence[Sequence[float]],
) -> SharpnessComparison:
    """Predicted beside observed disagreement, over the items with two votes or more, weighted by votes.

    The observed variance and cost are means over pairs of distinct annotators ([`vote_pair_cost`]) and unbiased; an
    unbiased estimate of entropy does not exist, so the observed entropy is `attainable_nats(...)
    .dirichlet_multinomial` (its bracket is found there), and 0 where all votes are for one category.

    Predicted *below* observed: the model is too sure of what people say. Predicted *above* observed: it is not sure
    enough, or it does not know the items apart; a calibrated model that cannot tell items apart predicts the
    disagreement within them *and* between them.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        target_counts (array of shape `(num_items, num_categories)`): raw votes, non-negative; for fractional ones see
            [`vote_pair_cost`].
        category_rewards, cost_matrix: as [`sharpness`].

    Returns:
        [`SharpnessComparison`].

    Raises:
        ValueError: as [`sharpness`], bad counts, shapes that differ, or no item with two votes.

    Source: as [`sharpness`]; [ours] for the comparison.

    Example:

    >>> comparison = compare_sharpness([[0.9, 0.1], [0.2, 0.8]], [[3, 1], [2, 2]], [0.0, 1.0], [[0, 1], [1, 0]])
    >>> round(comparison.predicted.pair_cost, 4), round(comparison.observed.pair_cost, 4)
    (0.25, 0.5833)
    """
    predictions, counts = matching_counts(category_probs, target_counts)
    rewards = finite_vector("category_rewards", category_rewards, counts.shape[1])
    several = has_pairs(counts)
    if not several.any():
        raise ValueError("target_counts has no item with two votes; one vote shows no disagreement, give more votes")
    predictions, counts = predictions[several], counts[several]
    votes = counts.sum(axis=1)
    observed = Sharpness(
        0.0 if in_one_category(counts) else attainable_nats(counts).dirichlet_multinomial,
        weighted_mean(vote_reward_variance(counts, rewards), votes),
        weighted_mean(vote_pair_cost(counts, cost_matrix), votes),
    )
    return SharpnessComparison(sharpness(predictions, rewards, cost_matrix, votes), observed)
