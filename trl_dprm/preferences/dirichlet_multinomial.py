"""The Dirichlet-multinomial distribution of votes: how likely counts are before the item's own shares are known."""

import numpy as np
from scipy.special import gammaln

STIRLING_FROM = 100.0


def log_rising_factorial(base: np.ndarray, count: np.ndarray) -> np.ndarray:
    """`log Γ(base + count) - log Γ(base)`, for whole counts the sum of `log(base + j)` over `j < count`.

    The difference of two large log-gammas loses all digits when `base` is large (a strong prior), so there Stirling's
    series is subtracted term by term. A count of 0 gives 0, also for `base` 0; a positive count on base 0 gives
    `-inf`.

    Args:
        base (`np.ndarray`, broadcastable): not negative.
        count (`np.ndarray`, broadcastable): not negative, may be fractional.

    Returns:
        `np.ndarray` of the broadcast shape, float64.

    Source: [ours]; DLMF 5.11.1 for the series.

    >>> log_rising_factorial(3.0, 2.0).round(12) == np.log(3.0 * 4.0).round(12)
    np.True_
    """
    base, count = np.broadcast_arrays(np.asarray(base, np.float64), np.asarray(count, np.float64))
    safe = np.where(base > 0, base, 1.0)
    near = gammaln(safe + count) - gammaln(safe)
    far = np.maximum(safe, STIRLING_FROM)
    end = far + count
    series = (1 / end - 1 / far) / 12 - (end**-3 - far**-3) / 360
    stirling = (far - 0.5) * np.log1p(count / far) + count * np.log(end) - count + series
    value = np.where(safe < STIRLING_FROM, near, stirling)
    return np.where(count == 0, 0.0, np.where(base > 0, value, -np.inf))


def dirichlet_multinomial_log_probs(concentration: np.ndarray, target_counts: np.ndarray) -> np.ndarray:
    """Log probability of each row of votes when its shares are drawn from a Dirichlet distribution first.

    `log n! - Σ log c_k! + Σ log Γ(a_k + c_k)/Γ(a_k) - log Γ(A + n)/Γ(A)` with `A = Σ a_k`, `n = Σ c_k`: the likelihood
    of item-level disagreement, and the predictive distribution of future votes.

    Args:
        concentration (`np.ndarray` of shape `(..., K)`): not negative, each row with a positive sum.
        target_counts (`np.ndarray` of shape `(..., K)`): votes, not negative; fractional votes enter by the gamma
            function, which makes the value a likelihood for weighted votes rather than a probability.

    Returns:
        `np.ndarray` of shape `(...)`: nats; `-inf` for votes where the concentration is 0.

    Source: standard (Pólya/compound multinomial); fractional counts [ours].

    >>> dirichlet_multinomial_log_probs([1.0, 1.0], [[2, 0], [1, 1], [0, 2]])  # uniform over the three outcomes
    array([-1.09861229, -1.09861229, -1.09861229])
    """
    concentration = np.asarray(concentration, np.float64)
    counts = np.asarray(target_counts, np.float64)
    total = log_rising_factorial(concentration.sum(-1), counts.sum(-1))
    orderings = gammaln(counts.sum(-1) + 1) - gammaln(counts + 1).sum(-1)
    return orderings + log_rising_factorial(concentration, counts).sum(-1) - total
