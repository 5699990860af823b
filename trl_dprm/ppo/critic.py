"""The critic: a causal backbone with an unbounded value head, kept inside the policy's engine."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType

import torch
from accelerate.utils import is_peft_model
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from ..models import DPRMConfig, DPRMForSequenceClassification
from ..models.checkpoint_dprm import only_what_lies_there
from ..rewards.tokenizers import knows_ids_of, stored_tokenizer, text_tokenizer
from ..trainer.reading import naming_source
from .readouts import language_model, last_hidden_states

CRITIC_NAME = "value_model"
_HEAD_NAMES = ("score", "classifier", "v_head")


class Critic(nn.Module):
    """Values of the states that a sequence of tokens passes through.

    Args:
        backbone ([`~transformers.PreTrainedModel`]): A causal decoder without a head.
        head (`torch.nn.Linear`, *optional*):
            From the hidden size to one value. Default: a new one of zeros without bias (differs: Huang et al.
            2403.17031 draw its weights with standard deviation \\(1 / \\sqrt{d + 1}\\)). It is float32 and runs
            without autocast.

    Raises:
        TypeError: for an encoder: its value of a state would know the tokens that follow.
    """

    def __init__(self, backbone: PreTrainedModel, head: nn.Linear | None = None):
        super().__init__()
        check_causal(backbone)
        self.backbone = backbone
        self.head = in_float32(new_value_head(backbone.config) if head is None else head)
        embeddings = backbone.get_input_embeddings().weight
        self.head.to(embeddings.device)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Value of the state after every token.

        Args:
            input_ids (`torch.Tensor` of shape *(batch_size, length)*): Padded on any side.
            attention_mask (`torch.Tensor` of shape *(batch_size, length)*): 1 at tokens, 0 at padding.

        Returns:
            `torch.Tensor` of shape *(batch_size, length)*, float32.
        """
        return read_values(self.backbone, self.head, input_ids, attention_mask)


