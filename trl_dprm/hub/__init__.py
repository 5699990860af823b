"""What goes to the Hub beside the weights: the model card and the statistics of the data in it."""

from .data_statistics import DataStatistics, pairwise_agreement, vote_statistics
from .model_card import dprm_model_card

__all__ = ["DataStatistics", "dprm_model_card", "pairwise_agreement", "vote_statistics"]
