"""Training checkpoints that are whole: a run killed in the middle of a save never resumes from half of one."""

import copy
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft.utils import CONFIG_NAME as ADAPTER_CONFIG_NAME
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import CONFIG_NAME

from ..models import DPRMConfig

_MARKER = ".incomplete"
_STATE_FILE = "dprm_state.json"


@contextmanager
def incomplete_while_writing(checkpoint: Path, is_main_process: bool) -> Iterator[None]:
    """Mark a checkpoint folder as incomplete until everything in it is written.

    Args:
        checkpoint (`Path`): The folder; made if missing.
        is_main_process (`bool`): Only that process marks.
    """
    if is_main_process:
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / _MARKER).touch()
    yield
    if is_main_process and checkpoint.exists():
        (checkpoint / _MARKER).unlink(missing_ok=True)


@contextmanager
def adapter_written_whole(folder: Path, config: DPRMConfig) -> Iterator[None]:
    """Keep an adapter folder from being loaded while it is written, and put beside it what PEFT leaves out.

    Both configurations, without which nothing loads, leave first; PEFT's comes back after its weights, ours last.

    Args:
        folder (`Path`): The folder; made if missing.
        config ([`DPRMConfig`]): The categories and the fitted numbers, saved without quantisation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG_NAME, ADAPTER_CONFIG_NAME):
        (folder / name).unlink(missing_ok=True)
    yield
    config = copy.deepcopy(config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.save_pretrained(folder)


def is_complete(checkpoint: Path) -> bool:
    """Whether the folder holds a whole training checkpoint."""
    return (checkpoint / TRAINER_STATE_NAME).is_file() and not (checkpoint / _MARKER).exists()


def last_complete_checkpoint(output_dir: Path) -> Path:
    """The newest whole checkpoint of a run.

    Raises:
        ValueError: if there is none.
    """
    steps = {}
    for folder in output_dir.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        step = folder.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
        if step.isdigit() and is_complete(folder):
            steps[int(step)] = folder
    if not steps:
        raise ValueError(f"No complete checkpoint in {output_dir}: start without `resume_from_checkpoint`.")
    return steps[max(steps)]


def check_complete(checkpoint: Path) -> None:
    """Refuse to resume from half a checkpoint.

    Raises:
        ValueError: naming the folder and the remedy.
    """
    if not is_complete(checkpoint):
        raise ValueError(
            f"{checkpoint} is not a complete checkpoint: its saving was interrupted, or it is none. Resume from an "
            "earlier one, or with `resume_from_checkpoint=True` from the last complete one."
        )


def save_num_tokens(checkpoint: Path, num_tokens: int) -> None:
    """Write beside the trainer's state how many tokens were seen so far, over all processes."""
    (checkpoint / _STATE_FILE).write_text(json.dumps({"num_tokens": num_tokens}) + "\n", encoding="utf-8")


def load_num_tokens(checkpoint: Path) -> int:
    """Read what `save_num_tokens` wrote; 0 for checkpoints of other trainers, which do not say."""
    file = checkpoint / _STATE_FILE
    return json.loads(file.read_text(encoding="utf-8"))["num_tokens"] if file.is_file() else 0


def check_writable(output_dir: str) -> None:
    """Find out before training whether its result can be written.

    Raises:
        PermissionError: naming the folder.
        NotADirectoryError: if a file is in its place.
    """
    folder = Path(output_dir)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"`output_dir` {folder} is a file. Choose a folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(f"`output_dir` {folder} lies below a file. Choose another folder.") from error
    except OSError as error:
        raise PermissionError(
            f"`output_dir` {folder} cannot be written ({error.strerror}). Choose another."
        ) from error
