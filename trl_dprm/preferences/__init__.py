"""From annotations to targets: categories, annotation tables, votes, and the Bayesian updaters of crowd opinion."""

from .annotations import AnnotationColumns, open_annotations
from .beta import BetaDistribution, BetaUpdater
from .categories import (
    DPRM_CATEGORIES,
    PreferenceCategories,
    likert_categories,
    ready_made_categories,
)
from .dirichlet import DirichletUpdater
from .dirichlet_distribution import DirichletDistribution
from .dirichlet_multinomial import dirichlet_multinomial_log_probs
from .judgments import Judgments, read_judgments
from .model_prior import fit_model_prior_strength, model_as_prior
from .population import effective_number, population_weights, trim_weights
from .prepared_folder import new_folder, write_prepared
from .prior_strength import PriorStrengthEstimate, estimate_prior_strength
from .retention import RetentionEstimate, fit_retention, prequential_log_probs
from .smoothing import smooth_towards_runner_up, smooth_uniformly
from .splits import split_by_hash
from .targets import PreparedTargets, TargetOptions, prepare_targets
from .votes import ItemVotes, count_votes

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
