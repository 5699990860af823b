"""What `trl-dprm adapt` writes beside the checkpoint: the map as numbers, and the items' posteriors."""

import json
from dataclasses import asdict
from pathlib import Path

from datasets import Dataset

from ..adaptation import (
    Adaptation,
    AdaptationOutcome,
    LogitMap,
    VotedItems,
    item_posteriors,
)
from ..metrics import PairedDifference
from ..models import DPRMConfig

REPORT_FILE = "adaptation.json"
ITEMS_FILE = "item_posteriors.parquet"


def write_item_posteriors(
    path: Path, texts: Dataset, adaptation: Adaptation, voted: VotedItems, prior_strength: float
) -> None:
    """Write the items with their votes, as training takes them, and with their posteriors beside them.

    Args:
        path (`Path`): The Parquet file.
        texts ([`~datasets.Dataset`] of N rows): The items.
        adaptation ([`~trl_dprm.adaptation.Adaptation`]): Whose held-out predictions are the priors.
        voted ([`~trl_dprm.adaptation.VotedItems`]): Their votes.
        prior_strength (`float`): Votes that the predictions are worth.
    """
    columns = item_posteriors(adaptation.category_log_probs, voted.target_counts, prior_strength)
    for name, values in columns.items():
        texts = texts.add_column(name, values.tolist())
    texts.to_parquet(path)


def write_report(folder: Path, config: DPRMConfig, outcome: AdaptationOutcome) -> None:
    """Write the map, what it rests on and what it is worth, as JSON.

    Args:
        folder (`Path`): Where to.
        config ([`DPRMConfig`]): Of the adapted model.
        outcome ([`~trl_dprm.adaptation.AdaptationOutcome`]): What came of adapting it.
    """
    adaptation, groups, strength = outcome.adaptation, outcome.groups, outcome.strength
    fitted = adaptation.fitted
    content = {
        "category_names": config.category_names,
        "kind": fitted.kind,
        "map": _as_lists(fitted.logit_map),
        "prior_weight": fitted.prior_weight,
        "no_change_prob": fitted.no_change_prob,
        "num_items": fitted.num_items,
        "num_votes": fitted.num_votes,
        "num_annotators": outcome.num_annotators,
        "num_left_out": outcome.num_left_out,
        "nats_by_kind": adaptation.nats_by_kind,
        "nats_before": adaptation.nats_before,
        "dropped_kind": adaptation.dropped_kind,
        "change": _as_dict(adaptation.change),
        "verdict": adaptation.verdict,
        "prior_strength": config.prior_strength,
        "item_posteriors": strength and {"prior_strength": strength.votes, "source": strength.source},
    }
    if groups is not None:
        content["group_kind"], content["group_nats_by_kind"] = groups.kind, groups.nats_by_kind
        content["warning"], content["alike_note"] = groups.warning, groups.alike_note
        content["groups"] = {
            worth.name: {
                "map": _as_lists(logit_map),
                "kind": worth.kind,
                "dropped_kind": worth.dropped_kind,
                "num_items": worth.num_items,
                "num_votes": worth.num_votes,
                "nats_before": worth.nats_before,
                "nats_shared": worth.nats_shared,
                "nats_own": worth.nats_own,
                "own_change": _as_dict(worth.own_change),
                "shared_change": _as_dict(worth.shared_change),
                "change": _as_dict(worth.change),
                "verdict": worth.verdict,
            }
            for worth, logit_map in zip(groups.worth, groups.maps.maps, strict=True)
        }
    if outcome.population is not None:
        content["population"] = asdict(outcome.population)
    (folder / REPORT_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _as_lists(logit_map: LogitMap) -> dict:
    return {"matrix": logit_map.matrix.tolist(), "bias": logit_map.bias.tolist()}


def _as_dict(change: PairedDifference | None) -> dict | None:
    return change and {"difference": change.difference, "low": change.low, "high": change.high}
