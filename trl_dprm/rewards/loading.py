"""From whatever names a reward (path, Hub id, model, adapter, function, list of them) to TRL reward functions."""

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.utils import cached_file, find_adapter_config_file
from trl import GRPOConfig
from trl.trainer.utils import get_callable_name

from ..models import DPRMConfig, DPRMForSequenceClassification
from ..models.checkpoint_dprm import only_what_lies_there, quiet_loading_report
from ..trainer.model_loading import unwrap_peft
from ..trainer.reading import naming_source
from .finite_rewards import finite_rewards
from .reward_function import RewardModelFunction, check_is_reward_model
from .statistics import RewardStatistic
from .tokenizers import knows_ids_of, same_tokenizer, stored_tokenizer, text_tokenizer

Processing = PreTrainedTokenizerBase | ProcessorMixin
RewardSource = str | PreTrainedModel | Callable

_HUB_ARGUMENTS = ("cache_dir", "local_files_only", "revision", "subfolder", "token")


def dprm_reward_function(
    model: str | PreTrainedModel,
    statistic: str = "expected_reward",
    level: float = 0.1,
    weight: float = 1.0,
    category_rewards: list[float] | dict[str, float] | None = None,
    processing_class: Processing | None = None,
    batch_size: int = 32,
    name: str | None = None,
    log_prefix: str = "",
    chat_template_kwargs: dict | None = None,
    device: torch.device | str | None = None,
    **model_init_kwargs,
) -> RewardModelFunction:
    """A reward model as a reward function for `GRPOTrainer`, `RLOOTrainer`, `ExpectedRewardPPOTrainer` and best-of-n.

    Args:
        model (`str` or [`~transformers.PreTrainedModel`]): A DPRM or a reward model with one label: folder, Hub id,
            adapter, instance, or [`~peft.PeftModel`].
        statistic, level, weight, category_rewards: See [`RewardStatistic`].
        processing_class ([`~transformers.PreTrainedTokenizerBase`], *optional*): Default: the one beside the model.
        batch_size (`int`): Completions in one forward.
        name (`str`, *optional*): For log keys. Give different ones to several functions.
        log_prefix (`str`): Put before category names in log keys, such as `"helpful/"`, where several DPRMs are used.
        chat_template_kwargs (`dict`, *optional*): For the chat template.
        device (`torch.device` or `str`, *optional*): Where the model goes. Default: an instance stays where it is, a
            loaded model goes to the process's device when it is first called.
        model_init_kwargs: For `from_pretrained`, where `model` is a folder or Hub id.

    Returns:
        [`RewardModelFunction`].

    Raises:
        FileNotFoundError: if there is no such folder.
        TypeError: if `model` is no reward model.
        ValueError: for a checkpoint without a trained head, a missing or foreign tokenizer, or a statistic that does
            not fit the model.

    Example:

    ```python
    reward = dprm_reward_function("you/your-dprm", statistic="cvar", level=0.2, category_rewards={"harmful": -5.0})
    GRPOTrainer("Qwen/Qwen3-0.6B", reward_funcs=reward, train_dataset=dataset).train()
    ```
    """
    loaded, tokenizer = load_reward_model(model, processing_class, **model_init_kwargs)
    function = RewardModelFunction(
        loaded,
        tokenizer,
        RewardStatistic(statistic, level, weight, category_rewards),
        batch_size=batch_size,
        name=name or (_last_part(model) if isinstance(model, str) else None),
        log_prefix=log_prefix,
        chat_template_kwargs=chat_template_kwargs,
    )
    function.placed_at_first_call = device is None and isinstance(model, str)
    return function if device is None else function.to(device)


