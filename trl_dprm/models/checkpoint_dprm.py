"""Checkpoints on disk: what may be read, what must be refused, and how one replaces another."""

import copy
import json
import os
import re
from contextlib import contextmanager
from pathlib import Path

from transformers.utils import cached_file, logging

from .configuration_dprm import DUAL_KEY, DPRMConfig, dprm_fields

logger = logging.get_logger(__name__)


def with_categories(config, category_names, category_rewards, ground_cost):
    """A copy of a configuration, as a DPRM's, with the categories that are given.

    Args:
        config (`PretrainedConfig`): A DPRM's, a backbone's, or that of a folder that is both; not changed.
        category_names, category_rewards, ground_cost: As in [`DPRMConfig`]; `None` where not given.

    Returns:
        [`DPRMConfig`], or the remote code's own class of it.

    Raises:
        ValueError: if they describe another number of categories than the DPRM has.
    """
    given = {"category_names": category_names, "category_rewards": category_rewards, "ground_cost": ground_cost}
    given = {name: value for name, value in given.items() if value is not None}
    config = copy.deepcopy(config)
    if config.model_type != DPRMConfig.model_type:  # remote code has its own class
        dual = config.__dict__.pop(DUAL_KEY, None)
        if dual is None:
            return DPRMConfig(text_config=config, **given)
        config.__dict__.pop("auto_map", None)
        attention = config._attn_implementation  # asked for through an Auto class, which put it here
        config = DPRMConfig(text_config=config, attn_implementation=attention, **dprm_fields(dual))
    if not given:
        return config
    for name, value in given.items():
        if not isinstance(value, str) and len(value) != config.num_categories:
            raise ValueError(
                f"`{name}` has {len(value)} entries, but the checkpoint has {config.num_categories} categories: "
                f"{config.category_names}."
            )
    return type(config)(**{**config.to_dict(), **given})


def set_quantization(config, quantization_config):
    """Let the configuration say of quantisation what the weights say, and nothing else.

    Args:
        config ([`DPRMConfig`]): Changed in place, its `text_config` too.
        quantization_config (`dict`, *optional*): That of the folder that holds the weights: a backbone's, a DPRM's or
            the one below an adapter.
    """
    for part in (config, config.text_config):
        if hasattr(part, "quantization_config"):
            del part.quantization_config
    if quantization_config is not None:
        config.quantization_config = quantization_config


@contextmanager
def quiet_loading_report():
    """transformers reports replaced and dropped heads as faults: `check_loaded` says it better.

    Yields:
        `list` of `str`: The reports that were kept back.
    """
    report_logger = logging.get_logger("transformers.modeling_utils")
    reports = []

    def is_no_report(record):
        """Whether a log record is another one than that report."""
        if record.funcName == "log_state_dict_report":
            reports.append(record.getMessage())
        return record.funcName != "log_state_dict_report"

    report_logger.addFilter(is_no_report)
    try:
        yield reports
    finally:
        report_logger.removeFilter(is_no_report)


@contextmanager
def only_what_lies_there(path):
    """Keep transformers from having pickled weights on the Hub converted by a service, whose answer it would read.

    Args:
        path (`str`): Of the checkpoint, for the message.

    Raises:
        OSError: if it holds no weights in safetensors files.
    """
    before = os.environ.get("DISABLE_SAFETENSORS_CONVERSION")
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "true"
    try:
        yield
    except OSError as error:
        missing = re.search(r"file named (\S+)\.safetensors\b.*(found in directory|cannot be loaded with)", str(error))
        if missing is None:
            raise
        raise _no_safetensors(path, missing[1], f"pytorch_{missing[1]}") from error
    finally:
        del os.environ["DISABLE_SAFETENSORS_CONVERSION"]
        if before is not None:
            os.environ["DISABLE_SAFETENSORS_CONVERSION"] = before


def _no_safetensors(path, name, pickled):
    """What to raise for a checkpoint without `name.safetensors`: perhaps it has `pickled.bin`, which is not read."""
    tensors = f"{{n: t.clone() for n, t in torch.load('{pickled}.bin', weights_only=True).items()}}"
    return OSError(
        f"{path} has no file named {name}.safetensors, and pickled weights are not read. Where you trust a pickle, "
        "convert it once, in its folder, with `save_file` of `safetensors.torch`: "
        f"`save_file({tensors}, '{name}.safetensors', {{'format': 'pt'}})`."
    )


