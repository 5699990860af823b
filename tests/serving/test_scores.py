"""Served scores are those of `trl-dprm score`, of the model itself, and of statistics computed by hand."""

import copy
import logging

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny_reward_models import CATEGORIES, TOKENIZATION, tiny_dprm
from transformers.utils import logging as hf_logging

from trl_dprm.serving.refusal import Refusal
from trl_dprm.serving.scorer import Scorer
from trl_dprm.trainer import score_dataset

REWARDS = np.array(CATEGORIES["category_rewards"])
CONVERSATION = [{"role": "user", "content": "red?"}, {"role": "assistant", "content": "no, a dog"}]
KINDS = [
    {"prompt": "Say: ", "completion": "a stone"},
    {"completion": "a stone"},
    {"text": "yes"},
    {"prompt": "", "completion": "yes"},
    {"messages": CONVERSATION},
    {"prompt": CONVERSATION[:1], "completion": CONVERSATION[1:]},
]


def scored(model, tokenizer, rows, **options):
    return score_dataset(model, tokenizer, Dataset.from_list(rows), progress=False, **options)


@pytest.mark.parametrize("row", KINDS, ids=lambda row: "+".join(row))
def test_one_response_gets_exactly_the_score_of_the_command(row, server, model, tokenizer):
    (result,) = server.scores(row)
    expected = scored(model, tokenizer, [row])
    assert result["reward"] == expected["reward"][0]
    assert result["reward_variance"] == expected["reward_variance"][0]
    assert result["category_probs"] == expected["category_probs"][0]


def test_many_responses_get_the_scores_of_the_command_in_their_order(server, model, tokenizer, rows):
    results = server.scores(rows)
    expected = scored(model, tokenizer, rows, batch_size=4)
    for name in ("reward", "reward_variance", "category_probs"):
        np.testing.assert_allclose([result[name] for result in results], expected[name], rtol=0, atol=1e-6)
    assert len({round(result["reward"], 4) for result in results}) == len(rows), "the rows must differ"


