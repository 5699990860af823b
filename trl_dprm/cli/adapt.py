"""`trl-dprm adapt`: new votes update a trained model, by a small map of its logits and item by item."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from datasets import Dataset

from ..adaptation import (
    MAP_KINDS,
    Adaptation,
    GroupAdaptation,
    LogitMap,
    VotedItems,
    adapt,
    adapt_groups,
    fold_logit_map,
    gather_votes,
)
from ..adaptation.vote_rows import TEXT_COLUMNS
from ..hub.adapted_card import adaptation_table, adapted_card, group_table, group_verdicts
from ..hub.folded_checkpoint import stored_head, write_folded_checkpoint
from ..hub.stored_dprm import stored_config
from ..hub.whole_folder import whole_folder
from ..models import DPRMConfig
from ..trainer.reading import naming_source, read_split
from ..trainer.scoring import score_dataset
from .adapted_files import ITEMS_FILE, write_item_posteriors, write_report
from .adapted_groups import GROUPS_FILE, population_shares, write_group_predictions
from .checkpoint import CheckpointArguments, default_device, load_checkpoint
from .parsing import CommandParser, errors_as_messages


@dataclass
class AdaptArguments:
    """What the model is adapted to, and how."""

    dataset_name: str = field(
        metadata={
            "help": "PATH|HUB_ID of the new votes: a file (JSONL, JSON, CSV, Parquet), a folder or a Hub id, with "
            "texts as in training and, per row, votes as `target_counts` or one judgment as `category`."
        }
    )
    output_dir: str = field(metadata={"help": "Folder to write; it must not exist, or be empty."})
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    split: str | None = field(default=None, metadata={"help": "Split with the new votes. Default: the only one."})
    map: Literal[(*MAP_KINDS, "auto")] = field(
        default="auto",
        metadata={
            "help": "Map of the category logits: `temperature` (one factor: recalibration, on validation votes), "
            "`bias` (other categories are liked more), `matrix` (both and more), `identity` (none), or `auto`: the "
            "one with the fewest nats per vote in cross-validation on the new votes; if it gains nothing once this "
            "choice is held out too, nothing is changed. Heads without biases, as decoders have them, take "
            "`temperature`, and `matrix` without biases."
        },
    )
    prior_weight: str = field(
        default="auto",
        metadata={
            "help": "How strongly the map is held to `nothing has changed`: one over the squared change of log-odds "
            "that is expected; 0 is maximum likelihood. Default: averaged over strengths by their evidence."
        },
    )
    prior_strength: float | None = field(
        default=None,
        metadata={"help": "Votes that the model is worth on one item. Default: refitted, or else the checkpoint's."},
    )
    num_folds: int = field(default=10, metadata={"help": "Folds of the cross-validation over texts."})
    seed: int = field(default=0, metadata={"help": "Of the deal into folds."})
    group_column: str | None = field(
        default=None,
        metadata={
            "help": "Column that says which group of annotators voted: also fits a map for each, on top of that of "
            "all. With `--map auto` their votes choose its kind, and a group that gains nothing keeps that of all."
        },
    )
    population_shares: str | None = field(
        default=None,
        metadata={
            "help": "Shares of the groups in another population, `GROUP=SHARE,GROUP=SHARE`, summing to 1: what would "
            "it say, without any vote of it?"
        },
    )
    apply_to: str | None = field(
        default=None,
        metadata={
            "help": "PATH|HUB_ID of texts to predict for groups and populations. Default: the new votes' texts."
        },
    )
    batch_size: int = field(default=32, metadata={"help": "Responses at a time; they are sorted by length."})
    device: str | None = field(
        default=None,
        metadata={"help": "Device, such as `cpu` or `cuda:1`; `auto` spreads a large model. Default: GPU if any."},
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Write the adapted checkpoint."""
    parser = CommandParser(
        "adapt",
        "Adapt a trained model to new votes, or recalibrate it (`--map temperature` on validation votes).",
        (CheckpointArguments, AdaptArguments),
    )
    checkpoint, arguments = parser.parse(argv)
    with errors_as_messages("adapt"):
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise ValueError("Adapting runs in one process.")
        _adapt(checkpoint, arguments)


