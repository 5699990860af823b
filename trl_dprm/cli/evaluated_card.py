"""What `trl-dprm evaluate --update_card` writes into the card of the first model."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path

from ..evaluation.card_section import card_section
from ..evaluation.data_report import EvaluationReport
from ..hub.evaluated_card import update_card, weights_digest
from ..hub.evaluation_section import EvaluatedData

_CHANGING = (
    "dtype",
    "load_in_8bit",
    "load_in_4bit",
    "bnb_4bit_quant_type",
    "use_bnb_nested_quant",
    "max_length",
    "bf16",
)
"""Options on which the numbers depend and that are no path."""


def write_into_card(
    report: EvaluationReport, folder: Path, data: EvaluatedData, options: Mapping[str, object]
) -> None:
    """Put the report into the card and say so.

    Args:
        report ([`~trl_dprm.evaluation.data_report.EvaluationReport`]): What was found.
        folder (`Path`): Of the first model, with its card.
        data ([`~trl_dprm.hub.evaluation_section.EvaluatedData`]): What was evaluated on.
        options (`dict[str, object]`): That are not the default, as [`changed_options`].
    """
    if report.items is None and report.pairs is None:
        print(f"Model card: {folder / 'README.md'} stays as it was, for nothing was judged")
        return
    given = ", ".join(f"`--{name} {value}`" for name, value in options.items())
    section, pictures = card_section(
        report, data, weights_digest(folder), f"With the options {given}." if given else ""
    )
    update_card(folder, section, pictures)
    print(f"Model card: {folder / 'README.md'} with {len(pictures)} figures beside it")


def changed_options(*arguments: object) -> dict[str, object]:
    """The options of a run that change its numbers and were given.

    Args:
        arguments: Dataclasses of options.
    """
    return {
        option.name: getattr(given, option.name)
        for given in arguments
        for option in fields(given)
        if option.name in _CHANGING and getattr(given, option.name) != _default(option)
    }


def _default(option: Field):
    return option.default if option.default is not MISSING else None
