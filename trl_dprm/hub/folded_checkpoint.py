"""A checkpoint with a map of its logits folded into the head: every other tensor is copied, byte by byte."""

import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .. import models
from ..adaptation import LogitMap, check_foldable, folded_bias, folded_weight, last_linear
from ..models import DPRMForSequenceClassification
from ..models.modeling_dprm import CODE_FILES
from .stored_dprm import is_adapter, stored_config, tokenizer_beside, weight_files
from .tokenizer_files import spell_tokenizer_for_transformers_4


def write_folded_checkpoint(
    checkpoint: str,
    folder: Path,
    logit_map: LogitMap,
    prior_strength: float | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Write weights, configuration, code and tokenizer of a DPRM whose category logits are the mapped ones.

    In whatever precision the model was scored, the stored weights are what is written. All loaders and the stock
    export then give the mapped score.

    Args:
        checkpoint (`str`): Folder or Hub id of a full DPRM.
        folder (`Path`): Existing folder to write to.
        logit_map ([`~trl_dprm.adaptation.LogitMap`]): The map.
        prior_strength (`float`, *optional*): How many annotators the mapped model is worth; `None` if not known.
        revision (`str`, *optional*): Of a Hub id.
        trust_remote_code (`bool`): Run code that lies beside the tokenizer.

    Raises:
        FileNotFoundError: if there are no safetensors weights.
        ValueError: as [`foldable_head`]; without a tokenizer or the head's tensors.
    """
    config = stored_config(checkpoint, revision)
    head = foldable_head(checkpoint, logit_map, revision)
    tokenizer = tokenizer_beside(checkpoint, revision, trust_remote_code)
    _write_weights(weight_files(checkpoint, revision), folder, head, logit_map, checkpoint)
    config.prior_strength = prior_strength
    config.save_pretrained(folder)
    for name in CODE_FILES:
        shutil.copyfile(Path(models.__file__).parent / name, folder / name)
    tokenizer.save_pretrained(folder)
    spell_tokenizer_for_transformers_4(folder, tokenizer)


def foldable_head(checkpoint: str, logit_map: LogitMap, revision: str | None = None) -> str:
    """Name of the layer that a map would be folded into, if it can be.

    Args:
        checkpoint (`str`): Folder or Hub id of a full DPRM.
        logit_map ([`~trl_dprm.adaptation.LogitMap`]): The map.
        revision (`str`, *optional*): Of a Hub id.

    Raises:
        ValueError: for an adapter, a head that ends in no linear layer, and a bias where the head has none.
    """
    name, linear = stored_head(checkpoint, revision)
    check_foldable(name, linear, logit_map)
    return name


def stored_head(checkpoint: str, revision: str | None = None) -> tuple[str, torch.nn.Linear]:
    """The layer of a full DPRM that puts out the category logits: its name, and its shape on the `meta` device.

    Args:
        checkpoint (`str`): Folder or Hub id.
        revision (`str`, *optional*): Of a Hub id.

    Raises:
        ValueError: for an adapter, and a head that ends in no linear layer.
    """
    if is_adapter(checkpoint, revision):
        raise ValueError(
            f"`{checkpoint}` is an adapter: a map is folded into full models only. Merge first: "
            f"`trl-dprm merge --model {checkpoint} --output FOLDER`."
        )
    with torch.device("meta"):
        return last_linear(DPRMForSequenceClassification(stored_config(checkpoint, revision)))


def _write_weights(files, folder, head, logit_map, checkpoint):
    fold = {f"{head}.weight": folded_weight, f"{head}.bias": folded_bias}
    found = set()
    for file in files:
        here = _tensor_names(file) & set(fold)
        if not here:
            shutil.copyfile(file, folder / file.name)
            continue
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata()
        tensors = load_file(file)
        for name in here:
            if not tensors[name].is_floating_point():
                raise ValueError(f"`{name}` of `{checkpoint}` is quantised: fold the map in full precision.")
            tensors[name] = fold[name](tensors[name], logit_map)
        save_file(tensors, folder / file.name, metadata)
        found |= here
    if f"{head}.weight" not in found:
        raise ValueError(f"`{checkpoint}` holds no tensor `{head}.weight`: it has no head to fold a map into.")


def _tensor_names(file):
    if file.suffix != ".safetensors":
        return set()
    with safe_open(file, "pt") as opened:
        return set(opened.keys())
