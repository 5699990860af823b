"""Votes of items as arrays, and how well distributions match them."""

import numpy as np
import pandas as pd
from data import CATEGORIES

from trl_dprm.metrics import item_scores


def vote_shares(items: pd.DataFrame) -> np.ndarray:
    """Raw vote shares of shape *(num_items, num_categories)*."""
    return np.stack(items["target_probs"])


def scores_of_items(category_probs: np.ndarray, items: pd.DataFrame) -> dict[str, np.ndarray]:
    """The scores of `trl_dprm.metrics.item_scores` on the five levels."""
    return item_scores(
        category_probs, vote_shares(items), CATEGORIES.rewards, CATEGORIES.positions, CATEGORIES.cost_matrix
    )


def mean_score(category_probs: np.ndarray, items: pd.DataFrame, metric: str) -> float:
    """Mean of one score over items, weighted by their votes."""
    return float(np.average(scores_of_items(category_probs, items)[metric], weights=items["vote_weight"]))
