"""What cannot be answered: each time a status, a message that names the field, and nothing of the inside."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from trl_dprm.serving.scorer import Scorer

TEXT = {"text": "yes"}
MESSAGES = [{"role": "user", "content": "red?"}, {"role": "assistant", "content": "no"}]
JSON = {"Content-Type": "application/json"}


def refusal(answer, status):
    """The message of a refusal, which is all that it holds."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    (detail,) = answer.json().values()
    assert "Traceback" not in detail and "trl_dprm/" not in detail
    return detail


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"items": [', "The body is no JSON: EOF while parsing"),
        (b"items=yes", "The body is no JSON: expected value at line 1 column 1"),
        (b'{"items": {"text": "\xff\xfe"}}', "The body is no JSON: invalid unicode code point"),
        ('{"items": {"text": "yes"}}'.encode("utf-16"), "The body is no JSON"),
        (b'{"items": {"text": "\\ud800"}}', "The body is no JSON: unexpected end of hex escape"),
        (b'{"items": {"text": "yes"}, "level": NaN}', "The body is no JSON"),
        (b'{"items": {"text": "yes"}, "level": -Infinity}', "The body is no JSON"),
        (
            b'{"items": {"text": "yes", "text": "no"}}',
            "The body is no JSON: the name 'text' stands twice in one object",
        ),
        (b"[" * 5000 + b"]" * 5000, "The body is no JSON: recursion limit exceeded"),
    ],
)
def test_what_is_no_json(body, message, server):
    assert message in refusal(server.client.post("/score", content=body, headers=JSON), 400)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "body: "),
        ({}, "items: Field required"),
        ({"items": []}, "items: List should have at least 1 item"),
        ({"items": "yes"}, "items: Input should be a valid list"),
        ({"items": [TEXT, "yes"]}, "items.1: Input should be a valid dictionary"),
        ({"items": [TEXT, {}]}, "items.1: give one of `completion`, `messages` and `text`, got none"),
        ({"items": {"prompt": "Say: "}}, "items.0: give one of `completion`, `messages` and `text`, got none"),
        ({"items": {"text": "a", "completion": "b"}}, "items.0: give one of"),
        ({"items": {"text": "a", "prompt": "b"}}, "items.0: `prompt` goes with `completion`, not with `text`"),
        ({"items": {"text": 3}}, "items.0.text: Input should be a valid string"),
        ({"items": {"completion": 3}}, "items.0.completion: Input should be a valid string"),
        ({"items": {"text": ""}}, "items.0.text: the response is empty. Remove the item."),
        ({"items": [TEXT, {"messages": []}]}, "items.1.messages: the response is empty. Remove the item."),
        ({"items": {"prompt": "Say: ", "completion": MESSAGES}}, "both must be plain text or both a list of messages"),
        ({"items": {"messages": [{"role": "user"}]}}, "items.0.messages.0: a message without `tool_calls` needs"),
        ({"items": {"messages": [{"content": "a"}]}}, "items.0.messages.0.role: Field required"),
        ({"items": {"completion": [{"role": "a", "content": 1}]}}, "items.0.completion.0.content: Input should be"),
        ({"items": {"messages": [{**MESSAGES[0], "contnet": "a"}]}}, "items.0.messages.0.contnet: unknown field"),
        ({"items": {"text": "a", "txt": "b"}}, "items.0.txt: unknown field"),
        ({"items": TEXT, "statistik": "cvar"}, "statistik: unknown field"),
        ({"items": TEXT, "x" * 1000: 1}, "x" * 60 + "...: unknown field"),
        ({"items": TEXT, "statistic": "mode"}, "statistic: Input should be 'expected_reward', 'cvar' or"),
        ({"items": TEXT, "statistic": "cvar", "level": 0}, "level: Input should be greater than 0"),
        ({"items": TEXT, "statistic": "cvar", "level": "0.1"}, "level: Input should be a valid number"),
        ({"items": TEXT, "level": 0.1}, "body: `level` is for the statistic `cvar`: set `statistic` to it"),
        ({"items": TEXT, "statistic": "cvar", "weight": 1.0}, "body: `weight` is for the statistic"),
        (
            {"items": TEXT, "category_rewards": {"bad": 1.0}},
            "category_rewards: `category_rewards` names 'bad'. The model has 3",
        ),
        (
            {"items": TEXT, "category_rewards": [1.0]},
            "category_rewards: `category_rewards` has 1 entries. The model has 3",
        ),
        ({"items": TEXT, "category_rewards": [1e39, 0, 1]}, "category_rewards: `category_rewards` holds 1e+39: every"),
        ({"items": TEXT, "category_rewards": [1, 0, -2e18]}, "holds -2e+18: every reward is a finite number, at most"),
        ({"items": [{"text": n} for n in range(9)]}, "items.4.text: Input should be a valid string; and 4 more"),
    ],
)
def test_wrong_bodies_are_refused_by_field(body, message, server):
    assert message in refusal(server.post("/score", body), 422)


def test_an_empty_body(server):
    assert "body: Field required" in refusal(server.client.post("/score", content=b"", headers=JSON), 422)


