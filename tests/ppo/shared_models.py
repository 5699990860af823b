"""DPRM adapters trained on a backbone, and the separate models that a shared backbone must equal."""

import torch
from datasets import Dataset
from peft import LoraConfig

from trl_dprm import DPRMTrainer, DPRMTrainingArguments

CATEGORIES = {"category_names": ["bad", "fair", "good"], "category_rewards": [-1.0, 0.0, 2.0]}


def lora(**options):
    """A policy's LoRA on all linear layers."""
    return LoraConfig(**{"r": 4, "task_type": "CAUSAL_LM", "target_modules": "all-linear", **options})


def train_reward_adapter(base, folder, peft_config=None, learning_rate=5e-2, **trainer):
    """Train a DPRM by LoRA as a user would, for two strong steps, and save it; returns the folder."""
    targets = [[0.7, 0.2, 0.1], [0.0, 0.3, 0.7]]
    rows = [{"prompt": f"tell me {k}", "completion": f" it is {k}", "target_probs": targets[k % 2]} for k in range(8)]
    args = DPRMTrainingArguments(
        str(folder / "run"),
        use_cpu=True,
        bf16=False,
        report_to="none",
        max_steps=2,
        save_strategy="no",
        disable_tqdm=True,
        learning_rate=learning_rate,
        lr_scheduler_type="constant",
        gradient_checkpointing=False,
        **CATEGORIES,
    )
    reward = DPRMTrainer(
        base, args, train_dataset=Dataset.from_list(rows), peft_config=peft_config or LoraConfig(r=4), **trainer
    )
    reward.train()
    reward.save_model(folder / "adapter")
    return str(folder / "adapter")


def shake(parameters, seed=3, std=0.1):
    """Move parameters away from where they start (LoRA starts at zero), in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(std * torch.randn(parameter.shape, generator=generator))


def adapter_parameters(policy, name):
    """`{name without the adapter's name: parameter}` of one adapter."""
    return {n.replace(f".{name}.", "."): p for n, p in policy.named_parameters() if f".{name}." in n}


def right_padded_batch():
    """Rows of 12, 7 and 9 tokens, the last ends with EOS (2); padded by 0 on the right."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, 260, (3, 12), generator=generator)
    mask = torch.arange(12)[None] < torch.tensor([12, 7, 9])[:, None]
    ids[2, 8] = 2
    return ids * mask, mask.long()


def left_padded_batch():
    """The same rows, padded by 0 on the left."""
    ids, mask = right_padded_batch()
    order = mask.argsort(dim=1, stable=True)
    return ids.gather(1, order), mask.gather(1, order)
