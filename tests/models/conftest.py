"""Inputs and measures that the tests of this room share."""

import pytest
import torch
from tiny_models import tiny_config

from trl_dprm import DPRMConfig, DPRMForSequenceClassification


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


@pytest.fixture
def batch():
    """Three rows of token ids, two of them right-padded."""
    ids = torch.randint(4, 260, (3, 10), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    for row, length in ((0, 7), (1, 4)):
        ids[row, length:], mask[row, length:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture
def tiny_dprm():
    """Function (backbone="llama", **config changes) -> a fresh DPRM with five Likert categories."""

    def make(backbone="llama", **changes):
        torch.manual_seed(0)
        model = DPRMForSequenceClassification(DPRMConfig(tiny_config(backbone), **changes)).eval()
        for name in model.head_names:  # spread the rewards, so that a wrong head shows
            for parameter in model.get_submodule(name).parameters():
                torch.nn.init.normal_(parameter, std=0.5)
        return model

    return make


@pytest.fixture
def score():
    """Function (model, batch) -> expected rewards of shape (batch,), without gradients."""

    def rewards(model, batch, **arguments):
        with torch.no_grad():
            return model(**batch, **arguments).logits[:, 0]

    return rewards