def _adapt(checkpoint: CheckpointArguments, arguments: AdaptArguments) -> None:
    """Everything from the votes to the written folder."""
    config, with_bias = _checked_checkpoint(checkpoint, arguments.map)
    data = read_split(arguments.dataset_name, arguments.split, arguments.dataset_config)
    voted = gather_votes(data[:], config.category_names, arguments.group_column)
    shares = population_shares(arguments.population_shares, voted.group_names)
    texts = _texts(data.select(voted.rows))
    other_texts = None
    if arguments.apply_to is not None:
        if arguments.group_column is None:
            raise ValueError("`apply_to` is for predictions of groups: give `group_column`, or use `trl-dprm score`.")
        other_texts = _texts(read_split(arguments.apply_to))
    options = {
        "prior_weight": _prior_weight(arguments.prior_weight),
        "with_bias": with_bias,
        "prior_strength": _first(arguments.prior_strength, config.prior_strength),
        "num_folds": arguments.num_folds,
        "seed": arguments.seed,
    }
    with whole_folder(arguments.output_dir) as folder:
        model, tokenizer = load_checkpoint(checkpoint, arguments.device or default_device())
        logits = _category_log_probs(model, tokenizer, texts, arguments.batch_size)
        adaptation = adapt(logits, voted.target_counts, arguments.map, **options)
        groups = None
        if voted.group_names:
            votes = voted.group_counts, voted.group_names
            groups = adapt_groups(logits, *votes, adaptation.fitted.kind, arguments.map, **options)
            other_logits = logits
            if other_texts is not None:
                other_logits = _category_log_probs(model, tokenizer, other_texts, arguments.batch_size)
            write_group_predictions(
                folder / GROUPS_FILE, other_texts or texts, groups.maps, other_logits, config.category_rewards, shares
            )
        _check_fold(model, tokenizer, texts, logits, adaptation.fitted.logit_map)
        strength = _write_checkpoint(folder, checkpoint, arguments, config, adaptation, voted, groups)
        if strength is not None:
            write_item_posteriors(folder / ITEMS_FILE, texts, adaptation, voted, strength)
    _print(adaptation, groups, strength, config, arguments)


def _checked_checkpoint(checkpoint: CheckpointArguments, kind: str) -> tuple[DPRMConfig, bool]:
    """The model's configuration and whether its head has biases, before anything is loaded."""
    with naming_source(checkpoint.model, "model (`--model`)"):
        config = stored_config(checkpoint.model, checkpoint.revision)
        head, linear = stored_head(checkpoint.model, checkpoint.revision)
    if not config.anchored:
        raise ValueError(
            f"`{checkpoint.model}` was trained on pairs alone (it is not anchored): its categories mean nothing, so "
            "there is no distribution to adapt. Train it on the votes."
        )
    if linear.bias is None and kind == "bias":
        raise ValueError(
            f"`{checkpoint.model}` has a head without biases (`{head}`), and stock classifiers of its kind would "
            "ignore any: `--map bias` cannot be folded into it. Take `--map temperature`, or `--map matrix`, which "
            "leaves the biases out there."
        )
    return config, linear.bias is not None


def _prior_weight(text: str) -> float | str:
    """The option as [`~trl_dprm.adaptation.fit_logit_map`] takes it."""
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise ValueError(f"`prior_weight` is {text!r}: give `auto`, or a number of at least 0.") from None


def _first(*strengths: float | None) -> float | None:
    """The first that is known."""
    return next((strength for strength in strengths if strength is not None), None)


def _texts(data: Dataset) -> Dataset:
    """The data set without anything but ids and texts."""
    kept = [name for name in data.column_names if name in ("item_id", *TEXT_COLUMNS)]
    return data.select_columns(kept)


