"""Training with TRL: the trainer, what describes its runs, and how data meet it."""

from .collator import DataCollatorForDistributionalPreference
from .dprm_trainer import DPRMTrainer
from .dprm_training_arguments import DPRMTrainingArguments
from .scoring import score_dataset
from .tokenization import TokenizationRule

__all__ = [
    "DPRMTrainer",
    "DPRMTrainingArguments",
    "DataCollatorForDistributionalPreference",
    "TokenizationRule",
    "score_dataset",
]
