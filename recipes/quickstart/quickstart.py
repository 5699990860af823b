"""The README's main job: from a table of disagreeing annotators to a distributional reward model, no downloads.

A small model is made on the spot and trained on the votes of a synthetic population whose true opinion is known, next
to a scalar reward model (`trl.RewardTrainer`) on the same votes. Prints how much of the truth each recovers, and draws
it.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from population import CATEGORY_NAMES, CATEGORY_REWARDS, make_judgments, vocabulary
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    set_seed,
)
from trl import RewardConfig, RewardTrainer

from trl_dprm import DPRMForSequenceClassification, DPRMTrainer, DPRMTrainingArguments
from trl_dprm.losses import wasserstein_distance
from trl_dprm.metrics import best_constant, plot_distributions
from trl_dprm.models.distributions import expected_reward, reward_variance
from trl_dprm.preferences import PreferenceCategories, prepare_targets, split_by_hash
from trl_dprm.trainer import score_dataset


def make_backbone(folder: Path, seed: int, hidden_size: int = 96, num_layers: int = 2) -> None:
    """Write a small random Llama and a word-level tokenizer: what a Hub checkpoint would be."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(vocabulary(), trainers.WordLevelTrainer(special_tokens=["[PAD]", "[EOS]", "[UNK]"]))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", eos_token="[EOS]", unk_token="[UNK]", model_max_length=128
    )
    set_seed(seed)
    backbone = LlamaModel(
        LlamaConfig(
            vocab_size=len(fast),
            hidden_size=hidden_size,
            intermediate_size=hidden_size * 8 // 3,
            num_hidden_layers=num_layers,
            num_attention_heads=4,
            max_position_embeddings=128,
            pad_token_id=fast.pad_token_id,
            eos_token_id=fast.eos_token_id,
        )
    )
    backbone.save_pretrained(folder)
    fast.save_pretrained(folder)


def run_options(folder: Path, epochs: int, seed: int) -> dict:
    """Options that both trainers share."""
    return {
        "output_dir": str(folder),
        "num_train_epochs": epochs,
        "per_device_train_batch_size": 32,
        "per_device_eval_batch_size": 64,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "save_strategy": "no",
        "logging_steps": 25,
        "report_to": "none",
        "seed": seed,
    }


def prepare_items(folder: Path, num_items: int, seed: int) -> tuple[Dataset, np.ndarray]:
    """Write the annotation table, turn it into one row per item, and keep the true distributions aside."""
    judgments, truth = make_judgments(num_items, seed)
    pq.write_table(judgments, folder / "judgments.parquet")
    categories = PreferenceCategories(CATEGORY_NAMES, CATEGORY_REWARDS)
    items = prepare_targets(str(folder / "judgments.parquet"), categories, progress=True).items
    return items, truth[[int(item.removeprefix("item-")) for item in items["item_id"]]]


def train_distributional(
    folder: Path, items: Dataset, held_out: Dataset, epochs: int, seed: int
) -> DPRMForSequenceClassification:
    """`DPRMTrainer` on the votes; those of the items held out are for its card alone."""
    args = DPRMTrainingArguments(
        **run_options(folder / "dprm", epochs, seed),
        category_names=list(CATEGORY_NAMES),
        category_rewards=list(CATEGORY_REWARDS),
    )
    trainer = DPRMTrainer(str(folder / "backbone"), args, train_dataset=items, eval_dataset=held_out)
    trainer.train()
    trainer.evaluate()
    trainer.save_model()
    return AutoModelForSequenceClassification.from_pretrained(args.output_dir)


def train_scalar(folder: Path, items: Dataset, epochs: int, seed: int) -> RewardTrainer:
    """`trl.RewardTrainer` on the same votes: each response meets another one, the higher mean rating is `chosen`."""
    means = np.array(items["target_probs"]) @ CATEGORY_REWARDS
    texts = [prompt + completion for prompt, completion in zip(items["prompt"], items["completion"], strict=True)]
    partner = np.random.default_rng(seed).permutation(len(items))
    pairs = [(i, j) if means[i] > means[j] else (j, i) for i, j in enumerate(partner) if means[i] != means[j]]
    dataset = Dataset.from_list([{"chosen": texts[i], "rejected": texts[j]} for i, j in pairs])
    trainer = RewardTrainer(
        str(folder / "backbone"), RewardConfig(**run_options(folder / "scalar", epochs, seed)), train_dataset=dataset
    )
    trainer.train()
    return trainer


def score_scalar(trainer: RewardTrainer, items: Dataset) -> np.ndarray:
    """Rewards of a scalar model, on the token ids that it was trained on; shape (num_items,)."""
    tokenizer, model = trainer.processing_class, trainer.model.eval()
    rewards = []
    for prompt, completion in zip(items["prompt"], items["completion"], strict=True):
        tokens = tokenizer(prompt + completion + tokenizer.eos_token, return_tensors="pt")
        with torch.no_grad():
            rewards.append(model(input_ids=tokens["input_ids"]).logits.item())
    return np.array(rewards)