def load_reward_functions(
    reward_funcs: RewardSource | list[RewardSource] | None,
    reward_processing_classes: Processing | list[Processing | None] | None,
    args: GRPOConfig,
    policy_tokenizer: Processing,
) -> tuple[list[Callable], list[str]]:
    """Every reward as a TRL reward function, checked before the first rollout.

    Models become [`RewardModelFunction`]s with the statistic of the arguments; one that was made before keeps its own.
    Other functions are watched for NaN and infinities. `args.model_init_kwargs` holds for reward models too, as in
    `trl.GRPOTrainer`. differs: not its `revision`, which is the policy's.

    Args:
        reward_funcs (`str`, model, `Callable`, or a list of them): As TRL's online trainers take them.
        reward_processing_classes (tokenizer or list of them, *optional*): One per reward; those of functions are
            ignored. Default: the tokenizers beside the models.
        args ([`ExpectedRewardPPOConfig`]): `reward_statistic`, `cvar_level`, `semideviation_weight`,
            `reward_category_rewards`, `local_rollout_forward_batch_size`, `model_init_kwargs`, `trust_remote_code`,
            `chat_template_kwargs`.
        policy_tokenizer ([`~transformers.PreTrainedTokenizerBase`] or [`~transformers.ProcessorMixin`]):
            Reward models with the same one read the policy's token ids where prompts come as ids.

    Returns:
        The functions and their names, distinct. Move the models with `.to(device)` where a function has one.

    Raises:
        FileNotFoundError, TypeError: as [`dprm_reward_function`].
        ValueError: as [`dprm_reward_function`]; if there are not as many tokenizers as rewards; or if the arguments
            choose a statistic that no reward has.
    """
    sources = _as_list(reward_funcs)
    classes = _as_list(reward_processing_classes) or [None] * len(sources)
    if len(classes) != len(sources):
        raise ValueError(
            f"There are {len(sources)} reward functions and {len(classes)} `reward_processing_classes`: give one for "
            "each, `None` for functions."
        )
    statistic = RewardStatistic(
        args.reward_statistic, args.cvar_level, args.semideviation_weight, args.reward_category_rewards
    )
    functions = [
        _load_reward_function(source, processing_class, statistic, args)
        for source, processing_class in zip(sources, classes, strict=True)
    ]
    _check_statistic_is_used(statistic, functions)
    names = _distinct([get_callable_name(function) for function in functions])
    distributional = [function for function in functions if getattr(function, "is_distributional", False)]
    for function, name in zip(functions, names, strict=True):
        function.__name__ = name
        if isinstance(function, RewardModelFunction):
            function.shares_policy_tokenizer = same_tokenizer(function.tokenizer, text_tokenizer(policy_tokenizer))
            if len(distributional) > 1 and not function.log_prefix:
                function.log_prefix = f"{name}/"
    return functions, names


def load_reward_model(
    source: str | PreTrainedModel, processing_class: Processing | None = None, **model_init_kwargs
) -> tuple[PreTrainedModel, Processing]:
    """A reward model and its tokenizer.

    Args:
        source (`str` or [`~transformers.PreTrainedModel`]): A DPRM or a reward model with one label: folder, Hub id,
            adapter, instance, or [`~peft.PeftModel`].
        processing_class ([`~transformers.PreTrainedTokenizerBase`], *optional*): Default: the one beside the model.
        model_init_kwargs: For `from_pretrained`.

    Raises:
        FileNotFoundError, TypeError, ValueError: as [`dprm_reward_function`].
    """
    if isinstance(source, str | Path):
        model, place = _load_model(str(source), model_init_kwargs), str(source)
    else:
        if model_init_kwargs:
            raise ValueError(
                f"{', '.join(model_init_kwargs)}: for loading, but the reward model is loaded already. Pass its path."
            )
        check_is_reward_model(source)
        model, place = source, getattr(unwrap_peft(source).config, "_name_or_path", "")
    return model, _tokenizer_for(place, processing_class, model_init_kwargs)


def _load_reward_function(source, processing_class, statistic, args):
    if isinstance(source, RewardModelFunction):
        return source
    if not isinstance(source, str | Path | nn.Module):
        if not callable(source):
            raise TypeError(f"A reward is a path, a Hub id, a model or a function, got `{type(source).__name__}`.")
        return finite_rewards(source)
    options = {}
    if not isinstance(source, nn.Module):
        options = {name: value for name, value in (args.model_init_kwargs or {}).items() if name != "revision"}
        options.setdefault("trust_remote_code", args.trust_remote_code)
        if args.distributed_state.distributed_type in ("MULTI_GPU", "DEEPSPEED"):
            options["device_map"] = None  # each process holds the whole model
    model, tokenizer = load_reward_model(source, processing_class, **options)
    is_distributional = unwrap_peft(model).config.model_type == DPRMConfig.model_type
    return RewardModelFunction(
        model,
        tokenizer,
        statistic if is_distributional else None,
        batch_size=args.local_rollout_forward_batch_size,
        name=None if isinstance(source, nn.Module) else _last_part(source),
        chat_template_kwargs=args.chat_template_kwargs,
    )


def _check_statistic_is_used(statistic, functions):
    if statistic.is_trained or any(getattr(function, "statistic", None) == statistic for function in functions):
        return
    raise ValueError(
        f"`reward_statistic='{statistic.statistic}'` or `reward_category_rewards` is set, but no reward is a DPRM "
        "that it could be read from. Pass a DPRM in `reward_funcs`, or set it where a `dprm_reward_function` is made."
    )


