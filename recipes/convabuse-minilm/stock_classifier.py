"""Training of a stock one-label classifier under another loss, with the Hugging Face Trainer and the same budget."""

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


def train_classifier(
    arguments: RecipeArguments, seed: int, train: pd.DataFrame, wrap: Callable[[nn.Module], nn.Module]
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Train `AutoModelForSequenceClassification(num_labels=1)` under a loss of ours.

    Args:
        arguments (`RecipeArguments`): The run.
        seed (`int`): Of the head, the order of the items and the dropout.
        train (`pd.DataFrame`): Items with votes.
        wrap (`Callable`): From the classifier to a module that takes `input_ids`, `attention_mask`, `target_probs` and
            `vote_weight`, and returns a `loss` where the votes are given.
    """
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.backbone)
    classifier = AutoModelForSequenceClassification.from_pretrained(arguments.backbone, num_labels=1)
    if arguments.disable_dropout:
        disable_dropout_in_model(classifier)
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
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(**training_options(arguments, seed, folder), remove_unused_columns=False),
            train_dataset=Dataset.from_dict(rows),
            data_collator=collate,
        )
        trainer.train()
    return model, tokenizer
