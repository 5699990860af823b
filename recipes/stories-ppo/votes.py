"""Annotators of the groups vote on completions; the same votes become the training data of every reward model."""

import numpy as np
import pyarrow as pa
from datasets import Dataset
from populations import group_shares, group_utilities
from sampling import Samples

from trl_dprm.preferences import PreferenceCategories, prepare_targets

CATEGORIES = PreferenceCategories(
    names=["terrible", "poor", "fair", "good", "excellent"], rewards=[-1.0, -0.5, 0.0, 0.5, 1.0]
)
THRESHOLDS = (-0.75, -0.25, 0.25, 0.75)
NOISE_SCALE = 0.1  # of the logistic noise of one judgment


def vote(population: str, traits: dict[str, np.ndarray], panel_size: int, seed: int) -> np.ndarray:
    """Let panels judge: the completions 2i and 2i + 1 answer prompt i and are judged by the same people.

    Annotators are drawn from the groups by their shares. A judgment is the utility to the annotator's group plus
    logistic noise, cut at `THRESHOLDS`.

    Args:
        population (`str`): Name of the population.
        traits (`dict[str, np.ndarray]` of shape *(num_completions,)*): Of the completions.
        panel_size (`int`): Annotators per prompt.
        seed (`int`): Of panels and noise.

    Returns:
        `np.ndarray` of `int` of shape *(num_completions, panel_size)*: numbers of categories, 0 to 4.
    """
    rng = np.random.default_rng(seed)
    utilities, shares = group_utilities(population, traits), group_shares(population)
    num_completions = utilities.shape[1]
    panels = rng.choice(len(shares), size=(num_completions // 2, panel_size), p=shares).repeat(2, axis=0)
    felt = utilities[panels, np.arange(num_completions)[:, None]]
    return np.searchsorted(THRESHOLDS, felt + rng.logistic(scale=NOISE_SCALE, size=felt.shape))


def items_with_votes(samples: Samples, ratings: np.ndarray) -> Dataset:
    """One row per completion with its votes, made from the annotation table by `prepare_targets`."""
    row, member = (index.ravel() for index in np.indices(ratings.shape))
    table = {
        "item_id": [f"completion-{index}" for index in row],
        "annotator_id": [f"annotator-{index // 2}-{k}" for index, k in zip(row, member, strict=True)],
        "category": np.array(CATEGORIES.names)[ratings.ravel()].tolist(),
        "prompt": [samples.prompts[index] for index in row],
        "completion": [samples.completions[index] for index in row],
    }
    return prepare_targets(pa.table(table), CATEGORIES).items


def majority_pairs(samples: Samples, ratings: np.ndarray) -> Dataset:
    """One pair per prompt, chosen by the majority of its panel; prompts without a majority are left out."""
    lead = np.sign(ratings[0::2] - ratings[1::2]).sum(axis=1)
    return _pairs(samples, [(i, bool(lead[i] > 0)) for i in np.flatnonzero(lead)])


def single_vote_pairs(samples: Samples, ratings: np.ndarray) -> Dataset:
    """One pair per prompt and annotator with a preference: Bradley–Terry on these is that on soft vote shares."""
    lead = np.sign(ratings[0::2] - ratings[1::2])
    return _pairs(samples, [(i, bool(lead[i, k] > 0)) for i, k in np.argwhere(lead)])


def _pairs(samples, decisions):
    """Rows `prompt`, `chosen`, `rejected` from (prompt, whether the first of its completions is preferred)."""
    rows = []
    for prompt, first_wins in decisions:
        first, second = samples.completions[2 * prompt], samples.completions[2 * prompt + 1]
        chosen, rejected = (first, second) if first_wins else (second, first)
        rows.append({"prompt": samples.prompts[2 * prompt], "chosen": chosen, "rejected": rejected})
    return Dataset.from_list(rows)
