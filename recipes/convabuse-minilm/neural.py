"""What all neural methods share: the training budget, the token ids, and scoring."""

import pandas as pd
import torch
from arguments import RecipeArguments
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from trl_dprm.trainer.tokenization import TokenizationRule

SCORING_BATCH_SIZE = 64


def training_options(arguments: RecipeArguments, seed: int, folder: str) -> dict:
    """The budget that every neural method gets, in the words of `transformers.TrainingArguments`."""
    return {
        "output_dir": folder,
        "seed": seed,
        "learning_rate": arguments.learning_rate,
        "num_train_epochs": arguments.num_train_epochs,
        "per_device_train_batch_size": arguments.batch_size,
        "warmup_steps": arguments.warmup_share,
        "weight_decay": arguments.weight_decay,
        "lr_scheduler_type": "linear",
        "train_sampling_strategy": "group_by_length",
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": arguments.use_cpu,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_steps": 50,
        "report_to": "none",
    }


def token_ids(tokenizer: PreTrainedTokenizerBase, items: pd.DataFrame) -> list[list[int]]:
    """The ids that `DPRMTrainer` trains on, so that every method reads the same."""
    rule = TokenizationRule()
    texts = zip(items["prompt"], items["completion"], strict=True)
    return [rule.token_ids(tokenizer, completion, prompt) for prompt, completion in texts]


@torch.no_grad()
def score_items(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, items: pd.DataFrame, output: str
) -> torch.Tensor:
    """One output of a model for every item, batched by length.

    Args:
        model (`torch.nn.Module`): Takes `input_ids` and `attention_mask`.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): Of the model.
        items (`pd.DataFrame`): With `prompt` and `completion`.
        output (`str`): Name of the model's output to keep, of shape *(batch_size, ...)*.

    Returns:
        `torch.Tensor` of shape *(num_items, ...)*, float64, in the order of the items.
    """
    model.eval()
    device = next(model.parameters()).device
    ids = token_ids(tokenizer, items)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    scored = []
    for start in tqdm(range(0, len(order), SCORING_BATCH_SIZE), desc="Scoring", leave=False, mininterval=1):
        rows = [{"input_ids": ids[index]} for index in order[start : start + SCORING_BATCH_SIZE]]
        batch = tokenizer.pad(rows, padding_side="right", return_tensors="pt").to(device)
        scored.append(model(**batch)[output].double().cpu())
    return torch.cat(scored)[torch.tensor(order).argsort()]
