"""The distributional methods: one DPRM per loss, trained by `DPRMTrainer`."""

import tempfile
from pathlib import Path

import pandas as pd
from arguments import RecipeArguments
from data import CATEGORIES, VOTES
from datasets import Dataset
from neural import score_items, training_options
from predictions import Predictions

from trl_dprm import DPRMTrainer, DPRMTrainingArguments

CROSS_ENTROPY = "cross_entropy"
SINGLE_LOSSES = (CROSS_ENTROPY, "optimal_transport", "ranked_probability_score", "energy_distance")


def sum_name(weight: float) -> str:
    """Name of the method cross-entropy + `weight` x optimal transport."""
    return f"cross_entropy_plus_{weight:g}_optimal_transport"


def losses_of_methods(transport_weights: list[float]) -> dict[str, dict[str, float]]:
    """For every distributional method the weight of each loss in it."""
    sums = {sum_name(weight): {CROSS_ENTROPY: 1.0, "optimal_transport": weight} for weight in transport_weights}
    return {loss: {loss: 1.0} for loss in SINGLE_LOSSES} | sums


def train_dprm(
    arguments: RecipeArguments,
    seed: int,
    loss_weights: dict[str, float],
    parts: dict[str, pd.DataFrame],
    model_folder: Path | None = None,
) -> Predictions:
    """Train a DPRM with one loss, or a sum of losses, and let it speak of the validation and test texts.

    Args:
        arguments (`RecipeArguments`): The run.
        seed (`int`): Of the head, the order of the items and the dropout.
        loss_weights (`dict[str, float]`): Weight of each loss.
        parts (`dict[str, pd.DataFrame]`): `train`, `validation`, `test`.
        model_folder (`Path`, *optional*): Where to save the model with its card.
    """
    columns = ["item_id", "prompt", "completion", *VOTES]
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPRMTrainer(
            model=arguments.backbone,
            args=DPRMTrainingArguments(
                **training_options(arguments, seed, folder),
                **CATEGORIES.to_dict(),
                loss_type=list(loss_weights),
                loss_weights=list(loss_weights.values()),
                max_length=arguments.max_length,
                disable_dropout=arguments.disable_dropout,
            ),
            train_dataset=Dataset.from_pandas(parts["train"][columns], preserve_index=False),
            eval_dataset=Dataset.from_pandas(parts["validation"][columns], preserve_index=False),
        )
        trainer.train()
        if model_folder is not None:
            trainer.evaluate()
            trainer.save_model(str(model_folder))
    probs = {
        part: score_items(trainer.model, trainer.processing_class, parts[part], "category_logits").softmax(-1).numpy()
        for part in ("validation", "test")
    }
    return Predictions.of_distributions(probs["validation"], probs["test"], CATEGORIES.rewards)
