"""Weights over annotators, so that a skewed cohort of them speaks for the population."""

from collections.abc import Mapping, Sequence

import numpy as np

SHARE_TOLERANCE = 1e-6


def population_weights(
    groups: Mapping[str, Sequence],
    shares: Mapping[str, Mapping],
    max_weight: float | None = None,
    max_iterations: int = 100,
    tolerance: float = 1e-8,
) -> np.ndarray:
    """One weight per annotator: post-stratification for one variable, raking for several, then trimming if asked.

    Group values are compared as text, so that `18` in a YAML file is `"18"` in a CSV file.

    Args:
        groups (`dict` of A values each): for every variable, the group of each of the A annotators.
        shares (`dict` of `dict`): for every variable, the population's share of each group, summing to 1.
        max_weight (`float`, *optional*): largest weight after trimming, as a multiple of the mean; see
            [`trim_weights`]. Trimmed weights no longer meet the shares exactly.
        max_iterations (`int`): raking sweeps before giving up.
        tolerance (`float`): largest difference that raking leaves between a weighted share and the population's.

    Returns:
        `np.ndarray` of shape `(A,)`: positive, with mean 1.

    Raises:
        ValueError: naming variable, group, numbers and remedy, for shares that do not sum to 1, a group in `shares`
            without an annotator, an annotator without a group or whose group has no share, and raking that did not
            converge.

    Source: survey practice (Deming & Stephan 1940 for raking); its use for DPRM's population [ours].

    >>> population_weights({"age": ["young", "young", "young", "old"]}, {"age": {"young": 0.5, "old": 0.5}})
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    if set(groups) != set(shares) or not shares:
        raise ValueError(
            f"groups has the variables {sorted(groups)} and shares has {sorted(shares)}; give both for each variable."
        )
    cells = {variable: _cells(variable, groups[variable], shares[variable]) for variable in shares}
    sizes = {len(codes) for codes, _ in cells.values()}
    if len(sizes) != 1:
        raise ValueError(f"groups has {sorted(sizes)} annotators per variable; give one group per annotator in each.")
    weights = np.ones(sizes.pop())
    if len(cells) == 1:
        codes, target = next(iter(cells.values()))
        weights = _matched(weights, codes, target)
    else:
        weights = _raked(
            weights, cells, {name: list(map(str, of)) for name, of in shares.items()}, max_iterations, tolerance
        )
    weights = weights / weights.mean()
    return weights if max_weight is None else trim_weights(weights, max_weight)


def trim_weights(weights, max_weight: float) -> np.ndarray:
    """Cap weights at `max_weight` times their mean, and spread what was cut over the others in proportion.

    A few huge weights make a few annotators the population: trimming trades a little bias for effective votes.

    Args:
        weights (array of shape `(A,)`): positive.
        max_weight (`float`, at least 1): cap as a multiple of the mean.

    Returns:
        `np.ndarray` of shape `(A,)` with mean 1 and maximum at most `max_weight`.

    Raises:
        ValueError: for a cap below 1, which no set of weights with mean 1 can meet, and weights that are not positive.

    >>> trim_weights([1.0, 1.0, 1.0, 5.0], max_weight=2.0)
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    if not max_weight >= 1:
        raise ValueError(f"max_weight is {max_weight}; the mean weight is 1, so give at least 1, such as 5.")
    weights = np.asarray(weights, dtype=np.float64)
    if not (weights > 0).all():
        place = int(np.argmin(weights > 0))
        raise ValueError(f"weights[{place}] is {weights[place]}; weights to trim are above 0.")
    weights = weights / weights.mean()
    capped = weights > max_weight
    while (weights > max_weight * (1 + 1e-12)).any():
        capped |= weights > max_weight
        free = len(weights) - capped.sum() * max_weight
        weights = np.where(capped, max_weight, weights * free / weights[~capped].sum())
    return weights


def effective_number(weights) -> np.ndarray:
    """Kish's effective number of votes, `(Σ w)² / Σ w²`: how many equal votes know as much as these.

    Args:
        weights (array of shape `(..., A)`): weights of the annotators, not negative; their scale does not matter.

    Returns:
        `np.ndarray` of shape `(...)`, from 1 to A; 0 where all weights are 0.

    Source: Kish, Survey Sampling (1965).

    >>> effective_number([[1.0, 1.0, 1.0], [1.0, 1.0, 4.0]])
    array([3., 2.])
    """
    weights = np.asarray(weights, dtype=np.float64)
    squares = np.square(weights).sum(axis=-1)
    return np.square(weights.sum(axis=-1)) / np.where(squares > 0, squares, 1.0)


def _cells(variable: str, groups: Sequence, shares: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Group of each annotator as a place in `shares`, and the shares as an array."""
    target = np.array([float(share) for share in shares.values()])
    if not (target > 0).all():
        name = list(shares)[int(np.argmin(target > 0))]
        raise ValueError(
            f"share of {variable} {name!r} is {shares[name]}; shares are above 0: leave an empty group out."
        )
    if abs(target.sum() - 1) > SHARE_TOLERANCE:
        raise ValueError(f"shares of {variable} sum to {target.sum():.6g}, not to 1; divide them by their sum.")
    place_of = {str(name): place for place, name in enumerate(shares)}
    for annotator, group in enumerate(groups):
        if group is None or str(group) not in place_of:
            raise ValueError(
                f"annotator {annotator} is of {variable} {group!r}, which has no share in the population (known: "
                f"{list(place_of)}); add its share, or leave that annotator's judgments out."
            )
    codes = np.array([place_of[str(group)] for group in groups], dtype=np.int64)
    empty = np.bincount(codes, minlength=len(target)) == 0
    if empty.any():
        raise ValueError(
            f"no annotator is of {variable} {list(place_of)[int(np.argmax(empty))]!r}, a share of "
            f"{target[empty][0]:g} of the population; nobody speaks for it: merge it with another group, or recruit."
        )
    return codes, target / target.sum()


def _matched(weights: np.ndarray, codes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Weights scaled within each group so that the groups' shares are the target."""
    present = np.bincount(codes, weights, minlength=len(target)) / weights.sum()
    return weights * (target / present)[codes]


def _raked(weights, cells, names, max_iterations: int, tolerance: float) -> np.ndarray:
    """Match one variable after the other until all agree; an error that names the worst share if they never do."""
    worst = (np.inf, "")
    for _ in range(max_iterations):
        for codes, target in cells.values():
            weights = _matched(weights, codes, target)
        worst = max(_worst_margin(weights, variable, *cells[variable], names[variable]) for variable in cells)
        if worst[0] <= tolerance:
            return weights
    raise ValueError(
        f"raking did not converge to {tolerance:g} in {max_iterations} iterations: {worst[1]} (difference "
        f"{worst[0]:.3g}). Allow more iterations or a larger tolerance, or merge groups that hardly occur together."
    )


def _worst_margin(weights, variable, codes, target, names) -> tuple[float, str]:
    """The largest difference of a share from the population, and where it is."""
    present = np.bincount(codes, weights, minlength=len(target)) / weights.sum()
    place = int(np.argmax(np.abs(present - target)))
    difference = float(abs(present[place] - target[place]))
    return (
        difference,
        f"{variable} {names[place]!r} has a share of {present[place]:.6g} instead of {target[place]:.6g}",
    )
