"""The README lists every key that PPO logs, and none that is not."""

import re
from pathlib import Path

import pytest
from readme_log_keys import documented_keys
from transformers import TrainerCallback

README = Path(__file__).parents[2] / "README.md"
STAGES = {"rollout", "step", "evaluation", "end of training"}


class LoggedKeys(TrainerCallback):
    """Keys by stage; those of a rollout are those of a step that is a rollout's first, less every step's."""

    def __init__(self):
        self.keys = {stage: set() for stage in STAGES}

    def on_log(self, args, state, control, logs, **kwargs):
        if "eval_runtime" in logs:
            self.keys["evaluation"] |= {"epoch" if name == "epoch" else name.removeprefix("eval_") for name in logs}
        elif "train_runtime" in logs:
            self.keys["end of training"] |= set(logs)
        elif "reward" in logs:
            self.keys["rollout"] |= set(logs)
        else:
            self.keys["step"] |= set(logs)


@pytest.fixture(scope="module")
def logged(make_ppo_in, prompts, tmp_path_factory):
    """Names of reward functions and categories as the table writes them."""
    callback = LoggedKeys()
    trainer = make_ppo_in(
        tmp_path_factory.mktemp("run"),
        trainer={"eval_dataset": prompts.select(range(4)), "callbacks": [callback]},
        max_steps=4,
        kl_limit=10.0,
    )
    trainer.train()
    trainer.evaluate()
    keys = callback.keys
    keys["rollout"] -= keys["step"]
    (name,) = trainer.reward_func_names
    for stage, found in keys.items():
        found = {key.replace(f"rewards/{name}/", "rewards/<name>/") for key in found}
        keys[stage] = {re.sub("^proxy/(bad|fair|good)$", "proxy/<category>", key) for key in found}
    return keys


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_the_readme_lists_what_is_logged(logged, stage):
    assert documented_keys(README.read_text(encoding="utf-8"), "ppo-log-keys", STAGES)[stage] == logged[stage]
