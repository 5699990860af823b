"""Twelve items with votes of six annotators in two groups, and models of them."""

import numpy as np
import pytest

from trl_dprm.evaluation.judged_items import JudgedItems, SingleVotes
from trl_dprm.preferences import PreferenceCategories

CATEGORIES = PreferenceCategories(["bad", "fair", "good"], [-1.0, 0.0, 2.0])


@pytest.fixture(scope="session")
def single_votes():
    """Every item judged by 3 to 6 of the annotators."""
    draw = np.random.default_rng(11)
    item, annotator, category = [], [], []
    for row in range(12):
        for who in draw.permutation(6)[: draw.integers(3, 7)]:
            item.append(row)
            annotator.append(f"annotator {who}")
            category.append(draw.choice(3, p=[[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]][row % 2]))
    groups = {"age": ["young" if who[-1] in "012" else "old" for who in annotator]}
    return SingleVotes(item, annotator, category, groups=groups)


@pytest.fixture(scope="session")
def items(single_votes):
    """The items with who voted for what."""
    counts = np.zeros((12, 3))
    np.add.at(counts, (single_votes.item, single_votes.category), 1)
    return JudgedItems(
        counts, CATEGORIES, clusters=[f"talk {row // 2}" for row in range(12)], single_votes=single_votes
    )


@pytest.fixture(scope="session")
def models():
    """Predictions by name: one that tells the items apart, and one that does not."""
    good = np.array([[0.5, 0.35, 0.15], [0.15, 0.2, 0.65]])[np.arange(12) % 2]
    return {"good": good, "flat": np.full((12, 3), 1 / 3)}
