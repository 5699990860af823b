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

from ..metrics.share_votes import votes_of_shares
from ..models import DPRMConfig, DPRMForSequenceClassification
from ..trainer import DPRMTrainer, DPRMTrainingArguments, TokenizationRule
from ..trainer.positions import num_positions
from ..trainer.preparation import effective_max_length, prepare_dataset

NO_MEASURES = ("_time", "_runtime", "_per_second", "_num_tokens", "epoch")  # of the trainer, not of the model


@dataclass(frozen=True)
class CheckpointPredictions:
    """A model's predictions for the rows of a data set, in their order.

    Args:
        config ([`DPRMConfig`]): the model's.
        metrics (`dict[str, float]`): what [`DPRMTrainer`] logs of this data set, `eval_` before the names.
        predictions, labels (`dict` of `np.ndarray`): as [`DPRMTrainer`] hands them to `compute_metrics`; overlong
            rows are not among them.
    """

    config: DPRMConfig
    metrics: dict[str, float]
    predictions: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]

    @property
    def rows(self) -> np.ndarray:
        """Which rows of the data set were scored, shape *(num_rows,)*."""
        return self.labels["row"].astype(np.int64)

    @property
    def judged(self) -> np.ndarray:
        """Which responses have votes, shape *(num_rows, 2)*: place 0 the single or chosen one, 1 the rejected."""
        return np.nan_to_num(self.labels["target_weight"]) > 0

    @property
    def category_logits(self) -> np.ndarray:
        """Of the responses with votes, float64 of shape *(num_judged, num_categories)*."""
        return self.predictions["category_logits"][self.judged].astype(np.float64)

    @property
    def category_probs(self) -> np.ndarray:
        """Of the responses with votes, float64 of shape *(num_judged, num_categories)*."""
        return softmax(self.category_logits, axis=-1)

    @property
    def target_counts(self) -> np.ndarray:
        """Votes on those responses, float64 of shape *(num_judged, num_categories)*; whole ones exactly so."""
        return votes_of_shares(self.labels["target_probs"][self.judged], self.labels["target_weight"][self.judged])

    @property
    def pairs(self) -> np.ndarray:
        """Which rows are pairs that count, shape *(num_rows,)*."""
        return self.labels["is_pair"].astype(bool) & (self.labels["pair_weight"] > 0)

    def of_rows(self, rows: np.ndarray) -> "CheckpointPredictions":
        """The predictions for some rows of the data set, with the metrics as they were.

        Args:
            rows (`np.ndarray` of `int`): rows that were scored.
        """
        kept = np.isin(self.rows, rows)
        chosen = (
            {name: values[kept] for name, values in arrays.items()} for arrays in (self.predictions, self.labels)
        )
        return CheckpointPredictions(self.config, self.metrics, *chosen)


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
    max_length = effective_max_length(max_length or rule.max_length, positions)
    with tempfile.TemporaryDirectory() as nothing_is_written_here, _accepted_without_adapters(model):
        arguments = _arguments(nothing_is_written_here, max_length, training_options or {})
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
    return trainer, CheckpointPredictions(model.config, metrics, output.predictions, output.label_ids)


def _arguments(output_dir: str, max_length: int | None, training_options: Mapping[str, object]):
    """Arguments of a run that only evaluates."""
    with warnings.catch_warnings():
        # TRL knows no other name yet for what is switched off here
        warnings.filterwarnings("ignore", "`gradient_checkpointing` is deprecated", FutureWarning)
        return DPRMTrainingArguments(
            output_dir, max_length=max_length, gradient_checkpointing=False, report_to="none", **training_options
        )


@contextmanager
def _accepted_without_adapters(model):
    """transformers' trainers refuse quantised models without adapters, for they cannot be trained; nor is this one."""
    has_adapter, model._hf_peft_config_loaded = model._hf_peft_config_loaded, True
    try:
        yield
    finally:
        model._hf_peft_config_loaded = has_adapter
