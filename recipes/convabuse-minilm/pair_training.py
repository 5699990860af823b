"""Training on pairs of items: same backbone, same judgments, same responses read and steps as the others."""

from functools import partial

import numpy as np
import pandas as pd
import torch
from arguments import RecipeArguments
from judgments import prepare_judgments, votes_of_items
from neural import score_items, token_ids
from pair_models import PROPENSITY_SPEED, BradleyTerry, Categorical, Davidson, MeanVariance, PairModel
from pairs import Pairs, first_pairs
from predictions import PairOutputs
from stock_classifier import fit, load_classifier
from transformers import PreTrainedTokenizerBase

PAIR_METHODS = {
    "bradley_terry_majority": (BradleyTerry, True),
    "bradley_terry_davidson": (Davidson, False),
    "dpl_mean_variance": (MeanVariance, False),
    "dpl_categorical": (Categorical, False),
}


def train_pair_model(
    model_class: type[PairModel],
    majority: bool,
    arguments: RecipeArguments,
    seed: int,
    parts: dict[str, pd.DataFrame],
) -> PairOutputs:
    """Train on as many pairs as make the responses that every other method reads, each pair once.

    Args:
        model_class (`type`): The likelihood.
        majority (`bool`): Whether pairs become one vote for their winner, those without being skipped.
        arguments (`RecipeArguments`): The run.
        seed (`int`): Of the pairs, the head and the order.
        parts (`dict[str, pd.DataFrame]`): `train`, `validation`, `test`.
    """
    train = parts["train"]
    pairs = training_pairs(arguments, seed, train, majority)
    classifier, tokenizer = load_classifier(arguments, seed, model_class.num_outputs)
    equal_share = float(pairs.votes[:, 1].sum() / pairs.votes.sum())
    model = model_class(classifier, equal_share)
    budget = {"num_train_epochs": 1, "per_device_train_batch_size": arguments.batch_size // 2}
    fit(model, pair_rows(pairs, token_ids(tokenizer, train)), partial(collate, tokenizer), arguments, seed, budget)
    outputs = {part: score_items(model, tokenizer, parts[part], "outputs").numpy() for part in ("validation", "test")}
    if model_class is Davidson:
        log_propensity = PROPENSITY_SPEED * model.scaled_log_propensity.item()
        outputs = {part: np.column_stack([out, np.full(len(out), log_propensity)]) for part, out in outputs.items()}
    return PairOutputs(outputs["validation"], outputs["test"])


def training_pairs(arguments: RecipeArguments, seed: int, train: pd.DataFrame, majority: bool) -> Pairs:
    """As many pairs as hold `num_train_epochs` times the training items."""
    judgments = prepare_judgments(arguments)["train"]
    num_pairs = round(arguments.num_train_epochs * len(train) / 2)
    return first_pairs(votes_of_items(judgments, train), seed, num_pairs, majority)


def pair_rows(pairs: Pairs, ids: list[list[int]]) -> dict[str, list]:
    """Pairs as columns of token ids and votes."""
    first, second = ([ids[row] for row in rows] for rows in (pairs.first, pairs.second))
    lengths = [max(len(one), len(other)) for one, other in zip(first, second, strict=True)]
    return {"first_ids": first, "second_ids": second, "length": lengths, "pair_votes": pairs.votes.tolist()}


def collate(tokenizer: PreTrainedTokenizerBase, rows: list[dict]) -> dict[str, torch.Tensor]:
    """One batch: all first items, then all second ones, padded together."""
    texts = [{"input_ids": row[side]} for side in ("first_ids", "second_ids") for row in rows]
    batch = tokenizer.pad(texts, return_tensors="pt")
    votes = torch.tensor([row["pair_votes"] for row in rows], dtype=torch.float32)
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "pair_votes": votes}