def read_values(
    backbone: nn.Module, head: nn.Linear, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """Value of the state after every token, of shape *(batch_size, length)*, the head in float32."""
    hidden_states = last_hidden_states(backbone, input_ids, attention_mask)
    with torch.autocast(hidden_states.device.type, enabled=False):
        return head(hidden_states).squeeze(-1)


def new_value_head(config: PreTrainedConfig) -> nn.Linear:
    """A fresh, unbounded head in float32 for a backbone with this configuration: it says 0 until it has learned.

    A random head is noise of its own size, which the first rollouts' advantages would be made of.
    """
    head = nn.Linear(config.get_text_config().hidden_size, 1, bias=False, dtype=torch.float32)
    nn.init.zeros_(head.weight)
    return head


def in_float32(head: nn.Linear) -> nn.Linear:
    """The head itself, made float32, that computes in float32 also where an engine casts its weights to bfloat16."""

    def forward(self, hidden_states):
        bias = None if self.bias is None else self.bias.float()
        return nn.functional.linear(hidden_states.float(), self.weight.float(), bias)

    head.float()
    head.forward = MethodType(forward, head)
    return head


def check_causal(backbone: PreTrainedModel) -> None:
    """Refuse a backbone whose hidden state at a token depends on later ones.

    Raises:
        TypeError: naming the class and the remedy.
    """
    if not is_causal(backbone):
        raise TypeError(
            f"The critic's backbone `{type(backbone).__name__}` is an encoder: its value of a state would depend on "
            "the tokens that follow. Pass a decoder as `value_model`, or none, to start from the policy's backbone."
        )


def is_causal(backbone: PreTrainedModel) -> bool:
    """Whether the second of three tokens reads the first and not the third: by the gradients to their embeddings.

    Numbers alone would not tell: in an encoder that is hardly trained yet, tokens hardly influence each other.
    """
    embeddings = backbone.get_input_embeddings()
    if embeddings.weight.device.type == "meta":
        return True
    embedded = []

    def keep(module, args, output):
        embedded.append(output.detach().requires_grad_())
        return embedded[0]

    was_training, hook = backbone.training, embeddings.register_forward_hook(keep)
    ids = torch.tensor([[1, 2, 3]], device=embeddings.weight.device)
    try:
        with torch.enable_grad():
            hidden_states = last_hidden_states(backbone.eval(), ids, torch.ones_like(ids))
            influence = (
                torch.autograd.grad(hidden_states[0, 1, ::2].float().sum(), embedded)[0][0].float().norm(dim=-1)
            )
    finally:
        hook.remove()
        backbone.train(was_training)
    return bool(influence[2] <= 1e-3 * influence[0])


def make_critic(
    value_model: str | PreTrainedModel | None,
    policy: PreTrainedModel,
    reward_functions: Sequence[Callable],
    tokenizer: PreTrainedTokenizerBase | ProcessorMixin,
    model_init_kwargs: dict | None = None,
) -> Critic:
    """The critic that a trainer's `value_model` stands for.

    A one-label classifier (what the removed `PPOTrainer` took) keeps its head. Of anything else the backbone is taken,
    and the head is new: a DPRM's rewards are bounded, values are not. Without `value_model` the backbone is a copy of
    the first reward model's, if that is a decoder with the policy's tokenizer, or else of the policy's.

    Args:
        value_model (`str`, [`~transformers.PreTrainedModel`] or `None`): Folder, Hub id or instance.
        policy ([`~transformers.PreTrainedModel`]): As it starts.
        reward_functions (`Sequence[Callable]`): Of `load_reward_functions`.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`] or [`~transformers.ProcessorMixin`]): The policy's.
        model_init_kwargs (`dict`, *optional*): For loading a folder or Hub id, in float32 unless they say otherwise.

    Returns:
        [`Critic`].

    Raises:
        TypeError: for an encoder, or a model that is also the policy or a reward model.
        ValueError: for a model that does not know the policy's tokens, or is quantised and has nothing to train.
    """
    if value_model is None:
        return Critic(_default_backbone(policy, reward_functions))
    reward_models = [getattr(function, "model", None) for function in reward_functions]
    if any(value_model is model for model in (policy, *reward_models)):
        raise TypeError(
            "`value_model` is the same object as the policy or the reward model, which training it would change. "
            "Load it a second time, or leave it out."
        )
    if isinstance(value_model, str):
        _check_tokenizer(value_model, tokenizer)
        value_model = _load(value_model, model_init_kwargs or {})
    backbone, head = _backbone_and_head(value_model)
    known, needed = (m.get_input_embeddings().num_embeddings for m in (backbone, policy))
    if known < needed:
        raise ValueError(
            f"The critic knows {known} tokens, the policy {needed}: they have different tokenizers, but the critic "
            "reads the policy's token ids. Pass a `value_model` with the policy's vocabulary, or none."
        )
    if not any(parameter.requires_grad for parameter in backbone.parameters()):
        raise ValueError(
            "No parameter of the `value_model`'s backbone is trained (it is frozen, or quantised without an adapter). "
            "Pass one that is, or none."
        )
    return Critic(backbone, head)


def _default_backbone(policy, reward_functions):
    weights = policy.get_input_embeddings().weight
    for function in reward_functions[:1]:
        model = getattr(function, "model", None)
        if model is None or not function.shares_policy_tokenizer or is_peft_model(model) or _is_quantized(model):
            continue
        backbone, _ = _backbone_and_head(model)
        if backbone.get_input_embeddings().num_embeddings < len(weights) or not is_causal(backbone):
            continue
        return copy.deepcopy(backbone).to(weights.dtype).requires_grad_(True)
    if _is_quantized(policy):
        raise ValueError(
            "The policy is quantised and no reward model lends the critic a backbone. Pass a `value_model`, or set "
            "`share_backbone=True`, so that the critic is an adapter on the policy's backbone."
        )
    if is_peft_model(policy):
        return copy.deepcopy(policy).merge_and_unload().base_model.requires_grad_(True)
    return copy.deepcopy(policy.base_model).requires_grad_(True)


def _is_quantized(model):
    return getattr(language_model(model).config, "quantization_config", None) is not None


def _check_tokenizer(folder, tokenizer):
    """Refuse a checkpoint whose own tokenizer numbers the policy's tokens otherwise."""
    stored = stored_tokenizer(folder)
    if stored is not None and not knows_ids_of(stored, text_tokenizer(tokenizer)):
        raise ValueError(
            f"The tokenizer beside the `value_model` {folder} is not the policy's, but the critic reads the policy's "
            "token ids. Pass a `value_model` with the policy's vocabulary, or none."
        )


def _load(path, model_init_kwargs):
    options = {name: value for name, value in model_init_kwargs.items() if name != "quantization_config"}
    options.setdefault("dtype", torch.float32)  # it is trained
    options.setdefault("use_safetensors", True)
    with naming_source(path, "value model"):
        config = AutoConfig.from_pretrained(path, trust_remote_code=options.get("trust_remote_code", False))
    if config.model_type == DPRMConfig.model_type:
        return DPRMForSequenceClassification.from_pretrained(path, **options)
    architecture = (config.architectures or [""])[0]
    scalar = architecture.endswith("ForSequenceClassification") and config.num_labels == 1
    auto_class = AutoModelForSequenceClassification if scalar else AutoModel
    with only_what_lies_there(path):
        return auto_class.from_pretrained(path, **options)


def _backbone_and_head(model):
    """The headless backbone of a model, and its head if that is one linear value per token."""
    inner = language_model(model)
    backbone = inner.base_model
    if getattr(inner.config, "model_type", None) == DPRMConfig.model_type:
        return backbone, None
    heads = [getattr(inner, name) for name in _HEAD_NAMES if hasattr(inner, name)]
    heads = [
        head.modules_to_save[head.active_adapters[0]] if isinstance(head, ModulesToSaveWrapper) else head
        for head in heads
    ]
    heads = [head for head in heads if isinstance(head, nn.Linear) and head.out_features == 1]
    return backbone, heads[0] if heads else None


def attach_critic(policy: PreTrainedModel, critic: nn.Module) -> None:
    """Make the critic a part of the policy's language model: one engine, one optimizer, one gradient norm."""
    language_model(policy).add_module(CRITIC_NAME, critic)


@contextmanager
def without_critic(policy: PreTrainedModel) -> Iterator[None]:
    """The policy as its users know it, while it is saved, loaded or copied to an inference engine."""
    model = language_model(policy)
    critic = model._modules.pop(CRITIC_NAME, None)
    try:
        yield
    finally:
        if critic is not None:
            model.add_module(CRITIC_NAME, critic)


def find_critic(policy: PreTrainedModel) -> nn.Module:
    """The critic that `attach_critic` put into the policy's language model."""
    return language_model(policy).get_submodule(CRITIC_NAME)


def split_critic(state_dict: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Tensors of an engine as those of the policy, and those of the critic by their own names."""
    policy, critic = {}, {}
    for name, tensor in state_dict.items():
        _, found, own_name = name.partition(f"{CRITIC_NAME}.")
        if found:
            critic[own_name] = tensor
        else:
            policy[name] = tensor
    return policy, critic
