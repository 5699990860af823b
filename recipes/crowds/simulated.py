"""A crowd whose opinion is known: the quickstart's two groups, and besides a liking for single words.

Facts alone would make 48 different opinions. Here every word moves the utility a little, each group's in its own
way: the true distribution varies from text to text, is a function of the text, and needs more than a few votes to
learn.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).resolve().parents[1] / "quickstart"))
from population import (
    CATEGORY_NAMES,
    CATEGORY_REWARDS,
    GROUP_SHARES,
    TASTES,
    draw_responses,
    ordered_logit,
    taste_utility,
)
from quickstart import make_backbone as make_small_backbone

from trl_dprm.preferences import PreferenceCategories

CATEGORIES = PreferenceCategories(CATEGORY_NAMES, CATEGORY_REWARDS)
GROUPS = tuple(GROUP_SHARES)
SHARES = tuple(GROUP_SHARES.values())
WORD_EFFECT = 0.15  # standard deviation of what a word adds to the utility
WORDS_SEED = 0  # of the groups' feelings about words: the crowd is the same in every replication


@dataclass(frozen=True)
class SimulatedItems:
    """Responses and what each group truly thinks of them.

    Args:
        texts (`pd.DataFrame` of *num_items* rows): `item_id`, `prompt`, `completion`.
        group_probs (`np.ndarray` of shape *(num_groups, num_items, num_categories)*): Each group's distribution.
    """

    texts: pd.DataFrame
    group_probs: np.ndarray

    def truth(self, shares: tuple[float, ...] = SHARES) -> np.ndarray:
        """The distribution of a population with these shares of the groups, shape *(num_items, num_categories)*."""
        return np.tensordot(shares, self.group_probs, axes=1)

    def rows(self, kept: np.ndarray | slice) -> "SimulatedItems":
        """Some of the items."""
        return SimulatedItems(self.texts.iloc[kept].reset_index(drop=True), self.group_probs[:, kept])


def make_backbone(folder: Path, seed: int) -> None:
    """Write the quickstart's random Llama, made narrower and one layer deep: it trains in seconds."""
    make_small_backbone(folder, seed, hidden_size=64, num_layers=1)


def draw_items(num_items: int, seed: int) -> SimulatedItems:
    """Invent distinct responses, and compute what each group thinks of them."""
    rng = np.random.default_rng(seed)
    facts, texts = draw_responses(rng, num_items)
    order = rng.permutation(num_items)  # the rejection of repeated texts would leave the frequent facts in front
    facts, texts = facts[order], [texts[place] for place in order]
    utilities = [
        taste_utility(facts, TASTES[group]) + word_utility([completion for _, completion in texts], place)
        for place, group in enumerate(GROUPS)
    ]
    frame = pd.DataFrame(texts, columns=["prompt", "completion"])
    frame.insert(0, "item_id", [f"item-{row:05d}" for row in range(num_items)])
    return SimulatedItems(frame, np.stack([ordered_logit(utility) for utility in utilities]))


def word_utility(completions: list[str], group: int) -> np.ndarray:
    """What a group's feelings about single words add to the utility of each text, shape *(num_items,)*.

    A word counts once per text. Its effect is drawn from a normal distribution by a rule of the word alone, so that it
    does not depend on which other texts there are.
    """
    words = sorted({word for text in completions for word in _words(text)})
    effects = {word: _word_effect(word, group) for word in words}
    return np.array([sum(effects[word] for word in _words(text)) for text in completions])


def _words(text):
    return sorted(set(text.lower().split()))


def _word_effect(word, group):
    return WORD_EFFECT * np.random.default_rng([WORDS_SEED, group, *word.encode()]).standard_normal()


def draw_ratings(
    items: SimulatedItems, votes_per_item: int, seed: int, shares: tuple[float, ...] = SHARES
) -> tuple[np.ndarray, np.ndarray]:
    """Let annotators of the groups judge every item.

    Args:
        items ([`SimulatedItems`]): What is judged.
        votes_per_item (`int`): Annotators of each item, each drawn anew from the population.
        seed (`int`): Of annotators and votes.
        shares (`tuple[float, ...]`): Of the groups in the population.

    Returns:
        Ratings and the group of each vote, `np.ndarray`s of `int` of shape *(num_items, votes_per_item)*.
    """
    rng = np.random.default_rng(seed)
    num_items = items.group_probs.shape[1]
    group = rng.choice(len(GROUPS), size=(num_items, votes_per_item), p=shares)
    cdf = items.group_probs[group, np.arange(num_items)[:, None]].cumsum(axis=-1)
    return (rng.random(group.shape)[..., None] > cdf[..., :-1]).sum(axis=-1), group
