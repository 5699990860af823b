"""PPO of the story model on one reward, by `ExpectedRewardPPOTrainer`."""

import tempfile
from contextlib import nullcontext
from pathlib import Path

from arguments import RecipeArguments
from arms import StandardisedReward
from datasets import Dataset
from original import Original
from transformers import AutoModelForCausalLM, PreTrainedModel, PrinterCallback

from trl_dprm import ExpectedRewardPPOConfig, ExpectedRewardPPOTrainer


def train_policy(
    arguments: RecipeArguments,
    original: Original,
    reward: StandardisedReward,
    kl_coef: float,
    seed: int,
    kept_in: Path | None = None,
) -> tuple[PreTrainedModel, list[dict]]:
    """Train the policy of one arm.

    Args:
        arguments (`RecipeArguments`): The run.
        original ([`Original`]): Where the policy starts, and its reference.
        reward ([`StandardisedReward`]): What it is trained on.
        kl_coef (`float`): Coefficient of the KL in the reward.
        seed (`int`): Of the prompts' order, the sampling and the critic's head.
        kept_in (`Path`, *optional*): Folder for the policy with its card; by default it is not kept.

    Returns:
        The trained policy, and the trainer's logs, one `dict` per rollout.
    """
    prompts = Dataset.from_dict({"prompt": original.prompts["train"]})
    with tempfile.TemporaryDirectory() if kept_in is None else nullcontext(kept_in) as folder:
        trainer = ExpectedRewardPPOTrainer(
            model=arguments.policy,
            reward_funcs=reward,
            args=ExpectedRewardPPOConfig(str(folder), **ppo_options(arguments, kl_coef, seed)),
            train_dataset=prompts,
            processing_class=original.tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        trainer.save_model()
        policy = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    return policy.eval(), trainer.state.log_history


def ppo_options(arguments: RecipeArguments, kl_coef: float, seed: int) -> dict:
    """The budget of PPO, the same for every arm."""
    micro_batch = arguments.rollout_size // arguments.num_mini_batches
    return {
        "kl_coef": kl_coef,
        "seed": seed,
        "learning_rate": arguments.ppo_learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": arguments.ppo_warmup_share,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": arguments.num_mini_batches,
        "num_mini_batches": arguments.num_mini_batches,
        "num_ppo_epochs": arguments.num_ppo_epochs,
        "total_episodes": arguments.num_rollouts * arguments.rollout_size,
        "max_completion_length": arguments.max_new_tokens,
        "temperature": arguments.temperature,
        "lam": arguments.lam,
        "vf_coef": arguments.vf_coef,
        "cliprange_value": arguments.cliprange_value,
        "num_sample_generations": 0,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_steps": arguments.num_mini_batches * arguments.num_ppo_epochs,
        "report_to": "none",
        "disable_tqdm": True,
    }
