"""The options and log keys of the `PPOConfig` that TRL removed in 1.13: what each is now, and what changed."""

from collections.abc import Iterable
from dataclasses import dataclass

MIGRATION_TABLE = "migration-table"
LOG_KEY_TABLE = "migration-log-keys"


@dataclass(frozen=True)
class OldOption:
    """One option of the removed `PPOConfig`.

    Args:
        name (`str`): Its name, in `ExpectedRewardPPOConfig` too.
        default (`str`): Its default, as it was and is.
        change (`str`): What changed, or why it is refused.
        same_as (`str`, *optional*): TRL's present name for the same thing; either is accepted.
        kind (`str`): `"kept"`; `"script"`, kept for scripts that read it; `"computed"`, an outcome that can be read;
            `"refused"`.
    """

    name: str
    default: str
    change: str
    same_as: str | None = None
    kind: str = "kept"

    @property
    def counterpart(self) -> str:
        """The option as it stands now, in Markdown."""
        if self.same_as:
            return f"`{self.name}` or `{self.same_as}`"
        return {
            "kept": f"`{self.name}`",
            "script": f"`{self.name}`, for scripts",
            "computed": f"`{self.name}`, computed",
            "refused": "refused",
        }[self.kind]


OLD_OPTIONS = (
    OldOption("num_ppo_epochs", "4", "nothing", "num_iterations"),
    OldOption(
        "num_mini_batches",
        "1",
        "Mini-batches are real: one optimizer step each. (The old loop stepped every `gradient_accumulation_steps` "
        "micro-batches, whatever this said.) It must divide a rollout's rows. `gradient_accumulation_steps` comes to "
        "hold the micro-batches of one mini-batch, and `per_device_train_batch_size` is at most a mini-batch.",
    ),
    OldOption("kl_coef", "0.05", "In the reward, as before, not in the loss. `0` means no reference model.", "beta"),
    OldOption("kl_estimator", '"k1"', '`"k3"` warns: its gradient in the reward vanishes near the reference.'),
    OldOption("cliprange", "0.2", "TRL's `epsilon_high` and `delta` are there for other upper bounds.", "epsilon"),
    OldOption("cliprange_value", "0.2", "`inf` turns the clipping off."),
    OldOption("vf_coef", "0.1", "nothing"),
    OldOption("gamma", "1.0", "nothing"),
    OldOption("lam", "0.95", "nothing"),
    OldOption(
        "whiten_rewards", "False", "Over the rollouts of all processes, not of each; the bound of 8 rows is gone."
    ),
    OldOption("response_length", "53", "Generation stops at EOS; this is the longest.", "max_completion_length"),
    OldOption("temperature", "0.7", "Must be above 0."),
    OldOption(
        "stop_token",
        "None",
        '`"eos"` is what always happens now: no completion is sampled past EOS. (`None` used to sample on.)',
    ),
    OldOption("stop_token_id", "None", "Ends a completion beside EOS, not instead of it."),
    OldOption("missing_eos_penalty", "None", "Refused beside `mask_truncated_completions`, which drops those rows."),
    OldOption(
        "total_episodes",
        "None",
        "Rounded up to whole rollouts, as before, and turned into `max_steps` (optimizer steps). `None`: "
        "`num_train_epochs` or `max_steps`.",
    ),
    OldOption(
        "local_rollout_forward_batch_size",
        "64",
        "Cuts the passes without gradients. Generation takes the rollout of a process at once.",
    ),
    OldOption("num_sample_generations", "10", "nothing (they are sampled from `eval_dataset`)"),
    OldOption("learning_rate", "3e-6", "The scheduler moves with every optimizer step, not once per rollout."),
    OldOption("ds3_gather_for_generation", "True", "nothing"),
    OldOption("push_to_hub", "False", "nothing"),
    OldOption("dataset_num_proc", "None", "Also the processes that measure the prompts.", kind="script"),
    OldOption("sft_model_path", '"EleutherAI/pythia-160m"', "The trainer never read it.", kind="script"),
    OldOption("reward_model_path", '"EleutherAI/pythia-160m"', "The trainer never read it.", kind="script"),
    OldOption("world_size", "None", "Number of processes.", kind="computed"),
    OldOption("batch_size", "None", "Completions of a rollout, over all processes.", kind="computed"),
    OldOption("local_batch_size", "None", "Completions of a rollout, in a process.", kind="computed"),
    OldOption("mini_batch_size", "None", "Completions of an optimizer step, over all processes.", kind="computed"),
    OldOption("local_mini_batch_size", "None", "Completions of an optimizer step, in a process.", kind="computed"),
    OldOption("micro_batch_size", "None", "Completions of a backward pass, over all processes.", kind="computed"),
    OldOption(
        "num_total_batches",
        "None",
        "Rollouts of the run; `None` while only `num_train_epochs` is known.",
        kind="computed",
    ),
    OldOption(
        "model_adapter_name",
        "None",
        "The adapter named `default` is trained: load the one to train under that name.",
        kind="refused",
    ),
    OldOption(
        "ref_adapter_name",
        "None",
        "The reference is made at the start: a frozen copy of the adapter that the policy starts from, or the "
        "backbone with adapters off where it starts from none. Load the reference as the policy's adapter, or pass "
        "`ref_model`.",
        kind="refused",
    ),
    OldOption("exp_name", "None", "Of releases before 1.0. Use `run_name`.", kind="refused"),
)

