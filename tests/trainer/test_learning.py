"""Training learns what can be learned, and the scale goes where the data are."""

import math

import numpy as np
import pytest
import torch
from reward_rows import RUN, judged, mixture, pairs

from trl_dprm import DPRMForSequenceClassification, DPRMTrainer, DPRMTrainingArguments
from trl_dprm.metrics import best_constant_metrics
from trl_dprm.trainer.bradley_terry_scale import BradleyTerryScale
from trl_dprm.trainer.tokenization import TokenizationRule

LEARNING = {"max_steps": 60, "per_device_train_batch_size": 32, "learning_rate": 5e-3, "logging_steps": 10}
DATA = {
    "judged": (judged(200), judged(80, seed=1)),
    "pairs": (pairs(200), pairs(80, seed=1)),
    "mixture": (mixture(120, 120), mixture(50, 50, seed=1)),
}


@pytest.fixture(scope="module", params=DATA)
def learned(request, backbone, tmp_path_factory):
    """Kind of data, trainer after training, its metrics on data that it has not seen."""
    args = DPRMTrainingArguments(**{"output_dir": str(tmp_path_factory.mktemp("learned")), **RUN, **LEARNING})
    train, held_out = DATA[request.param]
    trainer = DPRMTrainer(backbone, args, train_dataset=train, eval_dataset=held_out)
    before = trainer.evaluate()
    trainer.train()
    return request.param, trainer, before, trainer.evaluate()


def test_loss_falls_on_data_that_were_not_trained_on(learned):
    _, trainer, before, after = learned
    steps = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert steps[-1] < 0.9 * steps[0]
    assert after["eval_loss"] < 0.9 * before["eval_loss"]


def test_it_beats_the_best_constant(learned):
    kind, trainer, _, after = learned
    if kind == "pairs":
        assert after["eval_accuracy"] > 0.85  # a constant has 0.5 with ties as half
        assert after["eval_pair_log_loss"] < 0.9 * math.log(2)
        return
    targets = []
    for data in DATA[kind]:
        labels = trainer.predict(data).label_ids
        votes = np.nan_to_num(labels["target_weight"]) > 0
        targets += [labels["target_probs"][votes], labels["target_weight"][votes]]
    config = trainer.model.config
    constant = best_constant_metrics(
        *targets,
        config.category_rewards,
        config.category_positions,
        config.cost_matrix,
    )
    for name in ("nats_per_vote", "wasserstein_distance"):
        assert after[f"eval_{name}"] < 0.95 * constant[name], name
    assert after["eval_expected_reward_correlation"] > 0.5


def test_a_model_is_anchored_by_votes_alone(learned, tmp_path):
    kind, trainer, _, _ = learned
    trainer.save_model(tmp_path)
    model = DPRMForSequenceClassification.from_pretrained(tmp_path)
    assert model.config.anchored == (kind != "pairs")
    output = model(torch.tensor([[5, 6, 7]]))
    if kind == "pairs":
        with pytest.warns(UserWarning, match="unanchored.*Train on `target_probs` or `target_counts`"):
            model.category_probs(output)
    else:
        model.category_probs(output)


def test_the_tokenisation_rule_travels_with_the_model(make_trainer, tmp_path):
    trainer = make_trainer(judged(4), max_length=99)
    trainer.save_model(tmp_path / "model")
    config = DPRMForSequenceClassification.from_pretrained(tmp_path / "model").config
    assert config.tokenization == {"add_special_tokens": True, "append_eos": True, "max_length": 99}
    assert TokenizationRule.from_config(config.tokenization) == TokenizationRule(max_length=99)
    again = make_trainer(judged(4), model=str(tmp_path / "model"), max_length=50)
    assert again.model.config.tokenization["max_length"] == 50


class OneProcess:
    @staticmethod
    def reduce(tensor, reduction):
        assert reduction == "sum"
        return tensor


