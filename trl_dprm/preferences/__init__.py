"""From annotations to targets: categories, annotation tables, votes, and the Bayesian updaters of crowd opinion."""

from trl_dprm.preferences.annotations import AnnotationColumns, open_annotations
from trl_dprm.preferences.beta import BetaDistribution, BetaUpdater
from trl_dprm.preferences.categories import (
    DPRM_CATEGORIES,
    PreferenceCategories,
    likert_categories,
    ready_made_categories,
)
from trl_dprm.preferences.dirichlet import DirichletUpdater
from trl_dprm.preferences.dirichlet_distribution import DirichletDistribution
from trl_dprm.preferences.dirichlet_multinomial import dirichlet_multinomial_log_probs
from trl_dprm.preferences.judgments import Judgments, read_judgments
from trl_dprm.preferences.model_prior import fit_model_prior_strength, model_as_prior
from trl_dprm.preferences.population import effective_number, population_weights, trim_weights
from trl_dprm.preferences.prepared_folder import new_folder, write_prepared
from trl_dprm.preferences.prior_strength import PriorStrengthEstimate, estimate_prior_strength
from trl_dprm.preferences.retention import RetentionEstimate, fit_retention, prequential_log_probs
from trl_dprm.preferences.smoothing import smooth_towards_runner_up, smooth_uniformly
from trl_dprm.preferences.splits import split_by_hash
from trl_dprm.preferences.targets import PreparedTargets, TargetOptions, prepare_targets
from trl_dprm.preferences.votes import ItemVotes, count_votes

__all__ = [
    "DPRM_CATEGORIES",
    "AnnotationColumns",
    "BetaDistribution",
    "BetaUpdater",
    "DirichletDistribution",
    "DirichletUpdater",
    "ItemVotes",
    "Judgments",
    "PreferenceCategories",
    "PreparedTargets",
    "PriorStrengthEstimate",
    "RetentionEstimate",
    "TargetOptions",
    "count_votes",
    "dirichlet_multinomial_log_probs",
    "effective_number",
    "estimate_prior_strength",
    "fit_model_prior_strength",
    "fit_retention",
    "likert_categories",
    "model_as_prior",
    "new_folder",
    "open_annotations",
    "population_weights",
    "prepare_targets",
    "prequential_log_probs",
    "read_judgments",
    "ready_made_categories",
    "smooth_towards_runner_up",
    "smooth_uniformly",
    "split_by_hash",
    "trim_weights",
    "write_prepared",
]
