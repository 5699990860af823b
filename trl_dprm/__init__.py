"""Distributional preference reward models beside TRL.

Importing the package registers the model with `AutoConfig`, `AutoModel` and `AutoModelForSequenceClassification`. The
trainer is imported when it is first asked for, so that scoring does not wait for TRL.
"""

from importlib import import_module

from .models import DPRMConfig, DPRMForSequenceClassification

__all__ = ["DPRMConfig", "DPRMForSequenceClassification", "DPRMTrainer", "DPRMTrainingArguments"]


def __getattr__(name):
    if name in ("DPRMTrainer", "DPRMTrainingArguments"):
        return getattr(import_module(".trainer", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
