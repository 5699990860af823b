import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset
from huggingface_hub import ModelCard
from peft import LoraConfig, get_peft_model
from tiny_checkpoint import TOKENIZATION, WORDS, make_model, make_tokenizer

from trl_dprm import DPRMTrainer, DPRMTrainingArguments
from trl_dprm.hub import dprm_model_card, vote_statistics
from trl_dprm.hub.model_card import is_hub_id, template_path
from trl_dprm.trainer import TokenizationRule

STATISTICS = vote_statistics(np.array([[0.5, 0.5], [1, 0]]), np.array([2.0, 3.5]), 4, num_pairs=3, num_annotators=6)
NO_VOTES = vote_statistics(np.zeros((4, 2)), np.zeros(4), num_rows=2, num_pairs=2)
METRICS = {"nats_per_vote": np.float64(0.4901), "accuracy": 0.75, "expected_reward_correlation": float("nan")}


@pytest.fixture
def training(tmp_path):
    return DPRMTrainingArguments(str(tmp_path / "a-run"), use_cpu=True, bf16=False, report_to="none")


def make_card(training, model=None, **arguments):
    config = (model or make_model()).config
    defaults = {"model_name": "crowd", "base_model": "org/base", "data_statistics": STATISTICS, "metrics": METRICS}
    return dprm_model_card(config, training=training, **{**defaults, **arguments})


def save(folder, model, tokenizer, card):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card.save(folder / "README.md")


def usage_example(folder):
    """The first Python block of the card in a folder."""
    return re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]


