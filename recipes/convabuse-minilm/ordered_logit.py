"""Ordered logit: one score and four thresholds, the classical model of ordered votes."""

import numpy as np
import pandas as pd
import torch
from arguments import RecipeArguments
from data import CATEGORIES
from neural import score_items
from predictions import Predictions
from stock_classifier import train_classifier
from torch import nn
from transformers.modeling_outputs import ModelOutput
from votes import vote_shares

from trl_dprm.losses import cross_entropy_loss

THRESHOLD_SPEED = 100.0  # Adam moves every parameter by about the learning rate, which is too slow for thresholds


class OrderedLogit(nn.Module):
    r"""\\(P(\text{category} \le k) = \sigma(\theta_k - s)\\), trained by the likelihood of the votes.

    Args:
        classifier (`nn.Module`): Stock classifier with one label, the score *s*.
        marginal (`np.ndarray` of shape *(num_categories,)*): Vote shares in training, where the thresholds start.
    """

    def __init__(self, classifier: nn.Module, marginal: np.ndarray):
        super().__init__()
        self.classifier = classifier
        start = torch.tensor(marginal.cumsum()[:-1]).logit()
        first_and_log_gaps = torch.cat([start[:1], start.diff().log()]).float()
        self.scaled_thresholds = nn.Parameter(first_and_log_gaps / THRESHOLD_SPEED)

    def forward(self, input_ids, attention_mask, target_probs=None, vote_weight=None):
        score = self.classifier(input_ids=input_ids, attention_mask=attention_mask).logits
        log_probs = ordered_log_probs(score, THRESHOLD_SPEED * self.scaled_thresholds)
        if target_probs is None:
            return ModelOutput(category_logits=log_probs)
        nats = cross_entropy_loss(log_probs, target_probs)
        return ModelOutput(loss=(vote_weight * nats).sum() / vote_weight.sum(), category_logits=log_probs)


def ordered_log_probs(score: torch.Tensor, first_and_log_gaps: torch.Tensor) -> torch.Tensor:
    r"""Log-probabilities of the categories.

    By \\(\log(\sigma(b) - \sigma(a)) = \log\sigma(b) + \log\sigma(-a) + \log(1 - e^{a-b})\\), which does not cancel.

    Args:
        score (`torch.Tensor` of shape *(batch_size, 1)*): *s*.
        first_and_log_gaps (`torch.Tensor` of shape *(num_categories - 1,)*): The first threshold, then the
            logarithms of the distances to the next.

    Returns:
        `torch.Tensor` of shape *(batch_size, num_categories)*.
    """
    gaps = first_and_log_gaps[1:].exp()
    thresholds = first_and_log_gaps[0] + torch.nn.functional.pad(gaps, (1, 0)).cumsum(0)
    at_most, above = nn.functional.logsigmoid(thresholds - score), nn.functional.logsigmoid(score - thresholds)
    between = at_most[:, 1:] + above[:, :-1] + torch.log(-torch.expm1(-gaps))
    return torch.cat([at_most[:, :1], between, above[:, -1:]], dim=1)


def train_ordered_logit(arguments: RecipeArguments, seed: int, parts: dict[str, pd.DataFrame]) -> Predictions:
    """Train it from the thresholds of the training marginal."""
    train = parts["train"]
    marginal = np.average(vote_shares(train), axis=0, weights=train["vote_weight"])
    model, tokenizer = train_classifier(arguments, seed, train, lambda classifier: OrderedLogit(classifier, marginal))
    probs = {
        part: score_items(model, tokenizer, parts[part], "category_logits").softmax(-1).numpy()
        for part in ("validation", "test")
    }
    return Predictions.of_distributions(probs["validation"], probs["test"], CATEGORIES.rewards)
