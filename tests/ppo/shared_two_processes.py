"""Run by test_shared_processes.py, by `torchrun` with BACKBONE, REWARD_ADAPTER and OUTPUT."""

import sys

import torch
from datasets import Dataset
from shared_models import lora

from trl_dprm.ppo.expected_reward_ppo_config import ExpectedRewardPPOConfig
from trl_dprm.ppo.expected_reward_ppo_trainer import ExpectedRewardPPOTrainer


def run(backbone, reward_adapter, output, checkpointing):
    """Train four steps in shared mode; save what every process holds at the end, and what the first step saw."""
    args = ExpectedRewardPPOConfig(
        f"{output}/run",
        use_cpu=True,
        bf16=False,
        report_to="none",
        gradient_checkpointing=checkpointing,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        num_ppo_epochs=2,
        response_length=6,
        max_steps=4,
        learning_rate=1e-2,
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
        num_sample_generations=0,
        share_backbone=True,
    )
    prompts = Dataset.from_dict({"prompt": [f"tell {'me ' * (k % 5)}of {k}" for k in range(16)]})
    ppo = ExpectedRewardPPOTrainer(backbone, reward_adapter, args=args, train_dataset=prompts, peft_config=lora())
    before = {name: p.detach().clone() for name, p in ppo.model.named_parameters()}
    ppo.train()
    weights = {name: p.detach() for name, p in ppo.model.named_parameters()}
    torch.save(
        {
            "weights": weights,
            "moved": [name for name, weight in weights.items() if (weight != before[name]).any()],
            "log": ppo.state.log_history,
            "world_size": args.world_size,
        },
        f"{output}/{checkpointing}-{args.process_index}.pt",
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for checkpointing in (False, True):
        run(*sys.argv[1:], checkpointing)
