"""Arguments of a run that only has to be described."""

from trl_dprm.ppo.expected_reward_ppo_config import ExpectedRewardPPOConfig

CPU = {"use_cpu": True, "bf16": False, "report_to": "none"}


def arguments(tmp_path, **options):
    """A rollout of two completions of at most 28 tokens, on the CPU."""
    return ExpectedRewardPPOConfig(
        **{"output_dir": str(tmp_path), "per_device_train_batch_size": 2, "response_length": 28, **CPU, **options}
    )