def test_scores_are_the_models_own(server, model, tokenizer, rows):
    for row, result in zip(rows, server.scores(rows), strict=True):
        ids = tokenizer(row["prompt"] + row["completion"] + tokenizer.eos_token, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            output = model(ids)
        assert result["reward"] == pytest.approx(output.logits.item(), abs=1e-6)
        assert result["category_probs"] == pytest.approx(output.category_logits[0].softmax(-1).tolist(), abs=1e-6)
        assert result["num_tokens"] == ids.shape[1]


def test_the_answer_names_categories_and_statistic_once(server):
    answer = server.post("/score", {"items": KINDS[:2]}).json()
    assert list(answer) == ["statistic", "category_names", "results"]
    assert answer["statistic"] == "expected_reward"
    assert answer["category_names"] == CATEGORIES["category_names"]


def worst_share_mean(probs, rewards, level):
    """Mean reward of the least satisfied share, by laying out 100,000 people."""
    people = np.repeat(np.sort(rewards), np.round(np.array(probs)[np.argsort(rewards)] * 100_000).astype(int))
    return people[: round(level * 100_000)].mean()


@pytest.mark.parametrize("level", [0.2, 0.75])
def test_conditional_value_at_risk(level, server, rows):
    for result in server.scores(rows, statistic="cvar", level=level):
        by_hand = worst_share_mean(result["category_probs"], REWARDS, level)
        assert result["reward"] == pytest.approx(by_hand, abs=1e-3)


def test_lower_semideviation(server, rows):
    for result in server.scores(rows, statistic="lower_semideviation", weight=0.5):
        probs = np.array(result["category_probs"])
        mean = probs @ REWARDS
        shortfall = np.sqrt(probs @ np.minimum(REWARDS - mean, 0) ** 2)
        assert result["reward"] == pytest.approx(mean - 0.5 * shortfall, abs=1e-6)


@pytest.mark.parametrize("rewards", [[-9.0, 0.0, 1.0], {"harmful": -9.0}], ids=["list", "names"])
def test_other_category_rewards(rewards, server, rows):
    values = np.array([-9.0, 0.0, 1.0])
    for result in server.scores(rows, category_rewards=rewards):
        probs = np.array(result["category_probs"])
        assert result["reward"] == pytest.approx(probs @ values, abs=1e-5)
        assert result["reward_variance"] == pytest.approx(probs @ values**2 - (probs @ values) ** 2, abs=1e-4)


def test_the_servers_statistic_holds_where_a_request_chooses_none(start, make_scorer, server, rows):
    cautious = start(make_scorer(), statistic="cvar", level=0.2)
    assert cautious.scores(rows) == server.scores(rows, statistic="cvar", level=0.2)
    assert cautious.scores(rows, statistic="expected_reward") == server.scores(rows)
    assert cautious.post("/score", {"items": rows}).json()["statistic"] == "cvar"


def test_a_model_trained_on_pairs_alone_gives_rewards_only(start, tokenizer, rows):
    unanchored = start(Scorer(tiny_dprm(anchored=False), tokenizer))
    answer = unanchored.post("/score", {"items": rows}).json()
    assert list(answer) == ["statistic", "results"]
    assert {frozenset(result) for result in answer["results"]} == {frozenset({"reward", "num_tokens"})}
    expected = scored(tiny_dprm(anchored=False), tokenizer, rows)["reward"]
    np.testing.assert_allclose([result["reward"] for result in answer["results"]], expected, rtol=0, atol=1e-6)
    refused = unanchored.post("/score", {"items": rows, "statistic": "cvar", "level": 0.2})
    assert refused.status_code == 422
    assert "statistic: The model was trained on pairs alone" in refused.json()["detail"]


def test_tools_and_variables_reach_the_chat_template(start, model, own_tokenizer):
    own_tokenizer.chat_template = (
        "{{ mood }}{% for tool in tools or [] %}{{ tool['name'] }}{% endfor %}"
        "{% for message in messages %}{{ message['content'] + eos_token }}{% endfor %}"
    )
    item = {"messages": CONVERSATION, "tools": [{"name": "search"}], "chat_template_kwargs": {"mood": "merry"}}
    served = start(Scorer(model, own_tokenizer))
    (result,) = served.scores(item)
    text = "merry" + "search" + "".join(message["content"] + "</s>" for message in CONVERSATION)
    assert result["num_tokens"] == len(own_tokenizer(text, add_special_tokens=False)["input_ids"])
    assert result["reward"] == scored(model, own_tokenizer, [item])["reward"][0]


def test_overlong_responses_are_refused_with_length_and_limit(server):
    answer = server.post("/score", {"items": [{"text": "short"}, {"text": "x" * 95}]})  # with <s> and </s>: 97
    assert answer.status_code == 422
    assert "items.1: 97 tokens, more than the limit of 96" in answer.json()["detail"]
    assert server.scores({"text": "x" * 94})[0]["num_tokens"] == 96


def test_transformers_does_not_write_of_refused_lengths_into_the_log(model, tokenizer, caplog):
    short = copy.deepcopy(tokenizer)
    short.model_max_length = 8
    short.deprecation_warnings = {}
    hf_logging.enable_propagation()
    with caplog.at_level(logging.WARNING), pytest.raises(Refusal, match="more than the limit of 96"):
        Scorer(model, short).item_ids([{"text": "x" * 120}])
    hf_logging.disable_propagation()
    assert caplog.records == []


def test_overlong_responses_are_scored_on_request_as_far_as_there_are_positions(start, make_scorer, model, tokenizer):
    row = {"text": "x" * 126}
    patient = start(make_scorer(overlong="score"))
    assert patient.scores(row)[0]["reward"] == scored(model, tokenizer, [row], overlong="score")["reward"][0]
    beyond = patient.post("/score", {"items": {"text": "x" * 127}})
    assert beyond.status_code == 422
    assert "129 tokens, more than the limit of 128" in beyond.json()["detail"]


def test_another_limit(make_scorer):
    assert make_scorer(max_length=20).limit == 20
    assert make_scorer(max_length=128).limit == 128
    with pytest.raises(ValueError, match="`max_length` is 129, but the backbone has only 128 positions"):
        make_scorer(max_length=129)


def test_a_token_without_embedding_is_refused(start, model, own_tokenizer):
    own_tokenizer.add_special_tokens({"pad_token": "[PAD]"})  # as scripts do, without resizing the model
    served = start(Scorer(model, own_tokenizer))
    answer = served.post("/score", {"items": {"text": "a [PAD] b"}})
    assert answer.status_code == 422
    assert "items.0: the text has the token '[PAD]', for which the model has no embedding" in answer.json()["detail"]


def test_the_tokenizer_of_another_model_is_refused(model, own_tokenizer):
    own_tokenizer.add_tokens(["<other>"])
    with pytest.raises(ValueError, match="'<other>' with id 260: it is the tokenizer of another model"):
        Scorer(model, own_tokenizer)


@pytest.mark.parametrize("backbone", ["gpt2", "bert"])
def test_other_backbones(backbone, start, tokenizer, rows):
    other = tiny_dprm(backbone, tokenization={**TOKENIZATION, "max_length": None})
    results = start(Scorer(other, tokenizer)).scores(rows)
    expected = scored(other, tokenizer, rows)["reward"]
    np.testing.assert_allclose([result["reward"] for result in results], expected, rtol=0, atol=1e-6)
