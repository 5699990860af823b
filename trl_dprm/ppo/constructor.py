"""What the PPO trainer is given, in TRL's present keywords or the old `PPOTrainer`'s: checked, and made one call."""

import copy
from collections.abc import Sequence
from pathlib import Path

from accelerate.logging import get_logger
from transformers import PreTrainedTokenizerBase, ProcessorMixin, TrainingArguments
from trl import GRPOConfig, RewardConfig

from ..models import DPRMConfig
from ..trainer import DPRMTrainingArguments
from .expected_reward_ppo_config import ExpectedRewardPPOConfig

logger = get_logger(__name__)

_WRONG_ARGUMENTS = (
    (DPRMConfig, "It describes a model: it belongs to the reward model's checkpoint."),
    (DPRMTrainingArguments, "It describes the training of a reward model, by `DPRMTrainer`."),
    (RewardConfig, "It describes the training of a reward model, by `DPRMTrainer` or `trl.RewardTrainer`."),
    (
        GRPOConfig,
        "Its defaults are GRPO's (no KL, one epoch, groups of 8): `ExpectedRewardPPOConfig` takes the same options "
        "and PPO's.",
    ),
    (TrainingArguments, "It describes another trainer's run."),
)


def check_arguments(args: object, model: object) -> ExpectedRewardPPOConfig:
    """The run's description, or that of a default run if there is none.

    Args:
        args ([`ExpectedRewardPPOConfig`], *optional*): What the trainer was given as `args`.
        model (`str` or [`~transformers.PreTrainedModel`]): The policy, for the name of the default output folder.

    Raises:
        TypeError: for a description of anything else; the message names the right class.
    """
    if model is None:
        raise TypeError("`model`, the policy, is missing: give a model, a folder or a Hub id.")
    if isinstance(model, TrainingArguments):
        raise TypeError(
            f"The first argument is `model`, and got `{type(model).__name__}`. The old `PPOTrainer` began with "
            "`args`: pass its arguments by keyword."
        )
    if isinstance(args, ExpectedRewardPPOConfig):
        return args
    if args is None:
        name = model if isinstance(model, str) else model.config.name_or_path
        return ExpectedRewardPPOConfig(f"{Path(name).name or 'model'}-PPO")
    hint = next((hint for wrong, hint in _WRONG_ARGUMENTS if isinstance(args, wrong)), "")
    raise TypeError(f"`args` is a `{type(args).__name__}`; use `ExpectedRewardPPOConfig`. {hint}".rstrip())


def rewards_of(reward_funcs: object, reward_model: object, environment_factory: object = None) -> list:
    """The reward sources as a list, from TRL's present keyword or the old one.

    Args:
        reward_funcs (`str`, model, `Callable`, or a list of them, *optional*): TRL's keyword.
        reward_model (the same, *optional*): The old `PPOTrainer`'s.
        environment_factory (*optional*): An environment may bring the reward, so that neither is needed.

    Raises:
        ValueError: if both are given, or neither.
        TypeError: for an entry that is `None`.

    >>> rewards_of(None, "reward-model")
    ['reward-model']
    """
    if reward_funcs is not None and reward_model is not None:
        raise ValueError(
            "`reward_funcs` and `reward_model` are both given, and are two names of one thing. Give one; to sum "
            "several rewards, `reward_funcs=[...]` with `reward_weights` in the configuration."
        )
    given = reward_model if reward_funcs is None else reward_funcs
    sources = list(given) if isinstance(given, list | tuple) else [given] if given is not None else []
    if not sources and environment_factory is None:
        raise ValueError(
            "There is nothing to maximise: give `reward_model`, or `reward_funcs`, as a DPRM, a scalar reward model "
            "(instance, folder or Hub id), or a function."
        )
    if any(source is None for source in sources):
        raise TypeError(f"Reward {[source is None for source in sources].index(True)} of the list is None: remove it.")
    return sources


