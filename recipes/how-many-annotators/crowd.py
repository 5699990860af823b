"""The two crowds in one form: items to buy votes for, and test items with what their votes are judged against."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from arms import Arm, simulated_arms, thinned_arms
from crowds import convabuse, simulated
from crowds.ratings import num_votes, target_counts, thinned
from crowds.training import Budget, JudgedTexts

from trl_dprm.preferences import PreferenceCategories

CONVABUSE_VOTES = 3  # most votes of an item to thin: 2,275 of 3,076 training items have them
NUM_EVALUATIONS = 5  # of the validation loss
CONVABUSE_GIVEN = 2  # votes of a test item that a method may see; the others are held out


@dataclass(frozen=True)
class Crowd:
    """One replication of a crowd.

    Args:
        categories ([`~trl_dprm.preferences.PreferenceCategories`]): Of the votes.
        training_pool, validation_pool (pairs): Texts and ratings that an arm buys votes of, in the order in which
            items are bought.
        test_texts (`pd.DataFrame`): Items to predict.
        given_ratings (`np.ndarray` of `int` of shape *(num_test_items, …)*): Their votes that a method may be given.
        target_probs (`np.ndarray` of shape *(num_test_items, num_categories)*): The truth, or the shares of the votes
            held out.
        target_weight (`np.ndarray` of shape *(num_test_items,)*): Votes behind it; 1 for the truth.
        arms (`list[Arm]`): What is compared.
        budget ([`~crowds.training.Budget`]): Of each training.
    """

    categories: PreferenceCategories
    training_pool: tuple[pd.DataFrame, np.ndarray]
    validation_pool: tuple[pd.DataFrame, np.ndarray]
    test_texts: pd.DataFrame
    given_ratings: np.ndarray
    target_probs: np.ndarray
    target_weight: np.ndarray
    arms: list[Arm]
    budget: Budget

    def bought(self, arm: Arm, seed: int) -> tuple[JudgedTexts, JudgedTexts]:
        """Training and validation items with the votes that the arm pays for."""
        rng = np.random.default_rng([seed, arm.num_votes, arm.votes_per_item])
        return (
            self._bought(self.training_pool, arm.num_training_items, arm.votes_per_item, rng),
            self._bought(self.validation_pool, arm.num_validation_items, arm.validation_votes_per_item, rng),
        )

    def _bought(self, pool, num_items, votes_per_item, rng):
        texts, ratings = pool
        if num_items > len(texts):
            raise ValueError(f"the arm needs {num_items} items, and there are {len(texts)}; lower `num_items`.")
        votes = thinned(ratings[:num_items], votes_per_item, rng)
        return JudgedTexts(texts[:num_items], target_counts(votes, len(self.categories)))

    def given(self, votes_per_item: int, seed: int) -> np.ndarray | None:
        """That many votes of each test item, of shape *(num_test_items, num_categories)*; `None` if it has fewer."""
        if num_votes(self.given_ratings).min() < votes_per_item:
            return None
        votes = thinned(self.given_ratings, votes_per_item, np.random.default_rng([seed, votes_per_item]))
        return target_counts(votes, len(self.categories))


def make_crowd(name: str, arguments: RecipeArguments, seed: int) -> Crowd:
    """Draw (or thin) everything of one replication."""
    return {"simulated": _simulated, "convabuse": _convabuse}[name](arguments, seed)


def _simulated(arguments, seed):
    arms = simulated_arms(arguments.num_items, arguments.max_votes)
    sizes = [
        max(arm.num_training_items for arm in arms),
        max(arm.num_validation_items for arm in arms),
        arguments.num_test_items,
    ]
    items = simulated.draw_items(sum(sizes), seed)
    ratings, _ = simulated.draw_ratings(items, arguments.max_votes, seed)
    train, validation, test = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    return Crowd(
        categories=simulated.CATEGORIES,
        training_pool=(items.rows(train).texts, ratings[train]),
        validation_pool=(items.rows(validation).texts, ratings[validation]),
        test_texts=items.rows(test).texts,
        given_ratings=ratings[test],
        target_probs=items.rows(test).truth(),
        target_weight=np.ones(len(test)),
        arms=arms,
        budget=Budget(
            arguments.simulated_steps,
            arguments.simulated_batch_size,
            arguments.simulated_learning_rate,
            NUM_EVALUATIONS,
        ),
    )


def _convabuse(arguments, seed):
    """Items with three votes or more; of a test item two may be given, and the rest is held out."""
    turns = convabuse.read_turns(arguments.dataset, arguments.dataset_split)
    turns = turns.rows(num_votes(turns.ratings) >= CONVABUSE_VOTES)
    rng = np.random.default_rng(seed)
    pools = {}
    for part in ("train", "validation"):
        rows = turns.part(part)
        order = rng.permutation(len(rows.texts))
        pools[part] = (rows.texts.iloc[order].reset_index(drop=True), rows.ratings[order])
    test = turns.part("test")
    given = thinned(test.ratings, CONVABUSE_GIVEN, rng)
    held_out = target_counts(np.where(given == test.ratings, -1, test.ratings), len(convabuse.CATEGORIES))
    weight = held_out.sum(axis=1)
    arms = thinned_arms(_affordable(pools), CONVABUSE_VOTES)
    return Crowd(
        categories=convabuse.CATEGORIES,
        training_pool=pools["train"],
        validation_pool=pools["validation"],
        test_texts=test.texts,
        given_ratings=given,
        target_probs=held_out / weight[:, None],
        target_weight=weight,
        arms=arms,
        budget=Budget(
            arguments.convabuse_steps,
            arguments.convabuse_batch_size,
            arguments.convabuse_learning_rate,
            NUM_EVALUATIONS,
        ),
    )


def _affordable(pools):
    """Votes that one vote per item can buy: such that every arm finds its items in both pools."""
    num_items = len(pools["train"][0])
    while any(
        arm.num_training_items > len(pools["train"][0]) or arm.num_validation_items > len(pools["validation"][0])
        for arm in thinned_arms(num_items, CONVABUSE_VOTES)
    ):
        num_items -= 1
    return num_items
