"""Distributional preference reward models beside TRL.

Importing the package registers the model with `AutoConfig`, `AutoModel` and `AutoModelForSequenceClassification`. The
trainers are imported when they are first asked for, so that scoring does not wait for TRL.
"""

from importlib import import_module

from .models import DPRMConfig, DPRMForSequenceClassification

_ROOMS = {
    "DPRMTrainer": ".trainer",
    "DPRMTrainingArguments": ".trainer",
    "ExpectedRewardPPOConfig": ".ppo",
    "ExpectedRewardPPOTrainer": ".ppo",
}

__all__ = ["DPRMConfig", "DPRMForSequenceClassification", *_ROOMS]


def __getattr__(name):
    if name in _ROOMS:
        return getattr(import_module(_ROOMS[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
