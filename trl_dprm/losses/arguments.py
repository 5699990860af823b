"""What every loss does with its arguments first: check shapes, leave half precision, place constants on the device.

Values are never checked here (probabilities that do not sum to one, vote shares above one): that would stop the
accelerator at every step. The data are checked where they enter, by the preparation and the trainer.
"""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

Matrix = tuple[tuple[float, ...], ...]


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision and integers become float32; float32 and float64 stay as they are.

    Args:
        tensor (`Tensor` of any shape): gradients flow.

    Returns:
        `Tensor` of the same shape, float32 or float64.

    Example:

    >>> at_least_float32(torch.ones(2, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def comparable(category_values: Tensor, target_probs: Tensor, name: str = "category_probs") -> tuple[Tensor, Tensor]:
    """Two distributions over the same categories, in one dtype of at least float32.

    Args:
        category_values (`Tensor` of shape `(..., num_categories)`): the model's side, probabilities or logits.
        target_probs (`Tensor` of shape `(..., num_categories)`): leading dimensions broadcast with the model's.
        name (`str`): what to call `category_values` in an error.

    Returns:
        The two tensors in their common dtype, not expanded.

    Raises:
        TypeError: one of them is not a tensor.
        ValueError: the numbers of categories differ, or the leading dimensions do not broadcast.

    Example:

    >>> comparable(torch.ones(2, 3), torch.ones(4))
    Traceback (most recent call last):
    ValueError: category_probs has 3 categories (last dimension) but target_probs has 4; give both the same
    """
    check_tensors(**{name: category_values, "target_probs": target_probs})
    sizes = [tensor.shape[-1] if tensor.ndim else 0 for tensor in (category_values, target_probs)]
    if sizes[0] != sizes[1] or sizes[0] == 0:
        raise ValueError(
            f"{name} has {sizes[0]} categories (last dimension) but target_probs has {sizes[1]}; give both the same"
        )
    check_broadcast(name, category_values.shape[:-1], "target_probs", target_probs.shape[:-1])
    dtype = torch.promote_types(torch.promote_types(category_values.dtype, target_probs.dtype), torch.float32)
    return category_values.to(dtype), target_probs.to(dtype)


def check_tensors(**tensors: Tensor) -> None:
    """Refuse lists and arrays where a tensor is meant (its device and dtype would have to be guessed).

    Args:
        tensors (`Tensor`): under the names that the error gives them.

    Raises:
        TypeError: for the first one that is no tensor.
    """
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} is a {type(value).__name__}, not a torch.Tensor; wrap it in torch.tensor(...)")


def check_broadcast(name: str, shape: torch.Size, other_name: str, other_shape: torch.Size) -> None:
    """Refuse leading dimensions that do not broadcast.

    Args:
        name (`str`), other_name (`str`): what to call the two in an error.
        shape (`torch.Size`), other_shape (`torch.Size`): their leading dimensions.

    Raises:
        ValueError: if they do not.
    """
    try:
        torch.broadcast_shapes(shape, other_shape)
    except RuntimeError:
        raise ValueError(
            f"the leading dimensions of {name}, {tuple(shape)}, and of {other_name}, {tuple(other_shape)}, do not "
            "broadcast; give both the same batch dimensions, or 1 where one is to be repeated"
        ) from None


def one_per_category(values: Sequence[float] | Tensor, name: str, num_categories: int) -> tuple[float, ...]:
    """The numbers that belong to the categories (positions, rewards), as a hashable tuple.

    Args:
        values (sequence of `float` or `Tensor`, length `num_categories`): a list is free; a CUDA tensor is a device
            synchronisation, so keep constants as lists.
        name (`str`): what to call them in an error.
        num_categories (`int`): how many there must be.

    Raises:
        ValueError: another length, or a number that is not finite.

    Example:

    >>> one_per_category([1, 2, 5], "positions", 3)
    (1.0, 2.0, 5.0)
    """
    if isinstance(values, Tensor):
        values = values.tolist()
    numbers = tuple(float(value) for value in values)
    if len(numbers) != num_categories:
        raise ValueError(f"{name} has {len(numbers)} entries for {num_categories} categories; give one per category")
    for index, number in enumerate(numbers):
        if not math.isfinite(number):
            raise ValueError(f"{name}[{index}] is {number}; give a finite number")
    return numbers


def frozen_matrix(cost: Sequence[Sequence[float]] | Tensor) -> Matrix:
    """A cost matrix as nested tuples: hashable, so that what is derived from it is computed once.

    Example:

    >>> frozen_matrix([[0, 1], [2, 0]])
    ((0.0, 1.0), (2.0, 0.0))
    """
    rows = cost.tolist() if isinstance(cost, Tensor) else cost
    return tuple(tuple(float(entry) for entry in row) for row in rows)


def check_cost(cost: Matrix) -> None:
    """Refuse a matrix that is not a ground cost.

    Raises:
        ValueError: not square, an entry negative or not finite, or a diagonal entry other than zero.

    Example:

    >>> check_cost(((0.0, 1.0), (1.0, 0.5)))
    Traceback (most recent call last):
    ValueError: cost[1][1] is 0.5; staying in a category costs nothing, set it to 0
    """
    size = len(cost)
    for i, row in enumerate(cost):
        if len(row) != size:
            raise ValueError(f"cost has {size} rows but row {i} has {len(row)} entries; give a square matrix")
        for j, entry in enumerate(row):
            if not (math.isfinite(entry) and entry >= 0):
                raise ValueError(f"cost[{i}][{j}] is {entry}; give finite, non-negative costs")
        if row[i] != 0:
            raise ValueError(f"cost[{i}][{i}] is {row[i]}; staying in a category costs nothing, set it to 0")


def check_cost_size(cost: Matrix, num_categories: int) -> None:
    """Refuse a cost matrix for another number of categories.

    Args:
        cost (`Matrix`): square.
        num_categories (`int`): how many there must be.

    Raises:
        ValueError: if there are others.
    """
    if len(cost) != num_categories:
        raise ValueError(
            f"cost is {len(cost)} x {len(cost)} but there are {num_categories} categories (last dimension); "
            "give one row and one column per category"
        )


@functools.lru_cache(maxsize=64)
def placed_cost(cost: Matrix, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The checked cost matrix as a tensor of shape `(num_categories, num_categories)`, made once per device."""
    check_cost(cost)
    with torch.inference_mode(False):  # a tensor born in inference mode could not be used for training later
        return torch.tensor(cost, dtype=dtype, device=device)
