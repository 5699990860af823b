"""What cannot be learned from is refused before training, with the place and the remedy."""

import contextlib
import copy
import logging
import os
from pathlib import Path

import pyarrow as pa
import pytest
from datasets import Dataset, IterableDataset
from peft import LoraConfig, get_peft_model
from reward_rows import judged, judged_rows, pairs
from tiny_models import tiny_stock_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TrainingArguments
from trl import DPOConfig, GRPOConfig

from trl_dprm import DPRMConfig, DPRMForSequenceClassification, DPRMTrainer, DPRMTrainingArguments
from trl_dprm.trainer.checkpoints import check_writable
from trl_dprm.trainer.streams import check_one_shard

GOOD = {"completion": "yes", "target_probs": [0.2, 0.2, 0.2, 0.2, 0.2]}
PAIR = {"chosen": "yes", "rejected": "no"}
BAD_ROWS = {
    "negative probability": (
        GOOD | {"target_probs": [1.2, -0.2, 0.0, 0.0, 0.0]},
        r"Row 2, column `target_probs`: -0.2 for category 'disagree' is not a finite number of at least 0. Correct or",
    ),
    "NaN": (
        GOOD | {"target_probs": [float("nan"), 1.0, 0.0, 0.0, 0.0]},
        r"Row 2, column `target_probs`: nan for category 'strongly disagree'",
    ),
    "text for a list": (
        GOOD | {"target_probs": "[0.2, 0.2, 0.2, 0.2, 0.2]"},
        r"Row 2, column `target_probs`: '\[0.2, .*' is no list of numbers. Give one number per category",
    ),
    "text for a number": (
        PAIR | {"margin": "large"},
        r"Row 2, column `margin`: 'large' is not a finite number. Correct or remove the row",
    ),
    "no text at all": (
        {"completion": ""} | {"target_counts": [1] * 5},
        r"Row 2, column `completion`: the response is empty",
    ),
    "ids of another tokenizer": (
        {"input_ids": [3, 100_000], "target_counts": [1] * 5},
        r"Row 2, column `input_ids`: 100000 is no token id of the tokenizer, which has",
    ),
    "None among the probabilities": (
        GOOD | {"target_probs": [None, 1.0, 0.0, 0.0, 0.0]},
        r"Row 2, column `target_probs`: None for category 'strongly disagree'",
    ),
    "no sum of one": (
        GOOD | {"target_probs": [0.5, 0.2, 0.1, 0.0, 0.0]},
        r"Row 2, column `target_probs`: .* sum to 0.8, not to 1. Divide by the sum, or pass votes as `target_counts`",
    ),
    "wrong length": (
        GOOD | {"target_probs": [0.5, 0.5]},
        r"Row 2, column `target_probs`: 2 values for 5 categories \(strongly disagree, .*Give one per category, or "
        "set `category_names` and `category_rewards`",
    ),
    "wrong length of counts": (
        {"completion": "yes", "target_counts": [1] * 6},
        r"Row 2, column `target_counts`: 6 values for 5 categories",
    ),
    "negative count": (
        {"completion": "yes", "target_counts": [1, 0, 0, 0, -1]},
        r"Row 2, column `target_counts`: -1 for category 'strongly agree'",
    ),
    "no votes": (
        {"completion": "yes", "target_counts": [0] * 5},
        r"Row 2, column `target_counts`: no votes. Remove the row, or give `target_probs` from a prior",
    ),
    "no votes on one side": (
        PAIR | {"rejected_target_counts": [0] * 5},
        r"Row 2, column `rejected_target_counts`: no votes.*`rejected_target_probs` from a prior",
    ),
    "wrong length on one side": (
        PAIR | {"chosen_target_probs": [1.0]},
        r"Row 2, column `chosen_target_probs`: 1 values for 5 categories",
    ),
    "no response": (
        {"prompt": "Say", "target_probs": GOOD["target_probs"]},
        r"Row 2 has no response. It has the columns \['prompt', 'target_probs'\]; expected `prompt` and `completion`",
    ),
    "no target": (
        {"completion": "yes"},
        r"Row 2 has one response but neither `target_probs` nor `target_counts`: .*Add one of them, or a second",
    ),
    "half a pair": ({"chosen": "yes"}, r"Row 2 has `chosen` but no `rejected`: a pair needs both"),
    "half a tokenised pair": ({"rejected_ids": [4]}, r"Row 2 has `rejected_ids` but no `chosen_ids`"),
    "targets of whom": (
        PAIR | {"target_counts": [1, 0, 0, 0, 0]},
        r"Row 2 is a pair, so `target_counts` does not say.*`chosen_target_counts` or `rejected_target_counts`",
    ),
    "empty ids": (
        {"input_ids": [], "target_probs": GOOD["target_probs"]},
        r"Row 2, column `input_ids`: the response is empty. Remove the row",
    ),
    "neither text nor messages": (
        GOOD | {"completion": 5},
        r"Row 2, column `completion`: The response is int: give plain text or a list of messages",
    ),
    "no response in a conversation": (
        {"messages": [{"role": "user", "content": "Say"}], "target_probs": GOOD["target_probs"]},
        r"Row 2, column `messages`: no message is of the role `assistant`: there is no response. Remove the row",
    ),
    "text and conversation": (
        GOOD | {"prompt": [{"role": "user", "content": "Say"}]},
        r"Row 2, column `completion`: The prompt is list and the completion str: both must be",
    ),
    "negative weight": (
        GOOD | {"vote_weight": -1.0},
        r"Row 2, column `vote_weight`: -1.0 is not a finite number of at least 0. Correct or remove the row",
    ),
    "infinite margin": (PAIR | {"margin": float("inf")}, r"Row 2, column `margin`: inf is not a finite number"),
    "share above one": (
        PAIR | {"chosen_vote_share": 1.5},
        r"Row 2, column `chosen_vote_share`: 1.5 is not a share between 0 and 1",
    ),
    "more ties than are left": (
        PAIR | {"chosen_vote_share": 0.9, "tie_vote_share": 0.4},
        r"Row 2: `tie_vote_share` is 0.4 but `chosen_vote_share` 0.9.* lies between 0.2 and 0.8: give there",
    ),
    "ties without the share that counts half of them": (
        PAIR | {"tie_vote_share": 0.1},
        r"Row 2: `tie_vote_share` is 0.1 but `chosen_vote_share` not given, which means 1\.",
    ),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_row_is_refused_before_training(case, make_trainer):
    row, message = BAD_ROWS[case]
    with pytest.raises(ValueError, match=message):
        make_trainer(numbered(row))


def numbered(row):
    """Two good rows of the same columns where that is possible, then the bad one."""
    rows = [GOOD, GOOD, row]
    columns = {name for entry in rows for name in entry}
    if isinstance(row.get("completion", ""), str) and not isinstance(row.get("prompt"), list):
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowTypeError):
            return Dataset.from_list([{name: entry.get(name) for name in columns} for entry in rows])
    return AnyRows(rows)


