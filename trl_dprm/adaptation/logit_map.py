"""A small map of the category logits: what follows a shifted population, or recalibrates, on every item at once."""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, softmax

_ROUNDING = 1e-6


@dataclass(frozen=True)
class LogitMap:
    r"""The affine map \\(z \mapsto A z + c\\) of category logits, before the softmax.

    A constant added to all logits of an item changes no probability, so a map of *distributions* must send it to a
    constant: all rows of `matrix` have the same sum. Then the map may be given logits or log-probabilities alike.

    Args:
        matrix (array of shape `(K, K)`): A, finite; its rows have one sum.
        bias (array of shape `(K,)`): c, finite. Only its differences matter.

    Raises:
        ValueError: for other shapes, entries that are not finite, and a matrix whose rows have different sums.

    Source: temperature scaling, bias and matrix ("vector") scaling: Guo et al. 2017 (arXiv 1706.04599), section 4.2.
    Differs: there the matrix may depend on a constant added to the logits.

    >>> shift = LogitMap(np.eye(2), [0.0, np.log(3)])
    >>> shift.probs([[0.0, 0.0], [1.0, 1.0]])
    array([[0.25, 0.75],
           [0.25, 0.75]])
    """

    matrix: np.ndarray
    bias: np.ndarray

    def __post_init__(self):
        matrix, bias = np.array(self.matrix, dtype=np.float64), np.array(self.bias, dtype=np.float64)
        if bias.ndim != 1 or len(bias) < 2 or matrix.shape != (len(bias), len(bias)):
            raise ValueError(
                f"matrix has shape {matrix.shape} and bias {bias.shape}; give (K, K) and (K,) for K >= 2 categories."
            )
        for name, values in (("matrix", matrix), ("bias", bias)):
            if not np.isfinite(values).all():
                raise ValueError(f"{name} has entries that are not finite: {values.tolist()}; correct it.")
        sums = matrix.sum(1)
        if np.ptp(sums) > _ROUNDING * max(1.0, np.abs(matrix).max()):
            raise ValueError(
                f"the rows of matrix sum to {sums.tolist()}; with unequal sums a constant added to an item's logits "
                "would change its probabilities: subtract from each row the mean of its excess."
            )
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "bias", bias)

    @classmethod
    def identity(cls, num_categories: int) -> "LogitMap":
        """The map that changes nothing.

        Args:
            num_categories (`int`): K.
        """
        return cls(np.eye(num_categories), np.zeros(num_categories))

    @property
    def num_categories(self) -> int:
        """K."""
        return len(self.bias)

    @property
    def is_identity(self) -> bool:
        """Whether no probability changes."""
        return bool((self.matrix == np.eye(self.num_categories)).all() and np.ptp(self.bias) == 0)

    @property
    def has_bias(self) -> bool:
        """Whether the bias changes a probability: a head without a bias cannot take such a map."""
        return bool(np.ptp(self.bias) > 0)

    def apply(self, category_logits) -> np.ndarray:
        """The mapped logits.

        Args:
            category_logits (array of shape `(..., K)`): logits or log-probabilities.

        Returns:
            `np.ndarray` of the same shape, float64.

        Raises:
            ValueError: for another number of categories, and for logits that are not finite.
        """
        logits = np.asarray(category_logits, dtype=np.float64)
        if logits.shape[-1:] != self.bias.shape:
            raise ValueError(
                f"category_logits has shape {logits.shape}; the map is of {self.num_categories} categories, so its "
                "last dimension must be as long."
            )
        if not np.isfinite(logits).all():
            raise ValueError("category_logits has entries that are not finite; compute them in float32 or wider.")
        return logits @ self.matrix.T + self.bias

    def probs(self, category_logits) -> np.ndarray:
        """Probabilities of the mapped logits, of the shape of `category_logits` (see [`apply`])."""
        return softmax(self.apply(category_logits), axis=-1)

    def log_probs(self, category_logits) -> np.ndarray:
        """Log-probabilities of the mapped logits, of the shape of `category_logits` (see [`apply`])."""
        return log_softmax(self.apply(category_logits), axis=-1)

    def after(self, first: "LogitMap") -> "LogitMap":
        """The map that applies `first` and then this one.

        Args:
            first ([`LogitMap`]): of as many categories.

        >>> halved = LogitMap(0.5 * np.eye(2), [0.0, 0.0])
        >>> halved.after(LogitMap(np.eye(2), [0.0, 4.0])).bias
        array([0., 2.])
        """
        return LogitMap(self.matrix @ first.matrix, self.matrix @ first.bias + self.bias)
