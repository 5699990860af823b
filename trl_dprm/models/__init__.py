"""Configuration, model and the arithmetic of distributions. Closed: this room travels to the Hub with a checkpoint."""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from .configuration_dprm import DPRMConfig
from .modeling_dprm import DPRMForSequenceClassification, DPRMOutput

AutoConfig.register(DPRMConfig.model_type, DPRMConfig, exist_ok=True)
AutoModel.register(DPRMConfig, DPRMForSequenceClassification, exist_ok=True)
AutoModelForSequenceClassification.register(DPRMConfig, DPRMForSequenceClassification, exist_ok=True)

__all__ = ["DPRMConfig", "DPRMForSequenceClassification", "DPRMOutput"]
