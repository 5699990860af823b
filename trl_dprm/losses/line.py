"""Categories as points on a line: sorted once, shared by the losses that work on cumulative distributions."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .arguments import one_per_category


class Line(NamedTuple):
    """The categories from left to right.

    Attributes:
        order (`Tensor` of shape `(num_categories,)` or `None`): category indices by position; `None` if already
            sorted.
        positions (`Tensor` of shape `(num_categories,)`): ascending.
        gaps (`Tensor` of shape `(num_categories - 1,)`): distances between neighbours, 0 at ties.
    """

    order: Tensor | None
    positions: Tensor
    gaps: Tensor

    def cdf(self, probs: Tensor) -> Tensor:
        """Cumulative probability of every category but the last (where it is 1), from left to right.

        Args:
            probs (`Tensor` of shape `(..., num_categories)`): in the order of the categories; gradients flow.

        Returns:
            `Tensor` of shape `(..., num_categories - 1)`.

        Example:

        >>> line_through([3.0, 1.0, 2.0], torch.ones(3)).cdf(torch.tensor([0.5, 0.2, 0.3]))
        tensor([0.2000, 0.5000])
        """
        ordered = probs if self.order is None else probs.index_select(-1, self.order)
        return ordered[..., :-1].cumsum(-1)


def line_through(positions: Sequence[float] | Tensor, probs: Tensor) -> Line:
    """The line for `positions`, on the device and in the dtype of `probs` (made once, then remembered).

    Args:
        positions (sequence of `float` or `Tensor`, length `num_categories`): finite, in any order, ties allowed.
        probs (`Tensor` of shape `(..., num_categories)`): float32 or float64.

    Raises:
        ValueError: another number of positions than categories, or one that is not finite.

    Example:

    >>> line_through([3.0, 1.0, 1.0], torch.ones(3)).gaps
    tensor([0., 2.])
    """
    return _line(one_per_category(positions, "positions", probs.shape[-1]), probs.dtype, probs.device)


@functools.lru_cache(maxsize=64)
def _line(positions: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Line:
    order = sorted(range(len(positions)), key=positions.__getitem__)
    with torch.inference_mode(False):  # a tensor born in inference mode could not be used for training later
        ascending = torch.tensor([positions[k] for k in order], dtype=torch.float64)
        unsorted = None if order == list(range(len(order))) else torch.tensor(order, device=device)
        return Line(unsorted, ascending.to(device, dtype), ascending.diff().to(device, dtype))
