"""Short trainings under one budget, which keep the weights of the lowest validation loss, and what they predict."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from trl import RewardConfig, RewardTrainer
from trl.trainer.utils import disable_dropout_in_model

from trl_dprm import DPRMTrainer, DPRMTrainingArguments
from trl_dprm.preferences import PreferenceCategories
from trl_dprm.trainer.scoring import batches_by_length, right_padded
from trl_dprm.trainer.tokenization import TokenizationRule

SCORING_BATCH_SIZE = 64


@dataclass(frozen=True)
class Budget:
    """What every training gets, whatever its method and data.

    Args:
        max_steps (`int`): Optimizer steps; equal for all, so that fewer items are seen more often.
        batch_size (`int`): Items per step.
        learning_rate (`float`): Peak of a linear schedule with a tenth of warm-up.
        num_evaluations (`int`): How often the validation loss is taken; the weights of its lowest value are kept.
        keep_start (`bool`): Whether the weights before the first step may be the ones that are kept.
    """

    max_steps: int
    batch_size: int
    learning_rate: float
    num_evaluations: int = 8
    keep_start: bool = False

    def options(self, seed: int, folder: str) -> dict:
        """The budget in the words of `transformers.TrainingArguments`."""
        return {
            "output_dir": folder,
            "seed": seed,
            "max_steps": self.max_steps,
            "learning_rate": self.learning_rate,
            "lr_scheduler_type": "linear",
            "warmup_steps": 0.1,
            "weight_decay": 0.01,
            "per_device_train_batch_size": self.batch_size,
            "per_device_eval_batch_size": SCORING_BATCH_SIZE,
            "eval_strategy": "steps",
            "eval_on_start": self.keep_start,
            "eval_steps": max(1, self.max_steps // self.num_evaluations),
            "gradient_checkpointing": False,
            "bf16": False,
            "use_cpu": True,
            "dataloader_pin_memory": False,
            "save_strategy": "no",
            "logging_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }


class KeepLowestLoss(TrainerCallback):
    """Keeps a copy of the weights of the lowest validation loss, and puts it back when training ends."""

    def __init__(self):
        self.lowest, self.weights = float("inf"), None

    def on_evaluate(self, args, state, control, model=None, metrics=None, **kwargs):
        if metrics["eval_loss"] < self.lowest:
            self.lowest = metrics["eval_loss"]
            self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def on_train_end(self, args, state, control, model=None, **kwargs):
        model.load_state_dict(self.weights)


@dataclass(frozen=True)
class JudgedTexts:
    """Texts with votes.

    Args:
        texts (`pd.DataFrame` of *num_items* rows): With `prompt` and `completion`.
        counts (`np.ndarray` of shape *(num_items, num_categories)*): Votes per category.
    """

    texts: pd.DataFrame
    counts: np.ndarray

    def mean_rewards(self, categories: PreferenceCategories) -> np.ndarray:
        """Mean rating of each item, shape *(num_items,)*."""
        return self.counts @ np.array(categories.rewards) / self.counts.sum(axis=1)

    def __add__(self, other: "JudgedTexts") -> "JudgedTexts":
        return JudgedTexts(
            pd.concat([self.texts, other.texts], ignore_index=True), np.concatenate([self.counts, other.counts])
        )


def train_distribution(
    start: str | PreTrainedModel,
    train: JudgedTexts,
    validation: JudgedTexts,
    categories: PreferenceCategories,
    budget: Budget,
    seed: int,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A DPRM by cross-entropy: from a backbone, or on from a DPRM (which is changed) with its tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        args = DPRMTrainingArguments(
            **budget.options(seed, folder),
            **categories.to_dict(),
            loss_type=["cross_entropy"],
            disable_dropout=True,
        )
        trainer = DPRMTrainer(
            start,
            args,
            train_dataset=_with_counts(train),
            eval_dataset=_with_counts(validation),
            processing_class=tokenizer,
        )
        return _trained(trainer)


def train_regression(
    backbone: str,
    train: JudgedTexts,
    validation: JudgedTexts,
    categories: PreferenceCategories,
    budget: Budget,
    seed: int,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Squared error to the mean rating: the stock classifier with one output. Items count alike."""
    set_seed(seed)  # of the head
    model = AutoModelForSequenceClassification.from_pretrained(
        backbone, num_labels=1, problem_type="regression", dtype="float32"
    )
    disable_dropout_in_model(model)
    tokenizer = AutoTokenizer.from_pretrained(backbone)

    def rows(judged):
        columns = {"input_ids": token_ids(tokenizer, judged.texts), "labels": judged.mean_rewards(categories)}
        return Dataset.from_dict(columns)

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(**budget.options(seed, folder)),
            train_dataset=rows(train),
            eval_dataset=rows(validation),
            data_collator=DataCollatorWithPadding(tokenizer),
            processing_class=tokenizer,
        )
        return _trained(trainer)