class AnyRows(Dataset):
    """A dataset whose rows need no common type, which an Arrow table would not hold."""

    def __init__(self, rows):
        super().__init__(Dataset.from_dict({"place": list(range(len(rows)))}).data)
        self.rows = rows

    def map(self, function, fn_kwargs, **options):
        for place, row in enumerate(self.rows):
            function(row, place, **fn_kwargs)


@pytest.mark.parametrize("case", ["negative probability", "no votes", "half a pair", "neither text nor messages"])
def test_stream_raises_at_the_row_itself(case, make_trainer):
    row, message = BAD_ROWS[case]

    def rows():
        yield from [GOOD, GOOD]
        yield row

    trainer = make_trainer(IterableDataset.from_generator(rows), per_device_train_batch_size=1)
    batches = iter(trainer.get_train_dataloader())
    next(batches)  # the loader reads one batch ahead
    with pytest.raises(ValueError, match=message):
        trainer.train()
    assert trainer.state.global_step <= 2


def test_bad_row_of_an_evaluation_set(make_trainer):
    with pytest.raises(ValueError, match="Row 2, column `target_counts`: no votes"):
        make_trainer(judged(4), numbered(BAD_ROWS["no votes"][0]))


def test_no_rows(make_trainer):
    with pytest.raises(ValueError, match="The train dataset has no rows. Check how it was made"):
        make_trainer(judged(4).select([]))


