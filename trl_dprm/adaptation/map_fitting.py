"""Fitting a map of the category logits to new votes: a MAP estimate that starts from "nothing has changed"."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np
from scipy.special import softmax

from ..preferences.vote_arrays import as_counts, positive_number, refuse_first
from .logit_map import LogitMap
from .penalised_likelihood import PenalisedLikelihood

MAP_KINDS = ("identity", "temperature", "bias", "matrix")
PRIOR_WEIGHTS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)
"""Strengths that `"auto"` averages over besides infinity: typical changes of a log-odds from 1 down to 1/32."""
TYPICAL_CHANGE = 0.5
"""Of a log-odds, beforehand: `"auto"` takes larger ones for the less likely, by a half-normal density."""
SMALLEST_SLOPE = 1e-3
"""The least number that a temperature map multiplies the logits by: a softmax that knows next to nothing."""


@dataclass(frozen=True)
class FittedLogitMap:
    """A fitted map, and what the fit rests on.

    Attributes:
        logit_map ([`LogitMap`]): the map.
        kind (`str`): one of `MAP_KINDS`.
        prior_weight (`float` or `"auto"`): as given.
        no_change_prob (`float`, *optional*): of `"auto"`: probability, given the votes, that nothing has changed;
            one half before them.
        num_items (`int`): items with votes.
        num_votes (`float`): their votes.
    """

    logit_map: LogitMap
    kind: str
    prior_weight: float | Literal["auto"]
    no_change_prob: float | None
    num_items: int
    num_votes: float


def fit_logit_map(
    category_logits,
    target_counts,
    kind: Literal["identity", "temperature", "bias", "matrix"] = "bias",
    prior_weight: float | Literal["auto"] = "auto",
    with_bias: bool = True,
    prior_strength: float | None = None,
) -> FittedLogitMap:
    r"""Fit a map of the logits to votes: the maximum of their likelihood under a Gaussian prior around the identity.

    Kinds, K being the number of categories:

    * `"temperature"`: one number β > 0 that multiplies the logits (recalibration);
    * `"bias"`: K biases, of which K−1 count (a population that prefers other categories);
    * `"matrix"`: a K × K matrix and, unless `with_bias` is `False`, K biases (one that also sees items otherwise).

    All three are convex. What the softmax cannot see is left out: biases sum to zero, and the matrix maps the K−1
    differences of the logits, keeping their mean. The penalty is \\(\tfrac{\tau}{2} (\|c\|^2 + s^2 \|A - I\|^2)\\), s
    the root mean square of the centred logits: τ, the prior weight, is one over the squared change of log-odds that
    is expected beforehand, whatever the kind and the size of the logits.

    `"auto"` averages the estimates over τ: half of the prior probability is on "nothing has changed", the rest spread
    over `PRIOR_WEIGHTS`, and each counts by how well it foretells the votes (Laplace's evidence). So ten votes move
    little, and a thousand nearly as far as they say.

    Args:
        category_logits (array of shape `(N, K)`): the model's logits or log-probabilities for each item, finite.
        target_counts (array of shape `(N, K)`): the items' new votes, not negative; rows of zeros are allowed.
        kind (`str`): one of `MAP_KINDS`; [`choose_logit_map`] chooses by cross-validation.
        prior_weight (`float` or `"auto"`): τ, at least 0: 0 is plain maximum likelihood, infinity the identity.
        with_bias (`bool`): `False` for a matrix alone, which a head without biases can take.
        prior_strength (`float`, *optional*): how many votes the model is worth on an item, `n0`. Then n votes of one
            item count as `n (n0 + 1) / (n0 + n)`: they share what the model does not know of the item, and say less
            of the map than votes of n items. Without it every vote counts in full, and so it does with
            `prior_weight=0`: maximum likelihood counts each vote once.

    Returns:
        [`FittedLogitMap`]

    Raises:
        ValueError: for bad arrays or options, no votes, and `prior_weight=0` where the votes do not determine the map.

    Source: Guo et al. 2017 (arXiv 1706.04599), section 4.2, by maximum likelihood; evidence: MacKay 1992, "Bayesian
    interpolation"; the discount is the design effect of Dirichlet-multinomial votes. The prior around the identity,
    its scale, the averaging and the use for shifted populations [ours].

    >>> fit = fit_logit_map([[0.0, 0.0]] * 2, [[30, 10], [30, 10]], kind="bias", prior_weight=0)
    >>> fit.logit_map.probs([0.0, 0.0]).round(3)
    array([0.75, 0.25])
    """
    logits, counts = checked_logits_and_counts(category_logits, target_counts)
    _check_options(kind, prior_weight, with_bias)
    voted = counts.sum(1) > 0
    discounted = _discounted(counts[voted], prior_strength, prior_weight)
    likelihood, assemble = _likelihood(logits[voted], discounted, kind, with_bias)
    no_change_prob = None
    if kind == "identity" or prior_weight == np.inf:
        change = likelihood.nothing
    elif prior_weight == "auto":
        change, no_change_prob = _averaged(likelihood)
    else:
        change = likelihood.maximise(float(prior_weight))
    return FittedLogitMap(
        logit_map=assemble(change),
        kind=kind,
        prior_weight=prior_weight,
        no_change_prob=no_change_prob,
        num_items=int(voted.sum()),
        num_votes=float(counts.sum()),
    )


def checked_logits_and_counts(category_logits, target_counts) -> tuple[np.ndarray, np.ndarray]:
    """Logits and votes as float64 of one shape `(N, K)`, with a vote somewhere.

    Args:
        category_logits, target_counts (arrays of shape `(N, K)`): see [`fit_logit_map`].

    Raises:
        ValueError: for other shapes, entries that are not finite, negative votes, or no votes at all.
    """
    logits = np.asarray(category_logits, dtype=np.float64)
    counts = as_counts(target_counts)
    if logits.shape != counts.shape:
        raise ValueError(
            f"category_logits has shape {logits.shape} and target_counts {counts.shape}; give one row per item and "
            "one column per category in both."
        )
    refuse_first(~np.isfinite(logits), logits, "category_logits", "compute them in float32 or wider")
    if counts.sum() == 0:
        raise ValueError(f"target_counts holds no votes in its {len(counts)} rows: there is nothing to fit a map to.")
    return logits, counts


def _check_options(kind, prior_weight, with_bias):
    if kind not in MAP_KINDS:
        raise ValueError(f"kind is {kind!r}; give one of {', '.join(MAP_KINDS)}.")
    if kind == "bias" and not with_bias:
        raise ValueError("kind is 'bias' but with_bias is False; choose 'temperature' or 'matrix'.")
    if prior_weight == "auto":
        return
    if isinstance(prior_weight, bool) or not isinstance(prior_weight, Real) or not prior_weight >= 0:
        raise ValueError(f"prior_weight is {prior_weight!r}; give 'auto', or a number of at least 0 (infinity too).")


def _discounted(counts: np.ndarray, prior_strength: float | None, prior_weight: float | str) -> np.ndarray:
    """Votes that say as much of the map as the votes of one item do, whose shares vary about the model's.

    Maximum likelihood, a prior weight of 0, counts each vote once.
    """
    if prior_strength is None:
        return counts
    strength = positive_number(prior_strength, "prior_strength", "how many votes the model is worth on an item")
    if prior_weight == 0:
        return counts
    votes = counts.sum(1, keepdims=True)
    return counts * np.minimum((strength + 1) / (strength + votes), 1.0)


def _likelihood(logits, counts, kind, with_bias) -> tuple["PenalisedLikelihood", Callable[[np.ndarray], LogitMap]]:
    """The votes' likelihood as a function of the kind's free parameters, and the map that parameters stand for."""
    num_categories = logits.shape[1]
    basis = sum_zero_basis(num_categories)
    centred = logits @ basis
    scale = np.sqrt(np.square(centred).mean()) or 1.0  # where all logits are equal no matrix can matter
    one, no_bias = np.eye(num_categories), np.zeros(num_categories)

    if kind == "identity":
        return PenalisedLikelihood(logits, counts, np.zeros((*logits.shape, 0))), lambda change: LogitMap(one, no_bias)
    if kind == "temperature":
        unit = 1 / (scale * np.sqrt(num_categories - 1))
        design = (unit * centred @ basis.T)[:, :, None]
        likelihood = PenalisedLikelihood(logits, counts, design, lowest=(SMALLEST_SLOPE - 1) / unit)
        return likelihood, lambda change: LogitMap((1 + unit * change[0]) * one, no_bias)

    slopes = centred[:, :0] if kind == "bias" else centred / scale
    features = np.column_stack([slopes, np.ones((len(logits), int(with_bias)))])
    design = np.einsum("ka,if->ikaf", basis, features).reshape(*logits.shape, -1)

    def assemble(change):
        change = basis @ change.reshape(num_categories - 1, -1)
        slope, bias = np.split(change, [slopes.shape[1]], axis=1)
        matrix = one if kind == "bias" else one + slope @ basis.T / scale
        return LogitMap(matrix, bias[:, 0] if with_bias else no_bias)

    return PenalisedLikelihood(logits, counts, design), assemble


def sum_zero_basis(num_categories: int) -> np.ndarray:
    """Orthonormal columns that sum to zero, of Helmert's form: the differences of logits that a softmax sees.

    Args:
        num_categories (`int`): K.

    Returns:
        `np.ndarray` of shape `(K, K-1)`.

    >>> sum_zero_basis(2).round(3)
    array([[ 0.707],
           [-0.707]])
    """
    steps = np.arange(1, num_categories)
    basis = np.triu(np.ones((num_categories, num_categories)), 1)[:, 1:]  # column j: j + 1 ones, then zeros
    basis[steps, steps - 1] = -steps
    return basis / np.linalg.norm(basis, axis=0)


def _averaged(likelihood: PenalisedLikelihood) -> tuple[np.ndarray, float]:
    """The estimates of all prior weights, averaged by their evidence, and the probability of no change."""
    changes, log_probs = [likelihood.nothing], [likelihood.log_likelihood(likelihood.nothing)]
    beforehand = -1 / (2 * np.array(PRIOR_WEIGHTS) * TYPICAL_CHANGE**2)
    beforehand = np.log(softmax(beforehand))
    for weight, log_prior in reversed(list(zip(PRIOR_WEIGHTS, beforehand, strict=True))):
        changes.append(likelihood.maximise(weight, start=changes[-1]))
        log_probs.append(log_prior + likelihood.log_evidence(changes[-1], weight))
    probs = softmax(log_probs)
    return probs @ np.array(changes), float(probs[0])