def check_models(
    model: object,
    ref_model: object = None,
    data_collator: object = None,
    value_model: object = None,
    reward_sources: Sequence = (),
) -> None:
    """Refuse one object in two places: training it in one would change it in the other.

    Args:
        model, ref_model, value_model (`str` or [`~transformers.PreTrainedModel`]): As given to the trainer.
        data_collator (`Callable`, *optional*): An old keyword; a warning says that it is not used.
        reward_sources (`Sequence`): From `rewards_of`.

    Raises:
        ValueError: naming the two places.
    """
    if data_collator is not None:
        logger.warning(
            f"`data_collator` ({type(data_collator).__name__}) is not used: rollouts are padded by the trainer, after "
            "sampling. Remove it; prompts may stand in the dataset at their own lengths."
        )
    places = [("model", model), ("ref_model", ref_model), ("value_model", value_model)]
    places += [("reward_model", source) for source in reward_sources]
    instances = [(name, part) for name, part in places if part is not None and not isinstance(part, str)]
    remedies = {
        "ref_model": "leave it out: the trainer makes a frozen copy, or switches adapters off.",
        "value_model": "load it a second time, or leave it out: the critic then gets a backbone of its own.",
        "reward_model": "load it a second time.",
    }
    for k, (name, part) in enumerate(instances):
        for other, earlier in instances[:k]:
            if part is earlier and not name == other == "reward_model":
                raise ValueError(f"`{name}` and `{other}` are the same object. For `{name}`, {remedies[name]}")


def safe_tokenizer(
    processing_class: PreTrainedTokenizerBase | ProcessorMixin, vocabulary_size: int
) -> PreTrainedTokenizerBase | ProcessorMixin:
    """The tokenizer itself, or a copy that pads with EOS where its own padding token cannot be embedded.

    TRL's old example adds a `[PAD]` token without resizing the embeddings. Padding is masked wherever it stands, so
    which token it is makes no difference, but its id must have a row in the embeddings.

    Args:
        processing_class ([`~transformers.PreTrainedTokenizerBase`] or [`~transformers.ProcessorMixin`]):
            Of the policy; never changed.
        vocabulary_size (`int`): Rows of the policy's embeddings.

    Raises:
        TypeError: if it is neither tokenizer nor processor.
        ValueError: if EOS is missing or has no row either.
    """
    tokenizer = tokenizer_of(processing_class)
    padding, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    if eos is None or eos >= vocabulary_size:
        found = "has no EOS token" if eos is None else f"has the EOS token {tokenizer.eos_token!r} with id {eos}"
        raise ValueError(
            f"The policy's tokenizer {found}, and the policy has {vocabulary_size} embeddings: no completion could "
            "end. Set `tokenizer.eos_token` to a token of the model's vocabulary."
        )
    if padding is not None and padding < vocabulary_size:
        return processing_class
    fault = "has no padding token"
    if padding is not None:
        fault = (
            f"pads with {tokenizer.pad_token!r}, id {padding}, for which the policy's {vocabulary_size} embeddings "
            "have no row"
        )
    logger.warning(
        f"The tokenizer {fault}. A copy that pads with EOS, {tokenizer.eos_token!r} (id {eos}), is used, and saved "
        "with the model; padding is masked, so nothing else changes."
    )
    processing_class = copy.deepcopy(processing_class)
    tokenizer_of(processing_class).pad_token = tokenizer.eos_token
    return processing_class


def tokenizer_of(processing_class: PreTrainedTokenizerBase | ProcessorMixin) -> PreTrainedTokenizerBase:
    """The tokenizer, also that inside a processor.

    Raises:
        TypeError: for anything else.
    """
    tokenizer = processing_class.tokenizer if isinstance(processing_class, ProcessorMixin) else processing_class
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise TypeError(
            f"`processing_class` is a `{type(processing_class).__name__}`; give the policy's tokenizer or processor."
        )
    return tokenizer