@pytest.mark.parametrize("known", [0.5, 3.0])
def test_scale_finds_the_one_that_made_the_votes(known):
    generator = torch.Generator().manual_seed(0)
    difference = 2 * torch.rand(4000, generator=generator) - 1
    margin = torch.zeros(4000)
    share = torch.sigmoid(known * difference)
    scale = BradleyTerryScale(1.0, learning_rate=3.0, device=torch.device("cpu"))
    for _ in range(300):
        for part in range(4):  # accumulated
            rows = slice(1000 * part, 1000 * part + 1000)
            scale.accumulate(difference[rows], margin[rows], share[rows], torch.full((1000,), 1 / 4000))
        scale.step(OneProcess())
    assert scale.value.item() == pytest.approx(known, rel=1e-3)


def test_scale_s_gradient_is_autograd_s():
    generator = torch.Generator().manual_seed(0)
    difference, margin, share, weight = torch.rand(4, 9, generator=generator)
    log_scale = torch.tensor(0.4, requires_grad=True)
    x = log_scale.exp() * difference - margin
    loss = (weight * -(share * x.sigmoid().log() + (1 - share) * (-x).sigmoid().log())).sum()
    loss.backward()
    scale = BradleyTerryScale(math.exp(0.4), 0.1, torch.device("cpu"))
    scale.accumulate(difference, margin, share, weight)
    assert scale.gradient.item() == pytest.approx(log_scale.grad.item(), rel=1e-5)
    scale.step(OneProcess())
    assert scale.value.item() == pytest.approx(math.exp(0.4 - 0.1 * log_scale.grad.item()), rel=1e-6)
    assert scale.gradient == 0


def test_scale_in_training(make_trainer):
    """Always the better word: the scale can only grow; noise in the votes keeps it lower; a rate of 0 keeps it."""
    certain = pairs(64)
    doubtful = certain.add_column("chosen_vote_share", [0.55] * 64)
    options = LEARNING | {"max_steps": 15, "per_device_train_batch_size": 16}
    scales = []
    for data, rate in ((certain, 1.0), (doubtful, 1.0), (certain, 0.0)):
        trainer = make_trainer(data, bradley_terry_scale_learning_rate=rate, **options)
        trainer.train()
        scales.append(trainer.bradley_terry_scale.value.item())
    assert scales[0] > 1.2 > scales[1]
    assert scales[2] == 1


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ({"lr_scheduler_type": "linear"}, [1, 0.75, 0.5, 0.25]),
        ({"lr_scheduler_type": "linear", "warmup_steps": 2}, [0, 0.5, 1, 0.5]),
        ({"lr_scheduler_type": "constant"}, [1, 1, 1, 1]),
        ({"lr_scheduler_type": "linear", "learning_rate": 0.0}, [1, 1, 1, 1]),
    ],
    ids=["linear", "warmup", "constant", "a model at rest"],
)
def test_scale_s_steps_follow_the_schedule(make_trainer, monkeypatch, schedule, shares):
    steps = []

    def step(scale, accelerator, share):
        before, gradient = scale.value.item(), scale.gradient.item()
        stepped(scale, accelerator, share)
        steps.append((share, math.log(scale.value.item() / before), gradient))

    stepped = BradleyTerryScale.step
    monkeypatch.setattr(BradleyTerryScale, "step", step)
    trainer = make_trainer(pairs(16), **(LEARNING | {"max_steps": 4, **schedule}))
    trainer.train()
    assert [share for share, *_ in steps] == pytest.approx(shares)
    for share, taken, gradient in steps:
        assert taken == pytest.approx(-1.0 * share * gradient, abs=1e-6)
    assert all(gradient for *_, gradient in steps)


def test_win_probability_loss_learns_and_leaves_the_scale(make_trainer):
    trainer = make_trainer(*DATA["pairs"], ranking_loss="win_probability", **(LEARNING | {"max_steps": 30}))
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] > 0.8
    assert trainer.bradley_terry_scale.value == 1
    assert "bradley_terry_scale" not in set().union(*trainer.state.log_history)


def test_centering_pulls_rewards_towards_zero(make_trainer):
    rewards = []
    for coefficient in (None, 10.0):
        trainer = make_trainer(
            pairs(64),
            center_rewards_coefficient=coefficient,
            category_rewards=[1.0, 2.0],
            **(LEARNING | {"max_steps": 20, "per_device_train_batch_size": 8}),
        )
        trainer.train()
        rewards.append(trainer.evaluate(pairs(16))["eval_mean_reward"])
    assert rewards[1] < 1.2 < rewards[0]  # rewards lie between 1 and 2
