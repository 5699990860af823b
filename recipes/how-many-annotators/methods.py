"""What can be made of votes: on the item itself, from a model of the text, or both."""

import time
from collections.abc import Callable

import numpy as np
from arms import Arm
from crowd import Crowd
from crowds.training import predict, train_distribution, train_pairs, train_regression
from predictions import Predictions
from scipy.special import softmax

from trl_dprm.preferences import (
    DirichletDistribution,
    PriorStrengthEstimate,
    estimate_prior_strength,
    fit_model_prior_strength,
    model_as_prior,
)

Predicted = dict[str, Predictions]


def without_a_model(crowd: Crowd, arm: Arm, seed: int) -> Predicted:
    """The vote shares of each test item, and these with the table's mean as the prior.

    The prior's mean and strength are those of the arm's training and validation votes. Empty where test items have
    too few votes to give.
    """
    given = crowd.given(arm.votes_per_item, seed)
    if given is None:
        return {}
    train, validation = crowd.bought(arm, seed)
    estimate = estimate_prior_strength(np.concatenate([train.counts, validation.counts]))
    shares = given / given.sum(axis=1, keepdims=True)
    prior = np.tile(estimate.prior_probs, (len(given), 1))
    posterior = updated_probs(prior, given, estimate)
    return {
        "votes_alone": _of_distribution(crowd, shares),
        "votes_with_table_prior": _of_distribution(crowd, posterior, estimate.prior_strength),
    }


def distribution(crowd: Crowd, arm: Arm, seed: int, backbone: str) -> Predicted:
    """A DPRM by cross-entropy, which reads the text alone; and its distribution updated by the test item's votes."""
    train, validation = crowd.bought(arm, seed)
    start = time.process_time()
    model, tokenizer = train_distribution(backbone, train, validation, crowd.categories, crowd.budget, seed)
    probs = softmax(predict(model, tokenizer, crowd.test_texts), axis=-1)
    seconds = time.process_time() - start
    estimate = fit_model_prior_strength(
        softmax(predict(model, tokenizer, validation.texts), axis=-1), validation.counts
    )
    predicted = {"dprm": _of_distribution(crowd, probs, estimate.prior_strength, seconds)}
    given = crowd.given(arm.votes_per_item, seed)
    if given is not None:
        posterior = updated_probs(probs, given, estimate)
        predicted["dprm_with_votes"] = _of_distribution(crowd, posterior, estimate.prior_strength)
    return predicted


def regression(crowd: Crowd, arm: Arm, seed: int, backbone: str) -> Predicted:
    """A scalar model by squared error to mean ratings."""
    return {"regression": _scalar(train_regression, crowd, arm, seed, backbone)}


def pairs(crowd: Crowd, arm: Arm, seed: int, backbone: str) -> Predicted:
    """A scalar model by Bradley–Terry on pairs of items."""
    return {"pairs": _scalar(train_pairs, crowd, arm, seed, backbone)}


TRAINED: dict[str, Callable] = {"distribution": distribution, "regression": regression, "pairs": pairs}


def _scalar(train_model, crowd, arm, seed, backbone):
    train, validation = crowd.bought(arm, seed)
    start = time.process_time()
    model, tokenizer = train_model(backbone, train, validation, crowd.categories, crowd.budget, seed)
    rewards = predict(model, tokenizer, crowd.test_texts, "logits")[:, 0]
    return Predictions(rewards, cpu_seconds=time.process_time() - start)


def updated_probs(prior_probs: np.ndarray, given: np.ndarray, estimate: PriorStrengthEstimate) -> np.ndarray:
    """Posterior means; at the boundaries of the strength what they tend to: the votes, or the prior.

    >>> half = PriorStrengthEstimate(2.0, np.array([0.5, 0.5]), 0.0, 1)
    >>> updated_probs(np.array([[0.5, 0.5]]), np.array([[2.0, 0.0]]), half)
    array([[0.75, 0.25]])
    """
    if estimate.boundary == "zero":
        return given / given.sum(axis=1, keepdims=True)
    if estimate.boundary == "infinity":
        return prior_probs
    posterior: DirichletDistribution = model_as_prior(prior_probs, estimate.prior_strength).updated(given)
    return posterior.mean()


def _of_distribution(crowd, probs, prior_strength=float("nan"), cpu_seconds=float("nan")):
    return Predictions(probs @ np.array(crowd.categories.rewards), probs, prior_strength, cpu_seconds)