def recovery(truth: np.ndarray, probs: np.ndarray | None, rewards: np.ndarray | None) -> dict[str, float]:
    """How much of the true opinion a model recovers; NaN where it says nothing of it.

    Args:
        truth (`np.ndarray` of shape *(num_items, 5)*): True distributions.
        probs (same shape, *optional*): Predicted distributions.
        rewards (`np.ndarray` of shape *(num_items,)*, *optional*): Predicted rewards, in any unit.
    """
    nothing = float("nan")
    row = dict.fromkeys(("KL (nats)", "W1", "reward corr.", "pair accuracy", "disagreement corr."), nothing)
    true_reward = expected_reward(torch.tensor(truth), CATEGORY_REWARDS).numpy()
    if probs is not None:
        distance = wasserstein_distance(torch.tensor(probs), torch.tensor(truth), CATEGORY_REWARDS)
        row["KL (nats)"] = float((truth * np.log(truth / probs)).sum(1).mean())
        row["W1"] = distance.mean().item()
    if rewards is not None:
        order, other = np.triu_indices(len(truth), 1)
        agree = np.sign(rewards[order] - rewards[other]) == np.sign(true_reward[order] - true_reward[other])
        row["reward corr."] = np.corrcoef(rewards, true_reward)[0, 1]
        row["pair accuracy"] = agree.mean()
    if probs is not None and rewards is not None:
        spread = [reward_variance(torch.tensor(p), CATEGORY_REWARDS).numpy() for p in (probs, truth)]
        row["disagreement corr."] = np.corrcoef(*spread)[0, 1]
    return row


def print_table(runs: list[dict[str, dict[str, float]]]) -> None:
    """One line per model, the mean over the seeds ± their standard deviation; a dash where a model says nothing."""
    print(f"\n{'':24}" + "".join(f"{column:>20}" for column in next(iter(runs[0].values()))))
    for name, row in runs[0].items():
        print(f"{name:24}" + "".join(f"{_cell([run[name][column] for run in runs]):>20}" for column in row))


def _cell(values):
    if np.isnan(values).any():
        return "-"
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def run_seed(folder: Path, num_items: int, epochs: int, seed: int) -> dict[str, dict[str, float]]:
    """Everything for one seed, in its own folder; returns one row of `recovery` per model."""
    folder.mkdir(parents=True, exist_ok=True)
    items, truth = prepare_items(folder, num_items, seed)
    held_out = np.array(split_by_hash(items["item_id"], {"train": 0.8, "test": 0.2})) == "test"
    train, test, truth = (
        items.select(np.flatnonzero(~held_out)),
        items.select(np.flatnonzero(held_out)),
        truth[held_out],
    )
    make_backbone(folder / "backbone", seed)

    model = train_distributional(folder, train, test, epochs, seed)
    scalar = train_scalar(folder, train, epochs, seed)
    scored = score_dataset(model, AutoTokenizer.from_pretrained(folder / "dprm"), test)
    probs = np.array(scored["category_probs"], dtype=np.float64)
    constant = best_constant(train["target_probs"], train["vote_weight"], "nats_per_vote")
    draw(folder, test, probs, truth)
    print(f"\nseed {seed}: {len(train)} responses judged, {len(test)} held out")
    return {
        "the truth itself": recovery(truth, truth, truth @ CATEGORY_REWARDS),
        "DPRM": recovery(truth, probs, np.array(scored["reward"])),
        "best constant": recovery(truth, np.tile(constant, (len(truth), 1)), None),
        "scalar (RewardTrainer)": recovery(truth, None, score_scalar(scalar, test)),
    }


def draw(folder: Path, test: Dataset, probs: np.ndarray, truth: np.ndarray) -> None:
    """Predicted and true distribution of six responses, from the most to the least contested."""
    contested = np.argsort(-reward_variance(torch.tensor(truth), CATEGORY_REWARDS).numpy())
    shown = contested[np.linspace(0, len(truth) - 1, 6).astype(int)]
    titles = [test[int(row)]["completion"] for row in shown]
    figure = plot_distributions(probs[shown], truth[shown], CATEGORY_NAMES, titles, "DPRM", "truth")
    figure.savefig(folder / "distributions.png", dpi=150)


def main() -> None:
    """Run it; see `--help`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/quickstart"), help="where everything is written")
    parser.add_argument("--items", type=int, default=2500, help="judged responses, a fifth of them held out")
    parser.add_argument("--epochs", type=int, default=8, help="passes over the judged responses")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="of population, models and training; one run each"
    )
    options = parser.parse_args()

    folders = {seed: options.output / f"seed-{seed}" for seed in options.seeds}
    print_table([run_seed(folder, options.items, options.epochs, seed) for seed, folder in folders.items()])
    print(
        "\nKL and W1: distance to the true distribution, smaller is better. disagreement corr.: correlation of "
        "predicted and true\nvariance. A scalar reward has neither; its pairs come from the same votes."
    )
    for folder in folders.values():
        print(f"Model and card: {folder / 'dprm'}    Picture: {folder / 'distributions.png'}")


if __name__ == "__main__":
    main()
