"""The README lists every key that is logged, and none that is not."""

from pathlib import Path

import pytest
from readme_log_keys import documented_keys
from reward_rows import mixture
from transformers import TrainerCallback

README = Path(__file__).parents[2] / "README.md"
STAGES = {"training", "evaluation", "end of training"}


class LoggedKeys(TrainerCallback):
    """Keys by stage, evaluation's and the summary's without their prefix."""

    def __init__(self):
        self.keys = {stage: set() for stage in STAGES}

    def on_log(self, args, state, control, logs, **kwargs):
        for name in logs:
            if "eval_runtime" in logs:
                stage, name = "evaluation", name.removeprefix("eval_")
            elif "train_runtime" in logs:
                stage = "end of training"
            else:
                stage = "training"
            self.keys[stage].add(name)


@pytest.fixture
def logged(make_trainer):
    callback = LoggedKeys()
    data = mixture(8, 8)
    trainer = make_trainer(data, data, callbacks=[callback])
    trainer.evaluate()  # before training, as a baseline: the only time that transformers reports the preparation
    trainer.train()
    trainer.evaluate()
    make_trainer(data, data, callbacks=[callback], ranking_loss="win_probability").evaluate()
    return callback.keys


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_the_readme_lists_what_is_logged(logged, stage):
    assert documented_keys(README.read_text(encoding="utf-8"), "log-keys", STAGES)[stage] == logged[stage]


def test_a_missing_key_is_noticed():
    table = (
        "<!-- log-keys -->\n| key | stages |\n|---|---|\n| `loss` | training, evaluation | x | y |\n<!-- /log-keys -->"
    )
    assert documented_keys(table, "log-keys", STAGES) == {
        "training": {"loss"},
        "evaluation": {"loss"},
        "end of training": set(),
    }
    with pytest.raises(AssertionError, match="no table between"):
        documented_keys("# README", "log-keys", STAGES)
