"""A map of the logits folded into the head's last linear layer: the checkpoint still has one score, everywhere."""

import torch
from torch import Tensor, nn

from ..models import DPRMForSequenceClassification
from .logit_map import LogitMap


def fold_logit_map(
    model: DPRMForSequenceClassification, logit_map: LogitMap, prior_strength: float | None = None
) -> None:
    """Change the head so that the model's category logits are the mapped ones, and with them every score of it.

    The last linear layer's weight W and bias b become A W and A b + c. What the configuration knows of the old
    probabilities goes: `prior_strength` is what it is set to here. `bradley_terry_scale` stays: it was fitted to
    differences of the old expected reward, and only pairs can refit it.

    Args:
        model ([`DPRMForSequenceClassification`]): A full model in memory, changed in place.
        logit_map ([`LogitMap`]): Of its categories.
        prior_strength (`float`, *optional*): How many annotators the mapped model is worth, where that is known.

    Raises:
        ValueError: as [`last_linear`] and [`check_foldable`].

    Source: [ours].

    >>> from transformers import BertConfig
    >>> from trl_dprm import DPRMConfig
    >>> import numpy as np
    >>> backbone = BertConfig(
    ...     vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    ... )
    >>> model = DPRMForSequenceClassification(DPRMConfig(backbone, category_rewards=[0.0, 1.0])).eval()
    >>> before = model(torch.tensor([[1, 2]])).category_logits.detach()
    >>> fold_logit_map(model, LogitMap(np.eye(2), [0.0, 1.0]))
    >>> (model(torch.tensor([[1, 2]])).category_logits.detach() - before).round(decimals=4)
    tensor([[0., 1.]])
    """
    name, linear = last_linear(model)
    check_foldable(name, linear, logit_map)
    with torch.no_grad():
        linear.weight.copy_(folded_weight(linear.weight, logit_map))
        if linear.bias is not None:
            linear.bias.copy_(folded_bias(linear.bias, logit_map))
    model.config.prior_strength = prior_strength


def last_linear(model: DPRMForSequenceClassification) -> tuple[str, nn.Linear]:
    """The head's layer that puts out the category logits.

    Args:
        model ([`DPRMForSequenceClassification`]): On any device, `meta` included.

    Returns:
        Its name, such as `"score"` or `"classifier.out_proj"`, and the layer.

    Raises:
        ValueError: if the head is wrapped by an adapter or quantised, or ends in no linear layer.
    """
    heads = [name for name in model.head_names if not name.startswith(f"{model.base_model_prefix}.")]
    layers = {
        f"{head}.{name}".removesuffix("."): module
        for head in heads
        for name, module in model.get_submodule(head).named_modules()
    }
    if any(hasattr(layer, "modules_to_save") or hasattr(layer, "base_layer") for layer in layers.values()):
        raise ValueError(
            f"The head ({', '.join(heads)}) belongs to an adapter: a map is folded into full models only. Merge "
            "first: `trl-dprm merge --model ADAPTER --output FOLDER`."
        )
    linears = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear)}
    name, linear = list(linears.items())[-1] if linears else (None, None)
    if linear is None or linear.out_features != model.config.num_categories:
        raise ValueError(
            f"The head of {type(model.config.text_config).__name__} ({', '.join(heads) or 'none'}) ends in no linear "
            f"layer of {model.config.num_categories} outputs, so no map can be folded into it."
        )
    if not linear.weight.is_floating_point():
        raise ValueError(
            f"The head's layer `{name}` is quantised: load the model in full precision, and fold the map there."
        )
    return name, linear


def check_foldable(name: str, linear: nn.Linear, logit_map: LogitMap) -> None:
    """Refuse a map that the layer cannot take.

    Args:
        name (`str`): Of the layer.
        linear (`nn.Linear`): From [`last_linear`].
        logit_map ([`LogitMap`]): The map.

    Raises:
        ValueError: for another number of categories, and for biases where the layer has none.
    """
    if linear.out_features != logit_map.num_categories:
        raise ValueError(
            f"The map is of {logit_map.num_categories} categories and the head `{name}` of {linear.out_features}."
        )
    if linear.bias is None and logit_map.has_bias:
        raise ValueError(
            f"The head `{name}` of this backbone has no bias, and stock classifiers of its kind would ignore one: a "
            "map with biases cannot be folded into it. Fit one without: `--map temperature`, or `--map matrix`, which "
            "leaves the biases out there (`with_bias=False`)."
        )


def folded_weight(weight: Tensor, logit_map: LogitMap) -> Tensor:
    """A W, computed in float64, in at least float32 *(num_categories, hidden_size)*.

    Args:
        weight (`torch.Tensor` of shape *(num_categories, hidden_size)*): W.
        logit_map ([`LogitMap`]): With the matrix A.
    """
    matrix = torch.from_numpy(logit_map.matrix).to(weight.device)
    return (matrix @ weight.double()).to(torch.promote_types(weight.dtype, torch.float32))


def folded_bias(bias: Tensor, logit_map: LogitMap) -> Tensor:
    """A b + c, computed in float64, in at least float32 *(num_categories,)*.

    Args:
        bias (`torch.Tensor` of shape *(num_categories,)*): b.
        logit_map ([`LogitMap`]): A and c.
    """
    matrix, shift = (torch.from_numpy(part).to(bias.device) for part in (logit_map.matrix, logit_map.bias))
    return (matrix @ bias.double() + shift).to(torch.promote_types(bias.dtype, torch.float32))
