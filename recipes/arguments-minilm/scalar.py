"""The scalar reward models: Bradley–Terry on majorities by TRL's own trainer, and Davidson on the vote shares."""

import math
import tempfile

import numpy as np
import pandas as pd
import torch
from arguments import RecipeArguments
from datasets import Dataset
from pair_data import judged_responses, token_ids
from predictions import Predictions
from torch import nn
from training import freeze_lower_layers, oriented, score_responses, training_options
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.modeling_outputs import ModelOutput
from trl import RewardConfig, RewardTrainer
from trl.trainer.utils import disable_dropout_in_model

from trl_dprm.losses import davidson_loss

TIE_LEARNING_RATE = 0.03  # of log nu: one number, from its constant to where it belongs within a hundred steps


class DavidsonReward(nn.Module):
    """A one-label classifier whose scores meet the votes through Davidson's model.

    Args:
        classifier (`nn.Module`): Scores of shape *(batch_size, 1)* as `logits`.
        tie_share (`float`): Share of ties among the training votes, where the tie propensity starts.
    """

    def __init__(self, classifier: nn.Module, tie_share: float):
        super().__init__()
        self.classifier = classifier
        self.log_tie_propensity = nn.Parameter(torch.tensor(math.log(max(2 * tie_share / (1 - tie_share), 1e-3))))

    def forward(self, input_ids, attention_mask, chosen_vote_share, tie_vote_share):
        """Mean loss over pairs; the first half of the sequences is chosen, the second rejected."""
        scores = self.classifier(input_ids=input_ids, attention_mask=attention_mask).logits.float().squeeze(-1)
        chosen, rejected = scores.chunk(2)
        losses = davidson_loss(
            chosen, rejected, self.log_tie_propensity.exp(), chosen_vote_share - tie_vote_share / 2, tie_vote_share
        )
        return ModelOutput(loss=losses.mean(), scores=scores)


def load_classifier(arguments: RecipeArguments, seed: int) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """The backbone as a one-label `AutoModelForSequenceClassification` with a new head, and its tokenizer."""
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.backbone)
    classifier = AutoModelForSequenceClassification.from_pretrained(arguments.backbone, num_labels=1)
    classifier.config.pad_token_id = tokenizer.pad_token_id
    if arguments.disable_dropout:
        disable_dropout_in_model(classifier)
    freeze_lower_layers(classifier, arguments.frozen_layers)
    return classifier, tokenizer


def tokenised_pairs(tokenizer: PreTrainedTokenizerBase, data: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The oriented training pairs with `chosen_ids`, `rejected_ids` and their `length`, the longer one's."""
    pairs = oriented(data["train"])
    responses = judged_responses(data["responses"], data["train"])
    ids = dict(zip(responses["response_id"], token_ids(tokenizer, responses), strict=True))
    for side in ("chosen", "rejected"):
        pairs[f"{side}_ids"] = pairs[side].map(ids)
    return pairs.assign(length=np.maximum(pairs["chosen_ids"].map(len), pairs["rejected_ids"].map(len)))


def train_majority(arguments: RecipeArguments, seed: int, data: dict[str, pd.DataFrame]) -> Predictions:
    """The reward model of today: the majority is right, pairs without one are dropped."""
    classifier, tokenizer = load_classifier(arguments, seed)
    pairs = tokenised_pairs(tokenizer, data)
    pairs = pairs[pairs["majority"]]
    with tempfile.TemporaryDirectory() as folder:
        options = training_options(arguments, seed, folder)
        RewardTrainer(
            model=classifier,
            args=RewardConfig(
                **options, max_length=None, disable_dropout=arguments.disable_dropout, remove_unused_columns=False
            ),
            train_dataset=Dataset.from_pandas(pairs[["chosen_ids", "rejected_ids", "length"]], preserve_index=False),
            processing_class=tokenizer,
        ).train()
    return _predictions(classifier, tokenizer, data, num_pairs=len(pairs))


def train_davidson(arguments: RecipeArguments, seed: int, data: dict[str, pd.DataFrame]) -> Predictions:
    """Soft vote shares with ties as Davidson has them: the strongest scalar opponent."""
    classifier, tokenizer = load_classifier(arguments, seed)
    pairs = tokenised_pairs(tokenizer, data)
    model = DavidsonReward(classifier, pairs["tie_vote_share"].mean())

    def collate(rows):
        ids = [row[name] for name in ("chosen_ids", "rejected_ids") for row in rows]
        batch = tokenizer.pad([{"input_ids": row} for row in ids], padding_side="right", return_tensors="pt")
        shares = {name: torch.tensor([row[name] for row in rows]) for name in ("chosen_vote_share", "tie_vote_share")}
        return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], **shares}

    groups = [
        {"params": [parameter for parameter in classifier.parameters() if parameter.requires_grad]},
        {"params": [model.log_tie_propensity], "lr": TIE_LEARNING_RATE, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=arguments.learning_rate, weight_decay=arguments.weight_decay)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model=model,
            args=TrainingArguments(**training_options(arguments, seed, folder), remove_unused_columns=False),
            train_dataset=Dataset.from_pandas(pairs, preserve_index=False),
            data_collator=collate,
            optimizers=(optimizer, None),
        ).train()
    propensity = model.log_tie_propensity.exp().item()
    return _predictions(classifier, tokenizer, data, num_pairs=len(pairs), tie_propensity=propensity)


def _predictions(classifier, tokenizer, data, **facts):
    scores, no_probs = {}, {}
    for part in ("validation", "test"):
        responses = judged_responses(data["responses"], data[part])
        scores[part] = score_responses(classifier, tokenizer, responses, "logits")[:, 0].numpy()
        no_probs[part] = np.empty((len(responses), 0))
    return Predictions(scores["validation"], scores["test"], no_probs["validation"], no_probs["test"], **facts)
