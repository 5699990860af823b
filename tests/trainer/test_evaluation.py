"""Evaluation is one measurement of the whole set."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from reward_rows import judged, judged_rows, mixture, pairs

from trl_dprm.metrics import DISTRIBUTION_METRICS, PAIR_METRICS, distribution_metrics, pair_metrics

TIMINGS = ("runtime", "per_second", "epoch", "preparation_time")


def numbers(metrics):
    return {name: value for name, value in metrics.items() if not name.endswith(TIMINGS)}


@pytest.fixture
def spread_rewards():
    """Function (trainer) -> the same, with a head that tells responses apart."""

    def spread(trainer):
        torch.manual_seed(1)
        torch.nn.init.normal_(trainer.model.score.weight, std=0.5)
        trainer.bradley_terry_scale.value.fill_(1.3)
        return trainer

    return spread


@pytest.mark.parametrize("options", [{}, {"ranking_loss": "win_probability"}, {"center_rewards_coefficient": 0.2}])
def test_numbers_do_not_depend_on_the_batch_size(make_trainer, spread_rewards, options):
    data = mixture(8, 9)
    seen = [
        numbers(
            spread_rewards(
                make_trainer(data, data, per_device_eval_batch_size=size, ranking_weight=0.6, **options)
            ).evaluate()
        )
        for size in (1, 4, 17)
    ]
    assert seen[0].keys() == seen[1].keys() == seen[2].keys()
    for name, value in seen[0].items():
        assert [other[name] for other in seen[1:]] == pytest.approx([value] * 2, rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("options", [{}, {"ranking_loss": "win_probability"}, {"center_rewards_coefficient": 0.2}])
def test_loss_is_that_of_training_on_one_large_batch(make_trainer, spread_rewards, options):
    data = mixture(8, 9)
    trainer = spread_rewards(make_trainer(data, data, per_device_train_batch_size=17, ranking_weight=0.6, **options))
    loss = trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())))
    assert trainer.evaluate()["eval_loss"] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "optimal_transport", "brier_score"])
def test_every_distance_is_logged_whichever_loss_trained(make_trainer, spread_rewards, loss):
    data = mixture(8, 9)
    trainer = spread_rewards(make_trainer(data, data, loss_type=[loss]))
    metrics = trainer.evaluate()
    assert {f"eval_{name}" for name in (*DISTRIBUTION_METRICS, *PAIR_METRICS)} <= set(metrics)
    output = trainer.predict(data)
    predictions, labels = output.predictions, output.label_ids
    votes = np.nan_to_num(labels["target_weight"]) > 0
    config = trainer.model.config
    expected = distribution_metrics(
        F.softmax(torch.from_numpy(predictions["category_logits"][votes]).double(), -1).numpy(),
        labels["target_probs"][votes],
        labels["target_weight"][votes],
        config.category_rewards,
        config.category_positions,
        config.cost_matrix,
    )
    ranked = labels["is_pair"]
    expected |= pair_metrics(
        *predictions["rewards"][ranked].T, labels["chosen_vote_share"][ranked], labels["pair_weight"][ranked], 1.3
    )
    for name, value in expected.items():
        assert metrics[f"eval_{name}"] == pytest.approx(value, rel=1e-6, abs=1e-8), name


def test_three_way_nats_by_a_loop(make_trainer, spread_rewards):
    data = mixture(5, 9)
    trainer = spread_rewards(make_trainer(data, data, ranking_loss="win_probability"))
    metrics = trainer.evaluate()
    predictions = trainer.predict(data).predictions
    nats, votes, asked = 0.0, 0.0, 0
    for row, logits in zip(data, predictions["category_logits"], strict=True):
        if row["tie_vote_share"] is None:
            continue
        asked += 1
        chosen, rejected = torch.from_numpy(logits).double().softmax(-1).tolist()
        win, alike = (
            sum(q * r for i, q in enumerate(chosen) for j, r in enumerate(rejected) if which(i, j))
            for which in (lambda i, j: i > j, lambda i, j: i == j)
        )
        half, weight = row["tie_vote_share"] / 2, row["vote_weight"]
        nats -= weight * (row["chosen_vote_share"] - half) * math.log(win)
        nats -= weight * 2 * half * math.log(alike)
        nats -= weight * (1 - row["chosen_vote_share"] - half) * math.log(1 - win - alike)
        votes += weight
    assert asked == 4
    assert metrics["eval_three_way_nats"] == pytest.approx(nats / votes, rel=1e-6)
    trainer.args.ranking_loss = "bradley_terry"
    assert "eval_three_way_nats" not in trainer.evaluate()


def test_what_compute_metrics_receives(make_trainer, spread_rewards):
    data = mixture(5, 6)
    received = []

    def compute_metrics(prediction):
        received.append((prediction.predictions, prediction.label_ids))
        return {"mine": np.float32(0.5), "eval_already_prefixed": np.int64(2)}

    trainer = spread_rewards(make_trainer(data, data, compute_metrics=compute_metrics, per_device_eval_batch_size=3))
    metrics = trainer.evaluate()
    assert (metrics["eval_mine"], metrics["eval_already_prefixed"]) == (0.5, 2)
    json.dumps(trainer.state.log_history)  # a checkpoint can be written
    ((predictions, labels),) = received
    shapes = {name: values.shape for name, values in (predictions | labels).items()}
    assert shapes == {
        "rewards": (11, 2),
        "category_logits": (11, 2, 5),
        "target_probs": (11, 2, 5),
        "target_weight": (11, 2),
        **dict.fromkeys(("is_pair", "pair_weight", "chosen_vote_share", "tie_vote_share", "margin", "row"), (11,)),
    }
    assert labels["row"].tolist() == list(range(11))
    prepared = trainer.eval_dataset
    for row, facts in enumerate(prepared):
        is_pair = len(facts["response_ids"]) == 2
        assert labels["is_pair"][row] == is_pair
        assert np.isnan(predictions["rewards"][row]).tolist() == [False, not is_pair]
        for side, probs in enumerate(facts["response_target_probs"]):
            assert labels["target_probs"][row, side].tolist() == pytest.approx(probs)
            with torch.no_grad():
                output = trainer.model.eval()(torch.tensor([facts["response_ids"][side]]))
            assert predictions["rewards"][row, side] == pytest.approx(output.logits.item(), abs=1e-6)
            assert predictions["category_logits"][row, side] == pytest.approx(
                output.category_logits[0].numpy(), abs=1e-5
            )


def test_preprocess_logits_for_metrics_sees_the_whole_set_once(make_trainer):
    calls = []

    def preprocess(predictions, labels):
        calls.append(len(labels["row"]))
        return predictions["rewards"][:, 0]

    trainer = make_trainer(
        judged(7),
        judged(7),
        preprocess_logits_for_metrics=preprocess,
        compute_metrics=lambda prediction: {"shape": prediction.predictions.shape[0]},
        per_device_eval_batch_size=2,
    )
    assert trainer.evaluate()["eval_shape"] == 7
    assert calls == [7]
    assert set(trainer.predict(judged(3)).predictions) == {"rewards", "category_logits"}  # not what it returned


def test_rows_come_in_the_order_of_the_dataset_also_when_batched_by_length(make_trainer, spread_rewards):
    data = mixture(9, 9)
    plain, sorted_by_length = (
        spread_rewards(make_trainer(data, data, per_device_eval_batch_size=4, **options)).predict(data)
        for options in ({}, {"train_sampling_strategy": "group_by_length"})
    )
    assert sorted_by_length.label_ids["row"].tolist() == list(range(18))
    np.testing.assert_allclose(
        sorted_by_length.predictions["rewards"], plain.predictions["rewards"], atol=1e-6, equal_nan=True
    )


def test_evaluate_returns_what_metric_for_best_model_asks_for(make_trainer):
    trainer = make_trainer(
        pairs(12),
        pairs(6, seed=1),
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="best",
        metric_for_best_model="accuracy",
        greater_is_better=True,
    )
    trainer.train()
    seen = [entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry]
    assert len(seen) == 3 and trainer.state.best_metric == max(seen)


def test_set_with_neither_kind_of_weight(make_trainer):
    data = pairs(4).add_column("vote_weight", [0.0] * 4)
    metrics = make_trainer(pairs(4), data).evaluate()
    assert metrics["eval_loss"] == 0 and "eval_accuracy" not in metrics


def test_evaluation_goes_by_the_votes_whatever_target_was_trained(make_trainer):
    """Posterior or smoothed targets are for training: evaluated on them, a model would look better than it is."""
    rows = judged_rows(20)
    smoothed = [row | {"target_probs": [0.2] * 5, "vote_weight": sum(row["target_counts"]) + 20} for row in rows]
    raw, prior = Dataset.from_list(rows), Dataset.from_list(smoothed)
    trainer = make_trainer(prior, prior)
    assert set(trainer.train_dataset["response_target_weight"][0]) == {smoothed[0]["vote_weight"]}
    expected = trainer.evaluate(raw)
    actual = trainer.evaluate()
    for name in ("nats_per_vote", "wasserstein_distance", "brier_score", "expected_calibration_error"):
        assert actual[f"eval_{name}"] == expected[f"eval_{name}"]
