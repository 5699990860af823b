"""Losses between what the model predicts and what people said: one value per example, predictions first."""

from .distribution_loss import DISTRIBUTION_LOSSES, DistributionLoss
from .dual_vertices import MAX_CATEGORIES
from .ranking import bradley_terry_loss, davidson_log_probs, davidson_loss, win_probability_loss, win_tie_log_probs
from .scoring import brier_score, cross_entropy_loss, energy_distance, is_negative_type, ranked_probability_score
from .transport import optimal_transport_distance, wasserstein_distance

__all__ = [
    "DISTRIBUTION_LOSSES",
    "MAX_CATEGORIES",
    "DistributionLoss",
    "bradley_terry_loss",
    "brier_score",
    "cross_entropy_loss",
    "davidson_log_probs",
    "davidson_loss",
    "energy_distance",
    "is_negative_type",
    "optimal_transport_distance",
    "ranked_probability_score",
    "wasserstein_distance",
    "win_probability_loss",
    "win_tie_log_probs",
]
