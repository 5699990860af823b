"""Sections of a model card that `trl-dprm evaluate --update_card` writes, one for each data set and split."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard

from .model_card import is_hub_id

_START, _END = "<!-- trl-dprm evaluate {", "<!-- end of trl-dprm evaluate -->"
_SECTION = re.compile(rf"{_START[:-1]}(\{{[^\n]*?\}}) -->\n(.*?){_END}\n{{0,2}}", re.DOTALL)
_BEFORE = ("\n## Limits\n", "\n## Citations\n")
_TASK = "text-classification"


@dataclass(frozen=True)
class EvaluatedData:
    """What a model was evaluated on, as a card may name it: never by a path.

    Args:
        name (`str`): Hub id, or the last part of a local path.
        on_hub (`bool`): Which of the two.
        config (`str`, *optional*): Configuration of the data set.
        split (`str`, *optional*): Its split, where one was named.

    Example:

    >>> EvaluatedData("org/votes", True, split="test").in_words
    '[org/votes](https://huggingface.co/datasets/org/votes), `test` split'
    >>> EvaluatedData("votes.jsonl", False).figure_file("groups1")
    'evaluation-votes_jsonl-496b04.groups1.png'
    """

    name: str
    on_hub: bool
    config: str | None = None
    split: str | None = None

    @classmethod
    def named(cls, dataset_name: str, config: str | None, split: str | None) -> "EvaluatedData":
        """The data set that an option names.

        Args:
            dataset_name (`str`): Hub id or path; a Hub id is what looks like one while nothing here bears the name.
            config, split (`str`, *optional*): As the options of the same name.
        """
        on_hub = is_hub_id(dataset_name)
        return cls(dataset_name if on_hub else Path(dataset_name).resolve().name, on_hub, config, split)

    @property
    def in_words(self) -> str:
        """What the section calls it, in Markdown."""
        address = f"[{self.name}](https://huggingface.co/datasets/{self.name})"
        words = address if self.on_hub else f"the local dataset {_code(self.name)}"
        words += f", {_code(self.config)} configuration" if self.config else ""
        return words + (f", {_code(self.split)} split" if self.split else "")

    @property
    def indexed_as(self) -> tuple[str, str | None, str | None]:
        """Type, configuration and split in the metadata; local data sets share a type, so the next place holds the
        name, without which the Hub's library would take two of them for one."""
        if self.on_hub:
            return self.name, self.config, self.split
        return "unpublished", self.name + (f", {self.config}" if self.config else ""), self.split

    def figure_file(self, kind: str) -> str:
        """Name of a figure beside the card.

        Args:
            kind (`str`): What it shows: letters and digits.
        """
        parts = [self.name if self.config is None else f"{self.name} {self.config}", *filter(None, [self.split])]
        return f"evaluation-{'.'.join(map(_in_file_names, parts))}.{kind}.png"


@dataclass(frozen=True)
class EvaluationSection:
    """One evaluation in a card.

    Args:
        data ([`EvaluatedData`]): What the model was evaluated on.
        weights (`str`): Of the model, by [`~trl_dprm.hub.evaluated_card.weights_digest`]: the numbers are theirs.
        metrics (`dict[str, float]`): Of the model, finite; they go into the card's metadata.
        text (`str`): Markdown, with its heading.
    """

    data: EvaluatedData
    weights: str
    metrics: dict[str, float]
    text: str

    def __str__(self) -> str:
        known = {"data": asdict(self.data), "weights": self.weights, "metrics": self.metrics}
        marker = json.dumps(known).replace(">", "\\u003e")  # which could end the comment
        return f"{_START}{marker[1:]} -->\n{self.text.strip()}\n{_END}\n\n"


def sections_in(text: str) -> list[EvaluationSection]:
    """The sections of a card, in their order.

    Args:
        text (`str`): Of the card.

    Raises:
        ValueError: for a section whose first or last line was edited.
    """
    found = _SECTION.findall(text)
    if not len(found) == text.count(_START) == text.count(_END):
        raise ValueError(
            f"a section of `trl-dprm evaluate` lacks its first line, which begins with `{_START}`, or its last, "
            f"`{_END}`. Delete what is left of it."
        )
    return [_read(marker, body) for marker, body in found]


def without_sections(text: str) -> str:
    """The text of a card without any section.

    Args:
        text (`str`): Of the card.
    """
    return _SECTION.sub("", text)


def put_sections(card: ModelCard, sections: Sequence[EvaluationSection]) -> None:
    """Make these the sections of a card, before its limits, and their metrics part of its metadata.

    Args:
        card ([`~huggingface_hub.ModelCard`]): Is changed; what it had of other sources stays.
        sections (sequence of [`EvaluationSection`]): All that it shall have.
    """
    older, text = sections_in(card.text), without_sections(card.text)
    if sections:
        place = next((text.index(heading) + 1 for heading in _BEFORE if heading in text), None)
        new = "".join(map(str, sections))
        text = f"{text.rstrip()}\n\n{new}" if place is None else text[:place] + new + text[place:]
    card.text = text
    written = {(section.data.indexed_as, name) for section in [*older, *sections] for name in section.metrics}
    others = [result for result in card.data.eval_results or [] if _key(result) not in written]
    card.data.eval_results = [*others, *(result for section in sections for result in _results(section))] or None


def _read(marker: str, body: str) -> EvaluationSection:
    try:
        known = json.loads(marker)
        return EvaluationSection(EvaluatedData(**known["data"]), known["weights"], dict(known["metrics"]), body)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the first line of a section of `trl-dprm evaluate` was changed, {marker[:80]!r} …: {error!r}. Delete "
            f"the section, up to its last line, `{_END}`."
        ) from None


def _results(section: EvaluationSection) -> list[EvalResult]:
    kind, config, split = section.data.indexed_as
    return [
        EvalResult(
            task_type=_TASK,
            dataset_type=kind,
            dataset_name=section.data.name,
            dataset_config=config,
            dataset_split=split,
            metric_type=name,
            metric_value=value,
        )
        for name, value in section.metrics.items()
    ]


def _key(result: EvalResult):
    return (result.dataset_type, result.dataset_config, result.dataset_split), result.metric_type


def _code(name: str) -> str:
    """A name as Markdown that it cannot break."""
    return "`" + " ".join(name.split()).translate({ord(a): b for a, b in zip("`<>", "'‹›", strict=True)}) + "`"


def _in_file_names(part: str) -> str:
    """A name of letters, digits, `_` and `-`; what had to be changed ends in a digest, so that no two meet."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", part)[:60]
    return plain if plain == part else f"{plain}-{hashlib.sha256(part.encode()).hexdigest()[:6]}"
