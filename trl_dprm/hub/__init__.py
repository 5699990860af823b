"""What goes to the Hub beside the weights: the model card and the statistics of the data in it."""

from .data_statistics import DataStatistics, pairwise_agreement, vote_statistics
from .model_card import dprm_model_card
from .policy_card import RewardFacts, policy_model_card

__all__ = [
    "DataStatistics",
    "RewardFacts",
    "dprm_model_card",
    "pairwise_agreement",
    "policy_model_card",
    "vote_statistics",
]
