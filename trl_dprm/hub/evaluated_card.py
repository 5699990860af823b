"""The model card in a checkpoint's folder, and the evaluations that are written into it."""

import hashlib
import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import yaml
from huggingface_hub import ModelCard

from .evaluation_section import EvaluationSection, put_sections, sections_in
from .whole_file import whole_file

logger = logging.getLogger(__name__)

EVALUATION_FIGURE_FILES = "evaluation-*.*.png"
_CARD = "README.md"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "config.json", "adapter_config.json")


def check_card(model: str) -> Path:
    """Find out before the work whether an evaluation can be written into a model's card.

    Args:
        model (`str`): Path or Hub id of a checkpoint.

    Returns:
        `Path`: Its folder.

    Raises:
        FileNotFoundError: for a Hub id, and where the folder has no card.
        PermissionError: if the folder cannot be written to.
        ValueError: if the card cannot be read.
    """
    folder = Path(model)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"`update_card` writes into the card of the first model, and `{model}` is no folder here. Fetch it (`hf "
            f"download {model} --local-dir FOLDER`), evaluate `FOLDER`, and put it back (`hf upload {model} FOLDER`)."
        )
    if not (folder / _CARD).is_file():
        raise FileNotFoundError(
            f"`update_card` needs a model card, and there is no `{_CARD}` in {folder.absolute()}. Write one (an empty "
            "file will do), or leave the option out."
        )
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"The folder of the model card, {folder.absolute()}, cannot be written to.")
    try:
        sections_in(ModelCard.load(folder / _CARD).text)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"The model card in {folder.absolute()} cannot be read: {error}") from error
    return folder


def weights_digest(folder: Path) -> str:
    """A digest of the weights and the configuration in a folder: an evaluation holds as long as it does.

    Args:
        folder (`Path`): Of a checkpoint or an adapter.

    Returns:
        `str`: SHA-256 in hexadecimal digits.
    """
    digest = hashlib.sha256()
    for file in sorted(file for pattern in _WEIGHTS for file in folder.glob(pattern)):
        with file.open("rb") as content:
            digest.update(f"{file.name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def update_card(folder: Path, section: EvaluationSection, pictures: Mapping[str, bytes]) -> None:
    """Write an evaluation into the card, in place of an earlier one on the same data set and split.

    Evaluations of other weights than those of `section` leave the card. Figures and card are written to files of other
    names first, and take their places when all are there, the card last.

    Args:
        folder (`Path`): Of the checkpoint, with its card.
        section ([`EvaluationSection`]): What was found.
        pictures (`dict[str, bytes]`): PNG files that its text shows, by name.

    Raises:
        OSError: if a file cannot be written; what stood there stays.
    """
    card = ModelCard.load(folder / _CARD)
    sections = sections_in(card.text)
    places = [other.data for other in sections]
    if section.data in places:
        sections[places.index(section.data)] = section
    else:
        sections.append(section)
    put_sections(card, [other for other in sections if other.weights == section.weights])
    if card.data.eval_results:
        card.data.model_name = card.data.model_name or folder.resolve().name
    with ExitStack() as files:
        unfinished = files.enter_context(whole_file(folder / _CARD))
        for name, picture in pictures.items():
            files.enter_context(whole_file(folder / name)).write_bytes(picture)
        card.save(unfinished)
    remove_unshown_figures(folder, card.text)


def sections_of_these_weights(folder: Path) -> list[EvaluationSection]:
    """The evaluations in a folder's card that are of the weights beside it, which whoever rewrites it should keep.

    Args:
        folder (`Path`): Of a checkpoint; it may lack a card.

    Returns:
        `list` of [`EvaluationSection`], none where the card cannot be read, with a warning.
    """
    card = folder / _CARD
    if not card.is_file():
        return []
    try:
        sections = sections_in(card.read_text(encoding="utf-8"))
    except ValueError as error:
        logger.warning(f"The evaluations in {card} are not kept: {error}")
        return []
    weights = weights_digest(folder) if sections else None
    return [section for section in sections if section.weights == weights]


def remove_unshown_figures(folder: Path, text: str) -> None:
    """Delete figures of evaluations that a card does not show.

    Args:
        folder (`Path`): Of the card.
        text (`str`): Of the card.
    """
    for figure in folder.glob(EVALUATION_FIGURE_FILES):
        if f"]({figure.name})" not in text:
            figure.unlink()
