"""What of a run's folder goes to the Hub: the model, its tokenizer and its card, nothing of the trainer's state."""

import os
import shutil
import tempfile
from concurrent.futures import Future
from functools import cache
from glob import escape
from pathlib import Path

from huggingface_hub import CommitInfo, HfApi
from transformers import PreTrainedTokenizerBase

from ..models.modeling_dprm import CODE_FILES
from .calibration_figures import FIGURE_FILES
from .evaluated_card import EVALUATION_FIGURE_FILES

_MODEL_FILES = (
    "README.md",
    FIGURE_FILES,
    EVALUATION_FIGURE_FILES,
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "adapter_model.safetensors",
    *CODE_FILES,
)
_REPLACED_ON_HUB = (
    FIGURE_FILES,
    EVALUATION_FIGURE_FILES,
    "model*.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "adapter_model.*",
    "pytorch_model*.bin*",
    "training_args.bin",
)


def files_for_hub(folder: Path, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Which files of a folder make up the model.

    Args:
        folder (`Path`): Of a run, or a checkpoint in it.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): What it saves is found by saving it elsewhere.

    Returns:
        `list[str]`: Paths in the folder, sorted.
    """
    with tempfile.TemporaryDirectory() as elsewhere:
        tokenizer.save_pretrained(elsewhere)
        names = {str(file.relative_to(elsewhere)) for file in Path(elsewhere).rglob("*") if file.is_file()}
    names |= {file.name for pattern in _MODEL_FILES for file in folder.glob(pattern)}
    return sorted(name for name in names if (folder / name).is_file())


def push_files(
    folder: Path,
    files: list[str],
    repo_id: str,
    commit_message: str,
    token: str | None = None,
    revision: str | None = None,
    blocking: bool = True,
) -> CommitInfo | Future:
    """Commit files of a folder; weights, adapters and figures that lie in the repository and not among them go away.

    An adapter that stayed beside new weights, or a shard beside a whole file, would be read in their place.

    Args:
        folder (`Path`): The folder.
        files (`list[str]`): Paths in it.
        repo_id (`str`): The repository.
        commit_message (`str`): Of the one commit.
        token, revision (`str`, *optional*): As in [`~huggingface_hub.HfApi.upload_folder`].
        blocking (`bool`): Whether to wait; otherwise a `Future` comes back.

    Returns:
        [`~huggingface_hub.CommitInfo`], or a `Future` of it.
    """
    return _api().upload_folder(
        repo_id=repo_id,
        folder_path=folder,
        commit_message=commit_message,
        token=token,
        revision=revision,
        allow_patterns=[escape(file) for file in files],
        delete_patterns=list(_REPLACED_ON_HUB),
        run_as_future=not blocking,
    )


def push_copy_of_files(folder: Path, files: list[str], beside: Path, **arguments) -> Future:
    """Push without waiting, from a copy: the folder may vanish before the upload ends.

    Args:
        folder, files: As in [`push_files`].
        beside (`Path`): Folder on the same file system, where hard links cost no space.
        arguments: Those of [`push_files`] without `blocking`.

    Returns:
        `Future` of [`~huggingface_hub.CommitInfo`]; the copy is deleted when it is done.
    """
    copied = Path(tempfile.mkdtemp(prefix=".push-", dir=beside))
    for file in files:
        (copied / file).parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy(folder / file, copied / file)
    job = push_files(copied, files, **arguments, blocking=False)
    job.add_done_callback(lambda _: shutil.rmtree(copied, ignore_errors=True))
    return job


def push_checkpoint(folder: Path, path_in_repo: str, **arguments) -> Future:
    """Push a training checkpoint with all its state, from which a run can be resumed, without waiting.

    Args:
        folder (`Path`): The checkpoint.
        path_in_repo (`str`): Folder of the repository.
        arguments: `repo_id`, `commit_message`, `token` and `revision` of [`~huggingface_hub.HfApi.upload_folder`].

    Returns:
        `Future` of [`~huggingface_hub.CommitInfo`].
    """
    return _api().upload_folder(folder_path=folder, path_in_repo=path_in_repo, run_as_future=True, **arguments)


@cache
def _api() -> HfApi:
    """One for all pushes: it does those that nobody waits for one after the other."""
    return HfApi()


def _link_or_copy(source, target):
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
