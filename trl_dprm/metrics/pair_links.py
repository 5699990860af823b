"""From rewards to probabilities of winning: links with one or two numbers, fitted on validation pairs.

A link is what makes a scalar reward comparable with a distribution: without it a model would be blamed for the unit of
its rewards. Both likelihoods are concave, so the fit is *the* maximum, or it lies at a boundary, which is named.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize
from scipy.special import expit

from ..losses import davidson_log_probs
from .arrays import finite_vector, share_vector, weight_vector
from .pair_votes import three_way_counts


class BradleyTerryLink(NamedTuple):
    """`P(chosen) = sigma(scale * (chosen - rejected))`.

    Attributes:
        scale (`float`): at least 0; exactly `0.0` or `inf` at a boundary.
        boundary (`str` or `None`): `"zero"`: the votes do not follow the rewards (or contradict them);
            `"infinity"`: no vote contradicts them, and every larger scale is likelier. `None` inside.
    """

    scale: float
    boundary: Literal["zero", "infinity"] | None


class DavidsonLink(NamedTuple):
    """`P(chosen) : P(tie) : P(rejected)` of Davidson's model (`davidson_probs`).

    Attributes:
        scale (`float`): at least 0; exactly `0.0` or `inf` at a boundary, NaN if all votes are ties.
        tie_propensity (`float`): at least 0; exactly `0.0` or `inf` at a boundary, NaN beside an infinite scale.
        boundaries (tuple of `str`): empty inside; else `"zero scale"`: the votes do not follow the rewards;
            `"infinite scale"`: the rewards separate the votes completely; `"no ties"`; `"only ties"`.
    """

    scale: float
    tie_propensity: float
    boundaries: tuple[Literal["zero scale", "infinite scale", "no ties", "only ties"], ...]


def fit_bradley_terry_scale(
    chosen_rewards: ArrayLike,
    rejected_rewards: ArrayLike,
    chosen_vote_share: ArrayLike | None = None,
    pair_weight: ArrayLike | None = None,
) -> BradleyTerryLink:
    """The scale κ of `sigma(κ Δ)` by maximum likelihood: temperature scaling of a reward model (temperature 1/κ).

    Args:
        chosen_rewards (array of shape `(num_pairs,)`): finite.
        rejected_rewards (array of shape `(num_pairs,)`): finite.
        chosen_vote_share (array of shape `(num_pairs,)`, *optional*): share who preferred the chosen response, a tie
            as half a vote; 1 if not given.
        pair_weight (array of shape `(num_pairs,)`, *optional*): votes of each pair; equal if not given.

    Returns:
        [`BradleyTerryLink`].

    Raises:
        ValueError: rewards that are not finite, lengths that differ, shares outside [0, 1], weights that are negative
            or all zero, or rewards that are equal in every pair with weight.

    Source: Guo et al., *On Calibration of Modern Neural Networks* (2017), section 4.2; boundaries [ours].

    Example:

    >>> link = fit_bradley_terry_scale([1.0, 1.0], [0.0, 0.0], chosen_vote_share=[0.5, 1.0])
    >>> round(link.scale, 4), link.boundary  # log 3
    (1.0986, None)
    >>> fit_bradley_terry_scale([1.0, 2.0], [0.0, 0.0])
    BradleyTerryLink(scale=inf, boundary='infinity')
    """
    difference = _differences(chosen_rewards, rejected_rewards)
    share = np.ones(len(difference))
    if chosen_vote_share is not None:
        share = share_vector("chosen_vote_share", chosen_vote_share, len(difference))
    weight = weight_vector("pair_weight", pair_weight, len(difference))
    unit = _unit(difference, weight)
    difference = difference / unit

    def slope(scale: float) -> float:
        return weight @ ((share - expit(scale * difference)) * difference) / weight.sum()

    if slope(0.0) <= 0:
        return BradleyTerryLink(0.0, "zero")
    against = np.where(difference > 0, 1 - share, share)
    if not (weight * against * np.abs(difference)).any():
        return BradleyTerryLink(float("inf"), "infinity")
    upper = 1.0
    while slope(upper) > 0:
        upper *= 2
    return BradleyTerryLink(float(brentq(slope, 0.0, upper, xtol=1e-12, rtol=1e-12) / unit), None)


def fit_davidson(chosen_rewards: ArrayLike, rejected_rewards: ArrayLike, vote_counts: ArrayLike) -> DavidsonLink:
    """Scale and tie propensity of Davidson's model by maximum likelihood of the votes on pairs.

    The log-likelihood is concave in the scale and the logarithm of the propensity (a multinomial logit). To give a
    model that has no reward a link, let its log-odds be the chosen reward and 0 the rejected one.

    Args:
        chosen_rewards (array of shape `(num_pairs,)`): finite.
        rejected_rewards (array of shape `(num_pairs,)`): finite.
        vote_counts (array of shape `(num_pairs, 3)`): votes for chosen, tie, rejected of *validation* pairs, at least
            one per pair.

    Returns:
        [`DavidsonLink`]. Without ties the scale is that of [`fit_bradley_terry_scale`].

    Raises:
        ValueError: rewards that are not finite, lengths that differ, a pair without votes, or rewards that are equal
            in every pair.

    Source: Davidson (1970), section 3; separation by recession directions as in Albert & Anderson (1984); boundaries
        [ours].

    Example:

    >>> link = fit_davidson([0.0, 1.0], [0.0, 0.0], [[1, 2, 1], [6, 2, 2]])
    >>> round(link.scale, 4), round(link.tie_propensity, 4), link.boundaries
    (1.2416, 0.9094, ())
    """
    difference = _differences(chosen_rewards, rejected_rewards)
    counts = three_way_counts(vote_counts, len(difference))
    votes = counts.sum(axis=1)
    chosen, tie, rejected = counts.T
    if not tie.any():
        link = fit_bradley_terry_scale(chosen_rewards, rejected_rewards, chosen / votes, votes)
        scale_boundary = {"zero": ("zero scale",), "infinity": ("infinite scale",), None: ()}[link.boundary]
        return DavidsonLink(link.scale, 0.0, ("no ties", *scale_boundary))
    if not (chosen + rejected).any():
        return DavidsonLink(float("nan"), float("inf"), ("only ties",))
    unit = _unit(difference, votes)
    difference = difference / unit
    if (chosen - rejected) @ difference <= 0:  # the slope at scale 0, where the propensity is 2 ties / decisive votes
        return DavidsonLink(0.0, float(2 * tie.sum() / (chosen + rejected).sum()), ("zero scale",))
    if _separable(difference, counts):
        return DavidsonLink(float("inf"), float("nan"), ("infinite scale",))
    scale, tie_propensity = _maximum_likelihood(difference, counts)
    return DavidsonLink(scale / unit, tie_propensity, ())


def _separable(difference: np.ndarray, counts: np.ndarray) -> bool:
    """Whether some growing scale, with some growing propensity, makes every vote ever likelier.

    That is so if the preferred response of every decisive vote leads by at least as much as any tied pair differs.
    """
    lead = np.concatenate([difference[counts[:, 0] > 0], -difference[counts[:, 2] > 0]])
    return bool(lead.min() >= np.abs(difference[counts[:, 1] > 0]).max())


def _maximum_likelihood(difference: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Newton's method in the scale and the log-propensity, on minus the mean log-likelihood."""
    votes, total = counts.sum(axis=1), counts.sum()
    moments = (counts[:, 0] - counts[:, 2]) @ difference / 2, counts[:, 1].sum()
    zeros, rewards = torch.zeros(len(difference), dtype=torch.float64), torch.from_numpy(difference)

    def log_probs(parameters: np.ndarray) -> np.ndarray:
        scale, log_propensity = torch.from_numpy(parameters)
        return davidson_log_probs(rewards, zeros, log_propensity.exp(), scale).numpy()

    def slopes_and_curvature(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chosen, tie, rejected = np.exp(log_probs(parameters)).T
        lead, half = chosen - rejected, difference / 2
        slopes = np.array([votes @ (half * lead) - moments[0], votes @ tie - moments[1]])
        cross = -votes @ (half * lead * tie)
        scale_curvature = votes @ (half**2 * (chosen + rejected - lead**2))
        return slopes / total, np.array([[scale_curvature, cross], [cross, votes @ (tie * (1 - tie))]]) / total

    solution = minimize(
        lambda parameters: -(counts * log_probs(parameters)).sum() / total,
        x0=np.array([0.0, np.log(2 * moments[1] / (total - moments[1]))]),
        jac=lambda parameters: slopes_and_curvature(parameters)[0],
        hess=lambda parameters: slopes_and_curvature(parameters)[1],
        method="trust-exact",
        options={"gtol": 1e-10},
    )
    if not np.linalg.norm(solution.jac) < 1e-7:
        raise RuntimeError(f"Davidson's model was not fitted ({solution.message}); give more pairs")
    return float(solution.x[0]), float(np.exp(solution.x[1]))


def _differences(chosen_rewards: ArrayLike, rejected_rewards: ArrayLike) -> np.ndarray:
    chosen = finite_vector("chosen_rewards", chosen_rewards)
    return chosen - finite_vector("rejected_rewards", rejected_rewards, len(chosen))


def _unit(difference: np.ndarray, weight: np.ndarray) -> float:
    """Root mean square of the differences, so that the search does not depend on the unit of the rewards."""
    unit = float(np.sqrt(np.average(difference**2, weights=weight)))
    if unit == 0:
        raise ValueError("chosen and rejected rewards are equal in every pair; no scale can be fitted to them")
    return unit