def _load_model(path, options):
    hub_arguments = _chosen(options, _HUB_ARGUMENTS)
    with naming_source(path, "reward model"):
        description, _ = DPRMConfig.get_config_dict(path, **hub_arguments)
    adapter_file = find_adapter_config_file(path, **hub_arguments)
    if description.get("model_type") == DPRMConfig.model_type:
        config = DPRMConfig.from_pretrained(path, **hub_arguments)  # the Auto classes would take an adapter's base's
        return DPRMForSequenceClassification.from_pretrained(path, config=config, **options)
    if adapter_file is not None:
        return _load_scalar_adapter(path, options)
    if "model_type" not in description:
        raise ValueError(f"`{path}` is no reward model: it holds neither `config.json` nor `adapter_config.json`.")
    model, missing = _load_scalar(path, options)
    if missing:
        raise ValueError(
            f"The checkpoint {path} does not hold the reward head: {', '.join(missing)} would be random. It is no "
            "trained reward model with one label. Train one from it (`trl-dprm train`), or pass the right folder."
        )
    return model


def _load_scalar(path, options):
    """A classifier with one label, and the names of its tensors that the checkpoint did not hold in this shape."""
    options = {"use_safetensors": True, **options}
    with quiet_loading_report(), only_what_lies_there(path):
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path, num_labels=1, ignore_mismatched_sizes=True, output_loading_info=True, **options
        )
    return model, sorted({*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])})


def _load_scalar_adapter(path, options):
    """An adapter on a classifier with one label: it must bring the tensors that its base lacks."""
    base_options = {name: value for name, value in options.items() if name not in ("revision", "subfolder")}
    hub_arguments = _chosen(options, _HUB_ARGUMENTS)
    base = PeftConfig.from_pretrained(path, **hub_arguments).base_model_name_or_path
    if (
        AutoConfig.from_pretrained(base, trust_remote_code=options.get("trust_remote_code")).model_type
        == DPRMConfig.model_type
    ):
        raise ValueError(
            f"The adapter {path} is over a DPRM ({base}), but there is no DPRM's `config.json` beside it. Save the "
            "configuration there, `model.config.save_pretrained(folder)`, as `DPRMTrainer` does."
        )
    model, missing = _load_scalar(base, base_options)
    with safe_open(cached_file(path, "adapter_model.safetensors", **hub_arguments), framework="pt") as tensors:
        brought = list(tensors.keys())
    absent = [name for name in missing if not any(tensor.endswith(f".{name}") for tensor in brought)]
    if absent:
        raise ValueError(
            f"Neither the adapter {path} nor its base {base} holds the reward head: {', '.join(absent)} would be "
            "random. Train the adapter with the head in `modules_to_save` (`task_type='SEQ_CLS'`)."
        )
    return PeftModel.from_pretrained(model, path, **hub_arguments)


def _tokenizer_for(place, processing_class, options):
    hub_arguments = _chosen(options, (*_HUB_ARGUMENTS, "trust_remote_code"))
    if processing_class is None:
        stored = stored_tokenizer(place, **hub_arguments) if place else None
        if stored is None:
            raise ValueError(
                f"There is no tokenizer beside the reward model{f' {place}' if place else ''}. Pass its own as "
                "`processing_class` (in a trainer: `reward_processing_classes`)."
            )
        return stored
    stored = stored_tokenizer(place, **{**hub_arguments, "local_files_only": True}) if place else None
    if stored is not None and not knows_ids_of(text_tokenizer(processing_class), stored):
        raise ValueError(
            f"The tokenizer given for the reward model {place} numbers its tokens otherwise than the one that lies "
            "beside the model: the rewards would be those of other texts. Pass the model's own, or none. If the "
            "model was trained with the given one, save both into one folder and pass that."
        )
    return processing_class


def _chosen(options, names):
    return {name: options[name] for name in names if name in options}


def _as_list(value):
    if value is None:
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _distinct(names):
    """The names, numbered from the second on where they repeat: TRL keeps one log per name."""
    distinct = []
    for name in names:
        numbered = (f"{name}_{number}" for number in count(2))
        distinct.append(name if name not in distinct else next(n for n in numbered if n not in (*distinct, *names)))
    return distinct


def _last_part(path):
    return str(path).rstrip("/").split("/")[-1]
