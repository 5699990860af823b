"""The distributional models: `DPRMTrainer` on pairs with vote shares."""

import tempfile

import pandas as pd
from arguments import RecipeArguments
from datasets import Dataset
from pair_data import judged_responses
from predictions import Predictions
from training import freeze_lower_layers, oriented, score_responses, training_options
from transformers import AutoTokenizer, set_seed

from trl_dprm import DPRMForSequenceClassification, DPRMTrainer, DPRMTrainingArguments

PAIR_COLUMNS = ["prompt", "chosen", "rejected", "chosen_vote_share"]


def pairs_of_texts(data: dict[str, pd.DataFrame], ties: bool) -> pd.DataFrame:
    """The training pairs in the columns that `DPRMTrainer` reads, with or without that of ties."""
    pairs = oriented(data["train"])
    texts = data["responses"].set_index("response_id")
    prompts = texts["prompt"].loc[pairs["chosen"]].to_numpy()
    completions = {side: texts["completion"].loc[pairs[side]].to_numpy() for side in ("chosen", "rejected")}
    return pairs.assign(prompt=prompts, **completions)[PAIR_COLUMNS + ["tie_vote_share"] * ties]


def train_dprm(
    arguments: RecipeArguments, seed: int, data: dict[str, pd.DataFrame], ranking_loss: str, ties: bool = False
) -> Predictions:
    """Train a DPRM on vote shares and let it speak of the validation and test responses.

    Args:
        arguments (`RecipeArguments`): The run.
        seed (`int`): Of the head, the order of the pairs and the dropout.
        data (`dict[str, pd.DataFrame]`): As `read_fold` makes it.
        ranking_loss (`str`): Of `DPRMTrainingArguments`.
        ties (`bool`): Whether ties are learned as a third outcome; without, each is half a vote for either side.
    """
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.backbone)
    model = DPRMForSequenceClassification.from_pretrained(
        arguments.backbone,
        category_names=[f"level {k + 1}" for k in range(arguments.num_categories)],
        category_rewards=arguments.category_rewards,
    )
    freeze_lower_layers(model, arguments.frozen_layers)
    pairs = pairs_of_texts(data, ties)
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPRMTrainer(
            model=model,
            args=DPRMTrainingArguments(
                **training_options(arguments, seed, folder),
                ranking_loss=ranking_loss,
                bradley_terry_scale_learning_rate=arguments.scale_learning_rate,
                max_length=arguments.max_length,
                disable_dropout=arguments.disable_dropout,
            ),
            train_dataset=Dataset.from_pandas(pairs, preserve_index=False),
            processing_class=tokenizer,
        )
        trainer.train()
    probs = {}
    for part in ("validation", "test"):
        responses = judged_responses(data["responses"], data[part])
        probs[part] = score_responses(model, tokenizer, responses, "category_logits").softmax(-1).numpy()
    rewards = {part: values @ arguments.category_rewards for part, values in probs.items()}
    return Predictions(
        rewards["validation"],
        rewards["test"],
        probs["validation"],
        probs["test"],
        scale=float(trainer.bradley_terry_scale.value),
        num_pairs=len(pairs),
    )
