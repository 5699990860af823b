"""The card of an adapter that was merged into its base."""

import re
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData
from transformers.utils import cached_file

from ..models import DPRMConfig
from .card_tables import category_table
from .evaluation_section import without_sections
from .model_card import hub_link, is_hub_id, template_path

_TEMPLATE = "merged_model_card.md"
_TAGS = ("dprm", "reward-model", "trl_dprm")
_FIGURES = re.compile(r"^(?:\S.*\n)+\n+(?:!\[.*\]\(.*\)\n+)+", re.MULTILINE)
"""A paragraph with its images."""


def merged_card(
    config: DPRMConfig, name: str, adapter: str, base: str, dtype: str, revision: str | None = None
) -> ModelCard:
    """Fill the card template for a merged adapter; what the adapter's card says of data and training is taken over.

    Args:
        config ([`DPRMConfig`]): Of the DPRM.
        name (`str`): Title.
        adapter (`str`): Hub id or path of the adapter.
        base (`str`): Hub id or path of its base.
        dtype (`str`): Precision that it was merged in.
        revision (`str`, *optional*): Of the adapter's Hub id.

    Returns:
        [`~huggingface_hub.ModelCard`].
    """
    told = card_beside(adapter, revision)
    return ModelCard.from_template(
        ModelCardData(
            model_name=name,
            library_name="transformers",
            pipeline_tag="text-classification",
            base_model=base if is_hub_id(base) else None,
            base_model_relation="finetune" if is_hub_id(base) else None,
            datasets=told and told.data.datasets,
            license=told and told.data.license,
            tags=list(_TAGS),
        ),
        template_path=str(template_path(_TEMPLATE)),
        name=name,
        adapter=hub_link(adapter, "adapter"),
        base=hub_link(base, "checkpoint"),
        dtype=dtype,
        config=config,
        category_table=category_table(config),
        training=training_sections(told.text) if told else None,
    )


def card_beside(checkpoint: str, revision: str | None = None) -> ModelCard | None:
    """The card that lies beside a checkpoint, a folder or Hub id (`str`), at a `revision`; `None` where none does."""
    file = cached_file(
        checkpoint,
        "README.md",
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_gated_repo=True,
    )
    return ModelCard.load(Path(file)) if file is not None else None


def training_sections(text: str) -> str | None:
    """From "Training data" to "Limits" of a card that `DPRMTrainer` wrote; `None` of any other.

    Its figures are left out, with the paragraphs that explain them, and the sections of `trl-dprm evaluate`: they lie
    beside that card and show that model.

    Args:
        text (`str`): Of the card.

    >>> training_sections("\\n## Training data\\n\\nfew\\n\\n**A.** Points\\nare\\n\\n![it](a.png)\\n\\n## Limits\\n")
    '## Training data\\n\\nfew'
    """
    text = without_sections(text)
    start, end = text.find("\n## Training data\n"), text.find("\n## Limits\n")
    return _FIGURES.sub("", text[start : end + 1]).strip() if 0 <= start < end else None
