"""Scalar regression to mean ratings: the reward model of today, read as a distribution for comparison."""

import numpy as np
import pandas as pd
import torch
from arguments import RecipeArguments
from data import CATEGORIES
from neural import score_items
from predictions import Predictions
from scipy.optimize import minimize_scalar
from scipy.stats import norm
from stock_classifier import train_classifier
from torch import nn
from transformers.modeling_outputs import ModelOutput
from votes import mean_score

LEAST_PROBABILITY = 1e-9  # where the normal underflows


class MeanRatingRegression(nn.Module):
    """Squared error to the mean rating, items weighted by their votes."""

    def __init__(self, classifier: nn.Module):
        super().__init__()
        self.classifier = classifier

    def forward(self, input_ids, attention_mask, target_probs=None, vote_weight=None):
        score = self.classifier(input_ids=input_ids, attention_mask=attention_mask).logits[:, 0]
        if target_probs is None:
            return ModelOutput(score=score)
        mean_rating = target_probs @ torch.tensor(CATEGORIES.rewards, dtype=score.dtype, device=score.device)
        loss = (vote_weight * (score - mean_rating).square()).sum() / vote_weight.sum()
        return ModelOutput(loss=loss, score=score)


def discretised_normal(means: np.ndarray, scale: float) -> np.ndarray:
    """The normal distribution around each mean, cut half-way between neighbouring levels.

    Args:
        means (`np.ndarray` of shape *(num_items,)*): Predicted mean ratings.
        scale (`float`): Standard deviation, the same for all items.

    Returns:
        `np.ndarray` of shape *(num_items, num_categories)*.
    """
    cuts = (CATEGORIES.positions[1:] + CATEGORIES.positions[:-1]) / 2
    below = norm.cdf((cuts - means[:, None]) / scale)
    probs = np.diff(below, axis=1, prepend=0.0, append=1.0).clip(min=LEAST_PROBABILITY)
    return probs / probs.sum(axis=1, keepdims=True)


def train_regression(arguments: RecipeArguments, seed: int, parts: dict[str, pd.DataFrame]) -> Predictions:
    """Train it, and fit the one scale of its normal to the validation votes by their likelihood."""
    model, tokenizer = train_classifier(arguments, seed, parts["train"], MeanRatingRegression)
    means = {part: score_items(model, tokenizer, parts[part], "score").numpy() for part in ("validation", "test")}

    def nats(log_scale):
        probs = discretised_normal(means["validation"], np.exp(log_scale))
        return mean_score(probs, parts["validation"], "nats_per_vote")

    scale = float(np.exp(minimize_scalar(nats, bounds=(np.log(0.05), np.log(5.0)), method="bounded").x))
    probs = {part: discretised_normal(mean, scale) for part, mean in means.items()}
    return Predictions(probs["validation"], probs["test"], means["validation"], means["test"], fitted=scale)
