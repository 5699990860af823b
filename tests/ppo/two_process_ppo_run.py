"""Run by test_two_processes_ppo.py, by `torchrun` with BACKBONE and OUTPUT and in its own process."""

import sys

import torch
from datasets import Dataset

from trl_dprm import ExpectedRewardPPOConfig, ExpectedRewardPPOTrainer

PROMPTS = [f"tell {'me ' * (k % 5)}of {k}" for k in range(16)]
OPTIONS = {
    "plain": {"normalize_rewards": True, "adaptive_kl": True, "kl_target": 0.1, "kl_horizon": 100.0},
    "limited": {"kl_limit": 1e-5},
}


def share_of_early_bytes(completions, completion_ids, **columns):
    """Half the bytes are early; one prompt's completions cannot be scored."""
    shares = [sum(token < 132 for token in ids) / len(ids) for ids in completion_ids]
    return [None if prompt == PROMPTS[3] else share for prompt, share in zip(columns["prompts"], shares, strict=True)]


def make_trainer(backbone, output, kind, **options):
    """A trainer over the global rollout of eight completions, however many processes there are."""
    args = ExpectedRewardPPOConfig(
        f"{output}/{kind}",
        **{
            "use_cpu": True,
            "bf16": False,
            "report_to": "none",
            "gradient_checkpointing": False,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 4,
            "num_mini_batches": 2,
            "num_ppo_epochs": 2,
            "response_length": 5,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "disable_tqdm": True,
            "max_steps": 8,
            **OPTIONS[kind],
            **options,
        },
    )
    prompts = Dataset.from_dict({"prompt": PROMPTS})
    return ExpectedRewardPPOTrainer(
        backbone, share_of_early_bytes, args, train_dataset=prompts, eval_dataset=prompts.select(range(5))
    )


def run(backbone, output, kind):
    """Train; keep what the scorer saw and made, the logs, the weights and the table of completions."""
    trainer = make_trainer(backbone, output, kind)
    scorer, rollouts = trainer.scorer, []

    class Recorded(type(scorer)):
        def __call__(self, rewards, sampled, training):
            kl_coef = self.kl_coef
            rollout, metrics = super().__call__(rewards, sampled, training)
            rollouts.append({"rewards": rewards, "kl_coef": kl_coef, **vars(sampled), **vars(rollout)})
            return rollout, metrics

    scorer.__class__ = Recorded
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    table = trainer.generate_completions()
    rank = trainer.accelerator.process_index
    torch.save(
        {
            "rollouts": rollouts,
            "before": before,
            "weights": {name: p.detach().clone() for name, p in trainer.model.named_parameters()},
            "log": trainer.state.log_history,
            "scorer": scorer.state_dict(),
            "skipped": trainer.kl_limit.exceeded,
            "rate": trainer._get_learning_rate(),
            "prompts": table["prompt"].tolist(),
            "world_size": trainer.args.world_size,
        },
        f"{output}/{kind}-{rank}.pt",
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for kind in OPTIONS:
        run(*sys.argv[1:], kind)
