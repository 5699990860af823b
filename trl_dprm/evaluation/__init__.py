"""A report on models and the votes that judge them: numbers with intervals, tables, figures, one HTML page.

From arrays: `item_report` and `pair_report` take predictions and votes, and `report_page`, `report_tables` and
`report_dict` show what they found. From checkpoints: `predict_dataset` scores a data set by a DPRM, `predict_scalar`
by a scalar reward model, `data_report` compares what several models said of it; `trl-dprm evaluate` is these three.
"""

from .checkpoint_predictions import CheckpointPredictions, predict_dataset
from .data_report import EvaluationReport, JudgmentSource, data_report
from .figures import report_figures
from .intervals import Interval, Resampling
from .item_report import ItemPredictions, ItemReport, ItemRewards, item_report
from .judged_items import JudgedItems, SingleVotes
from .judged_pairs import JudgedPairs
from .judgment_table import read_single_votes
from .page import report_page
from .pair_report import PairPredictions, PairReport, pair_report
from .report_json import report_dict
from .reward_readout import RewardReadout, fit_reward_readout
from .scalar_predictions import predict_scalar
from .scored_rows import ScoredRows
from .table import as_csv, as_text
from .tables import report_tables

__all__ = [
    "CheckpointPredictions",
    "EvaluationReport",
    "Interval",
    "ItemPredictions",
    "ItemReport",
    "ItemRewards",
    "JudgedItems",
    "JudgedPairs",
    "JudgmentSource",
    "PairPredictions",
    "PairReport",
    "Resampling",
    "RewardReadout",
    "ScoredRows",
    "SingleVotes",
    "as_csv",
    "as_text",
    "data_report",
    "fit_reward_readout",
    "item_report",
    "pair_report",
    "predict_dataset",
    "predict_scalar",
    "read_single_votes",
    "report_dict",
    "report_figures",
    "report_page",
    "report_tables",
]
