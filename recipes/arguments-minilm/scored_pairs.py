"""From the saved scores of responses to what each method says of pairs."""

from pathlib import Path

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from links import PairScores, constant_tie_probs, distribution_scores, scalar_scores
from pair_data import VOTES, judged_responses, read_fold, read_test_votes
from predictions import Predictions, predictions_path
from scipy.special import expit

from trl_dprm.metrics import davidson_probs


class SeedPairs:
    """The validation and tested pairs of one seed with their votes, and what each method says of them.

    Args:
        arguments (`RecipeArguments`): The run.
        seed (`int`): Of the trainings.
    """

    def __init__(self, arguments: RecipeArguments, seed: int):
        data = read_fold(arguments, seed)
        self.arguments, self.seed = arguments, seed
        self.validation, self.test = data["validation"], read_test_votes(arguments, seed)
        self.places = {
            part: _places(judged_responses(data["responses"], pairs), pairs)
            for part, pairs in (("validation", self.validation), ("test", self.test))
        }
        votes = data["train"][VOTES].to_numpy()
        self.train_tie_share = votes[:, 1].sum() / votes.sum()

    def predictions(self, method: str) -> Predictions:
        """Of one method, as saved.

        Raises:
            FileNotFoundError: if it was not trained with this seed.
        """
        path = predictions_path(self.arguments.output_dir, self.seed, method)
        if not Path(path).exists():
            raise FileNotFoundError(f"No predictions at {path}: run the recipe with `--seeds {self.seed}` first.")
        return Predictions.load(path)

    def scores(self, method: str, part: str) -> PairScores:
        """What a method says of the pairs of a part."""
        saved = self.predictions(method)
        first, second = self.places[part]
        rewards, probs = getattr(saved, f"{part}_rewards"), getattr(saved, f"{part}_probs")
        win = expit(saved.scale * (rewards[first] - rewards[second]))
        raw = constant_tie_probs(win, self.train_tie_share)
        if method == "vote_share_davidson":
            raw = davidson_probs(rewards[first], rewards[second], 1.0, saved.tie_propensity)
        if method == "longer_wins":
            raw = None
        if probs.shape[1] == 0:
            return scalar_scores(rewards[first], rewards[second], raw)
        return distribution_scores(
            probs[first],
            probs[second],
            self.arguments.category_rewards,
            raw if method == "dprm_bradley_terry" else None,
        )


def _places(responses: pd.DataFrame, pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Row of the first and of the second response of each pair."""
    place = pd.Series(range(len(responses)), index=responses["response_id"])
    return place.loc[pairs["first"]].to_numpy(), place.loc[pairs["second"]].to_numpy()
