"""PEFT and 4-bit training of a reward model as they must be, without being told."""

import copy
from contextlib import contextmanager

import torch
from accelerate.logging import get_logger
from accelerate.utils import is_peft_model
from peft import LoraConfig, PeftConfig, PeftModel, TaskType
from peft.utils import ModulesToSaveWrapper
from transformers import PreTrainedModel, Trainer

from ..models import DPRMForSequenceClassification
from ..models.checkpoint_dprm import keep_differentiable_on_cpu

logger = get_logger(__name__)


def complete_peft_config(
    peft_config: PeftConfig, model: DPRMForSequenceClassification, base_revision: str | None = None
) -> PeftConfig:
    """Fill in what a sequence classifier needs: its task type, LoRA on all linear layers, the head trained and saved.

    Without `SEQ_CLS`, PEFT would put LoRA on the random head, or raise (TRL's command line defaults to `CAUSAL_LM`).

    Args:
        peft_config ([`~peft.PeftConfig`]): The user's; not changed.
        model ([`DPRMForSequenceClassification`]): Its head names go into `modules_to_save`.
        base_revision (`str`, *optional*): That the model was read at: the adapter fits no other.

    Returns:
        [`~peft.PeftConfig`].
    """
    completed = copy.deepcopy(peft_config)
    if completed.task_type not in (None, TaskType.SEQ_CLS):
        logger.warning(f"`peft_config.task_type` is {completed.task_type}; a reward model is trained as SEQ_CLS.")
    completed.task_type = TaskType.SEQ_CLS
    completed.revision = base_revision or completed.revision
    if isinstance(completed, LoraConfig) and completed.target_modules is None:
        completed.target_modules = "all-linear"
    if hasattr(completed, "modules_to_save"):
        kept = list(completed.modules_to_save or [])
        completed.modules_to_save = kept + [name for name in model.head_names if name not in kept]
    return completed


def name_saved_modules_once(model: PreTrainedModel) -> None:
    """PEFT adds the usual names of heads to `modules_to_save`, also those that are among them; they are saved so.

    Args:
        model ([`~transformers.PreTrainedModel`]): A PEFT model, whose configurations are changed in place, or not.
    """
    for peft_config in model.peft_config.values() if is_peft_model(model) else ():
        if getattr(peft_config, "modules_to_save", None):
            peft_config.modules_to_save = list(dict.fromkeys(peft_config.modules_to_save))


def check_heads_are_saved(model: PeftModel) -> None:
    """Look whether a PEFT model that the user made trains the head and saves it with the adapter.

    Args:
        model ([`~peft.PeftModel`]): Over a DPRM.

    Raises:
        ValueError: for a new, random head that is not among `modules_to_save`: it would stay random, or be trained and
            then be missing from the adapter. A head from a checkpoint may stay as it is; that is a warning.
    """
    dprm = model.get_base_model()
    left_out = [name for name in dprm.head_names if not hasattr(dprm.get_submodule(name), "modules_to_save")]
    random = [name for name in left_out if name in dprm.new_heads]
    remedy = (
        "pass the model without PEFT and `peft_config` to the trainer, or wrap it with "
        f"`LoraConfig(task_type='SEQ_CLS', modules_to_save={dprm.head_names})`"
    )
    if random:
        raise ValueError(
            f"The head of the PEFT model ({', '.join(random)}) is new and random, and not among its "
            f"`modules_to_save`: it would not be trained, or not be saved with the adapter. Instead, {remedy}. (A "
            "head that was trained elsewhere counts as such once the model was saved and reloaded.)"
        )
    if left_out:
        logger.warning(
            f"The head of the PEFT model ({', '.join(left_out)}) is not among its `modules_to_save`: it stays as it "
            f"was loaded, but for adapters on it. To train it, {remedy}."
        )


def has_adapters(model: PreTrainedModel) -> bool:
    """Whether what trains lies on a base that is kept as it was loaded: a PEFT model, or one with a loaded adapter."""
    return is_peft_model(model) or getattr(model, "_hf_peft_config_loaded", False)


def check_quantised_model_has_adapters(model: PreTrainedModel, peft_config: PeftConfig | None) -> None:
    """Refuse to train packed weights, which have no gradients, before the data are prepared.

    Args:
        model ([`~transformers.PreTrainedModel`]): Quantised, or not; a PEFT model, or not.
        peft_config ([`~peft.PeftConfig`], *optional*): The user's.

    Raises:
        ValueError: for a quantised model without adapters.
    """
    if getattr(model, "is_quantized", False) and peft_config is None and not has_adapters(model):
        raise ValueError(
            "A model in 4 or 8 bits is trained by adapters: pass `peft_config`, on the command line `--use_peft`. "
            "LoRA on all linear layers and a trained head need nothing more."
        )


@contextmanager
def restore_float32_trainables(trainer: Trainer, model: torch.nn.Module):
    """Undo TRL's cast of a quantised model's trainable parameters to bfloat16, in which a head barely learns.

    Args:
        trainer ([`~transformers.Trainer`]): Whose `__init__` runs inside; `trainer.model` is read after it.
        model (`torch.nn.Module`): As given to it, perhaps with a trained adapter.
    """
    if not (getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False)):
        yield
        return
    keep_differentiable_on_cpu(model)
    trained = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    yield
    plugin = trainer.args.deepspeed_plugin
    if plugin is not None and plugin.zero_stage == 3:  # refuses mixed precisions
        return
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad:
            parameter.data = trained[name] if name in trained else parameter.data.float()
    for module in trainer.model.modules():
        if isinstance(module, ModulesToSaveWrapper) and trainer.model is not model:
            fresh = module.modules_to_save[module.active_adapters[0]]
            fresh.load_state_dict(module.original_module.state_dict())