@contextmanager
def naming_unreadable_tensors(path):
    """Load without transformers' report, but say which tensors could not be put together where it would have.

    Args:
        path (`str`): Of the checkpoint, for the message.

    Raises:
        ValueError: naming them; quantised weights are made of several tensors, experts of one for each.
    """
    with quiet_loading_report() as reports:
        try:
            yield
        except RuntimeError as error:
            plain = re.sub("\x1b\\[[0-9;]*m", "", "\n".join(reports))
            unreadable = re.findall(r"^(\S+) *\| *CONVERSION", plain, re.MULTILINE)
            if not unreadable:
                raise
            missing = re.findall(r"^KeyError: '(\S+)'$", plain, re.MULTILINE)
            raise ValueError(
                f"The checkpoint {path} does not hold all that these tensors are made of: {', '.join(unreadable[:10])}"
                f"{f' (missing for the first: {missing[0]})' if missing else ''}. Use a complete checkpoint of this "
                "architecture."
            ) from error


def check_loaded(model, info, path, foreign, warn=True):
    """Refuse a model with a tensor that the checkpoint did not hold, but for a foreign checkpoint's head.

    Args:
        model ([`DPRMForSequenceClassification`]): As loaded.
        info (`dict`): transformers' loading info, with `missing_keys` and `mismatched_keys`.
        path (`str`): Of the checkpoint, for messages.
        foreign (`bool`): Whether it is no DPRM: then the head may be new, with a warning.
        warn (`bool`): Whether to warn; an adapter brings its own head.

    Returns:
        `set` of `str`: Names of the tensors of a new, random head.

    Raises:
        ValueError: naming the tensors that are missing or of another shape, ten at most.
    """
    mismatched = _shapes_by_name(info["mismatched_keys"])
    absent = set(info["missing_keys"]) | set(mismatched)
    new_head = {name for name in absent if foreign and name.startswith(tuple(f"{h}." for h in model.head_names))}
    faults = sorted(absent - new_head)
    if faults:
        listed = ", ".join(
            f"{name} ({_fault_of_shape(model, name, mismatched[name]) if name in mismatched else 'missing'})"
            for name in faults[:10]
        )
        more = f" and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise ValueError(
            f"The checkpoint {path} does not hold these tensors of {type(model).__name__}: {listed}{more}. They would "
            "be random. Use a complete checkpoint of this architecture, with the categories it was trained with."
        )
    replaced = sorted(new_head & set(mismatched))
    if replaced and warn:
        logger.warning(
            f"The head of {path} was made for another number of labels ({', '.join(replaced)}): it is replaced by a "
            f"new, random one for {model.config.num_categories} categories. Train it before use."
        )
    elif new_head and warn:
        logger.warning(
            f"{path} holds no classification head: {', '.join(sorted(new_head))} are new and random. Train before use."
        )
    return new_head


def _shapes_by_name(mismatched_keys):
    """Shapes in the file and in the model by tensor, `None` from transformers 4, which gives the names alone."""
    return {key: None for key in mismatched_keys if isinstance(key, str)} | {
        name: shapes for name, *shapes in (key for key in mismatched_keys if not isinstance(key, str))
    }


def _fault_of_shape(model, name, shapes):
    if shapes is None:
        return f"another shape, expected {tuple(model.state_dict()[name].shape)}"
    return f"shape {tuple(shapes[0])}, expected {tuple(shapes[1])}"


def check_head_is_finite(model, path):
    """Refuse a head that would give NaN for every text: a run that diverged was saved.

    Args:
        model ([`DPRMForSequenceClassification`]): As loaded, with its adapter.
        path (`str`): Of the checkpoint, for the message.

    Raises:
        ValueError: naming the tensor.
    """
    for head in model.head_names:
        for name, parameter in model.get_submodule(head).named_parameters():
            if parameter.device.type != "meta" and not parameter.isfinite().all():  # else offloaded
                raise ValueError(
                    f"The head of the checkpoint {path} holds NaN or infinities ({head}.{name}): every reward would "
                    "be NaN. Its training diverged; take an earlier checkpoint."
                )