def run_usage_example(folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {}
    exec(usage_example(folder), names)
    return names


def section(card, title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", card.text, re.DOTALL | re.MULTILINE)[1]


# --- the usage example ---


@pytest.mark.parametrize("add_special_tokens, append_eos", [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("eos_token", ["</s>", None])
def test_usage_example_scores_the_ids_of_training(
    tmp_path, training, monkeypatch, capsys, add_special_tokens, append_eos, eos_token
):
    rule = {"add_special_tokens": add_special_tokens, "append_eos": append_eos, "max_length": None}
    model, tokenizer = make_model(tokenization=rule), make_tokenizer(eos_token)
    save(tmp_path, model, tokenizer, make_card(training, model))
    names = run_usage_example(tmp_path, monkeypatch)

    prompt, completion = "What is the capital of France?", " Paris."
    ids = TokenizationRule.from_config(rule).token_ids(tokenizer, completion, prompt)
    assert names["inputs"]["input_ids"][0].tolist() == ids
    with torch.no_grad():
        category_logits = model(torch.tensor([ids])).category_logits[0].double()
    probs = category_logits.softmax(-1)
    reward = sum(p * r for p, r in zip(probs.tolist(), model.config.category_rewards, strict=True))
    lines = capsys.readouterr().out.splitlines()
    assert float(lines[0].removeprefix("expected reward: ")) == pytest.approx(reward, abs=2e-5)
    expected = [f"{p:.3f} {name}" for p, name in zip(probs.tolist(), model.config.category_names, strict=True)]
    assert lines[1:] == expected


def test_usage_example_scores_the_same_without_the_package_as_the_card_says(tmp_path, training, monkeypatch, capsys):
    model = make_model()
    card = make_card(training, model)
    save(tmp_path, model, make_tokenizer(), card)
    assert "drop `import trl_dprm` and pass `trust_remote_code=True` to both `from_pretrained` calls" in card.text
    code = usage_example(tmp_path).replace("import trl_dprm  # registers the model\n", "")
    code = code.replace("from_pretrained(checkpoint)", "from_pretrained(checkpoint, trust_remote_code=True)")
    assert code.count("trust_remote_code") == 2 and "trl_dprm" not in code
    finished = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.modules['trl_dprm'] = None\n{code}"],
        cwd=tmp_path,
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    run_usage_example(tmp_path, monkeypatch)
    assert finished.stdout == capsys.readouterr().out


def test_usage_example_of_an_adapter_loads_its_folder(tmp_path, training, monkeypatch):
    base, folder = tmp_path / "base", tmp_path / "adapter"
    make_model().save_pretrained(base)
    model = type(make_model()).from_pretrained(base)
    lora = LoraConfig(task_type="SEQ_CLS", target_modules="all-linear", modules_to_save=model.head_names)
    adapted = get_peft_model(model, lora).eval()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    save(folder, adapted, make_tokenizer(), make_card(training, model, base_model=str(base), is_adapter=True))
    model.config.save_pretrained(folder)

    names = run_usage_example(folder, monkeypatch)
    with torch.no_grad():
        expected = adapted(**names["inputs"]).logits
        without_adapter = make_model()(**names["inputs"]).logits
    assert torch.equal(names["output"].logits, expected)
    assert not torch.allclose(expected, without_adapter, atol=1e-3)


def test_conversation_call_in_the_card_makes_the_ids_of_training(training):
    call = re.search(r"`inputs = (tokenizer\.apply_chat_template\(.*?\))`", make_card(training).text)[1]
    tokenizer = make_tokenizer()
    messages = [{"role": "user", "content": "What is Paris ?"}, {"role": "assistant", "content": "the capital"}]
    inputs = eval(call, {"tokenizer": tokenizer, "messages": messages})
    assert inputs["input_ids"][0].tolist() == TokenizationRule().token_ids(tokenizer, messages[1:], messages[:1])


def test_card_of_a_trained_model_runs_where_it_was_saved(tmp_path, monkeypatch, capsys):
    rows = [{"prompt": "What is", "completion": f" {word}", "target_counts": [1, 0, 0, 0, 2]} for word in WORDS]
    rows = Dataset.from_list(rows)
    arguments = DPRMTrainingArguments(
        str(tmp_path / "run"),
        max_steps=1,
        max_length=16,
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        gradient_checkpointing=False,
    )
    trainer = DPRMTrainer(
        make_model(anchored=False, tokenization=None),
        arguments,
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=make_tokenizer(),
    )
    trainer.train()
    trainer.evaluate()
    trainer.save_model(str(tmp_path / "saved"))
    capsys.readouterr()
    run_usage_example(tmp_path / "saved", monkeypatch)
    assert len(capsys.readouterr().out.splitlines()) == 6
    card = ModelCard.load(tmp_path / "saved" / "README.md")
    assert "| votes | 30 |" in card.text and "| `nats_per_vote` |" in card.text
    assert card.data.eval_results[0].metric_type == "loss"
    assert str(tmp_path) not in card.content


# --- metadata ---


def test_metadata_survives_a_round_trip_through_the_file(tmp_path, training):
    card = make_card(training, dataset_name="org/votes", tags=["abuse", "trl"])
    card.save(tmp_path / "README.md")
    loaded = ModelCard.load(tmp_path / "README.md")
    assert loaded.data.to_dict() == card.data.to_dict()
    header = yaml.safe_load(card.content.split("---\n")[1])
    assert header == card.data.to_dict()
    assert header["pipeline_tag"] == "text-classification" and header["library_name"] == "transformers"
    assert (header["base_model"], header["base_model_relation"], header["datasets"]) == (
        "org/base",
        "finetune",
        ["org/votes"],
    )
    assert {"abuse", "dprm", "reward-model"} <= set(header["tags"]) and header["tags"].count("trl") == 1


def test_evaluation_stands_in_the_metadata_and_in_the_table(training):
    card = make_card(training)
    assert {r.metric_type: r.metric_value for r in card.data.eval_results} == {
        "nats_per_vote": 0.4901,
        "accuracy": 0.75,
    }
    rows = section(card, "Evaluation")
    assert "| `nats_per_vote` | 0.4901 | lower | Minus the mean log-probability of a vote" in rows
    assert "| `accuracy` | 0.7500 | higher | " in rows
    assert "| `expected_reward_correlation` | not defined | higher | " in rows


def test_metric_of_the_user_is_printed_and_called_so(training):
    rows = section(make_card(training, metrics={"my_score": 2.0, "num_tokens": 12345}), "Evaluation")
    assert "| `my_score` | 2.0000 |  | Defined by the run's `compute_metrics` |" in rows
    assert "| `num_tokens` | 12,345 |" in rows


def test_card_without_evaluation_has_no_model_index(training):
    card = make_card(training, metrics=None)
    assert card.data.eval_results is None and "model-index" not in card.data.to_dict()
    assert "No evaluation was run" in section(card, "Evaluation")


def test_adapter_is_one_in_the_metadata(training):
    data = make_card(training, is_adapter=True).data.to_dict()
    assert (data["library_name"], data["base_model_relation"]) == ("peft", "adapter")


# --- no machine path ---


def test_local_paths_are_called_by_their_last_name_and_kept_out_of_the_metadata(tmp_path, training):
    base, data = tmp_path / "my-base", tmp_path / "votes.parquet"
    card = make_card(training, model_name=None, base_model=str(base), dataset_name=str(data))
    assert str(tmp_path) not in card.content and str(tmp_path.parent) not in card.content
    assert "from the local checkpoint `my-base` on the local dataset `votes.parquet`" in card.text
    assert {"base_model", "base_model_relation", "datasets"}.isdisjoint(card.data.to_dict())
    assert card.data.model_name == "a-run" and "# a-run\n" in card.text


def test_folder_with_the_form_of_a_hub_id_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("out/model")
    (tmp_path / "out" / "model").mkdir(parents=True)
    assert not is_hub_id("out/model")
    assert not any(is_hub_id(name) for name in (None, "", ".", "../model", "a/b/c", "/a/b", "C:\\a"))


@pytest.mark.parametrize("base_model", [None, ""])
def test_unknown_base_is_not_mentioned(training, base_model):
    card = make_card(training, base_model=base_model)
    assert "It was trained" not in card.text and "base_model" not in card.data.to_dict()


def test_complete_hub_id_stands_in_the_usage_example(training):
    training.hub_model_id = "org/crowd"
    assert 'checkpoint = "org/crowd"\n' in make_card(training).text
    training.hub_model_id = "crowd"  # whose is unknown
    assert 'checkpoint = "."  # the folder of this card, or its Hub id\n' in make_card(training).text


# --- what is said, and what is not ---


def test_categories_stand_with_their_rewards_and_cannot_break_the_table(training):
    model = make_model(
        category_names=["good | fine", "two\nlines", "bad"],
        category_rewards=[1, 0.5, -3],
        ground_cost=[[0, 1, 2.5], [1, 0, 1], [2.5, 1, 0]],
    )
    text = section(make_card(training, model), "Categories")
    assert "| 1 | good \\| fine | 1 |\n| 2 | two lines | 0.5 |\n| 3 | bad | -3 |\n" in text
    assert "| **1** | 0 | 1 | 2.5 |\n" in text


@pytest.mark.parametrize("ground_cost, words", [("rewards", "distance between their rewards"), ("ranks", "places")])
def test_named_ground_costs_are_said_in_words(training, ground_cost, words):
    assert words in section(make_card(training, make_model(ground_cost=ground_cost)), "Categories")


def test_unanchored_card_omits_the_categories_and_says_why(tmp_path, training, monkeypatch, capsys):
    model = make_model(anchored=False, category_names=["red", "green"], category_rewards=[0, 1])
    card = make_card(training, model)
    assert "the model is **unanchored**" in section(card, "Categories")
    assert not any(re.search(rf"\b{name}\b", card.content) for name in model.config.category_names)
    assert "softmax" not in card.text and "`cross_entropy`" not in card.text
    save(tmp_path, model, make_tokenizer(), card)
    run_usage_example(tmp_path, monkeypatch)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_losses_that_took_part_are_named_and_others_not(training):
    training.loss_weights = [1.0, 2.0]
    both = make_card(training).text
    assert "| distribution loss | 1 × `cross_entropy` + 2 × `optimal_transport` |" in both
    assert "| ranking loss | 1 × `bradley_terry` |" in both
    votes_only = vote_statistics(np.array([[0.5, 0.5]]), np.array([2.0]), num_rows=1)
    alone = make_card(training, data_statistics=votes_only).text
    assert "ranking loss" not in alone and "κ" not in alone


def test_training_table_holds_the_settings_of_the_run(training):
    training.gradient_accumulation_steps, training.warmup_steps, training.max_steps = 4, 0.1, 30
    table = section(make_card(training), "Training")
    for row in ("| length | 30 steps |", "| rows per optimizer step | 32 |", "| precision | float32 |"):
        assert row in table
    assert "| schedule | linear, warm-up over 10% of the steps |" in table


def test_data_statistics_are_printed(training):
    table = section(make_card(training), "Training data")
    for row in (
        "| rows | 4 |",
        "| items (responses with votes) | 2 |",
        "| votes | 5.50 |",
        "| votes per item: fewest, median, most | 2, 2.75, 3.50 |",
        "| agreement of two annotators of one item | 0.500 |",
        "| pairs | 3 (75% of the rows) |",
        "| annotators | 6 |",
    ):
        assert row in table
    assert "*Votes* are" in table
    pairs_alone = section(make_card(training, data_statistics=NO_VOTES), "Training data")
    assert "| pairs | 2 (100% of the rows) |" in pairs_alone and "otes" not in pairs_alone
    assert "the data were streamed" in section(make_card(training, data_statistics=None), "Training data")


def test_fitted_numbers_are_printed_where_they_were_fitted(training):
    text = make_card(training, make_model(prior_strength=3.25, bradley_terry_scale=2.5)).text
    assert "**Worth 3.25 annotators.**" in text and "κ = 2.5 " in text
    assert "Worth" not in make_card(training).text


def test_limits_and_citations_are_in_every_card(training):
    for anchored in (True, False):
        card = make_card(training, make_model(anchored=anchored))
        assert "disagreement among people" in card.text and "no guard against reward hacking" in card.text
        assert "arXiv:2402.09764" in card.text and "{{TRL: Transformers Reinforcement Learning}}" in card.text
        assert card.text.count("```") % 2 == 0 and "{%" not in card.text


def test_missing_tokenization_rule_is_refused(training):
    with pytest.raises(ValueError, match=r"`config\.tokenization` is None.*Set the rule"):
        make_card(training, make_model(tokenization=None))


def test_rule_in_words_agrees_with_the_configuration(training):
    with_eos = make_card(training).text
    assert "the EOS token appended" in with_eos and "more than 32 tokens" in with_eos
    bare = {"add_special_tokens": False, "append_eos": False, "max_length": None}
    assert {*bare} == {*TOKENIZATION}
    text = make_card(training, make_model(tokenization=bare)).text
    assert "EOS token appended" not in text and "without the tokenizer's special tokens" in " ".join(text.split())
    assert "left out of training" not in text


def test_template_of_a_checkout_is_the_one_that_the_wheel_is_told_to_ship():
    root = Path(__file__).parents[2]
    assert template_path("dprm_model_card.md") == root / "model_cards" / "templates" / "dprm_model_card.md"
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"model_cards/templates": "trl_dprm/hub/templates"}


def test_installed_wheel_uses_the_template_beside_its_code(tmp_path, monkeypatch):
    (tmp_path / "templates").mkdir()
    monkeypatch.setattr("trl_dprm.hub.model_card.__file__", str(tmp_path / "model_card.py"))
    assert template_path("dprm_model_card.md") == tmp_path / "templates" / "dprm_model_card.md"


def test_missing_template_is_an_error(tmp_path, training, monkeypatch):
    monkeypatch.setattr("trl_dprm.hub.model_card.__file__", str(tmp_path / "trl_dprm" / "hub" / "model_card.py"))
    with pytest.raises(FileNotFoundError, match=r"dprm_model_card\.md"):
        make_card(training)


def test_adapter_says_in_which_precision_its_base_was(training):
    model = make_model()
    assert "in another precision" not in make_card(training, model, is_adapter=True).text
    model.config.base_precision = {
        "dtype": "float32", "bits": 4, "quant_type": "nf4", "double_quant": True, "compute_dtype": "bfloat16"
    }  # fmt: skip
    text = make_card(training, model, is_adapter=True).text
    assert "It was trained on a base in 4 bits" in text
    assert "BitsAndBytesConfig(load_in_4bit=True" in text
    assert "config=AutoConfig.from_pretrained(" in text  # how PeftModel's base is built
