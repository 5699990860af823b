"""What a trained model says of a data set, scored once by the trainer's own evaluation loop."""

import tempfile
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from scipy.special import softmax
from transformers import PreTrainedTokenizerBase

from ..models import DPRMConfig, DPRMForSequenceClassification
from ..trainer import DPRMTrainer, DPRMTrainingArguments, TokenizationRule
from ..trainer.positions import num_positions
from ..trainer.preparation import effective_max_length, prepare_dataset
from .scored_rows import ScoredRows

NO_MEASURES = ("_time", "_runtime", "_per_second", "_num_tokens", "epoch")  # of the trainer, not of the model


@dataclass(frozen=True, kw_only=True)
class CheckpointPredictions(ScoredRows):
    """A DPRM's predictions for the rows of a data set, with `category_logits` among them.

    Args:
        config ([`DPRMConfig`]): the model's.
        metrics, predictions, labels: as in [`ScoredRows`]; the metrics are what [`DPRMTrainer`] logs.
    """

    config: DPRMConfig

    @property
    def category_logits(self) -> np.ndarray:
        """Of the responses with votes, float64 of shape *(num_judged, num_categories)*."""
        return self.predictions["category_logits"][self.judged].astype(np.float64)

    @property
    def category_probs(self) -> np.ndarray:
        """Of the responses with votes, float64 of shape *(num_judged, num_categories)*."""
        return softmax(self.category_logits, axis=-1)

    @property
    def pair_category_probs(self) -> np.ndarray:
        """Of the two responses of each pair that counts, float64 of shape *(num_pairs, 2, num_categories)*."""
        return softmax(self.predictions["category_logits"][self.pairs].astype(np.float64), axis=-1)


def predict_dataset(
    model: DPRMForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    max_length: int | None = None,
    training_options: Mapping[str, object] | None = None,
) -> tuple[DPRMTrainer, CheckpointPredictions]:
    """Evaluate as [`DPRMTrainer`] does in training, on the raw votes, and keep what the model said.

    Args:
        model ([`DPRMForSequenceClassification`]): On its device.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): The model's.
        dataset ([`~datasets.Dataset`]): In the columns that training takes.
        max_length (`int`, *optional*): Longer rows, in tokens, are left out. Defaults to that of training.
        training_options (`dict`, *optional*): Fields of [`DPRMTrainingArguments`]: the losses, the batch size, `bf16`.

    Returns:
        The trainer that evaluated, and the predictions.

    Raises:
        ValueError: for rows that cannot be measured, and where none is left.
    """
    rule = TokenizationRule.from_config(model.config.tokenization)
    positions = num_positions(model.config.text_config, model)
    with tempfile.TemporaryDirectory() as nothing_is_written_here, _accepted_without_adapters(model):
        arguments = evaluation_arguments(nothing_is_written_here, training_options or {})
        max_length = effective_max_length(max_length or rule.max_length, positions)
        arguments.max_length = max_length
        names = model.config.category_names
        prepared = prepare_dataset(
            dataset,
            "evaluation",
            tokenizer,
            TokenizationRule(rule.add_special_tokens, rule.append_eos, max_length),
            names,
            on_votes=True,
            positions=positions,
        )
        trainer = DPRMTrainer(model, arguments, train_dataset=prepared, processing_class=tokenizer)
        output = trainer.predict(prepared, metric_key_prefix="eval")
    metrics = {name: value for name, value in output.metrics.items() if not name.endswith(NO_MEASURES)}
    return trainer, CheckpointPredictions(
        config=model.config, metrics=metrics, predictions=output.predictions, labels=output.label_ids
    )


def evaluation_arguments(output_dir: str, training_options: Mapping[str, object]) -> DPRMTrainingArguments:
    """Arguments of a run that only evaluates; making them sets the processes up, which messages need.

    Args:
        output_dir (`str`): where nothing is written.
        training_options (`dict`): further fields of [`DPRMTrainingArguments`].
    """
    with warnings.catch_warnings():
        # TRL knows no other name yet for what is switched off here
        warnings.filterwarnings("ignore", "`gradient_checkpointing` is deprecated", FutureWarning)
        arguments = DPRMTrainingArguments(
            output_dir, gradient_checkpointing=False, report_to="none", **training_options
        )
    arguments.device  # noqa: B018 - a property that sets the processes up
    return arguments


@contextmanager
def _accepted_without_adapters(model):
    """transformers' trainers refuse quantised models without adapters, for they cannot be trained; nor is this one."""
    has_adapter, model._hf_peft_config_loaded = model._hf_peft_config_loaded, True
    try:
        yield
    finally:
        model._hf_peft_config_loaded = has_adapter
