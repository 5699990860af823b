"""The card of a checkpoint that was adapted to new votes."""

import numpy as np
from huggingface_hub import ModelCard, ModelCardData

from ..adaptation import Adaptation, AdaptationOutcome, GroupAdaptation
from ..adaptation.held_out_change import change_in_words
from ..models import DPRMConfig
from .card_tables import category_table, markdown_table
from .merged_card import card_beside, training_sections
from .model_card import hub_link, is_hub_id, template_path

_TEMPLATE = "adapted_model_card.md"
_TAGS = ("dprm", "reward-model", "trl_dprm")
_KINDS = {
    "identity": "none: the probabilities are the checkpoint's",
    "temperature": "temperature: one factor on all category logits",
    "bias": "bias: one number added to each category's logit",
    "matrix": "matrix: each category's logit anew from all of them",
}


def adapted_card(
    config: DPRMConfig, name: str, checkpoint: str, outcome: AdaptationOutcome, revision: str | None = None
) -> ModelCard:
    """Fill the card template for an adapted model; the checkpoint's own card is taken over.

    Args:
        config ([`DPRMConfig`]): Of the adapted model.
        name (`str`): Title.
        checkpoint (`str`): Hub id or path of what was adapted.
        outcome ([`~trl_dprm.adaptation.AdaptationOutcome`]): What was fitted, and what it is worth.
        revision (`str`, *optional*): Of the checkpoint's Hub id.

    Returns:
        [`~huggingface_hub.ModelCard`].
    """
    told = card_beside(checkpoint, revision)
    adaptation, groups = outcome.adaptation, outcome.groups
    fitted, nats_by_kind = adaptation.fitted, adaptation.nats_by_kind
    return ModelCard.from_template(
        ModelCardData(
            model_name=name,
            library_name="transformers",
            pipeline_tag="text-classification",
            base_model=checkpoint if is_hub_id(checkpoint) else None,
            base_model_relation="finetune" if is_hub_id(checkpoint) else None,
            license=told and told.data.license,
            tags=list(_TAGS),
        ),
        template_path=str(template_path(_TEMPLATE)),
        name=name,
        checkpoint=hub_link(checkpoint, "checkpoint"),
        config=config,
        unchanged=fitted.logit_map.is_identity,
        num_votes=f"{fitted.num_votes:,.10g}",
        num_items=f"{fitted.num_items:,}",
        num_annotators=outcome.num_annotators,
        num_left_out=outcome.num_left_out,
        refitted=adaptation.prior_strength is not None,
        strength=outcome.strength and outcome.strength.in_words,
        population=outcome.population and outcome.population.in_words,
        adaptation_table=adaptation_table(adaptation, config.category_names),
        verdict=adaptation.verdict,
        kind_table=nats_by_kind and markdown_table(["map", "nats per held-out vote"], _rounded(nats_by_kind.items())),
        group_table=groups and group_table(groups),
        group_verdicts=groups and group_verdicts(groups),
        warning=groups and groups.warning,
        alike_note=groups and groups.alike_note,
        category_table=category_table(config),
        training=training_sections(told.text) if told else None,
    )


def adaptation_table(adaptation: Adaptation, category_names: list[str]) -> str:
    """What was fitted and what it is worth, as Markdown.

    Args:
        adaptation ([`~trl_dprm.adaptation.Adaptation`]): The fit.
        category_names (`list[str]`): Of the model.
    """
    fitted, change = adaptation.fitted, adaptation.change
    rows = [["map", _KINDS[fitted.kind]], *_map_rows(fitted.logit_map, fitted.kind, category_names)]
    rows.append(["prior weight", fitted.prior_weight if fitted.prior_weight == "auto" else f"{fitted.prior_weight:g}"])
    if fitted.no_change_prob is not None:
        rows.append(["probability that nothing has changed, given the votes", f"{fitted.no_change_prob:.3f}"])
    rows.append(["nats per vote before", f"{adaptation.nats_before:.4f}"])
    if change is not None and fitted.kind != "identity":
        rows.append(["nats per vote, held out", f"{adaptation.nats_before + change.difference:.4f}"])
        rows.append(["change", change_in_words(change)])
    return markdown_table(["adaptation", ""], rows)


def group_table(groups: GroupAdaptation) -> str:
    """Nats per held-out vote of each group, and what the saved checkpoint and the group's own map change, as Markdown.

    Args:
        groups ([`~trl_dprm.adaptation.GroupAdaptation`]): The groups' maps.
    """
    header = ["group", "texts", "votes", "old checkpoint", "map of all", "own map"]
    header += [f"{what}, against the old checkpoint" for what in ("saved checkpoint (map of all)", "`group_probs`")]
    rows = [
        [
            worth.name,
            f"{worth.num_items:,}",
            f"{worth.num_votes:,.10g}",
            *(f"{nats:.4f}" for nats in (worth.nats_before, worth.nats_shared, worth.nats_own)),
            worth.shared_in_words,
            "not known (too few texts)" if worth.change is None else change_in_words(worth.change),
        ]
        for worth in groups.worth
    ]
    return markdown_table(header, rows)


def group_verdicts(groups: GroupAdaptation) -> str:
    """Whether each group's own map pays over that of all: a list in Markdown.

    Args:
        groups ([`~trl_dprm.adaptation.GroupAdaptation`]): The groups' maps.
    """
    return "\n".join(f"- {worth.name}: {worth.verdict}" for worth in groups.worth)


def _map_rows(logit_map, kind, category_names):
    """The map's own numbers, as far as a table can show them."""
    if kind == "temperature":
        slope = logit_map.matrix[0, 0]
        return [["logits multiplied by", f"{slope:.4f} (temperature {1 / slope:.4f})"]]
    rows = []
    if kind == "matrix":
        change = np.abs(logit_map.matrix - np.eye(logit_map.num_categories)).max()
        rows.append(["largest change of an entry of the matrix", f"{change:.4f}"])
    if logit_map.has_bias:
        shifts = zip(category_names, logit_map.bias, strict=True)
        rows.append(["added to the logits", ", ".join(f"{name} {shift:+.3f}" for name, shift in shifts)])
    return rows


def _rounded(rows):
    return [[f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row] for row in rows]
