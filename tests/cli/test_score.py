"""`trl-dprm score` and the scoring loop behind it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from tiny_runs import RUN, flags, judged_rows, pair_rows
from transformers import AutoTokenizer

from trl_dprm import DPRMForSequenceClassification
from trl_dprm.cli import main
from trl_dprm.trainer import score_dataset

REWARD_RANGE = 2.0  # of the Likert categories
TOLERANCE = 1e-5 * REWARD_RANGE


@pytest.fixture(scope="module")
def model(trained):
    return DPRMForSequenceClassification.from_pretrained(trained).eval()


@pytest.fixture(scope="module")
def model_tokenizer(trained):
    return AutoTokenizer.from_pretrained(trained)


@pytest.fixture
def rows():
    return [{"prompt": row["prompt"], "completion": row["completion"]} for row in judged_rows(13, seed=5)]


@pytest.fixture
def jsonl(tmp_path, rows):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def one_by_one(model, tokenizer, texts):
    """Rewards and probabilities by calling the model on each text alone, tokenised as `trl.RewardTrainer` does."""
    rewards, probs = [], []
    for text in texts:
        ids = tokenizer(text + tokenizer.eos_token, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            output = model(ids)
        rewards.append(output.logits.item())
        probs.append(output.category_logits[0].double().softmax(-1).numpy())
    return np.array(rewards), np.array(probs)


def run(model_folder, data, output, **options):
    main(["score", "--model", model_folder, "--dataset_name", str(data), "--output", str(output), *flags(options)])


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_scores_equal_a_loop_over_model_calls_in_the_order_of_the_rows(
    batch_size, trained, model, model_tokenizer, rows, jsonl, tmp_path
):
    run(trained, jsonl, tmp_path / "scored.jsonl", batch_size=batch_size)
    scored = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    rewards, probs = one_by_one(model, model_tokenizer, [row["prompt"] + row["completion"] for row in rows])
    assert [{name: row[name] for name in rows[0]} for row in scored] == rows
    np.testing.assert_allclose([row["reward"] for row in scored], rewards, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose([row["category_probs"] for row in scored], probs, rtol=0, atol=1e-5)
    category_rewards = np.array(model.config.category_rewards)
    variance = probs @ category_rewards**2 - (probs @ category_rewards) ** 2
    np.testing.assert_allclose([row["reward_variance"] for row in scored], variance, rtol=0, atol=TOLERANCE)
    assert len({round(row["reward"], 6) for row in scored}) > 5, "the rows must differ for their order to show"


def test_every_format_holds_the_same(trained, jsonl, rows, tmp_path):
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    run(trained, jsonl, tmp_path / "a.csv")
    run(trained, tmp_path / "rows.csv", tmp_path / "b.parquet")
    run(trained, tmp_path / "rows.parquet", tmp_path / "c.jsonl")
    from_csv = pd.read_csv(tmp_path / "a.csv", converters={"category_probs": json.loads})
    from_parquet = pd.read_parquet(tmp_path / "b.parquet")
    from_jsonl = pd.read_json(tmp_path / "c.jsonl", lines=True)
    for table in (from_parquet, from_jsonl):
        assert list(table.columns) == ["prompt", "completion", "reward", "reward_variance", "category_probs"]
        np.testing.assert_allclose(table["reward"], from_csv["reward"], rtol=1e-6)
        np.testing.assert_allclose(np.stack(table["category_probs"]), np.stack(from_csv["category_probs"]), rtol=1e-5)


def test_messages_text_and_token_ids(model, model_tokenizer):
    conversation = [{"role": "user", "content": "red"}, {"role": "assistant", "content": "dog"}]
    ids = model_tokenizer.apply_chat_template(conversation, return_dict=True)["input_ids"]
    by_messages = score_dataset(
        model, model_tokenizer, Dataset.from_list([{"messages": conversation}]), progress=False
    )
    by_ids = score_dataset(model, model_tokenizer, Dataset.from_list([{"input_ids": ids}]), progress=False)
    assert by_messages["reward"] == by_ids["reward"]
    by_text = score_dataset(model, model_tokenizer, Dataset.from_list([{"text": "a stone"}]), progress=False)
    expected, _ = one_by_one(model, model_tokenizer, ["a stone"])
    assert by_text["reward"][0] == pytest.approx(expected[0], abs=TOLERANCE)


def test_messages_in_csv_are_json(trained, tmp_path):
    conversation = [{"role": "user", "content": "red"}, {"role": "assistant", "content": "dog"}]
    pd.DataFrame({"messages": [json.dumps(conversation)]}).to_csv(tmp_path / "rows.csv", index=False)
    run(trained, tmp_path / "rows.csv", tmp_path / "scored.csv")
    assert json.loads(pd.read_csv(tmp_path / "scored.csv")["messages"][0]) == conversation


def test_pairs_get_a_score_per_side(model, model_tokenizer):
    rows = pair_rows(5)
    scored = score_dataset(model, model_tokenizer, Dataset.from_list(rows), batch_size=3, progress=False)
    for side in ("chosen", "rejected"):
        expected, _ = one_by_one(model, model_tokenizer, [row["prompt"] + row[side] for row in rows])
        np.testing.assert_allclose(scored[f"{side}_reward"], expected, rtol=0, atol=TOLERANCE)
    assert "reward" not in scored.column_names


def test_an_unanchored_model_writes_rewards_only_and_says_so(trained_on_pairs, jsonl, tmp_path, capsys):
    run(trained_on_pairs, jsonl, tmp_path / "scored.csv")
    assert list(pd.read_csv(tmp_path / "scored.csv").columns) == ["prompt", "completion", "reward"]
    assert "it is not anchored" in capsys.readouterr().out


def test_an_anchored_model_names_the_categories(trained, jsonl, tmp_path, capsys):
    run(trained, jsonl, tmp_path / "scored.csv")
    assert "strongly disagree, disagree, neutral, agree, strongly agree" in capsys.readouterr().out


def test_overlong_rows_are_refused_scored_or_skipped(model, model_tokenizer):
    texts = ["yes", "no " * 40, "a dog"]  # one token per byte; trained with 96
    data = Dataset.from_list([{"text": text} for text in texts])
    with pytest.raises(ValueError, match=r"Row 1 has 122 tokens, more than the limit of 96 \(1 of 3 responses"):
        score_dataset(model, model_tokenizer, data, progress=False)
    expected, _ = one_by_one(model, model_tokenizer, texts)
    scored = score_dataset(model, model_tokenizer, data, overlong="score", progress=False)
    np.testing.assert_allclose(scored["reward"], expected, rtol=0, atol=TOLERANCE)
    longer = score_dataset(model, model_tokenizer, data, max_length=122, progress=False)
    assert longer["reward"] == scored["reward"]
    skipped = score_dataset(model, model_tokenizer, data, overlong="skip", progress=False)
    assert skipped["reward"][1] is None and skipped["category_probs"][1] is None
    np.testing.assert_allclose([skipped["reward"][row] for row in (0, 2)], expected[[0, 2]], rtol=0, atol=TOLERANCE)


def test_an_existing_column_is_not_overwritten(model, model_tokenizer):
    data = Dataset.from_list([{"text": "yes", "reward": 3.0}])
    with pytest.raises(ValueError, match="has a column `reward` already: remove it, or set a `prefix`"):
        score_dataset(model, model_tokenizer, data, progress=False)
    scored = score_dataset(model, model_tokenizer, data, prefix="new_", progress=False)
    assert scored["reward"] == [3.0]
    assert "new_category_probs" in scored.column_names


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "yes"}, r"Row 0 has no response. It has the columns \['question'\]"),
        ({"chosen": "yes"}, "Row 0 has `chosen` but no `rejected`: a pair needs both"),
        ({"input_ids": []}, "Row 0, column `input_ids`: the response is empty"),
    ],
)
def test_rows_that_cannot_be_scored_are_named(row, message, model, model_tokenizer):
    with pytest.raises(ValueError, match=message):
        score_dataset(model, model_tokenizer, Dataset.from_list([row]), progress=False)


def test_an_interrupted_write_leaves_nothing_new(trained, jsonl, tmp_path, monkeypatch):
    def interrupted(self, path, **options):
        path.write_text("half")
        raise KeyboardInterrupt

    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / "scored.jsonl"
    output.write_text("older")
    monkeypatch.setattr(Dataset, "to_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(trained, jsonl, output)
    assert [file.name for file in output.parent.iterdir()] == ["scored.jsonl"]
    assert output.read_text() == "older"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "scored.xlsx"}, "its name must end in .jsonl, .csv, .parquet"),
        ({"output": "/nowhere/scored.csv"}, "The folder of `output`, /nowhere, does not exist"),
        ({"dataset_name": "rows.jsonl"}, "`rows.jsonl` is read as a path"),
        ({"dataset_name": __file__}, "is no data set: its name must end in .json, .jsonl, .csv, .parquet"),
    ],
)
def test_wrong_options_are_one_message(changes, message, trained, jsonl, tmp_path, failure):
    options = {"model": trained, "dataset_name": str(jsonl), "output": str(tmp_path / "scored.csv"), **changes}
    code, error = failure(["score", *flags(options)])
    assert code == 1
    assert message in error


def test_several_processes_are_refused(trained, jsonl, tmp_path, failure, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    argv = ["--model", trained, "--dataset_name", str(jsonl), "--output", str(tmp_path / "scored.csv")]
    code, error = failure(["score", *argv])
    assert code == 1
    assert "Scoring runs in one process" in error


def test_another_kind_of_model_is_refused(backbone, jsonl, tmp_path, failure):
    argv = ["--model", backbone, "--dataset_name", str(jsonl), "--output", str(tmp_path / "scored.csv")]
    code, error = failure(["score", *argv])
    assert code == 1
    assert "holds a model of type `llama`" in error


def test_an_adapter_folder_is_scored_on_its_base(backbone, judged, jsonl, rows, tmp_path):
    folder = str(tmp_path / "adapter")
    options = {"model_name_or_path": backbone, "dataset_name": judged, "output_dir": folder, **RUN}
    main(["train", *flags({**options, "max_steps": 1}), "--use_peft"])
    run(folder, jsonl, tmp_path / "scored.parquet")
    model, tokenizer = DPRMForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    expected, _ = one_by_one(model.eval(), tokenizer, [row["prompt"] + row["completion"] for row in rows])
    scored = pd.read_parquet(tmp_path / "scored.parquet")
    np.testing.assert_allclose(scored["reward"], expected, rtol=0, atol=TOLERANCE)
