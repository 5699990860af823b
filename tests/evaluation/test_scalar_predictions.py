"""Scalar reward models on a DPRM's data, against the stock class and TRL's own trainer."""

import numpy as np
import pytest
import torch
from accelerate import PartialState
from datasets import Dataset
from tiny_reward_models import tiny_dprm, tiny_scalar
from trl import RewardConfig, RewardTrainer

from trl_dprm.evaluation.checkpoint_predictions import predict_dataset
from trl_dprm.evaluation.scalar_predictions import predict_scalar
from trl_dprm.rewards import RewardModelFunction

ON_CPU = {"use_cpu": True, "bf16": False, "per_device_eval_batch_size": 3}
NAMES = ["harmful", "dull", "good"]
PAIRS = Dataset.from_list(
    [
        {"prompt": "Say: ", "chosen": "red " * n, "rejected": "dog", "chosen_vote_share": share, "vote_weight": votes}
        for n, share, votes in ((3, 0.8, 5.0), (1, 0.6, 5.0), (5, 1.0, 2.0), (2, 0.25, 4.0))
    ]
)
SINGLE = Dataset.from_list(
    [
        {"prompt": "Say: ", "completion": text, "target_counts": votes, "target_probs": [1.0, 0.0, 0.0]}
        for text, votes in (("sun", [1, 0, 2]), ("a stone of a dog", [0, 3, 0]), ("yes", [2, 1, 1]))
    ]
)


def stock_reward(model, tokenizer, text):
    ids = tokenizer(text + tokenizer.eos_token, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model(input_ids=ids).logits.item()


def test_rewards_are_those_of_the_stock_class_and_votes_those_of_the_data(tokenizer):
    model = tiny_scalar()
    scored = predict_scalar(RewardModelFunction(model, tokenizer), SINGLE, NAMES, training_options=ON_CPU)
    expected = [stock_reward(model, tokenizer, row["prompt"] + row["completion"]) for row in SINGLE]
    np.testing.assert_allclose(scored.judged_rewards, expected, atol=1e-5)
    assert np.isnan(scored.predictions["rewards"][:, 1]).all() and not scored.pairs.any()
    assert scored.target_counts.tolist() == [[1, 0, 2], [0, 3, 0], [2, 1, 1]]  # the votes, not what training is given
    assert scored.metrics["eval_max_reward"] == pytest.approx(max(expected), abs=1e-5)


def test_accuracy_and_rewards_on_pairs_are_those_of_trls_trainer(tokenizer, tmp_path):
    model = tiny_scalar()
    model.config.pad_token_id = tokenizer.pad_token_id
    scored = predict_scalar(RewardModelFunction(model, tokenizer), PAIRS, NAMES, training_options=ON_CPU)
    one_batch = {**ON_CPU, "per_device_eval_batch_size": 4}  # TRL averages over batches
    args = RewardConfig(str(tmp_path), report_to="none", **one_batch)
    plain = PAIRS.remove_columns(["chosen_vote_share", "vote_weight"])
    stock = RewardTrainer(model, args, train_dataset=plain, eval_dataset=plain, processing_class=tokenizer).evaluate()
    assert (scored.pair_rewards[:, 0] > scored.pair_rewards[:, 1]).mean() == stock["eval_accuracy"]
    assert scored.pair_rewards.mean() == pytest.approx(stock["eval_mean_reward"], abs=1e-5)
    assert scored.pair_rewards.min() == pytest.approx(stock["eval_min_reward"], abs=1e-5)
    wins = scored.pair_rewards[:, 0] > scored.pair_rewards[:, 1]
    share, votes = np.array(PAIRS["chosen_vote_share"]), np.array(PAIRS["vote_weight"])
    agreement = (votes * np.where(wins, share, 1 - share)).sum() / votes.sum()
    assert scored.metrics["eval_vote_agreement"] == pytest.approx(agreement)


@pytest.mark.parametrize("dataset", [PAIRS, SINGLE])
def test_what_people_said_is_what_a_dprm_beside_it_is_judged_by(dataset, tokenizer):
    scored = predict_scalar(RewardModelFunction(tiny_scalar(), tokenizer), dataset, NAMES, training_options=ON_CPU)
    _, beside = predict_dataset(tiny_dprm(), tokenizer, dataset, training_options=ON_CPU)
    assert scored.labels.keys() == beside.labels.keys()
    for name, values in beside.labels.items():
        np.testing.assert_array_equal(scored.labels[name], values, err_msg=name)


def test_rows_that_are_too_long_are_left_out(tokenizer):
    function = RewardModelFunction(tiny_scalar(), tokenizer)
    whole = predict_scalar(function, SINGLE, NAMES, training_options=ON_CPU)
    limit = len(tokenizer("Say: yes")["input_ids"]) + 1  # and the end of the text
    short = predict_scalar(function, SINGLE, NAMES, max_length=limit, training_options=ON_CPU)
    assert short.rows.tolist() == [0, 2]
    np.testing.assert_allclose(short.judged_rewards, whole.judged_rewards[[0, 2]], atol=1e-6)


def test_every_batch_size_gives_the_same(tokenizer):
    function = RewardModelFunction(tiny_scalar(), tokenizer)
    one, four = (
        predict_scalar(function, PAIRS, NAMES, training_options={**ON_CPU, "per_device_eval_batch_size": size})
        for size in (1, 4)
    )
    np.testing.assert_allclose(one.pair_rewards, four.pair_rewards, atol=1e-5)


@pytest.mark.parametrize("make", [tiny_dprm, tiny_scalar])
def test_a_limit_beyond_what_the_backbone_reads_is_said_in_a_fresh_process(make, tokenizer, caplog):
    """Messages of several processes need their state, which nothing else has made yet."""
    PartialState._reset_state()
    model, options = make(), {"max_length": 100_000, "training_options": ON_CPU}
    if make is tiny_dprm:
        predict_dataset(model, tokenizer, SINGLE, **options)
    else:
        predict_scalar(RewardModelFunction(model, tokenizer), SINGLE, NAMES, **options)
    assert "`max_length=100000` is more than the backbone reads" in caplog.text
