"""A population that has shifted, as every update meets it: texts, old votes and new ones."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from crowds.training import Budget, JudgedTexts

from trl_dprm.preferences import PreferenceCategories

VALIDATION_EVERY = 5  # every fifth new vote tells a training when to stop
NUM_EVALUATIONS = 5  # of the validation loss


@dataclass(frozen=True)
class Shift:
    """One replication.

    Args:
        name (`str`): Of its folder.
        categories ([`~trl_dprm.preferences.PreferenceCategories`]): Of the votes.
        train, validation ([`~crowds.training.JudgedTexts`]): Old votes.
        pool ([`~crowds.training.JudgedTexts`]): Items that the model is not trained on, with one new vote each, in
            the order in which the first draw takes them.
        test_texts (`pd.DataFrame`): Items without a new vote.
        test_probs (`np.ndarray` of shape *(num_test_items, num_categories)*): The new population's true distributions,
            or its votes.
        budget ([`~crowds.training.Budget`]): Of the first training, and of one on old and new votes.
        backbone (`str`): What these start from.
        seed (`int`): Of the trainings.
    """

    name: str
    categories: PreferenceCategories
    train: JudgedTexts
    validation: JudgedTexts
    pool: JudgedTexts
    test_texts: pd.DataFrame
    test_probs: np.ndarray
    budget: Budget
    backbone: str
    seed: int

    def continued_budget(self, arguments: RecipeArguments) -> Budget:
        """Of a training that goes on from the old model; it may end where it starts."""
        return Budget(
            arguments.continued_steps,
            self.budget.batch_size,
            self.budget.learning_rate * arguments.continued_rate,
            num_evaluations=NUM_EVALUATIONS,
            keep_start=True,
        )

    def new_votes(self, number: int) -> tuple[JudgedTexts, JudgedTexts]:
        """The first new votes, to train on and to stop by."""
        stop_by = np.arange(min(number, len(self.pool.texts))) % VALIDATION_EVERY == VALIDATION_EVERY - 1
        rows = np.arange(len(stop_by))
        return _rows(self.pool, rows[~stop_by]), _rows(self.pool, rows[stop_by])


def drawn_order(num_items: int, draw: int) -> np.ndarray:
    """The order in which a draw takes the new votes; the first draw's is that of the pool."""
    return np.arange(num_items) if draw == 0 else np.random.default_rng(draw).permutation(num_items)


def _rows(judged, rows):
    return JudgedTexts(judged.texts.iloc[rows].reset_index(drop=True), judged.counts[rows])