def test_numbers_beyond_floats(server):
    body = b'{"items": {"text": "yes"}, "category_rewards": [1e999, 0.0, 0.0]}'
    assert "category_rewards" in refusal(server.client.post("/score", content=body, headers=JSON), 422)


@pytest.mark.parametrize("name", ["chat_template", "tokenize", "return_tensors", "add_generation_prompt"])
def test_clients_set_variables_of_the_chat_template_and_nothing_else(name, server):
    item = {"messages": MESSAGES, "chat_template_kwargs": {name: "{% for i in range(99999) %}{% endfor %}"}}
    message = refusal(server.post("/score", {"items": item}), 422)
    assert f"items.0.chat_template_kwargs: holds {name}, which clients may not set" in message


def test_a_conversation_without_a_response_is_refused(start, model, own_tokenizer):
    own_tokenizer.chat_template = "{% for message in messages %}{{ message['content'] + eos_token }}{% endfor %}"
    served = start(Scorer(model, own_tokenizer))
    for item, field in (
        ({"messages": MESSAGES[:1]}, "messages"),
        ({"prompt": MESSAGES[:1], "completion": MESSAGES[:1]}, "completion"),
    ):
        message = refusal(served.post("/score", {"items": item}), 422)
        assert message.startswith(f"items.0.{field}: no message is of the role `assistant`: there is no response.")
    assert served.scores({"messages": MESSAGES})


def test_what_the_chat_template_refuses_is_said(start, model, own_tokenizer):
    own_tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system messages, please') }}{% endif %}"
        "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"
    )
    served = start(Scorer(model, own_tokenizer))
    body = {"items": [{"messages": MESSAGES}, {"messages": [{"role": "system", "content": "a"}, *MESSAGES]}]}
    assert "items.1: no system messages, please" in refusal(served.post("/score", body), 422)
    own_tokenizer.chat_template = None
    plain = start(Scorer(model, own_tokenizer))
    message = refusal(plain.post("/score", {"items": {"messages": MESSAGES}}), 422)
    assert "this is a conversation, but the tokenizer has no chat template" in message


def test_other_content_types_paths_and_methods(server):
    body = json.dumps({"items": TEXT})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/octet-stream"):
        answer = server.client.post("/score", content=body, headers={"Content-Type": kind})
        assert f"The content type is '{kind}'" in refusal(answer, 415)
    with_charset = {"Content-Type": "application/json; charset=utf-8"}
    assert server.client.post("/score", content=body, headers=with_charset).status_code == 200
    assert refusal(server.client.post("/nowhere", content=body, headers=JSON), 404) == "Not Found"
    assert refusal(server.client.get("/score"), 405) == "Method Not Allowed"


def test_what_is_no_http(server):
    with server.connect() as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_fault_is_logged_and_not_told(start, make_scorer, monkeypatch, caplog):
    served = start(make_scorer())

    def broken(sequences):
        raise RuntimeError("the secret of /home/somebody")

    monkeypatch.setattr(served.service._scorer, "answers", lambda *args: broken([]))
    with caplog.at_level(logging.ERROR):
        message = refusal(served.post("/score", {"items": TEXT}), 500)
    assert message == "The server failed at this request; its log says why."
    assert "the secret of /home/somebody" in caplog.text
    monkeypatch.undo()
    assert served.scores(TEXT)


def test_a_response_that_fails_does_not_take_those_of_others_with_it(start, make_scorer, caplog):
    scorer = make_scorer()
    served = start(scorer)
    (good,) = served.scores(TEXT)
    score = served.service._batcher._score

    def fails_on_long(sequences):
        if any(len(ids) > 20 for ids in sequences):
            raise RuntimeError("out of memory")
        return score(sequences)

    served.service._batcher._score = fails_on_long
    with ThreadPoolExecutor() as pool:
        with scorer.closed():
            first = pool.submit(served.scores, TEXT)
            assert scorer.entered.wait(10)
            others = [pool.submit(served.post, "/score", {"items": item}) for item in (TEXT, {"text": "x" * 30})]
            served.wait_for(lambda: served.metric("trl_dprm_waiting_responses") == 2)
        assert first.result(20) == [good]
        fine, failed = (other.result(20) for other in others)
    assert fine.json()["results"] == [good]
    assert refusal(failed, 500)
    assert "A forward of 2 responses failed, so they are scored singly" in caplog.text


def test_a_reward_that_is_no_number_is_a_fault(start, model, tokenizer, monkeypatch, caplog):
    broken = Scorer(model, tokenizer)
    served = start(broken)
    monkeypatch.setattr(broken, "model", lambda **inputs: _with_nan(model(**inputs)))
    monkeypatch.setattr(broken.model, "config", model.config, raising=False)
    monkeypatch.setattr(broken.model, "device", model.device, raising=False)
    monkeypatch.setattr(broken.model, "eval", model.eval, raising=False)
    assert refusal(served.post("/score", {"items": TEXT}), 500)
    assert "The model gave nan for 5 tokens. Check its weights and its precision" in caplog.text


def _with_nan(output):
    output.logits = output.logits * float("nan")
    return output
