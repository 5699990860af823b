"""Every kind of dataset that a user may hand over, map-style and streaming."""

import pytest
from datasets import Dataset, DatasetDict, IterableDataset, concatenate_datasets
from reward_rows import judged, judged_rows, mixture, pair_rows, pairs

from trl_dprm.trainer import fingerprint, preparation, rows
from trl_dprm.trainer.rows import prepare_row
from trl_dprm.trainer.tokenization import TokenizationRule

NAMES = ["bad", "fair", "good"]
SHARES = [0.2, 0.3, 0.5]


@pytest.fixture
def prepared(tokenizer):
    """Function (row, number=0) -> the prepared row, with three categories."""
    return lambda row, number=0: prepare_row(row, number, tokenizer, TokenizationRule(), NAMES)


def said(text):
    return [{"role": "assistant", "content": text}]


def test_single_response_with_probabilities(prepared, tokenizer):
    row = prepared({"prompt": "Say: ", "completion": "yes", "target_probs": SHARES}, number=7)
    assert tokenizer.decode(row["response_ids"][0]) == "<s>Say: yes</s>"
    assert row["response_target_probs"] == [SHARES] and row["response_target_weight"] == [1.0]
    assert (row["pair_weight"], row["row"], row["length"]) == (0.0, 7, 10)


def test_counts_give_shares_and_the_number_of_votes_as_weight(prepared):
    row = prepared({"completion": "yes", "target_counts": [1, 0, 3]})
    assert row["response_target_probs"] == [[0.25, 0.0, 0.75]] and row["response_target_weight"] == [4.0]


def test_given_probabilities_go_before_counts_and_a_given_weight_before_both(prepared):
    row = prepared({"completion": "yes", "target_counts": [1, 0, 3], "target_probs": SHARES, "vote_weight": 2.5})
    assert row["response_target_probs"] == [SHARES] and row["response_target_weight"] == [2.5]


def test_probabilities_from_a_prior_stand_in_for_no_votes(prepared):
    row = prepared({"completion": "yes", "target_counts": [0, 0, 0], "target_probs": SHARES})
    assert row["response_target_probs"] == [SHARES] and row["response_target_weight"] == [1.0]


def test_messages_and_conversational_completions_are_the_same_text(prepared, tokenizer):
    asked = [{"role": "user", "content": "Well?"}]
    whole = prepared({"messages": asked + said("yes"), "target_probs": SHARES})
    parts = prepared({"prompt": asked, "completion": said("yes"), "target_probs": SHARES})
    assert whole["response_ids"] == parts["response_ids"]
    assert tokenizer.decode(whole["response_ids"][0]) == "user: Well?</s>assistant: yes</s>"


def test_tokenised_single_response(prepared):
    row = prepared({"input_ids": [5, 6, 7], "target_probs": SHARES})
    assert row["response_ids"] == [[5, 6, 7]]


def test_pair_alone(prepared, tokenizer):
    row = prepared({"prompt": "Say: ", "chosen": "yes", "rejected": "no"})
    assert [tokenizer.decode(ids) for ids in row["response_ids"]] == ["<s>Say: yes</s>", "<s>Say: no</s>"]
    assert (row["pair_weight"], row["chosen_vote_share"], row["margin"]) == (1.0, 1.0, 0.0)
    assert row["response_target_weight"] == [0.0, 0.0]


def test_pair_with_everything(prepared):
    row = prepared(
        {
            "chosen_ids": [5, 6, 7],
            "rejected_ids": [8],
            "margin": 0.5,
            "chosen_vote_share": 0.75,
            "tie_vote_share": 0.5,
            "vote_weight": 4.0,
            "chosen_target_counts": [0, 1, 1],
            "rejected_target_probs": SHARES,
        }
    )
    assert row == {
        "response_ids": [[5, 6, 7], [8]],
        "response_target_probs": [[0.0, 0.5, 0.5], SHARES],
        "response_target_weight": [4.0, 4.0],
        "pair_weight": 4.0,
        "chosen_vote_share": 0.75,
        "tie_vote_share": 0.5,
        "margin": 0.5,
        "row": 0,
        "length": 3,
    }


@pytest.mark.parametrize(
    ("chosen", "tie", "kept"), [(0.83, 0.35, 0.34), (0.17, 0.35, 0.34), (0.8, 0.4, 0.4), (0.8, 0.1, 0.1)]
)
def test_rounded_shares_leave_no_negative_votes(prepared, chosen, tie, kept):
    """Five sixths and a third, say, with two decimals: a negative share of votes would be a loss without a bound."""
    row = prepared({"chosen_ids": [5], "rejected_ids": [6], "chosen_vote_share": chosen, "tie_vote_share": tie})
    assert row["tie_vote_share"] == pytest.approx(kept)
    assert min(chosen, 1 - chosen) - row["tie_vote_share"] / 2 >= 0


def test_none_means_that_the_row_lacks_the_column(prepared):
    row = prepared({"completion": "yes", "target_probs": SHARES, "chosen": None, "rejected": None, "margin": None})
    assert len(row["response_ids"]) == 1


def conversations(rows):
    asked = {"role": "user", "content": "Tell"}
    return [{"chosen": [asked, *said(r["chosen"])], "rejected": [asked, *said(r["rejected"])]} for r in rows]


def tokenised(rows):
    return [{"chosen_ids": [1, *r["chosen"].encode()], "rejected_ids": [1, *r["rejected"].encode()]} for r in rows]


