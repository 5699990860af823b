"""Category probabilities for methods that have none: one readout for all of them, fitted on validation votes only.

    P(category <= k) = sigmoid((theta_k - slope * place) / spread ** power)

`place` is the one number of a scalar method, whose `spread` is 1; methods with two numbers give both. With `power` 0
it is the ordered logit. The unit of a score means little, so a sceptic may want its square and cube in it, too
(`readout_degrees`): held-out validation votes choose.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from data import CATEGORIES
from predictions import PairOutputs, Predictions
from scipy.optimize import minimize
from torch.nn import functional as F
from votes import vote_shares


class Numbers(NamedTuple):
    """What a method says of each item.

    Args:
        place (`np.ndarray` of shape *(num_items,)*): Higher is better, in any unit.
        log_spread (`np.ndarray` of shape *(num_items,)*): Logarithm of how far people are apart; 0 where
            the method does not say.
    """

    place: np.ndarray
    log_spread: np.ndarray


def score_alone(outputs: np.ndarray) -> Numbers:
    """Of a method whose first output is its score."""
    return Numbers(outputs[:, 0], np.zeros(len(outputs)))


def mean_and_deviation(outputs: np.ndarray) -> Numbers:
    """Of the mean–variance head."""
    return Numbers(outputs[:, 0], np.log(np.logaddexp(outputs[:, 1], 0.0)))


def moments_of_atoms(outputs: np.ndarray) -> Numbers:
    """Of the categorical head: mean and standard deviation of its distribution."""
    log_probs = outputs - np.logaddexp.reduce(outputs, axis=1, keepdims=True)
    probs, atoms = np.exp(log_probs), np.linspace(0.0, 1.0, outputs.shape[1])
    mean = probs @ atoms
    variance = (probs * (atoms - mean[:, None]) ** 2).sum(axis=1)
    return Numbers(mean, np.log(variance) / 2)


NUMBERS = {
    "bradley_terry_majority": score_alone,
    "bradley_terry_davidson": score_alone,
    "dpl_mean_variance": mean_and_deviation,
    "dpl_categorical": moments_of_atoms,
}


def read_out(
    method: str, outputs: PairOutputs, validation: pd.DataFrame, degrees: Sequence[int] = (1,)
) -> Predictions:
    """Distributions of a method that learned from pairs."""
    numbers = [NUMBERS[method](array) for array in (outputs.validation_outputs, outputs.test_outputs)]
    return fitted_readout(*numbers, validation, degrees)


def read_out_rewards(regression: Predictions, validation: pd.DataFrame, degrees: Sequence[int] = (1,)) -> Predictions:
    """Distributions of a regression by the same readout as the other scalar methods'."""
    rewards = (regression.validation_rewards, regression.test_rewards)
    return fitted_readout(*(Numbers(array, np.zeros(len(array))) for array in rewards), validation, degrees)


def fitted_readout(
    validation_numbers: Numbers, test_numbers: Numbers, validation: pd.DataFrame, degrees: Sequence[int] = (1,)
) -> Predictions:
    """Fit on the votes of the validation items, and speak of both parts."""
    centre, unit = validation_numbers.place.mean(), validation_numbers.place.std()
    middle = validation_numbers.log_spread.mean()
    inputs = [
        (torch.tensor((numbers.place - centre) / unit), torch.tensor(numbers.log_spread - middle))
        for numbers in (validation_numbers, test_numbers)
    ]
    votes = vote_shares(validation), validation["vote_weight"].to_numpy()
    degree = degrees[0] if len(degrees) == 1 else choose_degree(*inputs[0], *votes, degrees)
    low, high = inputs[0][0].min(), inputs[0][0].max()
    if degree > 1:  # of what lies beyond, a polynomial knows nothing
        inputs = [(place.clamp(low, high), log_spread) for place, log_spread in inputs]
    parameters = torch.tensor(fit_readout(*inputs[0], *votes, degree))
    probs = [readout_log_probs(parameters, *numbers, degree).softmax(-1).numpy() for numbers in inputs]
    return Predictions.of_distributions(*probs, CATEGORIES.rewards)


