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
    AdaptationOutcome,
    LogitMap,
    adapt,
    adapt_groups,
    fold_logit_map,
    gather_votes,
    population_reward,
    posterior_strength,
)
from ..adaptation.vote_rows import TEXT_COLUMNS
from ..hub.adapted_card import adaptation_table, adapted_card, group_table, group_verdicts
from ..hub.folded_checkpoint import stored_head, write_folded_checkpoint
from ..hub.stored_dprm import stored_config
from ..hub.whole_folder import whole_folder
from ..models import DPRMConfig
from ..trainer.reading import naming_source, read_split
from ..trainer.scoring import OVERLONG, score_dataset
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
            "texts as in training and, per row, votes as `target_counts` or one judgment as `category`. With a column "
            "`annotator_id` somebody's several judgments of one text share one vote."
        }
    )
    output_dir: str = field(metadata={"help": "Folder to write; it must not exist, or be empty."})
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of the data set."})
    split: str | None = field(default=None, metadata={"help": "Split with the new votes. Default: the only one."})
    map: Literal[(*MAP_KINDS, "auto")] = field(
        default="auto",
        metadata={
            "help": "Map of the category logits: `temperature` (one factor: recalibration, on validation votes; with "
            "`--prior_weight 0` the temperature that `trl-dprm evaluate` reports), "
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
            "that is expected; 0 is plain maximum likelihood, each vote counted once. Default: averaged over "
            "strengths by their evidence."
        },
    )
    prior_strength: float | None = field(
        default=None,
        metadata={
            "help": "Votes that the model is worth on one item: for the items' posteriors, and to count several votes "
            "of one item for less in the fit. Default: for the posteriors refitted, or else the checkpoint's; for the "
            "fit the checkpoint's."
        },
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
    max_length: int | None = field(
        default=None, metadata={"help": "Longest response with its prompt, in tokens. Default: as in training."}
    )
    overlong: Literal[OVERLONG] = field(
        default="refuse",
        metadata={
            "help": "Responses longer than `max_length`: `refuse` the data, `score` them in full, or `skip` them: "
            "their votes are left out, and those of `apply_to` get no predictions. Text is never cut."
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
        logits, read = _category_log_probs(model, tokenizer, texts, arguments, arguments.dataset_name)
        num_left_out = len(texts) - len(read)
        if num_left_out:
            texts, rows = texts.select(read), np.flatnonzero(np.isin(voted.item_of_row, read))
            voted = gather_votes(data.select(rows)[:], config.category_names, arguments.group_column)
            shares = population_shares(arguments.population_shares, voted.group_names)
        adaptation = adapt(logits, voted.target_counts, arguments.map, **options)
        groups = population = None
        if voted.group_names:
            votes = voted.group_counts, voted.group_names
            groups = adapt_groups(logits, *votes, adaptation.fitted.kind, arguments.map, **options)
            said_of, said_logits = texts, logits
            if other_texts is not None:
                said_logits, read = _category_log_probs(model, tokenizer, other_texts, arguments, arguments.apply_to)
                said_of = other_texts.select(read)
                total = len(other_texts)
                _print_left_out(total - len(read), total, f"texts of `{arguments.apply_to}`")
            said = groups.maps, said_logits, config.category_rewards, shares
            write_group_predictions(folder / GROUPS_FILE, said_of, *said)
            population = None if shares is None else population_reward(*said)
        _check_fold(model, tokenizer, texts, logits, adaptation.fitted.logit_map, arguments)
        strength = posterior_strength(arguments.prior_strength, adaptation.prior_strength, config.prior_strength)
        outcome = AdaptationOutcome(adaptation, voted.num_annotators, num_left_out, groups, population, strength)
        _write_checkpoint(folder, checkpoint, arguments, config, outcome)
        if strength is not None:
            write_item_posteriors(folder / ITEMS_FILE, texts, adaptation, voted, strength.votes)
    _print_left_out(num_left_out, num_left_out + len(texts), "texts with votes")
    _print(outcome, config, arguments)


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


def _category_log_probs(model, tokenizer, texts: Dataset, arguments, source: str) -> tuple[np.ndarray, np.ndarray]:
    """The model's log-probabilities `(M, K)` of the texts that it reads, and the rows of these `(M,)`.

    Log-probabilities are as good as logits, which differ from them by a constant.
    """
    options = {"batch_size": arguments.batch_size, "max_length": arguments.max_length, "overlong": arguments.overlong}
    try:
        scored = score_dataset(model, tokenizer, texts, **options, prefix="adapted_")["adapted_category_probs"]
    except ValueError as error:
        raise ValueError(f"Of the different texts of `{source}`, counted from 0: {error}") from error
    read = np.array([row for row, probs in enumerate(scored) if probs is not None], dtype=int)
    if len(read) == 0:
        raise ValueError(
            f"No text of `{source}` is within the model's limit ({len(texts)} too long): give `--overlong score`, or "
            "a larger `--max_length`."
        )
    probs = np.array([scored[row] for row in read], dtype=np.float64)
    return np.log(np.maximum(probs, np.finfo(np.float32).tiny)), read  # what float32 rounds to 0 has a logit too


def _check_fold(model, tokenizer, texts, logits, logit_map: LogitMap, arguments) -> None:
    """Fold the map into the loaded model too, and see that a few texts get the mapped probabilities."""
    few = range(min(8, len(texts)))
    fold_logit_map(model, logit_map)
    folded, _ = _category_log_probs(model, tokenizer, texts.select(few), arguments, arguments.dataset_name)
    error = np.abs(np.exp(folded) - logit_map.probs(logits[few.start : few.stop])).max()
    if error > 1e-3:
        raise ValueError(
            f"The map folded into the head gives other probabilities than the map itself (by {error:.2g}): something "
            "stands between this backbone's last linear layer and its logits, so it cannot be adapted by a map."
        )


def _write_checkpoint(folder: Path, checkpoint, arguments, config: DPRMConfig, outcome: AdaptationOutcome) -> None:
    """Weights, card and report."""
    logit_map = outcome.adaptation.fitted.logit_map
    refitted = _first(outcome.adaptation.prior_strength, config.prior_strength if logit_map.is_identity else None)
    write_folded_checkpoint(
        checkpoint.model, folder, logit_map, refitted, checkpoint.revision, checkpoint.trust_remote_code
    )
    config.prior_strength = refitted
    name = Path(arguments.output_dir).resolve().name
    adapted_card(config, name, checkpoint.model, outcome, checkpoint.revision).save(folder / "README.md")
    write_report(folder, config, outcome)


def _print_left_out(number: int, total: int, what: str) -> None:
    """How many texts `--overlong skip` left out, if any."""
    if number:
        print(f"Left out, as longer than the limit (`--overlong skip`): {number:,} of {total:,} {what}")


def _print(outcome: AdaptationOutcome, config: DPRMConfig, arguments: AdaptArguments) -> None:
    adaptation, groups = outcome.adaptation, outcome.groups
    fitted, folder = adaptation.fitted, Path(arguments.output_dir)
    print(f"{fitted.num_votes:,.10g} votes on {fitted.num_items:,} texts")
    _print_kinds(adaptation.nats_by_kind, adaptation.dropped_kind or fitted.kind)
    print(adaptation_table(adaptation, config.category_names))
    print(adaptation.verdict)
    if groups is not None and groups.warning:
        print(groups.warning)
    if groups is not None:
        of_all = " (none)" if fitted.logit_map.is_identity else ""
        print(f"\nGroups: the map of all{of_all}, or an own one on top of it; nats per vote of the group, held out")
        _print_kinds(groups.nats_by_kind, groups.kind)
        print(group_table(groups))
        print(group_verdicts(groups))
        for told in (groups.alike_note, outcome.population and outcome.population.in_words):
            if told:
                print(told)
        print(f"Predictions of the groups: {folder / GROUPS_FILE}\n")
    if outcome.strength is None:
        print(
            f"No {ITEMS_FILE}: how many votes the model is worth on an item is not known, and these votes are too few "
            "to say. Give `--prior_strength`."
        )
    else:
        counted = f"the model counts as {outcome.strength.in_words}"
        print(f"Votes and posteriors of the items ({counted}): {folder / ITEMS_FILE}")
    print(f"{'Model, unchanged' if fitted.logit_map.is_identity else 'Adapted model'}: {folder}")


def _print_kinds(nats_by_kind: dict[str, float], best: str) -> None:
    """What each kind of map that was tried is worth."""
    for kind, nats in nats_by_kind.items():
        print(f"  {kind:<12}{nats:.4f} nats per held-out vote{' (fewest)' if kind == best else ''}")


if __name__ == "__main__":
    main()
