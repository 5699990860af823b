"""The training loss against a double loop, and how batches are cut."""

import math

import numpy as np
import pytest
import torch
from reward_rows import judged, mixture, pairs

from trl_dprm.trainer.collator import DataCollatorForDistributionalPreference

REWARDS = [-1.0, -0.5, 0.0, 0.5, 1.0]


def log_sigmoid(x):
    return -math.log1p(math.exp(-x))


def double_loop(batch, outputs, ranking_weight, scale, win_probability=False):
    """The loss in plain Python, from the batch and the model's outputs alone: cross-entropy + W1, then ranking."""
    logits = outputs.category_logits.double().tolist()
    rewards = outputs.logits.squeeze(-1).double().tolist()
    probs = []
    for row in logits:
        total = sum(math.exp(x) for x in row)
        probs.append([math.exp(x) / total for x in row])
    distribution, weights = 0.0, 0.0
    for q, p, weight in zip(probs, batch["target_probs"].tolist(), batch["target_weight"].tolist(), strict=True):
        if weight == 0:
            continue
        cross_entropy = -sum(b * math.log(a) for a, b in zip(q, p, strict=True))
        transport = sum(
            (REWARDS[k + 1] - REWARDS[k]) * abs(sum(q[: k + 1]) - sum(p[: k + 1])) for k in range(len(q) - 1)
        )
        distribution += weight * (cross_entropy + transport)
        weights += weight
    ranking, pair_weights, second = 0.0, 0.0, len(batch["is_pair"])
    for row, is_pair in enumerate(batch["is_pair"].tolist()):
        if not is_pair:
            continue
        share, weight = batch["chosen_vote_share"][row].item(), batch["pair_weight"][row].item()
        if win_probability:
            win, alike = (
                sum(a * b for i, a in enumerate(probs[row]) for j, b in enumerate(probs[second]) if which(i, j))
                for which in (lambda i, j: i > j, lambda i, j: i == j)
            )
            ties = batch["tie_vote_share"][row].item()
            if math.isnan(ties):
                loss = -share * math.log(win + alike / 2) - (1 - share) * math.log(1 - win - alike / 2)
            else:
                votes = {win: share - ties / 2, alike: ties, 1 - win - alike: 1 - share - ties / 2}
                loss = -sum(part * math.log(probability) for probability, part in votes.items())
        else:
            x = scale * (rewards[row] - rewards[second]) - batch["margin"][row].item()
            loss = -share * log_sigmoid(x) - (1 - share) * log_sigmoid(-x)
        ranking += weight * loss
        pair_weights += weight
        second += 1
    return distribution / max(weights, 1e-30) + ranking_weight * ranking / max(pair_weights, 1e-30)


@pytest.mark.parametrize("ranking_loss", ["bradley_terry", "win_probability"])
@pytest.mark.parametrize("data", [mixture(5, 7), judged(6), pairs(6)], ids=["mixture", "judged", "pairs"])
def test_loss_is_the_double_loop(make_trainer, data, ranking_loss):
    trainer = make_trainer(
        data, per_device_train_batch_size=12, ranking_weight=0.7, ranking_loss=ranking_loss, learning_rate=0.0
    )
    torch.nn.init.normal_(trainer.model.score.weight, std=0.5)
    trainer.bradley_terry_scale.value.fill_(1.7)
    batch = next(iter(trainer.get_train_dataloader()))
    loss, outputs = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    expected = double_loop(batch, outputs, 0.7, 1.7, ranking_loss == "win_probability")
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    trainer.train()  # what is logged is the same number, and its two parts
    logged = trainer.state.log_history[0]
    assert logged["loss"] == pytest.approx(expected, rel=1e-5)
    parts = logged.get("distribution_loss", 0.0) + 0.7 * logged.get("ranking_loss", 0.0)
    assert parts == pytest.approx(expected, rel=1e-5)


def gradients_of_first_step(trainer):
    """Loss and gradients as they stand before the first optimizer step."""
    seen = {}

    class Stop(Exception):
        pass

    def look(*args, **kwargs):
        seen.update({name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None})
        raise Stop

    trainer.args.max_grad_norm = 0
    trainer.create_optimizer()
    trainer.optimizer.step = look
    losses = []
    step = trainer.training_step
    trainer.training_step = lambda *args, **kwargs: losses.append(step(*args, **kwargs)) or losses[-1]
    with pytest.raises(Stop):
        trainer.train()
    return sum(losses).item(), seen


@pytest.mark.parametrize("data", [mixture(9, 7, seed=3), judged(16), pairs(16)], ids=["mixture", "judged", "pairs"])
def test_four_small_batches_are_one_large(make_trainer, data):
    cut = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    whole = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1}
    (loss_cut, gradients_cut), (loss, gradients) = (
        gradients_of_first_step(make_trainer(data, **options, train_sampling_strategy="sequential"))
        for options in (cut, whole)
    )
    assert loss_cut == pytest.approx(loss, rel=1e-5)
    assert set(gradients) == set(gradients_cut) and gradients
    for name, gradient in gradients.items():
        error = (gradients_cut[name] - gradient).norm() / gradient.norm()
        assert error < 1e-5, (name, error)