def test_a_conversation_without_a_chat_template(make_trainer, tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = None
    rows = [GOOD | {"messages": None}, {"messages": [{"role": "user", "content": "yes"}], "target_probs": [0.2] * 5}]
    message = r"Row 1, column `messages`: this is a conversation, but the tokenizer has no chat template. Set `tokeni"
    with pytest.raises(ValueError, match=message):
        make_trainer(Dataset.from_list(rows), processing_class=tokenizer)


def test_everything_overlong(make_trainer):
    with pytest.raises(ValueError, match=r"All 4 rows of the train dataset are longer than `max_length=3` tokens"):
        make_trainer(judged(4), max_length=3)


def test_some_overlong_rows_are_counted(make_trainer, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = make_trainer(judged(20), max_length=30)
    kept = len(trainer.train_dataset)
    assert 0 < kept < 20
    assert f"{20 - kept} of 20 rows of the train dataset are longer than `max_length=30` tokens" in caplog.text


ARGUMENTS = {
    "DPRMConfig": (DPRMConfig, "which describes a model. Describe the training run by `DPRMTrainingArguments`"),
    "GRPOConfig": (GRPOConfig, "got `GRPOConfig`. It describes another trainer's run"),
    "DPOConfig": (DPOConfig, "got `DPOConfig`. It describes another trainer's run"),
    "TrainingArguments": (TrainingArguments, "got `TrainingArguments`. It describes another trainer's run"),
    "dict": (dict, "must be `DPRMTrainingArguments` or `trl.RewardConfig`, got `dict`"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_of_something_else(name, backbone, tmp_path):
    make, message = ARGUMENTS[name]
    args = make() if make in (DPRMConfig, dict) else make(str(tmp_path), bf16=False, use_cpu=True)
    with pytest.raises(TypeError, match=message):
        DPRMTrainer(backbone, args, train_dataset=pairs(4))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"ranking_loss": "hinge"}, "`ranking_loss` is one of bradley_terry, win_probability, got 'hinge'"),
        ({"ranking_weight": -1.0}, "`ranking_weight` must be a finite number of at least 0, got -1.0"),
        ({"bradley_terry_scale_learning_rate": float("inf")}, "`bradley_terry_scale_learning_rate` must be a finite"),
        ({"batch_eval_metrics": True}, "`batch_eval_metrics=True` is not supported: .*Remove the option"),
    ],
)
def test_options_out_of_range(options, message, run_arguments):
    with pytest.raises(ValueError, match=message):
        run_arguments(**options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"loss_type": ["hinge"]}, "loss_type names an unknown loss 'hinge'; choose among: "),
        ({"loss_type": ["cross_entropy"], "loss_weights": [1.0, 2.0]}, "loss_weights has 2 entries for 1 losses"),
        ({"category_names": ["a", "b"], "category_rewards": [1.0]}, "`category_names` has 2 entries and"),
        ({"category_rewards": [0.0, 1.0], "ground_cost": [[0.0, 1.0]]}, "`ground_cost` must be a 2 × 2 matrix"),
        ({"category_rewards": [0.0, 1.0], "ground_cost": "[[0, -1], [1, 0]]"}, r"`ground_cost\[0\]\[1\]` must be a"),
        ({"category_rewards": [0.0, 1.0], "ground_cost": [[1.0, 1.0], [1.0, 0.0]]}, r"`ground_cost\[0\]\[0\]` must"),
    ],
)
def test_categories_and_losses(options, message, make_trainer):
    with pytest.raises(ValueError, match=message):
        make_trainer(pairs(4), **options)


def test_checkpoint_with_another_number_of_categories(make_trainer, tmp_path):
    trainer = make_trainer(pairs(4))
    trainer.save_model(tmp_path / "model")
    for model in (str(tmp_path / "model"), trainer.model):
        with pytest.raises(ValueError, match="`category_names` .*strongly disagree"):
            make_trainer(
                pairs(4),
                model=model,
                processing_class=trainer.processing_class,
                category_names=["bad", "good"],
                category_rewards=[0.0, 1.0],
            )
    two = [{"completion": "yes", "target_probs": [0.5, 0.5]}]
    with pytest.raises(ValueError, match="Row 0, column `target_probs`: 2 values for 5 categories"):
        make_trainer(Dataset.from_list(two), model=str(tmp_path / "model"))


def test_other_rewards_for_a_model_in_memory(make_trainer):
    trainer = make_trainer(pairs(4))
    same = {"category_rewards": [-1.0, -0.5, 0.0, 0.5, 1.0]}
    make_trainer(pairs(4), model=trainer.model, processing_class=trainer.processing_class, **same)
    with pytest.raises(ValueError, match="Remove it from the arguments, or pass the checkpoint's folder"):
        other = {"category_rewards": [-2.0, -0.5, 0.0, 0.5, 1.0]}
        make_trainer(pairs(4), model=trainer.model, processing_class=trainer.processing_class, **other)


def test_models_that_are_no_sequence_classifier(make_trainer, tokenizer):
    language_model = tiny_stock_model("llama")
    assert isinstance(language_model, AutoModelForCausalLM._model_mapping[type(language_model.config)])
    with pytest.raises(TypeError, match="`LlamaForCausalLM`, no sequence classifier. Pass its folder or Hub id, or"):
        make_trainer(pairs(4), model=language_model, processing_class=tokenizer)
    adapted = get_peft_model(tiny_stock_model("llama", "classifier"), LoraConfig(target_modules="all-linear"))
    with pytest.raises(TypeError, match="PEFT model is not over a DPRM. Load the base by"):
        make_trainer(pairs(4), model=adapted, processing_class=tokenizer)


