"""The trained methods by name, and the rule that needs no training: the longer one wins."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from dprm import train_dprm
from pair_data import judged_responses
from predictions import Predictions
from scalar import train_davidson, train_majority

Train = Callable[[RecipeArguments, int, dict[str, pd.DataFrame]], Predictions]


def train_length(arguments: RecipeArguments, seed: int, data: dict[str, pd.DataFrame]) -> Predictions:
    """The reward is the logarithm of the number of characters: nothing is learned but the link."""
    rewards, no_probs = {}, {}
    for part in ("validation", "test"):
        responses = judged_responses(data["responses"], data[part])
        rewards[part] = np.log1p(responses["completion"].str.len().to_numpy(dtype=np.float64))
        no_probs[part] = np.empty((len(responses), 0))
    return Predictions(rewards["validation"], rewards["test"], no_probs["validation"], no_probs["test"])


METHODS: dict[str, Train] = {
    "longer_wins": train_length,
    "majority_bradley_terry": train_majority,
    "vote_share_davidson": train_davidson,
    "dprm_bradley_terry": partial(train_dprm, ranking_loss="bradley_terry"),
    "dprm_win_probability": partial(train_dprm, ranking_loss="win_probability"),
    "dprm_three_way": partial(train_dprm, ranking_loss="win_probability", ties=True),
}
