"""How good a distribution, a reward or a pair is: float64 arrays in, numbers out, predictions before targets.

Everything here is judged on raw votes and weighted by them. Reports: `distribution_metrics`, `pair_metrics`. Comparing
models: `item_scores` and `paired_difference`. The opponent that reads nothing: `best_constant`. What a perfect model
would reach on so few votes: `attainable_nats`, `reward_agreement`, `calibration_error_if_calibrated`; what finite
votes add, taken away: `unbiased_brier_score`, `unbiased_energy_distance`, `debiased_calibration_error`. For
other annotators than these: `crossed_paired_difference`, `two_way_interval`. For whom it is wrong: `group_report`; on
which items people disagree: `contested_auroc`; what may be seen of few votes: `vote_share_coverage`. Votes on pairs,
ties apart: `pair_vote_metrics`, after a link (`fit_davidson`). Pictures (these need matplotlib): `plot_distributions`,
`plot_reliability`.
"""

from .arrays import vote_shares
from .attainable_nats import AttainableNats, attainable_nats
from .best_constant import CONSTANT_METRICS, best_constant, best_constant_metrics
from .bootstrap import MeanInterval, PairedDifference, mean_interval, paired_difference
from .calibrated_level import (
    CalibratedLevel,
    CategoryCalibratedLevels,
    calibration_error_if_calibrated,
    category_calibration_errors_if_calibrated,
)
from .calibration import (
    ReliabilityCurve,
    category_calibration_errors,
    expected_calibration_error,
    reliability_curve,
)
from .crossed_bootstrap import crossed_interval, crossed_paired_difference
from .debiased_calibration import (
    category_debiased_calibration_errors,
    debiased_calibration_error,
    squared_calibration_error,
)
from .description import MetricDescription, markdown_table
from .disagreement import (
    Concordance,
    contested_auroc,
    disagreement_concordance,
    disagreement_correlation,
    pairwise_disagreement,
    predicted_disagreement,
)
from .distribution_report import DISTRIBUTION_METRICS, distribution_metrics
from .group_report import GroupReport, GroupScores, group_report
from .item_scores import item_scores, nats_per_vote, transport_cost
from .judgment_scores import judgment_nats
from .pair_links import BradleyTerryLink, DavidsonLink, fit_bradley_terry_scale, fit_davidson
from .pair_report import PAIR_METRICS, pair_metrics
from .pair_votes import (
    PAIR_VOTE_METRICS,
    PairVoteScores,
    davidson_probs,
    pair_vote_metrics,
    pair_vote_scores,
    win_tie_probs,
)
from .plots import most_contested, plot_distributions, plot_reliability
from .reward_agreement import RewardAgreement, reward_agreement
from .sharpness import Sharpness, SharpnessComparison, compare_sharpness, sharpness
from .statistic_bootstrap import StatisticInterval, crossed_resamples, crossed_statistic_interval, statistic_interval
from .two_way_interval import two_way_interval
from .unbiased_scores import unbiased_brier_score, unbiased_energy_distance
from .vote_pairs import vote_pair_cost, vote_reward_variance
from .vote_share_coverage import VoteShareCoverage, vote_share_coverage

__all__ = [
    "CONSTANT_METRICS",
    "DISTRIBUTION_METRICS",
    "PAIR_METRICS",
    "PAIR_VOTE_METRICS",
    "AttainableNats",
    "BradleyTerryLink",
    "CalibratedLevel",
    "CategoryCalibratedLevels",
    "Concordance",
    "DavidsonLink",
    "GroupReport",
    "GroupScores",
    "MeanInterval",
    "MetricDescription",
    "PairVoteScores",
    "PairedDifference",
    "ReliabilityCurve",
    "RewardAgreement",
    "Sharpness",
    "SharpnessComparison",
    "StatisticInterval",
    "VoteShareCoverage",
    "attainable_nats",
    "best_constant",
    "best_constant_metrics",
    "calibration_error_if_calibrated",
    "category_calibration_errors",
    "category_calibration_errors_if_calibrated",
    "category_debiased_calibration_errors",
    "compare_sharpness",
    "contested_auroc",
    "crossed_interval",
    "crossed_paired_difference",
    "crossed_resamples",
    "crossed_statistic_interval",
    "davidson_probs",
    "debiased_calibration_error",
    "disagreement_concordance",
    "disagreement_correlation",
    "distribution_metrics",
    "expected_calibration_error",
    "fit_bradley_terry_scale",
    "fit_davidson",
    "group_report",
    "item_scores",
    "judgment_nats",
    "markdown_table",
    "mean_interval",
    "most_contested",
    "nats_per_vote",
    "pair_metrics",
    "pair_vote_metrics",
    "pair_vote_scores",
    "paired_difference",
    "pairwise_disagreement",
    "plot_distributions",
    "plot_reliability",
    "predicted_disagreement",
    "reliability_curve",
    "reward_agreement",
    "sharpness",
    "squared_calibration_error",
    "statistic_interval",
    "transport_cost",
    "two_way_interval",
    "unbiased_brier_score",
    "unbiased_energy_distance",
    "vote_pair_cost",
    "vote_reward_variance",
    "vote_share_coverage",
    "vote_shares",
    "win_tie_probs",
]
