"""The simulated crowd with another share of its groups: the truth is known, also of each group."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from crowds import simulated
from crowds.ratings import target_counts
from crowds.training import Budget, JudgedTexts
from shift import NUM_EVALUATIONS, Shift
from transformers import AutoModel, AutoTokenizer


@dataclass(frozen=True)
class GroupShift:
    """What belongs to groups, beside a [`Shift`].

    Args:
        shift ([`Shift`]): The replication.
        train, validation ([`~crowds.training.JudgedTexts`]): The old votes by item and group; a text begins with the
            group's name.
        validation_group_counts (`np.ndarray` of shape *(num_groups, num_items, num_categories)*): Votes of each group.
        test_group_texts (`list[pd.DataFrame]`): The test items as each group's question.
        test_group_probs (`np.ndarray` of shape *(num_groups, num_test_items, num_categories)*): What each group truly
            thinks.
        pool_probs (`np.ndarray` of shape *(num_pool_items, num_categories)*): The new population's true distributions
            on the items that new votes fall on.
    """

    shift: Shift
    train: JudgedTexts
    validation: JudgedTexts
    validation_group_counts: np.ndarray
    test_group_texts: list[pd.DataFrame]
    test_group_probs: np.ndarray
    pool_probs: np.ndarray


def new_shares(arguments: RecipeArguments) -> tuple[float, float]:
    """Shares of the groups in the new population."""
    return 1 - arguments.new_share, arguments.new_share


def simulated_shift(arguments: RecipeArguments, seed: int, folder: Path) -> GroupShift:
    """Draw items, old votes and new ones, and write the backbone into the folder."""
    num_validation = arguments.num_items // 7
    sizes = [arguments.num_items, num_validation, arguments.num_other_items, arguments.num_other_items]
    items = simulated.draw_items(sum(sizes), 1000 + seed)
    parts = [items.rows(rows) for rows in np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])]
    train, validation, pool, test = parts
    shares = new_shares(arguments)
    old = [simulated.draw_ratings(part, arguments.votes_per_item, 10 * seed + k) for k, part in enumerate(parts[:2])]
    new, _ = simulated.draw_ratings(pool, 1, 10 * seed + 2, shares)
    shift = Shift(
        name=f"seed-{seed}",
        categories=simulated.CATEGORIES,
        train=JudgedTexts(train.texts, target_counts(old[0][0], 5)),
        validation=JudgedTexts(validation.texts, target_counts(old[1][0], 5)),
        pool=JudgedTexts(pool.texts, target_counts(new, 5)),
        test_texts=test.texts,
        test_probs=test.truth(shares),
        budget=Budget(
            arguments.simulated_steps,
            arguments.simulated_batch_size,
            arguments.simulated_learning_rate,
            NUM_EVALUATIONS,
        ),
        backbone=_write_backbone(folder / "backbone", seed),
        seed=seed,
    )
    counts = [group_counts(*votes) for votes in old]
    return GroupShift(
        shift=shift,
        train=by_group(train.texts, counts[0]),
        validation=by_group(validation.texts, counts[1]),
        validation_group_counts=counts[1],
        test_group_texts=[asked(test.texts, group) for group in simulated.GROUPS],
        test_group_probs=test.group_probs,
        pool_probs=pool.truth(shares),
    )


def group_counts(ratings: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Votes of each group, shape *(num_groups, num_items, num_categories)*."""
    return np.stack([target_counts(np.where(groups == g, ratings, -1), 5) for g in range(len(simulated.GROUPS))])


def by_group(texts: pd.DataFrame, counts: np.ndarray) -> JudgedTexts:
    """One row per item and group that voted on it."""
    voted = [votes.sum(axis=1) > 0 for votes in counts]
    asked_texts = [asked(texts[rows], group) for rows, group in zip(voted, simulated.GROUPS, strict=True)]
    votes = [votes[rows] for rows, votes in zip(voted, counts, strict=True)]
    return JudgedTexts(pd.concat(asked_texts, ignore_index=True), np.concatenate(votes))


def asked(texts: pd.DataFrame, group: str) -> pd.DataFrame:
    """The texts with the group's name before them: what does this group think of it?"""
    return texts.assign(prompt=f"{group} " + texts["prompt"])


def _write_backbone(folder, seed):
    """The small random Llama, its vocabulary extended by the names of the groups."""
    simulated.make_backbone(folder, seed)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    tokenizer.add_tokens(list(simulated.GROUPS))
    model.resize_token_embeddings(len(tokenizer))
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)
