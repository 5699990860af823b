"""Four reward models from the same votes: each starts from the story model and takes the same number of steps."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
from arguments import RecipeArguments
from datasets import Dataset
from files import write_json
from original import Original
from sampling import Samples, sample_completions
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)
from trl import RewardConfig, RewardTrainer
from votes import CATEGORIES, items_with_votes, majority_pairs, single_vote_pairs, vote

from trl_dprm import DPRMTrainer, DPRMTrainingArguments
from trl_dprm.trainer.tokenization import TokenizationRule


def train_reward_models(arguments: RecipeArguments, original: Original, population: str, seed: int) -> None:
    """Let the population judge the original model's completions and train what is not there yet."""
    missing = [name for name in REWARD_MODELS if not model_folder(arguments, population, seed, name).exists()]
    if not missing:
        return
    samples = judged_samples(arguments, original, seed)
    ratings = vote(population, original.traits_of(samples), arguments.panel_size, seed)
    for name in missing:
        folder = model_folder(arguments, population, seed, name)
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        start, cpu = time.perf_counter(), time.process_time()
        REWARD_MODELS[name](arguments, original, seed, samples, ratings, str(unfinished))
        seconds = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
        write_json(unfinished / "seconds.json", seconds)
        os.replace(unfinished, folder)


def model_folder(arguments: RecipeArguments, population: str, seed: int, name: str) -> Path:
    """Where a reward model lies."""
    return Path(arguments.output_dir, "reward_models", population, f"seed-{seed}", name)


def judged_samples(arguments: RecipeArguments, original: Original, seed: int) -> Samples:
    """The completions that are judged: two per prompt, one after the other; another choice for every seed."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(original.prompts["train"], size=arguments.num_judged_prompts, replace=False)
    prompts = chosen.repeat(2).tolist()
    options = {"max_new_tokens": arguments.max_new_tokens, "temperature": arguments.temperature}
    return sample_completions(original.model, original.tokenizer, prompts, **options, seed=10_000 + seed)


def training_options(arguments: RecipeArguments, seed: int, folder: str, rows_per_step: int) -> dict:
    """The budget that every reward model gets: the same number of steps with equally many completions."""
    completions = 2 * arguments.num_judged_prompts
    return {
        "output_dir": folder,
        "seed": seed,
        "max_steps": round(arguments.reward_model_passes * completions / arguments.reward_model_batch_size),
        "learning_rate": arguments.reward_model_learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "weight_decay": 0.01,
        "per_device_train_batch_size": rows_per_step,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_steps": 20,
        "report_to": "none",
        "disable_tqdm": True,
    }


def _train_on_majority(arguments, original, seed, samples, ratings, folder):
    """Bradley–Terry on majority votes: the reward model of today, by `trl.RewardTrainer`."""
    _train_bradley_terry(arguments, original, seed, majority_pairs(samples, ratings), folder)


def _train_on_vote_shares(arguments, original, seed, samples, ratings, folder):
    """Bradley–Terry on soft vote shares, as one pair per vote."""
    _train_bradley_terry(arguments, original, seed, single_vote_pairs(samples, ratings), folder)


def _train_bradley_terry(arguments, original, seed, pairs, folder):
    options = training_options(arguments, seed, folder, arguments.reward_model_batch_size // 2)
    trainer = RewardTrainer(
        arguments.policy, RewardConfig(**options), train_dataset=pairs, processing_class=original.tokenizer
    )
    _train_and_save(trainer)


def _train_on_mean_ratings(arguments, original, seed, samples, ratings, folder):
    """Scalar regression to mean ratings: squared error, by the stock classifier and `transformers.Trainer`."""
    set_seed(seed)  # of the head
    model = AutoModelForSequenceClassification.from_pretrained(
        arguments.policy, num_labels=1, problem_type="regression", dtype="float32"
    )
    trainer = Trainer(
        model,
        TrainingArguments(**training_options(arguments, seed, folder, arguments.reward_model_batch_size)),
        train_dataset=mean_ratings(original.tokenizer, items_with_votes(samples, ratings)),
        data_collator=DataCollatorWithPadding(original.tokenizer),
        processing_class=original.tokenizer,
    )
    _train_and_save(trainer)


def mean_ratings(tokenizer: PreTrainedTokenizerBase, items: Dataset) -> Dataset:
    """Token ids as the other trainers make them, and the mean of the ratings as label."""
    rule = TokenizationRule()

    def row(item):
        mean = sum(p * r for p, r in zip(item["target_probs"], CATEGORIES.rewards, strict=True))
        return {"input_ids": rule.token_ids(tokenizer, item["completion"], item["prompt"]), "labels": mean}

    return items.map(row, remove_columns=items.column_names)


def _train_on_distributions(arguments, original, seed, samples, ratings, folder):
    """DPRM: cross-entropy to the votes."""
    options = training_options(arguments, seed, folder, arguments.reward_model_batch_size)
    trainer = DPRMTrainer(
        arguments.policy,
        DPRMTrainingArguments(**options, **CATEGORIES.to_dict(), loss_type=["cross_entropy"]),
        train_dataset=items_with_votes(samples, ratings),
        processing_class=original.tokenizer,
    )
    _train_and_save(trainer)


def _train_and_save(trainer):
    trainer.remove_callback(PrinterCallback)  # the bar of the replications is enough
    trainer.train()
    trainer.save_model()


REWARD_MODELS = {
    "bradley_terry_majority": _train_on_majority,
    "bradley_terry_vote_shares": _train_on_vote_shares,
    "scalar_regression": _train_on_mean_ratings,
    "dprm": _train_on_distributions,
}
