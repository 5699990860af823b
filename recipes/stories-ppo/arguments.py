"""What one run of this recipe is described by; `stories.yaml` holds the values chosen on the tuning population."""

from dataclasses import dataclass, field


@dataclass
class RecipeArguments:
    """Policy, populations, the budget of the reward models and that of PPO: the same for every arm."""

    policy: str = field(
        metadata={"help": "Story model, `PATH|HUB_ID`: policy, reference and backbone of the reward models."}
    )
    output_dir: str = field(metadata={"help": "Folder for reward models, results and tables."})
    populations: list[str] = field(
        default_factory=lambda: ["agreeing", "minority", "one_taste"],
        metadata={"help": "Reported populations; `tuning` is the one that settings are chosen on."},
    )
    seeds: list[int] = field(
        default_factory=lambda: [0, 1, 2, 3, 4],
        metadata={"help": "One replication each: judged stories, annotators, reward models and PPO."},
    )
    arms: list[str] | None = field(default=None, metadata={"help": "Rewards to run PPO on. Default: all."})
    kl_coefs: list[float] = field(
        default_factory=lambda: [0.05, 0.15, 0.4],
        metadata={"help": "Coefficients of the KL in the reward, in standard deviations of the reward per nat."},
    )
    prompt_part: str = field(
        default="test",
        metadata={"help": "Prompts that the true utility is measured on: `test`, or `eval` for choosing settings."},
    )

    max_new_tokens: int = field(default=40, metadata={"help": "Longest completion, in tokens."})
    temperature: float = field(default=0.7, metadata={"help": "Of all sampling, and of the policies in the KL."})
    num_test_completions: int = field(default=2, metadata={"help": "Completions per prompt in measuring the truth."})

    num_judged_prompts: int = field(default=1536, metadata={"help": "Prompts with two judged completions each."})
    panel_size: int = field(default=5, metadata={"help": "Annotators who judge both completions of a prompt."})
    reward_model_learning_rate: float = field(default=1e-3, metadata={"help": "Peak of the cosine schedule."})
    reward_model_passes: float = field(default=2.5, metadata={"help": "Passes over the judged completions."})
    reward_model_batch_size: int = field(default=64, metadata={"help": "Completions per step (pairs: half of it)."})
    cvar_level: float = field(default=0.25, metadata={"help": "Share of the lowest ratings that CVaR averages."})

    ppo_learning_rate: float = field(default=5e-4, metadata={"help": "Of policy and critic, linear schedule."})
    ppo_warmup_share: float = field(default=0.1, metadata={"help": "Share of the steps in which the rate rises."})
    num_rollouts: int = field(default=24, metadata={"help": "Batches of completions sampled in one arm."})
    rollout_size: int = field(default=64, metadata={"help": "Completions per rollout."})
    num_ppo_epochs: int = field(default=1, metadata={"help": "Passes over a rollout."})
    num_mini_batches: int = field(default=4, metadata={"help": "Optimizer steps per pass."})
    lam: float = field(default=1.0, metadata={"help": "Lambda of generalised advantage estimation."})
    vf_coef: float = field(default=0.5, metadata={"help": "Weight of the value loss."})
    cliprange_value: float = field(
        default=1.0, metadata={"help": "Clip range of the values, in deviations of the reward."}
    )

    equal_kl: list[float] = field(
        default_factory=lambda: [4.0, 8.0],
        metadata={"help": "KLs, in nats per completion, at which the frontiers are compared by interpolation."},
    )
    save_policies: bool = field(
        default=False,
        metadata={"help": "Whether to keep the policies of the first seed that are trained now, with their cards."},
    )
    num_resamples: int = field(default=10_000, metadata={"help": "Bootstrap resamples of the seeds."})
    write_table: bool = field(
        default=True, metadata={"help": "Whether to write the table; without, processes can share the seeds."}
    )