@pytest.mark.parametrize("data", [mixture(9, 7, seed=3), pairs(16)], ids=["mixture", "pairs"])
def test_logs_and_scale_do_not_depend_on_how_a_batch_is_cut(make_trainer, data):
    options = {"train_sampling_strategy": "sequential", "max_steps": 1}
    cut = make_trainer(data, per_device_train_batch_size=2, gradient_accumulation_steps=8, **options)
    whole = make_trainer(data, per_device_train_batch_size=16, **options)
    for trainer in (cut, whole):
        trainer.train()
    logged_cut, logged = cut.state.log_history[0], whole.state.log_history[0]
    assert set(logged_cut) == set(logged)
    for name in {"loss", "distribution_loss", "ranking_loss", "num_tokens", "grad_norm"} & set(logged):
        assert logged_cut[name] == pytest.approx(logged[name], rel=1e-5), name
    assert cut.bradley_terry_scale.value.item() == pytest.approx(whole.bradley_terry_scale.value.item(), rel=1e-6)
    assert cut.bradley_terry_scale.value.item() != 1.0


def test_weights_of_zero_teach_nothing(make_trainer):
    weighted = pairs(4).add_column("vote_weight", [0.0, 0.0, 0.0, 1.0])
    loss, gradients = gradients_of_first_step(make_trainer(weighted))
    expected_loss, expected = gradients_of_first_step(make_trainer(pairs(4).select([3])))
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=0)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-7)


LOSSES = ["cross_entropy", "optimal_transport", "ranked_probability_score", "energy_distance", "brier_score"]


def test_every_distribution_loss_leaves_pairs_without_targets_alone(make_trainer):
    _, alone = gradients_of_first_step(make_trainer(pairs(4), loss_type=["cross_entropy"]))
    _, beside = gradients_of_first_step(make_trainer(pairs(4), loss_type=LOSSES, transport_exponent=2.0))
    assert alone.keys() == beside.keys()
    for name, gradient in alone.items():
        torch.testing.assert_close(beside[name], gradient, rtol=1e-6, atol=1e-9)


def test_every_loss_trains_with_an_explicit_cost(make_trainer):
    cost = [[float(abs(i - j) ** 0.5) for j in range(3)] for i in range(3)]
    rows = judged(4).remove_columns("target_counts").add_column("target_probs", [[0.2, 0.3, 0.5]] * 4)
    trainer = make_trainer(
        rows,
        rows,
        loss_type=["cross_entropy", "optimal_transport", "energy_distance", "brier_score"],
        category_names=["a", "b", "c"],
        category_rewards=[0.0, 1.0, 1.0],
        ground_cost=cost,
    )
    trainer.train()
    assert np.isfinite(trainer.evaluate()["eval_loss"])
    assert "eval_ranked_probability_score" not in trainer.evaluate()


def test_bfloat16_by_default_keeps_head_and_losses_in_float32(make_trainer):
    trainer = make_trainer(mixture(6, 6), bf16=None, gradient_checkpointing=True, per_device_train_batch_size=12)
    assert trainer.args.bf16
    batch = next(iter(trainer.get_train_dataloader()))
    with trainer.compute_loss_context_manager():
        loss, outputs = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    assert outputs.logits.dtype == outputs.category_logits.dtype == loss.dtype == torch.float32
    assert loss.item() == pytest.approx(double_loop(batch, outputs, 1.0, 1.0), rel=1e-5)
    before = trainer.model.score.weight.clone()
    trainer.train()
    assert trainer.model.score.weight.dtype == torch.float32
    assert (trainer.model.score.weight != before).all()


def test_gradient_checkpointing_changes_no_gradient(make_trainer):
    plain, checkpointed = (
        gradients_of_first_step(make_trainer(mixture(6, 6), gradient_checkpointing=on)) for on in (False, True)
    )
    assert plain[0] == checkpointed[0]
    for name, gradient in plain[1].items():
        torch.testing.assert_close(checkpointed[1][name], gradient, rtol=1e-6, atol=1e-9)


def test_batch_of_mixed_rows():
    row = {"pair_weight": 2.0, "chosen_vote_share": 0.8, "tie_vote_share": 0.4, "margin": 0.1, "row": 4}
    single = {"pair_weight": 0.0, "chosen_vote_share": 1.0, "tie_vote_share": math.nan, "margin": 0.0, "row": 5}
    batch = DataCollatorForDistributionalPreference(pad_token_id=9)(
        [
            single | {"response_ids": [[1]], "response_target_probs": [[0.5, 0.5]], "response_target_weight": [3.0]},
            row
            | {
                "response_ids": [[2, 3], [4]],
                "response_target_probs": [[0.0, 0.0], [1.0, 0.0]],
                "response_target_weight": [0.0, 2.0],
            },
        ]
    )
    assert batch["input_ids"].tolist() == [[1, 9], [2, 3], [4, 9]]
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1], [1, 0]]
    assert batch["target_weight"].tolist() == [3.0, 0.0, 2.0]
    assert batch["target_probs"].tolist() == [[0.5, 0.5], [0.0, 0.0], [1.0, 0.0]]
    assert batch["is_pair"].tolist() == [False, True]
    assert batch["row"].tolist() == [5, 4]
