"""Label smoothing of target distributions: towards the next most likely category, or towards all alike."""

import numpy as np

from .vote_arrays import as_probs


def smooth_towards_runner_up(target_probs, amount: float, runner_up_probs=None, cost=None) -> np.ndarray:
    """Move mass from the most likely category to the next most likely one: a certain label becomes nearly certain.

    The mass moved is `amount · (p_first − p_second)`: all of `amount` for a one-hot, little where the two are close,
    nothing where the most likely category is tied, and never so much that the order turns.

    A one-hot (a persona's choice) has no second category by mass, and other targets may be tied for second place.
    Such ties are broken by the larger `runner_up_probs`, then by the smaller `cost` of moving there from the most
    likely category; what is still tied (both neighbours of a Likert point, say) shares the mass equally. Without
    either of the two arguments a one-hot is refused, since sharing among *all* others would be uniform smoothing.

    Args:
        target_probs (array of shape `(N, K)`): distributions.
        amount (`float` in [0, 0.5]): share of the gap that is moved.
        runner_up_probs (array of shape `(N, K)` or `(K,)`, *optional*): distributions that know the second choice,
            such as a language model's prior for that very response.
        cost (array of shape `(K, K)`, *optional*): ground cost, [`PreferenceCategories`]'s `cost_matrix`.

    Returns:
        `np.ndarray` of shape `(N, K)`.

    Raises:
        ValueError: naming value, row and remedy, for an amount out of range, rows that are no distributions, arguments
            of another shape, and a row without a runner-up where neither `runner_up_probs` nor `cost` is given.

    Source: DPRM (2402.09764), smoothing of posterior targets: the mass goes to the next most likely category [paper];
        the amount's scale and the rules for ties [ours].

    >>> smooth_towards_runner_up([[0.7, 0.3, 0.0]], amount=0.1).round(3)
    array([[0.66, 0.34, 0.  ]])
    >>> line = [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    >>> smooth_towards_runner_up([[1, 0, 0], [0, 1, 0]], amount=0.1, cost=line)
    array([[0.9 , 0.1 , 0.  ],
           [0.05, 0.9 , 0.05]])
    """
    probs = _rows_of_probs(target_probs)
    _refuse_amount(amount, 0.5, "above 0.5 the runner-up would overtake the most likely category")
    rows = np.arange(len(probs))
    first = probs.argmax(axis=1)
    others = probs.copy()
    others[rows, first] = -1.0
    second = others.max(axis=1, keepdims=True)
    if runner_up_probs is None and cost is None and (second == 0).any():
        row = int(np.argmax(second == 0))
        raise ValueError(
            f"target_probs row {row} is certain of category {first[row]}: it has no runner-up by mass. Give "
            "runner_up_probs (such as the item's prior) or cost (the categories' cost_matrix)."
        )
    tied = others == second
    if runner_up_probs is not None:
        guide = np.broadcast_to(_same_width(as_probs(runner_up_probs, "runner_up_probs"), probs), probs.shape)
        tied &= guide == np.where(tied, guide, -1.0).max(axis=1, keepdims=True)
    if cost is not None:
        distance = _cost_of(cost, probs.shape[1])[first]
        tied &= distance == np.where(tied, distance, np.inf).min(axis=1, keepdims=True)
    moved = amount * (probs[rows, first] - second[:, 0])
    smoothed = probs + moved[:, None] * tied / tied.sum(axis=1, keepdims=True)
    smoothed[rows, first] -= moved
    return smoothed


def smooth_uniformly(target_probs, amount: float) -> np.ndarray:
    """Mix each distribution with the uniform one, `(1 − amount) · p + amount / K`: usual label smoothing.

    Args:
        target_probs (array of shape `(N, K)`): distributions.
        amount (`float` in [0, 1]): share of the uniform distribution.

    Returns:
        `np.ndarray` of shape `(N, K)`.

    Raises:
        ValueError: for an amount out of range and rows that are no distributions.

    Source: standard; the alternative that the paper decided against.

    >>> smooth_uniformly([[1.0, 0.0]], amount=0.1)
    array([[0.95, 0.05]])
    """
    probs = _rows_of_probs(target_probs)
    _refuse_amount(amount, 1.0, "it is the share of the uniform distribution")
    return (1 - amount) * probs + amount / probs.shape[1]


def _rows_of_probs(target_probs) -> np.ndarray:
    """The targets as float64 of shape `(N, K)`."""
    probs = as_probs(target_probs, "target_probs")
    if probs.ndim != 2:
        raise ValueError(f"target_probs has shape {probs.shape}; give one row per item, (N, K).")
    return probs


def _refuse_amount(amount: float, largest: float, reason: str) -> None:
    """Refuse an amount outside [0, largest]."""
    if not 0 <= amount <= largest:
        raise ValueError(f"amount is {amount}; give a number from 0 to {largest:g}: {reason}.")


def _same_width(guide: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Distributions for all rows or one per row, as they are; others are refused."""
    if guide.shape not in (probs.shape, probs.shape[1:]):
        raise ValueError(f"runner_up_probs has shape {guide.shape}; target_probs has {probs.shape}: give the same.")
    return guide


def _cost_of(cost, num_categories: int) -> np.ndarray:
    """The cost as float64 of shape `(K, K)`."""
    cost = np.asarray(cost, dtype=np.float64)
    if cost.shape != (num_categories, num_categories):
        raise ValueError(f"cost has shape {cost.shape}; give ({num_categories}, {num_categories}).")
    return cost
