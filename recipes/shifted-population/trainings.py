"""Everything that trains: the old model, and what new votes make of it by training. Each result is saved once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from arguments import RecipeArguments
from crowds.saved import save_arrays
from crowds.training import predict, train_distribution
from shift import Shift
from simulated_shift import GroupShift
from tqdm.auto import tqdm
from transformers import AutoTokenizer

from trl_dprm import DPRMForSequenceClassification


def train_old_model(shift: Shift, folder: Path, model_folder: Path) -> None:
    """Train on the old votes; save the model, and its logits of all items that an update or a test needs."""
    if (folder / "old.npz").exists():
        return
    model, tokenizer = train_distribution(
        shift.backbone, shift.train, shift.validation, shift.categories, shift.budget, shift.seed
    )
    model.save_pretrained(model_folder)
    tokenizer.save_pretrained(model_folder)
    save_arrays(
        folder / "old.npz",
        validation_logits=predict(model, tokenizer, shift.validation.texts),
        validation_counts=shift.validation.counts,
        pool_logits=predict(model, tokenizer, shift.pool.texts),
        pool_counts=shift.pool.counts,
        pool_texts=_comparable(shift.pool.texts),
        test_logits=predict(model, tokenizer, shift.test_texts),
        test_probs=shift.test_probs,
        test_texts=_comparable(shift.test_texts),
        category_rewards=np.array(shift.categories.rewards),
    )
    tqdm.write(f"{shift.name}: old model")


def train_on(shift: Shift, arguments: RecipeArguments, number: int, folder: Path, model_folder: Path) -> None:
    """Go on from the old model with the new votes alone."""
    path = folder / f"continued-{number}.npz"
    if path.exists():
        return
    train, stop_by = shift.new_votes(number)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model, _ = train_distribution(
        DPRMForSequenceClassification.from_pretrained(model_folder),
        train,
        stop_by,
        shift.categories,
        shift.continued_budget(arguments),
        shift.seed,
        tokenizer,
    )
    save_arrays(path, test_logits=predict(model, tokenizer, shift.test_texts))
    tqdm.write(f"{shift.name}: trained on with {number} new votes")


def train_again(shift: Shift, number: int, folder: Path) -> None:
    """From the backbone, on old and new votes together; stopped by the validation votes and the new ones kept back."""
    path = folder / f"retrained-{number}.npz"
    if path.exists():
        return
    train, stop_by = shift.new_votes(number)
    model, tokenizer = train_distribution(
        shift.backbone,
        shift.train + train,
        shift.validation + stop_by,
        shift.categories,
        shift.budget,
        shift.seed,
    )
    save_arrays(path, test_logits=predict(model, tokenizer, shift.test_texts))
    tqdm.write(f"{shift.name}: trained again with {number} new votes")


def train_group_model(groups: GroupShift, arguments: RecipeArguments, folder: Path) -> None:
    """A model that reads the group's name before the text, and what it says of each group."""
    if (folder / "groups.npz").exists():
        return
    shift = groups.shift
    budget = replace(shift.budget, max_steps=arguments.group_steps)
    model, tokenizer = train_distribution(
        shift.backbone, groups.train, groups.validation, shift.categories, budget, shift.seed
    )
    save_arrays(
        folder / "groups.npz",
        group_logits=np.stack([predict(model, tokenizer, texts) for texts in groups.test_group_texts]),
        group_probs=groups.test_group_probs,
        validation_group_counts=groups.validation_group_counts,
        pool_probs=groups.pool_probs,
    )
    tqdm.write(f"{shift.name}: group model")


def _comparable(texts):
    return np.array((texts["prompt"] + texts["completion"]).str.casefold().str.split().str.join(" "), dtype=str)
