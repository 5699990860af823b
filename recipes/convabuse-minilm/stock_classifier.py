"""Training of a stock classifier under another loss, with the Hugging Face Trainer and the same budget."""

import tempfile
from collections.abc import Callable

import pandas as pd
import torch
from arguments import RecipeArguments
from datasets import Dataset
from neural import token_ids, training_options
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)
from trl.trainer.utils import disable_dropout_in_model


def load_classifier(
    arguments: RecipeArguments, seed: int, num_labels: int = 1
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """The backbone as `AutoModelForSequenceClassification`, with a new head, and its tokenizer.

    Args:
        arguments (`RecipeArguments`): The run.
        seed (`int`): Of the head, and of what is drawn later.
        num_labels (`int`): Outputs of the head.
    """
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.backbone)
    classifier = AutoModelForSequenceClassification.from_pretrained(arguments.backbone, num_labels=num_labels)
    if arguments.disable_dropout:
        disable_dropout_in_model(classifier)
    return classifier, tokenizer


def fit(
    model: nn.Module,
    rows: dict[str, list],
    collate: Callable[[list[dict]], dict[str, torch.Tensor]],
    arguments: RecipeArguments,
    seed: int,
    budget: dict[str, float] | None = None,
) -> None:
    """Train a module that returns a `loss`.

    Args:
        model (`nn.Module`): Takes what `collate` makes.
        rows (`dict[str, list]`): Columns, one of them `length`.
        collate (`Callable`): From rows to a batch.
        arguments (`RecipeArguments`): The run.
        seed (`int`): Of the order of the rows.
        budget (`dict[str, float]`, *optional*): What differs from `training_options` where a row is not one item.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = training_options(arguments, seed, folder) | (budget or {})
        trainer = Trainer(
            model=model,
            args=TrainingArguments(**options, remove_unused_columns=False),
            train_dataset=Dataset.from_dict(rows),
            data_collator=collate,
        )
        trainer.train()


def train_classifier(
    arguments: RecipeArguments, seed: int, train: pd.DataFrame, wrap: Callable[[nn.Module], nn.Module]
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Train a one-label classifier under a loss of ours on the items' votes.

    Args:
        arguments (`RecipeArguments`): The run.
        seed (`int`): Of the head, the order of the items and the dropout.
        train (`pd.DataFrame`): Items with votes.
        wrap (`Callable`): From the classifier to a module that takes `input_ids`, `attention_mask`, `target_probs` and
            `vote_weight`, and returns a `loss` where the votes are given.
    """
    classifier, tokenizer = load_classifier(arguments, seed)
    model = wrap(classifier)

    def collate(rows):
        batch = tokenizer.pad([{"input_ids": row["input_ids"]} for row in rows], return_tensors="pt")
        votes = {name: torch.tensor([row[name] for row in rows]) for name in ("target_probs", "vote_weight")}
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], **votes}

    ids = token_ids(tokenizer, train)
    rows = {
        "input_ids": ids,
        "length": [len(row) for row in ids],
        "target_probs": list(train["target_probs"]),
        "vote_weight": list(train["vote_weight"]),
    }
    fit(model, rows, collate, arguments, seed)
    return model, tokenizer