def train_pairs(
    backbone: str,
    train: JudgedTexts,
    validation: JudgedTexts,
    categories: PreferenceCategories,
    budget: Budget,
    seed: int,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Bradley–Terry by `trl.RewardTrainer`: every item meets one other, the higher mean rating is `chosen`.

    A pair holds two items: half as many pairs per step cost as much as the others' items. Pairs come tokenised, for
    from texts `trl.RewardTrainer` can make them only with tokenizers that have an end-of-sequence token.
    """
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    with tempfile.TemporaryDirectory() as folder:
        options = budget.options(seed, folder) | {"per_device_train_batch_size": max(1, budget.batch_size // 2)}
        trainer = RewardTrainer(
            backbone,
            RewardConfig(**options, disable_dropout=True),
            train_dataset=preference_pairs(train, categories, tokenizer, seed),
            eval_dataset=preference_pairs(validation, categories, tokenizer, seed),
            processing_class=tokenizer,
        )
        return _trained(trainer)


def preference_pairs(
    judged: JudgedTexts, categories: PreferenceCategories, tokenizer: PreTrainedTokenizerBase, seed: int
) -> Dataset:
    """Each item with a random other one, as token ids; pairs with equal mean ratings are left out."""
    means = judged.mean_rewards(categories)
    partner = np.random.default_rng(seed).permutation(len(means))
    pairs = [(i, j) if means[i] > means[j] else (j, i) for i, j in enumerate(partner) if means[i] != means[j]]
    if not pairs:
        raise ValueError(
            f"of {len(means)} items no two that met have different mean ratings: there are no pairs; give more items."
        )
    ids = token_ids(tokenizer, judged.texts)
    return Dataset.from_list([{"chosen_ids": ids[i], "rejected_ids": ids[j]} for i, j in pairs])


def _with_counts(judged):
    columns = {name: judged.texts[name].tolist() for name in ("prompt", "completion")}
    return Dataset.from_dict(columns | {"target_counts": judged.counts.tolist()})


def _trained(trainer):
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(KeepLowestLoss())
    trainer.train()
    return trainer.model, trainer.processing_class


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: pd.DataFrame) -> list[list[int]]:
    """The ids that `DPRMTrainer` trains on, so that every method reads the same."""
    rule = TokenizationRule()
    rows = zip(texts["prompt"], texts["completion"], strict=True)
    return [rule.token_ids(tokenizer, completion, prompt) for prompt, completion in rows]


@torch.no_grad()
def predict(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: pd.DataFrame, output: str = "category_logits"
) -> np.ndarray:
    """One output of a model for every text, float64 of shape *(num_items, width)*.

    Args:
        model ([`~transformers.PreTrainedModel`]): As trained here.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): Of the model.
        texts (`pd.DataFrame` of *num_items* rows): With `prompt` and `completion`.
        output (`str`): `"category_logits"` of a DPRM, `"logits"` of a scalar model.
    """
    model.eval()
    ids = token_ids(tokenizer, texts)
    predicted: Sequence[np.ndarray | None] = [None] * len(ids)
    for places in batches_by_length([len(row) for row in ids], SCORING_BATCH_SIZE):
        batch = right_padded([ids[place] for place in places], tokenizer.pad_token_id, model.device)
        for place, row in zip(places, model(**batch)[output].double().cpu().numpy(), strict=True):
            predicted[place] = row
    return np.stack(predicted)
