"""Tiny reward models with their tokenizer, in memory and on disk, and completions to score."""

import copy
from types import SimpleNamespace

import pytest
import torch
from tiny_models import tiny_config, tiny_stock_model

from trl_dprm import DPRMConfig, DPRMForSequenceClassification

CATEGORIES = {"category_names": ["harmful", "dull", "good"], "category_rewards": [-2.0, 0.0, 1.0]}
TOKENIZATION = {"add_special_tokens": True, "append_eos": True, "max_length": None}


def spread_head(model):
    """Weights large enough that texts differ visibly in their rewards."""
    torch.manual_seed(1)
    for name in getattr(model, "head_names", ["score"]):
        for parameter in model.get_submodule(name).parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.fixture
def make_dprm():
    """Function (backbone="llama", **config changes) -> a fresh, anchored DPRM with three categories."""

    def make(backbone="llama", **changes):
        torch.manual_seed(0)
        config = {"anchored": True, "tokenization": TOKENIZATION, **CATEGORIES, **changes}
        return spread_head(DPRMForSequenceClassification(DPRMConfig(tiny_config(backbone), **config)))

    return make


@pytest.fixture
def make_scalar():
    """Function (backbone="llama", **config changes) -> a fresh classifier with one label."""

    def make(backbone="llama", **changes):
        return spread_head(tiny_stock_model(backbone, "classifier", **{"num_labels": 1, **changes}))

    return make


@pytest.fixture
def own_tokenizer(tokenizer):
    """A copy that a test may change."""
    return copy.deepcopy(tokenizer)


@pytest.fixture
def saved(tmp_path, tokenizer):
    """Function (model, name="reward-model", tokenizer=...) -> folder with both."""

    def save(model, name="reward-model", tokenizer=tokenizer):
        model.save_pretrained(tmp_path / name)
        if tokenizer is not None:
            tokenizer.save_pretrained(tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.fixture
def texts():
    """Prompts and completions of unequal lengths, one of them empty."""
    return {
        "prompts": ["Say: ", "Why is that? ", "Go on ", "Hm"],
        "completions": ["no", "Because it rained.", "", "!"],
    }


@pytest.fixture
def messages(texts):
    """The same as conversations."""
    return {
        "prompts": [[{"role": "user", "content": prompt}] for prompt in texts["prompts"]],
        "completions": [[{"role": "assistant", "content": text}] for text in texts["completions"]],
    }


@pytest.fixture
def make_args():
    """Function (**options) -> what `load_reward_functions` reads of the trainer's arguments."""

    def make(**options):
        defaults = {
            "reward_statistic": "expected_reward",
            "cvar_level": 0.1,
            "semideviation_weight": 1.0,
            "reward_category_rewards": None,
            "local_rollout_forward_batch_size": 4,
            "model_init_kwargs": None,
            "trust_remote_code": False,
            "chat_template_kwargs": None,
            "distributed_state": SimpleNamespace(distributed_type="NO"),
        }
        return SimpleNamespace(**{**defaults, **options})

    return make


class Hooks:
    """What TRL's trainers do with `log_metric` and `log_extra`."""

    def __init__(self):
        self.metrics, self.columns = {}, {}

    def log_metric(self, name, value):
        self.metrics.setdefault(name, []).append(value)

    def log_extra(self, name, values):
        self.columns.setdefault(name, []).extend(values)


@pytest.fixture
def hooks():
    return Hooks()