KINDS = {
    "judged": lambda: judged(8),
    "probabilities": lambda: Dataset.from_list(
        [{"completion": row["completion"], "target_probs": [0.1, 0.2, 0.3, 0.2, 0.2]} for row in judged_rows(8)]
    ),
    "messages": lambda: Dataset.from_list(
        [{"messages": said(row["completion"]), "target_counts": row["target_counts"]} for row in judged_rows(8)]
    ),
    "pairs": lambda: pairs(8),
    "conversational pairs": lambda: Dataset.from_list(conversations(pair_rows(8))),
    "tokenised pairs": lambda: Dataset.from_list(tokenised(pair_rows(8))),
    "mixture": lambda: mixture(4, 4),
}


@pytest.mark.parametrize("streaming", [False, True], ids=["map-style", "stream"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_and_evaluation(kind, streaming, make_trainer):
    dataset = KINDS[kind]()
    given = dataset.to_iterable_dataset() if streaming else dataset
    trainer = make_trainer(given, given, max_steps=2)
    trainer.train()
    assert trainer.state.global_step == 2
    assert trainer.predict(given).label_ids["row"].tolist() == list(range(8))
    as_stored, as_map = trainer.evaluate(), trainer.evaluate(dataset)
    for name, value in as_map.items():
        if not name.endswith(("runtime", "per_second")):
            assert as_stored[name] == pytest.approx(value, rel=1e-5, abs=1e-6, nan_ok=True), name
    assert trainer.model.config.anchored == ("pairs" not in kind)


def test_stream_whose_rows_have_different_keys(make_trainer):
    def rows():
        yield from judged_rows(6)
        yield from pair_rows(6)

    trainer = make_trainer(IterableDataset.from_generator(rows), max_steps=3)
    trainer.train()
    assert "ranking_loss" in trainer.state.log_history[2] and "distribution_loss" in trainer.state.log_history[0]


def test_concatenated_kinds_fill_up_with_none(make_trainer):
    trainer = make_trainer(concatenate_datasets([pairs(3), judged(3)]))
    assert sorted(len(row["response_ids"]) for row in trainer.train_dataset) == [1, 1, 1, 2, 2, 2]


def test_dict_of_evaluation_sets(make_trainer):
    trainer = make_trainer(
        pairs(4), DatasetDict(votes=judged(4), ranked=pairs(5)), eval_strategy="steps", eval_steps=2
    )
    trainer.train()
    logged = set().union(*trainer.state.log_history)
    assert {"eval_votes_nats_per_vote", "eval_ranked_accuracy"} <= logged
    assert "eval_votes_accuracy" not in logged and "eval_ranked_nats_per_vote" not in logged


def test_preparing_twice_changes_nothing(make_trainer):
    trainer = make_trainer(pairs(4))
    prepared = trainer.train_dataset
    assert trainer._prepare_dataset(prepared, trainer.processing_class, trainer.args, "eval") is prepared


def test_rows_are_numbered_over_several_preparing_processes(make_trainer):
    trainer = make_trainer(judged(6), dataset_num_proc=2)
    assert trainer.train_dataset["row"][:] == list(range(6))


def test_sampling_by_length(make_trainer):
    trainer = make_trainer(mixture(20, 20), train_sampling_strategy="group_by_length", max_steps=2)
    trainer.train()
    lengths = [batch["attention_mask"].sum(1).max().item() for batch in trainer.get_train_dataloader()]
    assert lengths[0] == max(lengths)  # the sampler puts the longest first
    assert all(longer >= shorter for longer, shorter in zip(lengths[::2], lengths[1::2], strict=True))  # of eight rows


def test_statistics_of_the_training_data_reach_the_card(make_trainer, tmp_path):
    trainer = make_trainer(mixture(5, 4), mixture(5, 4), max_length=None)
    assert (trainer.data_statistics.num_rows, trainer.data_statistics.num_pairs) == (9, 4)
    trainer.evaluate()
    trainer.save_model(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "agreement" in card and "nats_per_vote" in card


def test_workers_that_each_read_a_part_of_a_stream(make_trainer):
    stream = judged(8).to_iterable_dataset(num_shards=2)
    trainer = make_trainer(stream, stream, dataloader_num_workers=2)
    assert len(trainer.predict(stream).label_ids["row"]) == 8  # the numbers restart in each worker, no row is dropped


def test_what_another_version_cached_is_not_taken_for_ours(tmp_path, tokenizer, monkeypatch):
    """`datasets` knows a function of a module by its name, so that old code's rows would come back without a word."""
    Dataset.from_list(pair_rows(4)).save_to_disk(tmp_path)

    def prepare():
        return preparation.prepare_dataset(
            Dataset.load_from_disk(tmp_path), "train", tokenizer, TokenizationRule(), ["bad", "good"]
        )

    def prepare_row_of_another_version(*args, **facts):
        return prepare_row(*args, **facts) | {"length": 1000}

    other = prepare_row_of_another_version
    other.__module__, other.__qualname__, other.__name__ = rows.__name__, "prepare_row", "prepare_row"
    with monkeypatch.context() as patched:
        for module in (rows, preparation):
            patched.setattr(module, "prepare_row", other)
        patched.setattr(fingerprint, "content_of", lambda files: "another version")
        assert set(prepare()["length"]) == {1000}
        assert list(tmp_path.glob("cache-*.arrow"))
    assert max(prepare()["length"]) < 100
    assert prepare()._fingerprint == prepare()._fingerprint