def choose_degree(
    place: torch.Tensor,
    log_spread: torch.Tensor,
    target_probs: np.ndarray,
    vote_weight: np.ndarray,
    degrees: Sequence[int],
) -> int:
    """The degree of fewest nats on held-out votes, by five-fold cross-validation; parameters as in `fit_readout`."""
    folds = np.random.default_rng(0).permutation(len(place)) % 5

    def nats(degree):
        total = 0.0
        for fold in range(5):
            learned, held_out = folds != fold, folds == fold
            parameters = fit_readout(
                place[learned], log_spread[learned], target_probs[learned], vote_weight[learned], degree
            )
            here = place[held_out].clamp(place[learned].min(), place[learned].max())
            log_probs = readout_log_probs(torch.tensor(parameters), here, log_spread[held_out], degree).numpy()
            total -= (vote_weight[held_out, None] * target_probs[held_out] * log_probs).sum()
        return total

    return min(degrees, key=nats)


def fit_readout(
    place: torch.Tensor,
    log_spread: torch.Tensor,
    target_probs: np.ndarray,
    vote_weight: np.ndarray,
    degree: int = 1,
) -> np.ndarray:
    """Parameters of `readout_log_probs` of largest likelihood.

    Args:
        place, log_spread (`torch.Tensor` of shape *(num_items,)*): About standardised; a constant spread is not used.
        target_probs (`np.ndarray` of shape *(num_items, num_categories)*): Vote shares.
        vote_weight (`np.ndarray` of shape *(num_items,)*): Votes.
        degree (`int`): Of the polynomial of the place.
    """
    votes = torch.tensor(target_probs * vote_weight[:, None] / vote_weight.sum())
    marginal = votes.sum(0).cumsum(0)[:-1].logit()
    start = np.concatenate([marginal[:1], marginal.diff().log(), [1.0, 0.0], np.zeros(degree - 1)])

    def nats_and_gradient(values):
        parameters = torch.tensor(values, requires_grad=True)
        nats = -(votes * readout_log_probs(parameters, place, log_spread, degree)).sum()
        nats.backward()
        return nats.item(), parameters.grad.numpy()

    return minimize(nats_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x


def readout_log_probs(
    parameters: torch.Tensor, place: torch.Tensor, log_spread: torch.Tensor, degree: int = 1
) -> torch.Tensor:
    r"""Log-probabilities of the categories.

    By \\(\log(\sigma(b) - \sigma(a)) = \log\sigma(b) + \log\sigma(-a) + \log(1 - e^{a-b})\\), which does not cancel.

    Args:
        parameters (`torch.Tensor` of shape *(num_categories + degree,)*): The first threshold, the logarithms of the
            distances to the next, the slope, the power, the slopes of the place's square, cube, ….
        place, log_spread (`torch.Tensor` of shape *(num_items,)*): As in `Numbers`.
        degree (`int`): Of the polynomial of the place.

    Returns:
        `torch.Tensor` of shape *(num_items, num_categories)*.
    """
    parameters, bends = parameters[: len(parameters) - degree + 1], parameters[len(parameters) - degree + 1 :]
    first, log_gaps, (slope, power) = parameters[:1], parameters[1:-2], parameters[-2:]
    thresholds = first + F.pad(log_gaps.exp(), (1, 0)).cumsum(0)
    moved = slope * place + sum(bend * place**exponent for exponent, bend in enumerate(bends, start=2))
    below = (thresholds - moved[:, None]) * (-power * log_spread[:, None]).exp()
    at_most, above = F.logsigmoid(below), F.logsigmoid(-below)
    between = at_most[:, 1:] + above[:, :-1] + torch.log(-torch.expm1(-below.diff(dim=1)))
    return torch.cat([at_most[:, :1], between, above[:, -1:]], dim=1)
