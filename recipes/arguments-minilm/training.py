"""What all trainings share: the budget, the frozen layers, rows of pairs, and scoring."""

import re

import pandas as pd
import torch
from arguments import RecipeArguments
from pair_data import TARGETS, VOTES, token_ids
from torch import nn
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

SCORING_BATCH_SIZE = 64
LAYER_NUMBER = re.compile(r"\.(?:layer|layers|h)\.(\d+)\.")


def training_options(arguments: RecipeArguments, seed: int, folder: str) -> dict:
    """The budget that every method gets, in the words of `transformers.TrainingArguments`."""
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
        "bf16": arguments.bf16,
        "use_cpu": arguments.use_cpu,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_steps": 25,
        "report_to": "none",
    }


def freeze_lower_layers(model: nn.Module, num_layers: int) -> None:
    """Let the embeddings and the lowest layers be as they came; nothing for 0 layers.

    Raises:
        ValueError: if the model has no more layers than that.
    """
    if num_layers == 0:
        return
    layers = {name: LAYER_NUMBER.search(name) for name, _ in model.named_parameters()}
    depth = 1 + max((int(found[1]) for found in layers.values() if found), default=-1)
    if num_layers >= depth:
        raise ValueError(f"`frozen_layers` is {num_layers} but the backbone has {depth} layers: freeze fewer.")
    for name, parameter in model.named_parameters():
        found = layers[name]
        if "embed" in name or (found and int(found[1]) < num_layers):
            parameter.requires_grad_(False)


def oriented(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs with `chosen` and `rejected` response ids: chosen is the one with more votes, of equals the first.

    Returns:
        `pd.DataFrame`: `chosen`, `rejected`, `chosen_vote_share` (a tie as half a vote), `tie_vote_share`, and
        `majority`, whether one response has more votes than the other.
    """
    votes, targets = pairs[VOTES].to_numpy(), pairs[TARGETS].to_numpy()
    swapped = votes[:, 2] > votes[:, 0]
    share = targets[:, 0] + targets[:, 1] / 2
    return pd.DataFrame(
        {
            "chosen": pairs["second"].where(swapped, pairs["first"]),
            "rejected": pairs["first"].where(swapped, pairs["second"]),
            "chosen_vote_share": share * ~swapped + (1 - share) * swapped,
            "tie_vote_share": targets[:, 1],
            "majority": votes[:, 0] != votes[:, 2],
        }
    ).reset_index(drop=True)


@torch.no_grad()
def score_responses(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, responses: pd.DataFrame, output: str
) -> torch.Tensor:
    """One output of a model for every response, batched by length.

    Args:
        model (`nn.Module`): Takes `input_ids` and `attention_mask`.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): Of the model.
        responses (`pd.DataFrame`): With `prompt` and `completion`.
        output (`str`): Name of the model's output to keep, of shape *(batch_size, ...)*.

    Returns:
        `torch.Tensor` of shape *(num_responses, ...)*, float64, in the order of the responses.
    """
    model.eval()
    device = next(model.parameters()).device
    ids = token_ids(tokenizer, responses)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    scored = []
    for start in tqdm(range(0, len(order), SCORING_BATCH_SIZE), desc="Scoring", leave=False, mininterval=1):
        rows = [{"input_ids": ids[index]} for index in order[start : start + SCORING_BATCH_SIZE]]
        batch = tokenizer.pad(rows, padding_side="right", return_tensors="pt").to(device)
        scored.append(model(**batch)[output].double().cpu())
    return torch.cat(scored)[torch.tensor(order).argsort()]