# Old name -> TRL's present name for the same thing.
ALIASES = {option.name: option.same_as for option in OLD_OPTIONS if option.same_as}
REFUSED_OPTIONS = {option.name: option.change for option in OLD_OPTIONS if option.kind == "refused"}
COMPUTED_OPTIONS = {option.name: option.change for option in OLD_OPTIONS if option.kind == "computed"}

# Old log key, key now, what it says.
LOG_KEYS = (
    ("objective/scores", "reward", "of the reward models alone"),
    ("objective/rlhf_reward", "reward/after_kl", "less the KL"),
    ("objective/non_score_reward", "", "`reward/after_kl` − `reward`"),
    ("objective/kl", "kl", "to the reference, summed over a completion's tokens"),
    ("objective/entropy", "entropy/completion", "sum over a completion's tokens"),
    ("policy/entropy_avg", "entropy", "over completion tokens, without the padding"),
    ("policy/approxkl_avg", "policy/approx_kl", "from the rollout's policy to the present one"),
    ("policy/clipfrac_avg", "clip_ratio/region_mean", "share of clipped ratios"),
    ("loss/policy_avg", "policy/loss", ""),
    ("loss/value_avg", "value/loss", "without `vf_coef`"),
    ("val/clipfrac_avg", "value/clip_fraction", "share of clipped values"),
    ("val/ratio", "policy/ratio", "mean"),
    ("val/ratio_var", "", "gone: `policy/approx_kl` says how far the policy moved"),
    ("val/num_eos_tokens", "completions/clipped_ratio", "now the share of completions *without* EOS"),
    ("lr", "learning_rate", ""),
    ("episode", "episode", "completions so far"),
    ("eps", "", "gone: `step_time` has the seconds of a step, sampling included"),
)

WHAT_CHANGED = """\
What changed beyond names:

* **Mini-batches are real.** `num_mini_batches` cuts a rollout into that many optimizer steps per epoch. The old loop
  stepped every `gradient_accumulation_steps` micro-batches, so the option only regrouped rows.
* **Steps are optimizer steps**, `num_ppo_epochs × num_mini_batches` of them per rollout. `logging_steps`,
  `save_steps`, `eval_steps`, warm-up and the scheduler counted rollouts, and `max_steps` was not read.
* **Nothing is sampled past EOS.** Without `stop_token` the old trainer sampled `response_length` tokens whatever came,
  and scored all of them. A completion now ends at EOS (and at `stop_token_id`); padding that nobody sees follows.
* **Gradients are clipped** at `max_grad_norm` (1.0 by default), the critic's included. The old loop never clipped;
  `max_grad_norm=0` gives that back.
* **Datasets** have `prompt` (text or messages) or the old `input_ids`. They must hold at least one rollout, since
  incomplete ones are dropped; prompts that are empty, too long or beyond the vocabulary are refused before training.
* **Padding.** A pad token outside the model's vocabulary (a `[PAD]` added without resizing the embeddings) is replaced
  by EOS, with a warning.
"""


def refusal(name: str, value: object) -> str:
    """The message for an option that has no counterpart.

    >>> refusal("exp_name", "tldr")
    "`exp_name` is 'tldr', an option of TRL's removed `PPOConfig` that has no counterpart. Of releases before 1.0. \
Use `run_name`. Remove it."
    """
    return (
        f"`{name}` is {value!r}, an option of TRL's removed `PPOConfig` that has no counterpart. "
        f"{REFUSED_OPTIONS[name]} Remove it."
    )


def migration_table() -> str:
    """The options as a Markdown table between its two HTML comments, for the README."""
    rows = [(f"`{option.name}`", option.counterpart, f"`{option.default}`", option.change) for option in OLD_OPTIONS]
    return _marked(MIGRATION_TABLE, ("old option", "now", "default", "what changed"), rows)


def log_key_table() -> str:
    """The log keys as a Markdown table between its two HTML comments, for the README."""
    rows = [(f"`{old}`", f"`{now}`" if now else "—", meaning or "the same") for old, now, meaning in LOG_KEYS]
    return _marked(LOG_KEY_TABLE, ("old key", "now", "meaning"), rows)


def _marked(marker: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    lines.insert(1, "|" + "---|" * len(header))
    return "\n".join([f"<!-- {marker} -->", *lines, f"<!-- /{marker} -->"])


if __name__ == "__main__":
    print("\n\n".join([migration_table(), WHAT_CHANGED.rstrip("\n"), log_key_table()]))
