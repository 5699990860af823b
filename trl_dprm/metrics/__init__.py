"""How good a distribution, a reward or a pair is: float64 arrays in, numbers out, predictions before targets.

Everything here is judged on raw votes and weighted by them. Reports: `distribution_metrics`, `pair_metrics`. Comparing
models: `item_scores` and `paired_difference`. The opponent that reads nothing: `best_constant`. Pictures (these need
matplotlib): `plot_distributions`, `plot_reliability`.
"""

from .arrays import vote_shares
from .best_constant import CONSTANT_METRICS, best_constant, best_constant_metrics
from .bootstrap import MeanInterval, PairedDifference, mean_interval, paired_difference
from .calibration import (
    ReliabilityCurve,
    category_calibration_errors,
    expected_calibration_error,
    reliability_curve,
)
from .description import MetricDescription, markdown_table
from .distribution_report import DISTRIBUTION_METRICS, distribution_metrics
from .item_scores import item_scores, nats_per_vote, transport_cost
from .pair_report import PAIR_METRICS, pair_metrics
from .plots import most_contested, plot_distributions, plot_reliability

__all__ = [
    "CONSTANT_METRICS",
    "DISTRIBUTION_METRICS",
    "PAIR_METRICS",
    "MeanInterval",
    "MetricDescription",
    "PairedDifference",
    "ReliabilityCurve",
    "best_constant",
    "best_constant_metrics",
    "category_calibration_errors",
    "distribution_metrics",
    "expected_calibration_error",
    "item_scores",
    "markdown_table",
    "mean_interval",
    "most_contested",
    "nats_per_vote",
    "pair_metrics",
    "paired_difference",
    "plot_distributions",
    "plot_reliability",
    "reliability_curve",
    "transport_cost",
    "vote_shares",
]
