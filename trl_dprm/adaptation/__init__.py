"""Following a population: a small map of the logits fitted to new votes, groups of annotators, post-stratification."""

from .adapting import Adaptation, adapt, refitted_prior_strength
from .cross_validation import ChosenLogitMap, choose_logit_map, held_out_log_probs
from .folding import check_foldable, fold_logit_map, folded_bias, folded_weight, last_linear
from .group_adapting import GroupAdaptation, GroupWorth, adapt_groups
from .groups import GroupMaps, fit_group_maps, post_stratified_probs, worst_group_reward
from .held_out_groups import choose_group_kind, held_out_group_probs
from .item_posterior import item_posteriors
from .logit_map import LogitMap
from .map_fitting import MAP_KINDS, FittedLogitMap, fit_logit_map
from .outcome import AdaptationOutcome
from .population import PopulationReward, population_reward
from .posterior_strength import PosteriorStrength, posterior_strength
from .vote_rows import VotedItems, gather_votes

__all__ = [
    "MAP_KINDS",
    "Adaptation",
    "AdaptationOutcome",
    "ChosenLogitMap",
    "FittedLogitMap",
    "GroupAdaptation",
    "GroupMaps",
    "GroupWorth",
    "LogitMap",
    "PopulationReward",
    "PosteriorStrength",
    "VotedItems",
    "adapt",
    "adapt_groups",
    "check_foldable",
    "choose_group_kind",
    "choose_logit_map",
    "fit_group_maps",
    "fit_logit_map",
    "fold_logit_map",
    "folded_bias",
    "folded_weight",
    "gather_votes",
    "held_out_group_probs",
    "held_out_log_probs",
    "item_posteriors",
    "last_linear",
    "population_reward",
    "post_stratified_probs",
    "posterior_strength",
    "refitted_prior_strength",
    "worst_group_reward",
]
