"""The reward functions in TRL's own policy trainers: rewards, weights, columns and metrics arrive."""

import inspect

import numpy as np
import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from trl_dprm.models.distributions import conditional_value_at_risk
from trl_dprm.rewards import RewardModelFunction, dprm_reward_function, finite_rewards

TRAINERS = pytest.mark.parametrize(
    ("trainer_class", "config_class"), [(GRPOTrainer, GRPOConfig), (RLOOTrainer, RLOOConfig)], ids=["GRPO", "RLOO"]
)
RUN = {
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "gradient_checkpointing": False,
    "per_device_train_batch_size": 4,
    "num_generations": 2,
    "max_completion_length": 6,
    "max_steps": 2,
    "logging_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
    "log_completions": True,
}


@pytest.fixture
def train(tmp_path, backbone, tokenizer, monkeypatch):
    """Function (trainer class, config class, rewards, conversational=False, **options) -> the trained trainer."""
    monkeypatch.setattr("trl.trainer.grpo_trainer.is_rich_available", lambda: False)
    monkeypatch.setattr("trl.trainer.rloo_trainer.is_rich_available", lambda: False)

    def run(trainer_class, config_class, rewards, conversational=False, **options):
        prompts = ["Say: ", "Why? ", "Go on ", "And then "]
        rows = [[{"role": "user", "content": p}] if conversational else p for p in prompts]
        trainer = trainer_class(
            backbone,
            reward_funcs=rewards,
            args=config_class(output_dir=str(tmp_path), **{**RUN, **options}),
            train_dataset=Dataset.from_dict({"prompt": rows}),
            processing_class=tokenizer,
        )
        trainer.train()
        return trainer

    return run


@TRAINERS
@pytest.mark.parametrize("conversational", [False, True])
def test_rewards_columns_and_metrics_arrive(
    trainer_class, config_class, conversational, train, make_dprm, tokenizer, saved
):
    model = make_dprm()
    reward = dprm_reward_function(saved(model), statistic="cvar", level=0.4)
    trainer = train(trainer_class, config_class, reward, conversational)
    logs = trainer._logs
    prompts, completions = list(logs["prompt"]), list(logs["completion"])
    assert len(prompts) >= 4
    expected = RewardModelFunction(model, tokenizer, reward.statistic)(prompts, completions)
    np.testing.assert_allclose(list(logs["rewards"]["reward-model"]), expected, rtol=0, atol=1e-6)

    probs = torch.tensor([list(logs["extra"][name]) for name in ("harmful", "dull", "good")]).T
    assert len(probs) == len(prompts)
    at_risk = conditional_value_at_risk(probs, model.config.category_rewards, 0.4)
    np.testing.assert_allclose(at_risk, expected, rtol=0, atol=1e-6)

    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    keys = {"harmful", "dull", "good", "expected_reward", "disagreement"}
    assert {name for name in entry if name.startswith("proxy/")} == {f"proxy/{key}" for key in keys}
    assert sum(entry[f"proxy/{name}"] for name in ("harmful", "dull", "good")) == pytest.approx(1, abs=1e-5)
    assert entry["reward"] == pytest.approx(entry["rewards/reward-model/mean"], abs=1e-6)
    assert entry["reward"] < entry["proxy/expected_reward"]


@TRAINERS
def test_weighted_lists_with_scalar_sync_and_async_functions(
    trainer_class, config_class, train, make_dprm, make_scalar, tokenizer
):
    def length(completions, **columns):
        return [float(len(completion)) for completion in completions]

    async def sometimes(prompts, **columns):
        return [1.0 if prompt == "Say: " else None for prompt in prompts]

    models = [
        dprm_reward_function(make_dprm(), processing_class=tokenizer),
        dprm_reward_function(make_scalar(), processing_class=tokenizer),
    ]
    weights = [2.0, -1.0, 0.5, 3.0]
    trainer = train(
        trainer_class,
        config_class,
        [*models, finite_rewards(length), finite_rewards(sometimes)],
        reward_weights=weights,
        max_steps=1,
    )
    rewards = trainer._logs["rewards"]
    assert list(rewards) == ["dprm", "llama", "length", "sometimes"]
    table = np.array([list(rewards[name]) for name in rewards]).T
    prompts, completions = list(trainer._logs["prompt"]), list(trainer._logs["completion"])
    for column, model in enumerate(models):
        np.testing.assert_allclose(table[:, column], model(prompts, completions), rtol=0, atol=1e-6)
    assert np.isnan(table[:, 3]).tolist() == [prompt != "Say: " for prompt in prompts]
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert entry["reward"] == pytest.approx(np.nansum(table * weights, axis=1).mean(), abs=1e-4)


@TRAINERS
def test_a_reward_that_is_not_finite_stops_training(trainer_class, config_class, train, make_dprm, tokenizer):
    model = make_dprm()
    torch.nn.init.constant_(model.score.weight, float("nan"))
    reward = dprm_reward_function(model, processing_class=tokenizer, name="broken")
    with pytest.raises(ValueError, match="The reward model 'broken' gave nan for the prompt '.*' with the completion"):
        train(trainer_class, config_class, reward)


@TRAINERS
def test_cut_completions_are_scored_as_if_they_had_ended(trainer_class, config_class, train, make_dprm, tokenizer):
    """The rule of the checkpoint appends EOS; what to think of a cut completion is the trainer's business."""
    seen = []

    class Watching(RewardModelFunction):
        def logits(self, sequences):
            seen.extend(sequences)
            return super().logits(sequences)

    reward = Watching(make_dprm(), tokenizer, name="watching")
    trainer = train(trainer_class, config_class, reward, max_steps=1, mask_truncated_completions=True)
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert entry["completions/clipped_ratio"] > 0
    assert all(ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id for ids in seen)


@pytest.mark.parametrize("trainer_class", [GRPOTrainer, RLOOTrainer])
def test_what_we_lean_on_is_what_trl_does(trainer_class):
    """Calls by keyword, with ids and hooks."""
    source = inspect.getsource(trainer_class._calculate_rewards)
    for passage in (
        "prompts=prompts, completions=completions, completion_ids=completion_ids_list, **reward_kwargs",
        'reward_kwargs["log_extra"] = self._log_completion_extra',
        'reward_kwargs["log_metric"] = self._log_metric',
    ):
        assert passage in source
    assert list(inspect.signature(trainer_class._log_metric).parameters) == ["self", "name", "value"]
    assert list(inspect.signature(trainer_class._log_completion_extra).parameters) == ["self", "column", "values"]