def align_memory(model):
    """Copy tensors off the memory-mapped file: at odd addresses CPU kernels round the last bit in another way.

    Args:
        model (`torch.nn.Module`): Changed in place; tensors on other devices are left alone.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu" and tensor.is_floating_point() and tensor.data_ptr() % 64:
            tensor.data = tensor.data.clone()


def keep_differentiable_on_cpu(model):
    """Keep bitsandbytes from repacking 4-bit weights for inference on CPUs with AVX512-BF16.

    It repacks a layer when that runs in evaluation mode without gradients, for good: from then on the layer passes no
    gradients to what lies before it, so training after an evaluation would go wrong without an error. The repacked
    kernel also rounds otherwise: a reloaded adapter would not give the rewards of training, bit by bit.

    Args:
        model (`torch.nn.Module`): Quantised, or not; changed in place.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def adapter_base(adapter_file):
    """Which model an adapter was trained on.

    Args:
        adapter_file (`str`): Its `adapter_config.json`.

    Returns:
        `str`: Folder or Hub id.

    Raises:
        ValueError: if the file does not say.
    """
    base = json.loads(Path(adapter_file).read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise ValueError(f"{adapter_file} names no `base_model_name_or_path`: the adapter's base is unknown.")
    return base


def adapter_base_revision(adapter_file):
    """Which revision of its base an adapter was trained on.

    Args:
        adapter_file (`str`): Its `adapter_config.json`.

    Returns:
        `str`, or `None` for the newest.
    """
    return json.loads(Path(adapter_file).read_text(encoding="utf-8")).get("revision")


def load_adapter(model, path, hub_arguments, new_head):
    """Put a trained adapter on its base.

    Args:
        model ([`DPRMForSequenceClassification`]): The base, changed in place.
        path (`str`): Folder or Hub id of the adapter.
        hub_arguments (`dict`): `revision`, `token` and others that say where on the Hub.
        new_head (`set` of `str`): Tensors that the base left random: the adapter must bring them.

    Raises:
        OSError: if there is no `adapter_model.safetensors`.
        ValueError: naming the tensors that the adapter lacks or has in another shape.
    """
    try:  # transformers would go on to a pickle
        cached_file(path, "adapter_model.safetensors", **hub_arguments)
    except OSError as error:
        if "have a file named adapter_model.safetensors" not in str(error):
            raise
        raise _no_safetensors(path, "adapter_model", "adapter_model") from error
    info = model.load_adapter(
        path, adapter_kwargs=hub_arguments, ignore_mismatched_sizes=True, dtype_plan={"*": None}
    )  # in the precision that the file has
    absent = set(info.missing_keys) | set(_shapes_by_name(info.mismatched_keys))
    for name in model.head_names:
        if not hasattr(model.get_submodule(name), "modules_to_save"):
            absent |= {tensor for tensor in new_head if tensor.startswith(f"{name}.")}
    if absent:
        raise ValueError(
            f"The adapter {path} does not hold these tensors, or in another shape: {', '.join(sorted(absent))}. They "
            f"would be random. Train it with `modules_to_save={model.head_names}`, as `DPRMTrainer` does."
        )


def writable_folder(path):
    """The folder to save in, made if need be.

    Args:
        path (`str` or `os.PathLike`): The folder.

    Returns:
        `Path`.

    Raises:
        NotADirectoryError: if it is a file.
        PermissionError: if it is not writable.
    """
    folder = Path(path)
    if folder.is_file():
        raise NotADirectoryError(f"Cannot save the model: {folder} is a file, not a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"Cannot save the model: {folder} is not writable. Choose another folder.")
    return folder


def replace_checkpoint(staging, folder):
    """Move a checkpoint over an older one; `config.json`, without which nothing loads, leaves first, comes last.

    Args:
        staging (`Path`): Folder that holds the whole checkpoint, on the same file system; empty afterwards.
        folder (`Path`): Its place. Weights that lie there go away, other files stay.
    """
    (folder / "config.json").unlink(missing_ok=True)
    for pattern in ("model*.safetensors", "model*.safetensors.index.json", "adapter_model.*", "adapter_config.json"):
        for stale in folder.glob(pattern):
            stale.unlink()
    files = sorted(staging.iterdir(), key=lambda file: file.name == "config.json")
    for file in files:
        file.replace(folder / file.name)
