"""From scores to probabilities of win, tie, loss: as trained, by Davidson's link, and by a link with a tie signal.

Davidson's link knows the difference of two rewards only: pairs of equal difference tie equally often. The third link
reads the two distributions: their own odds of winning and how much they overlap. A scalar has neither; so that it
gets as many numbers to fit, its ties may depend on the level of the two rewards. All links are fitted on validation
votes.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from trl_dprm.metrics import davidson_probs, fit_davidson, win_tie_probs

LINKS = ("raw", "davidson", "tie_signal")


class PairScores(NamedTuple):
    """What a model says of pairs, before any link.

    Attributes:
        first, second (`np.ndarray` of shape *(num_pairs,)*): Rewards of the two responses.
        log_odds (`np.ndarray` of shape *(num_pairs,)*):
            Of distributions the log-odds that of two independent annotators' ratings the first is higher rather than
            lower; of scalars the difference of the rewards.
        tie_signal (`np.ndarray` of shape *(num_pairs,)*):
            Of distributions the log-probability that two independent annotators rate the two responses alike; of
            scalars the sum of the rewards.
        raw (`np.ndarray` of shape *(num_pairs, 3)* or `None`): Probabilities as trained, where there are any.
    """

    first: np.ndarray
    second: np.ndarray
    log_odds: np.ndarray
    tie_signal: np.ndarray
    raw: np.ndarray | None


class TieSignalLink(NamedTuple):
    """`P(first) : P(tie) : P(second) = exp(x / 2) : exp(intercept + slope * tie_signal) : exp(-x / 2)`.

    Attributes:
        scale (`float`): `x = scale * log_odds`.
        intercept, slope (`float`): Of the ties.
    """

    scale: float
    intercept: float
    slope: float

    def log_probs(self, scores: PairScores) -> np.ndarray:
        """Log-probabilities of shape *(num_pairs, 3)*: first, tie, second."""
        half = self.scale * scores.log_odds / 2
        return log_softmax(np.stack([half, self.intercept + self.slope * scores.tie_signal, -half], axis=1), axis=1)


def fit_tie_signal_link(scores: PairScores, votes: np.ndarray) -> TieSignalLink:
    """The likeliest link for these votes: a multinomial logit, so that the maximum is the only one.

    Args:
        scores (`PairScores`): Of validation pairs.
        votes (`np.ndarray` of shape *(num_pairs, 3)*): Votes for first, tie, second.

    Raises:
        RuntimeError: if the search fails.
    """
    unit, centre, spread = scores.log_odds.std(), scores.tie_signal.mean(), scores.tie_signal.std()
    standard = scores._replace(log_odds=scores.log_odds / unit, tie_signal=(scores.tie_signal - centre) / spread)

    def loss_and_gradient(values):
        log_probs = TieSignalLink(*values).log_probs(standard)
        residual = np.exp(log_probs) * votes.sum(axis=1, keepdims=True) - votes
        gradient = [
            (residual[:, 0] - residual[:, 2]) @ standard.log_odds / 2,
            residual[:, 1].sum(),
            residual[:, 1] @ standard.tie_signal,
        ]
        return -(votes * log_probs).sum() / votes.sum(), np.array(gradient) / votes.sum()

    found = minimize(loss_and_gradient, [1.0, 0.0, 0.0], jac=True, method="BFGS", options={"gtol": 1e-7})
    if np.abs(found.jac).max() > 1e-4:
        raise RuntimeError(f"The link was not found: {found.message}")
    scale, intercept, slope = found.x
    return TieSignalLink(float(scale / unit), float(intercept - slope * centre / spread), float(slope / spread))


def fit_and_apply(
    link: str, validation: PairScores, votes: np.ndarray, scores: PairScores
) -> tuple[np.ndarray, dict[str, float]]:
    """Probabilities of first, tie, second under a link fitted on validation votes.

    Args:
        link (`str`): One of `LINKS`.
        validation (`PairScores`): Of validation pairs.
        votes (`np.ndarray` of shape *(num_pairs, 3)*): Their votes.
        scores (`PairScores`): Of the pairs to speak of.

    Returns:
        `np.ndarray` of shape *(num_pairs, 3)*, and the numbers of the link.
    """
    if link == "raw":
        return scores.raw, {}
    if link == "davidson":
        fitted = fit_davidson(validation.first, validation.second, votes)
        probs = davidson_probs(scores.first, scores.second, fitted.scale, fitted.tie_propensity)
        return probs, {"scale": fitted.scale, "tie_propensity": fitted.tie_propensity}
    fitted = fit_tie_signal_link(validation, votes)
    return np.exp(fitted.log_probs(scores)), fitted._asdict()


def constant_tie_probs(win: np.ndarray, tie_share: float) -> np.ndarray:
    """A model that knows no ties, given one constant probability of them."""
    decisive = 1 - tie_share
    return np.stack([decisive * win, np.full(len(win), tie_share), decisive * (1 - win)], axis=1)


def scalar_scores(first: np.ndarray, second: np.ndarray, raw: np.ndarray | None) -> PairScores:
    """What the rewards of a scalar model say of pairs."""
    return PairScores(first, second, first - second, first + second, raw)


def distribution_scores(
    first_probs: np.ndarray, second_probs: np.ndarray, category_rewards: list[float], raw: np.ndarray | None = None
) -> PairScores:
    """What two tables of distributions say of pairs; `raw` is their own win, tie and loss unless given."""
    alike = win_tie_probs(first_probs, second_probs, category_rewards)
    return PairScores(
        first_probs @ category_rewards,
        second_probs @ category_rewards,
        np.log(alike[:, 0] / alike[:, 2]),
        np.log(alike[:, 1]),
        alike if raw is None else raw,
    )
