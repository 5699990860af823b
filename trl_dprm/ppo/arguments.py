"""What PPO's pure functions do with their arguments first: one shape, at least float32, masks as booleans."""

import torch
from torch import Tensor

from ..losses.arguments import at_least_float32, check_tensors


def same_shape(**tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors that must have one shape, in their common dtype of at least float32.

    Broadcasting is refused: `(batch, 1)` against `(batch, length)` would pair every token with one number.

    Args:
        tensors (`Tensor` of any one shape): by the name that an error gives them; gradients flow.

    Returns:
        The tensors, in their order.

    Raises:
        TypeError: one of them is not a tensor.
        ValueError: the shapes differ.

    Example:

    >>> same_shape(values=torch.ones(2, 3), returns=torch.ones(2, 1))
    Traceback (most recent call last):
    ValueError: values has shape (2, 3) but returns has (2, 1); give one entry per token of the completions to both
    """
    check_tensors(**tensors)
    (first_name, first), *others = tensors.items()
    for name, tensor in others:
        if tensor.shape != first.shape:
            raise ValueError(
                f"{first_name} has shape {tuple(first.shape)} but {name} has {tuple(tensor.shape)}; give one entry "
                "per token of the completions to both"
            )
    dtype = torch.float32
    for tensor in tensors.values():
        dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.to(dtype) for tensor in tensors.values())


def boolean_mask(mask: Tensor, values: Tensor, name: str = "values") -> Tensor:
    """A mask of numbers or booleans as booleans, of the shape of what it masks.

    Args:
        mask (`Tensor`): 0 (or `False`) where a token does not count.
        values (`Tensor`): what it masks.
        name (`str`): what to call `values` in an error.

    Returns:
        `Tensor` of booleans, of the same shape.

    Raises:
        TypeError: not a tensor.
        ValueError: another shape than that of `values`.

    Example:

    >>> boolean_mask(torch.tensor([[1, 0]]), torch.zeros(1, 2))
    tensor([[ True, False]])
    """
    check_tensors(**{name: values, "mask": mask})
    if mask.shape != values.shape:
        raise ValueError(
            f"mask has shape {tuple(mask.shape)} but {name} has {tuple(values.shape)}; give the mask of the "
            "completions' tokens, without those of the prompts"
        )
    return mask.bool()


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside a range.

    Args:
        name (`str`): what to call it in an error.
        value (`float`): NaN is outside every range.
        low (`float`), high (`float`): the ends, which belong to it.

    Raises:
        ValueError: outside.

    Example:

    >>> check_between("gamma", 1.5, 0, 1)
    Traceback (most recent call last):
    ValueError: gamma is 1.5; give a number between 0 and 1
    """
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; give a number between {low} and {high}")


def check_positive(name: str, value: float) -> None:
    """Refuse a number that is not positive and finite.

    Args:
        name (`str`): what to call it in an error.
        value (`float`): the number.

    Raises:
        ValueError: zero, negative, infinite or NaN.

    Example:

    >>> check_positive("kl_target", 0)
    Traceback (most recent call last):
    ValueError: kl_target is 0; give a positive, finite number
    """
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value}; give a positive, finite number")


def wide(values: Tensor) -> Tensor:
    """Values in the dtype of sums: float64, or float32 on Apple's GPUs, which have no wider one.

    Args:
        values (`Tensor` of any shape): gradients flow.

    Returns:
        `Tensor` of the same shape.

    Example:

    >>> wide(torch.ones(2)).dtype
    torch.float64
    """
    return at_least_float32(values) if values.device.type == "mps" else values.double()
