"""Bag of words: multinomial logistic regression on word counts, fitted to the vote shares."""

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from data import CATEGORIES
from predictions import Predictions
from scipy.optimize import minimize
from scipy.sparse import csr_array
from votes import mean_score, vote_shares

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
FEWEST_TEXTS = 2  # with a word, for it to be counted


def words(text: str) -> list[str]:
    """Lower-case words and single punctuation marks."""
    return re.findall(r"\w+|[^\w\s]", text.casefold())


def word_counts(texts: Iterable[str], vocabulary: dict[str, int]) -> csr_array:
    """Counts of known words per text, of shape *(num_texts, len(vocabulary) + 1)*; the last column is 1."""
    columns = [[vocabulary[word] for word in words(text) if word in vocabulary] + [len(vocabulary)] for text in texts]
    rows = np.repeat(np.arange(len(columns)), [len(row) for row in columns])
    return csr_array((np.ones(len(rows)), (rows, np.concatenate(columns))), (len(columns), len(vocabulary) + 1))


def fit_softmax_regression(features: csr_array, items: pd.DataFrame, penalty: float) -> np.ndarray:
    """Weights of shape *(num_features, num_categories)* of largest likelihood less `penalty` / 2 x their squares.

    The intercept (the last feature) is not penalised.
    """
    votes = vote_shares(items) * items["vote_weight"].to_numpy()[:, None]
    penalties = np.full((features.shape[1], 1), penalty)
    penalties[-1] = 0.0
    shape = features.shape[1], votes.shape[1]

    def loss_and_gradient(flat):
        weights = flat.reshape(shape)
        log_probs = _log_softmax(features @ weights)
        loss = -(votes * log_probs).sum() + (penalties * weights**2).sum() / 2
        gradient = features.T @ (votes.sum(axis=1, keepdims=True) * np.exp(log_probs) - votes) + penalties * weights
        return loss, gradient.ravel()

    return minimize(loss_and_gradient, np.zeros(np.prod(shape)), jac=True, method="L-BFGS-B").x.reshape(shape)


def train_bag_of_words(arguments: RecipeArguments, seed: int, parts: dict[str, pd.DataFrame]) -> Predictions:
    """Fit with every penalty and keep the one with the fewest validation nats. Nothing depends on the seed."""
    texts = Counter(word for text in parts["train"]["completion"] for word in set(words(text)))
    known = sorted(word for word, count in texts.items() if count >= FEWEST_TEXTS)
    vocabulary = {word: column for column, word in enumerate(known)}
    features = {part: word_counts(items["completion"], vocabulary) for part, items in parts.items()}

    def fit(penalty):
        weights = fit_softmax_regression(features["train"], parts["train"], penalty)
        validation, test = (np.exp(_log_softmax(features[part] @ weights)) for part in ("validation", "test"))
        return Predictions.of_distributions(validation, test, CATEGORIES.rewards, fitted=penalty)

    fits = map(fit, PENALTIES)
    return min(fits, key=lambda fit: mean_score(fit.validation_probs, parts["validation"], "nats_per_vote"))


def _log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