def _category_log_probs(model, tokenizer, texts: Dataset, batch_size: int) -> np.ndarray:
    """The model's log-probabilities of the texts `(N, K)`: as good as its logits, which differ by a constant."""
    scored = score_dataset(model, tokenizer, texts, batch_size, prefix="adapted_")
    probs = np.array(scored["adapted_category_probs"], dtype=np.float64)
    return np.log(np.maximum(probs, np.finfo(np.float32).tiny))  # what float32 rounds to 0 has a logit all the same


def _check_fold(model, tokenizer, texts, logits, logit_map: LogitMap) -> None:
    """Fold the map into the loaded model too, and see that a few texts get the mapped probabilities."""
    few = range(min(8, len(texts)))
    fold_logit_map(model, logit_map)
    folded = _category_log_probs(model, tokenizer, texts.select(few), batch_size=8)
    error = np.abs(np.exp(folded) - logit_map.probs(logits[few.start : few.stop])).max()
    if error > 1e-3:
        raise ValueError(
            f"The map folded into the head gives other probabilities than the map itself (by {error:.2g}): something "
            "stands between this backbone's last linear layer and its logits, so it cannot be adapted by a map."
        )


def _write_checkpoint(folder: Path, checkpoint, arguments, config, adaptation: Adaptation, voted: VotedItems, groups):
    """Weights, card and report; the prior strength of the items' posteriors, where there is one."""
    unchanged = adaptation.fitted.logit_map.is_identity
    refitted = _first(adaptation.prior_strength, config.prior_strength if unchanged else None)
    write_folded_checkpoint(
        checkpoint.model,
        folder,
        adaptation.fitted.logit_map,
        refitted,
        checkpoint.revision,
        checkpoint.trust_remote_code,
    )
    strength = _first(arguments.prior_strength, refitted, config.prior_strength)
    config.prior_strength = refitted
    name = Path(arguments.output_dir).resolve().name
    card = adapted_card(config, name, checkpoint.model, adaptation, voted.num_annotators, groups, checkpoint.revision)
    card.save(folder / "README.md")
    write_report(folder, config, adaptation, groups, voted.num_annotators)
    return strength


def _print(adaptation: Adaptation, groups: GroupAdaptation | None, strength, config: DPRMConfig, arguments) -> None:
    fitted, folder = adaptation.fitted, Path(arguments.output_dir)
    print(f"{fitted.num_votes:,.10g} votes on {fitted.num_items:,} texts")
    _print_kinds(adaptation.nats_by_kind, adaptation.dropped_kind or fitted.kind)
    print(adaptation_table(adaptation, config.category_names))
    print(adaptation.verdict)
    if groups is not None:
        of_all = " (none)" if fitted.logit_map.is_identity else ""
        print(f"\nGroups: the map of all{of_all}, or an own one on top of it; nats per vote of the group, held out")
        _print_kinds(groups.nats_by_kind, groups.kind)
        print(group_table(groups))
        print(group_verdicts(groups))
        print(f"Predictions of the groups: {folder / GROUPS_FILE}\n")
    if strength is None:
        print(
            f"No {ITEMS_FILE}: how many votes the model is worth on an item is not known, and these votes are too few "
            "to say. Give `--prior_strength`."
        )
    else:
        print(f"Votes and posteriors of the items (the model counts as {strength:.3g} votes): {folder / ITEMS_FILE}")
    print(f"{'Model, unchanged' if fitted.logit_map.is_identity else 'Adapted model'}: {folder}")


def _print_kinds(nats_by_kind: dict[str, float], best: str) -> None:
    """What each kind of map that was tried is worth."""
    for kind, nats in nats_by_kind.items():
        print(f"  {kind:<12}{nats:.4f} nats per held-out vote{' (fewest)' if kind == best else ''}")


if __name__ == "__main__":
    main()
