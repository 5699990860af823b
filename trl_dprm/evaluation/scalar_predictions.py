"""What a reward model with one number says of a data set that a DPRM is evaluated on."""

import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset

from ..metrics import pair_metrics
from ..rewards import RewardModelFunction
from ..trainer.preparation import effective_max_length, prepare_dataset
from ..trainer.rows import PAIR_VOTES
from ..trainer.tokenization import TokenizationRule
from .checkpoint_predictions import evaluation_arguments
from .scored_rows import ScoredRows

_NUMBERS = ("pair_weight", *PAIR_VOTES, "margin")


def predict_scalar(
    function: RewardModelFunction,
    dataset: Dataset,
    category_names: Sequence[str],
    max_length: int | None = None,
    training_options: Mapping[str, object] | None = None,
) -> ScoredRows:
    """Score a data set by a scalar reward model, each response read as `trl.RewardTrainer` reads it.

    Args:
        function ([`~trl_dprm.rewards.RewardModelFunction`]): of a sequence classifier with one label.
        dataset ([`~datasets.Dataset`]): in the columns that [`DPRMTrainer`] takes.
        category_names (`list[str]`): of the DPRM beside it: what the votes are on.
        max_length (`int`, *optional*): longer rows, in tokens, are left out. Defaults to what the backbone reads; such
            models do not store what they were trained on.
        training_options (`dict`, *optional*): as [`predict_dataset`] has them, for the batch size, `bf16` and the
            device.

    Returns:
        [`ScoredRows`], with the rewards, and for pairs what [`~trl_dprm.metrics.pair_metrics`] says at κ = 1, the
        scale that such a model was trained at.

    Raises:
        ValueError: for rows that cannot be measured, and where none is left.
    """
    with tempfile.TemporaryDirectory() as nothing_is_written_here:
        arguments = evaluation_arguments(nothing_is_written_here, training_options or {})
    positions = function.num_positions
    rule = TokenizationRule(max_length=effective_max_length(max_length, positions))
    prepared = prepare_dataset(
        dataset, "evaluation", function.tokenizer, rule, category_names, on_votes=True, positions=positions
    )
    function.batch_size = arguments.per_device_eval_batch_size
    function.to(arguments.device)
    with torch.autocast(arguments.device.type, dtype=torch.bfloat16, enabled=bool(arguments.bf16)):
        scores = _shared_scores(function, [ids for row in prepared["response_ids"] for ids in row])
    rewards, labels = np.full((len(prepared), 2), np.nan), _labels(prepared)
    rewards[_present(prepared)] = scores
    return ScoredRows(metrics=_metrics(rewards, labels), predictions={"rewards": rewards}, labels=labels)


def _shared_scores(function: RewardModelFunction, sequences: list[list[int]]) -> np.ndarray:
    """Rewards of sequences of ids, each process scoring its part, all knowing the whole."""
    with PartialState().split_between_processes(sequences) as own:
        scores = function.logits(own)[:, 0].tolist()
    return np.array(gather_object(scores))


def _present(prepared: Dataset) -> np.ndarray:
    """Which rows have a first and a second response, shape *(num_rows, 2)*."""
    sides = np.array([len(responses) for responses in prepared["response_ids"]])
    return np.stack([sides > 0, sides > 1], axis=1)


def _labels(prepared: Dataset) -> dict[str, np.ndarray]:
    """What people said of prepared rows, as [`DPRMTrainer`] hands it to `compute_metrics`."""
    present = _present(prepared)
    probs = np.concatenate([np.array(row, dtype=np.float32) for row in prepared["response_target_probs"]])
    weight = np.concatenate([np.array(row, dtype=np.float32) for row in prepared["response_target_weight"]])
    labels = {
        "target_probs": np.full((*present.shape, probs.shape[1]), np.nan, dtype=np.float32),
        "target_weight": np.full(present.shape, np.nan, dtype=np.float32),
        "is_pair": present[:, 1],
    }
    labels["target_probs"][present], labels["target_weight"][present] = probs, weight
    labels |= {name: np.array(prepared[name], dtype=np.float32) for name in _NUMBERS}
    return labels | {"row": np.array(prepared["row"])}


def _metrics(rewards: np.ndarray, labels: dict[str, np.ndarray]) -> dict[str, float]:
    metrics = {
        "min_reward": float(np.nanmin(rewards)),
        "mean_reward": float(np.nanmean(rewards)),
        "max_reward": float(np.nanmax(rewards)),
    }
    pairs = labels["is_pair"] & (labels["pair_weight"] > 0)
    if pairs.any():
        metrics |= pair_metrics(*rewards[pairs].T, labels["chosen_vote_share"][pairs], labels["pair_weight"][pairs])
    return {f"eval_{name}": value for name, value in metrics.items()}