def test_quantisation_configured_twice(make_trainer):
    once = BitsAndBytesConfig(load_in_4bit=True)
    with pytest.raises(ValueError, match="given both to the trainer and in `args.model_init_kwargs`. Give it once"):
        make_trainer(pairs(4), quantization_config=once, model_init_kwargs={"quantization_config": once})


def test_output_folder_that_is_a_file_or_lies_below_one(make_trainer, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="`output_dir` .*file is a file. Choose a folder"):
        make_trainer(pairs(4), output_dir=str(tmp_path / "file"))
    with pytest.raises(NotADirectoryError, match="lies below a file. Choose another folder"):
        make_trainer(pairs(4), output_dir=str(tmp_path / "file" / "run"))


def test_output_folder_that_cannot_be_written(make_trainer, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(PermissionError, match=r"run cannot be written \(Permission denied\). Choose another"):
        make_trainer(pairs(4), output_dir=str(tmp_path / "run"))


def test_a_writable_folder_is_left_as_it_was(tmp_path):
    (tmp_path / "kept").write_text("mine")
    check_writable(str(tmp_path))
    assert os.listdir(tmp_path) == ["kept"]


def test_padding_token_that_is_the_eos_token(make_trainer, tokenizer, monkeypatch, caplog, tmp_path, backbone):
    warning = "The padding token is the EOS token ('</s>'): a final EOS is taken for padding"
    make_trainer(pairs(4))
    assert warning not in caplog.text
    model = DPRMForSequenceClassification.from_pretrained(backbone)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    changed = type(tokenizer).from_pretrained(tmp_path / "tokenizer")
    changed.pad_token = changed.eos_token
    make_trainer(pairs(4), model=model, processing_class=changed)
    assert warning in caplog.text
    assert "set another padding token: `tokenizer.pad_token = tokenizer.unk_token`" in caplog.text


def test_fit_prior_strength_without_votes(make_trainer):
    trainer = make_trainer(pairs(4))
    with pytest.raises(ValueError, match="needs one dataset of votes: pass it as `eval_dataset`"):
        trainer.fit_prior_strength()
    with pytest.raises(ValueError, match="The dataset has no votes: give `target_counts`"):
        trainer.fit_prior_strength(pairs(4))
    with pytest.raises(ValueError, match="at most one vote"):
        trainer.fit_prior_strength(judged(8, votes=(1, 1)))
    agreed = Dataset.from_list([row | {"target_counts": [0, 0, 3, 0, 0]} for row in judged_rows(6)])
    with pytest.raises(ValueError, match="prior strength at zero: annotators of one item never disagree. Set"):
        trainer.fit_prior_strength(agreed)


def test_path_of_no_model(run_arguments, tmp_path):
    with pytest.raises((OSError, ValueError), match="nowhere"):
        DPRMTrainer(str(Path(tmp_path, "nowhere")), run_arguments(), train_dataset=pairs(4))


def test_a_training_arguments_cost_from_the_command_line():
    args = DPRMTrainingArguments("out", ground_cost="[[0, 1], [2, 0]]", bf16=False, use_cpu=True)
    assert args.ground_cost == [[0, 1], [2, 0]]


def test_weights_that_are_all_zero(make_trainer):
    rows = [row | {"vote_weight": 0.0} for row in judged_rows(4)]
    with pytest.raises(ValueError, match="Every `vote_weight` of the train dataset is 0: there is nothing to learn"):
        make_trainer(Dataset.from_list(rows))


def test_default_categories_are_said_where_data_bring_votes(make_trainer, caplog):
    with caplog.at_level(logging.WARNING):
        make_trainer(judged(4))
    assert "The targets are read as votes on the default categories ['strongly disagree'," in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        make_trainer(pairs(4))
        make_trainer(judged(4), category_rewards=[0.0, 1.0, 2.0, 3.0, 4.0])
    assert "default categories" not in caplog.text


def test_streams_of_several_shards_are_not_evaluated_by_several_processes():
    stream = judged(6).to_iterable_dataset(num_shards=2)
    check_one_shard(stream, "eval", num_processes=1)
    check_one_shard(judged(6).to_iterable_dataset(num_shards=1), "eval", num_processes=2)
    with pytest.raises(ValueError, match="The eval dataset is a stream of 2 shards, which 2 processes would read in"):
        check_one_shard(stream, "eval", num_processes=2)


def test_an_item_that_stands_twice(make_trainer):
    rows = [row | {"item_id": item} for row, item in zip(judged_rows(4), ["a", None, None, "a"], strict=True)]
    with pytest.raises(
        ValueError, match="Row 3 of the train dataset, column `item_id`: item 'a' stands in row 0 already"
    ):
        make_trainer(Dataset.from_list(rows))
    make_trainer(Dataset.from_list(rows[:3]))
