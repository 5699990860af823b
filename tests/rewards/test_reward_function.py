"""A reward model as a TRL reward function: the same ids and numbers as everywhere else, and what it reports."""

import logging

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tiny_models import tiny_stock_model

from trl_dprm.models.distributions import reward_variance
from trl_dprm.rewards import RewardModelFunction, RewardStatistic
from trl_dprm.rewards.tokenizers import knows_ids_of, same_tokenizer
from trl_dprm.trainer import score_dataset

BACKBONES = pytest.mark.parametrize("backbone", ["llama", "gpt2", "bert"])
FORMS = pytest.mark.parametrize("form", ["texts", "messages"])
TOLERANCE = 1e-6


def direct(model, ids):
    """Logits of one sequence alone, without padding."""
    with torch.no_grad():
        output = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long))
    return getattr(output, "category_logits", output.logits)[0]


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, np.array(expected, dtype=np.float64), rtol=0, atol=TOLERANCE)


class TestRewards:
    @BACKBONES
    @FORMS
    def test_they_are_those_of_score_dataset(self, backbone, form, make_dprm, tokenizer, request):
        given, model = request.getfixturevalue(form), make_dprm(backbone)
        rows = [{"prompt": p, "completion": c} for p, c in zip(*given.values(), strict=True)]
        scored = score_dataset(model, tokenizer, Dataset.from_list(rows), progress=False)
        rewards = RewardModelFunction(model, tokenizer)(**given)
        assert_close(rewards, scored["reward"])
        assert max(rewards) - min(rewards) > 100 * TOLERANCE

    @BACKBONES
    def test_they_are_those_of_a_direct_forward_whatever_the_batch(self, backbone, make_dprm, tokenizer, texts):
        model = make_dprm(backbone)
        for batch_size in (1, 3, 32):
            function = RewardModelFunction(model, tokenizer, batch_size=batch_size)
            ids = [tokenizer(p + c + "</s>")["input_ids"] for p, c in zip(*texts.values(), strict=True)]
            probs = torch.stack([direct(model, sequence) for sequence in ids]).softmax(-1)
            assert_close(function(**texts), probs @ torch.tensor([-2.0, 0.0, 1.0]))

    @pytest.mark.parametrize("statistic", ["cvar", "lower_semideviation"])
    def test_another_statistic_is_read_from_the_same_probabilities(
        self, statistic, make_dprm, tokenizer, texts, hooks
    ):
        chosen = RewardStatistic(statistic, level=0.3, weight=0.5, category_rewards={"harmful": -9.0})
        model = make_dprm()
        rewards = RewardModelFunction(model, tokenizer, chosen)(**texts, log_extra=hooks.log_extra)
        probs = torch.tensor([hooks.columns[name] for name in model.config.category_names]).T
        assert_close(rewards, chosen(probs, model.config))

    def test_a_scalar_model_reads_what_reward_trainer_trained_it_on(self, make_scalar, tokenizer, texts):
        model = make_scalar()
        ids = [tokenizer(p + c + "</s>")["input_ids"] for p, c in zip(*texts.values(), strict=True)]
        assert_close(RewardModelFunction(model, tokenizer)(**texts), [direct(model, s).item() for s in ids])

    def test_the_checkpoint_s_rule_makes_the_ids(self, make_dprm, tokenizer):
        bare = {"add_special_tokens": False, "append_eos": False, "max_length": None}
        function = RewardModelFunction(make_dprm(tokenization=bare), tokenizer)
        assert function.token_ids("a", "b") == tokenizer("ab", add_special_tokens=False)["input_ids"]
        with_both = RewardModelFunction(make_dprm(), tokenizer)
        assert with_both.token_ids("a", "b") == [1, *tokenizer("ab", add_special_tokens=False)["input_ids"], 2]
        assert with_both.token_ids("a", "b</s>") == with_both.token_ids("a", "b")  # EOS is not doubled

    def test_a_row_s_tools_and_template_options_reach_the_chat_template(self, make_dprm, own_tokenizer, messages):
        own_tokenizer.chat_template = "{{ tools }}{{ tone }}" + own_tokenizer.chat_template
        seen = []

        class Watching(RewardModelFunction):
            def logits(self, sequences):
                seen.extend(own_tokenizer.batch_decode(sequences))
                return super().logits(sequences)

        function = Watching(make_dprm(), own_tokenizer, chat_template_kwargs={"tone": "mild "})
        options = [{"tone": "harsh "}, None, {}, {"tone": "dry "}]
        tools = ['[{"name": "search"}]', None, None, None]
        function(**messages, chat_template_kwargs=options, tools=tools)
        assert [text.split("user:")[0].replace("None", "") for text in seen] == [
            "[{'name': 'search'}]harsh ",
            "mild ",
            "mild ",
            "dry ",
        ]

    def test_a_peft_model_scores_with_its_adapter(self, make_dprm, tokenizer, texts):
        base = make_dprm()
        before = RewardModelFunction(base, tokenizer)(**texts)
        model = get_peft_model(base, LoraConfig(r=2, task_type="SEQ_CLS", target_modules="all-linear"))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        function = RewardModelFunction(model, tokenizer)
        after = function(**texts)
        assert np.abs(np.subtract(before, after)).max() > 1e-3
        expected = [direct(model, function.token_ids(p, c)).softmax(-1) for p, c in zip(*texts.values(), strict=True)]
        assert_close(after, torch.stack(expected) @ torch.tensor([-2.0, 0.0, 1.0]))

    def test_a_function_of_ids_gives_what_the_model_gives(self, make_dprm, tokenizer, texts, hooks):
        """What shared-backbone mode passes: everything but the forward is the same code."""
        model, seen = make_dprm(), []

        def forward(input_ids, attention_mask):
            seen.append(input_ids.shape)
            return model(input_ids=input_ids, attention_mask=attention_mask).category_logits

        statistic = RewardStatistic("cvar", level=0.2)
        shared = RewardModelFunction(forward, tokenizer, statistic, batch_size=3, config=model.config, name="shared")
        separate = RewardModelFunction(model, tokenizer, statistic, batch_size=3)
        assert shared(**texts, log_metric=hooks.log_metric) == separate(**texts, log_metric=hooks.log_metric)
        assert len(seen) == 2
        assert all(first == second for first, second in hooks.metrics.values())
        assert shared.model is None and shared.device == torch.device("cpu")
        assert shared.to("meta").device == torch.device("meta")

    def test_training_mode_is_left_and_gradients_are_not_kept(self, make_dprm, tokenizer, texts):
        model = make_dprm("gpt2").train()
        model.transformer.drop.p = 0.5
        function = RewardModelFunction(model, tokenizer)
        assert function(**texts) == function(**texts)
        assert not function.logits([[5, 6]]).requires_grad

    def test_no_completions_give_no_rewards(self, make_dprm, tokenizer, hooks):
        function = RewardModelFunction(make_dprm(), tokenizer)
        assert function([], [], log_metric=hooks.log_metric) == []
        assert hooks.metrics == {}


class TestPromptsAsIds:
    COLUMNS = {"input_ids": [[7, 8], [9]], "completion_ids": [[10], [11, 12, 13]]}
    TEXTS = {"prompts": ["x", "y"], "completions": ["u", "v"]}

    def test_a_model_with_the_policy_s_tokenizer_reads_exactly_the_sampled_ids(self, make_dprm, tokenizer):
        model = make_dprm()
        function = RewardModelFunction(model, tokenizer)
        function.shares_policy_tokenizer = True
        ids = [[7, 8, 10], [9, 11, 12, 13]]
        assert_close(function.logits(ids), torch.stack([direct(model, sequence) for sequence in ids]))
        expected = torch.stack([direct(model, sequence) for sequence in ids]).softmax(-1) @ torch.tensor([-2.0, 0, 1])
        assert_close(function(**self.TEXTS, **self.COLUMNS), expected)
        as_tensors = {name: [torch.tensor(ids) for ids in rows] for name, rows in self.COLUMNS.items()}
        assert_close(function(**self.TEXTS, **as_tensors), expected)

    def test_a_model_with_another_tokenizer_reads_the_text(self, make_dprm, tokenizer):
        function = RewardModelFunction(make_dprm(), tokenizer)
        assert function(**self.TEXTS, **self.COLUMNS) == function(**self.TEXTS)

    def test_an_id_outside_the_vocabulary_stops_the_run(self, make_dprm, tokenizer):
        function = RewardModelFunction(make_dprm(), tokenizer, name="judge")
        function.shares_policy_tokenizer = True
        columns = {**self.COLUMNS, "completion_ids": [[10], [260]]}
        message = "'judge' has 260 token embeddings, but got the id 260 for the prompt 'y' with the completion 'v'"
        with pytest.raises(ValueError, match=message):
            function(**self.TEXTS, **columns)

    def test_tokenizers_are_the_same_if_every_id_means_the_same_padding_aside(self, tokenizer, own_tokenizer):
        own_tokenizer.pad_token = None
        own_tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        assert len(own_tokenizer) > len(tokenizer)
        assert same_tokenizer(own_tokenizer, tokenizer)
        own_tokenizer.add_tokens(["<tool>"])
        assert not same_tokenizer(own_tokenizer, tokenizer)
        assert knows_ids_of(own_tokenizer, tokenizer) and not knows_ids_of(tokenizer, own_tokenizer)


class TestPadding:
    def test_a_padding_token_without_embedding_never_reaches_the_model(self, make_scalar, own_tokenizer, texts):
        """TRL's example for PPO adds `[PAD]` without resizing."""
        own_tokenizer.pad_token = None
        own_tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        model = make_scalar(pad_token_id=None)
        assert own_tokenizer.pad_token_id == model.config.vocab_size
        function = RewardModelFunction(model, own_tokenizer)
        expected = [direct(model, function.token_ids(p, c)).item() for p, c in zip(*texts.values(), strict=True)]
        assert_close(function(**texts), expected)

    def test_a_makeshift_padding_token_ends_no_sequence(self, make_scalar, own_tokenizer):
        own_tokenizer.pad_token = None
        own_tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        model = make_scalar(pad_token_id=None)
        function = RewardModelFunction(model, own_tokenizer)
        ids = [[5, 0], [6, 7, 8, 1], [9]]  # 0 and 1 end sequences: stock pooling would take them for padding
        expected = [direct(model, sequence).item() for sequence in ids]
        assert_close(function.logits(ids)[:, 0], expected)

    def test_the_padding_that_the_model_was_trained_with_stays(self, make_dprm, own_tokenizer, texts, tokenizer):
        expected = RewardModelFunction(make_dprm(), tokenizer)(**texts)
        own_tokenizer.pad_token = own_tokenizer.eos_token  # stock pooling would skip the final EOS
        model = make_dprm()
        assert RewardModelFunction(model, own_tokenizer)(**texts) == expected
        assert model.config.text_config.pad_token_id == 0

    def test_a_model_without_one_gets_the_tokenizer_s(self, make_scalar, tokenizer, texts):
        model = make_scalar(pad_token_id=None)
        assert_close(
            RewardModelFunction(model, tokenizer)(**texts), RewardModelFunction(make_scalar(), tokenizer)(**texts)
        )
        assert model.config.pad_token_id == tokenizer.pad_token_id

    def test_none_at_all_is_refused(self, make_scalar, own_tokenizer):
        own_tokenizer.pad_token = None
        with pytest.raises(ValueError, match="Neither the reward model 'llama' nor its tokenizer has a padding token"):
            RewardModelFunction(make_scalar(pad_token_id=None), own_tokenizer)


class TestLogs:
    def test_every_call_reports_the_model_s_opinion(self, make_dprm, tokenizer, texts, hooks):
        model = make_dprm()
        function = RewardModelFunction(model, tokenizer, RewardStatistic(category_rewards=[-5.0, 0.0, 2.0]))
        function(**texts, log_metric=hooks.log_metric, log_extra=hooks.log_extra)
        ids = [function.token_ids(p, c) for p, c in zip(*texts.values(), strict=True)]
        probs = torch.stack([direct(model, sequence) for sequence in ids]).softmax(-1)
        expected = {f"proxy/{name}": probs[:, k].mean() for k, name in enumerate(["harmful", "dull", "good"])}
        expected["proxy/expected_reward"] = (probs @ torch.tensor([-5.0, 0.0, 2.0])).mean()
        expected["proxy/disagreement"] = reward_variance(probs, [-5.0, 0.0, 2.0]).sqrt().mean()
        assert set(hooks.metrics) == set(expected)
        for name, value in expected.items():
            assert_close(hooks.metrics[name], [value.item()])
        assert list(hooks.columns) == ["harmful", "dull", "good"]
        for k, values in enumerate(hooks.columns.values()):
            assert_close(values, probs[:, k])

    def test_a_prefix_tells_several_models_apart(self, make_dprm, tokenizer, texts, hooks):
        function = RewardModelFunction(make_dprm(), tokenizer, log_prefix="safety/")
        function(**texts, log_metric=hooks.log_metric, log_extra=hooks.log_extra)
        assert list(hooks.columns) == ["safety/harmful", "safety/dull", "safety/good"]
        assert "proxy/safety/disagreement" in hooks.metrics

    def test_an_unanchored_model_reports_its_expected_reward_only(self, make_dprm, tokenizer, texts, hooks):
        function = RewardModelFunction(make_dprm(anchored=False), tokenizer)
        function(**texts, log_metric=hooks.log_metric, log_extra=hooks.log_extra)
        assert list(hooks.metrics) == ["proxy/expected_reward"]
        assert hooks.columns == {}

    def test_another_statistic_of_an_unanchored_model_is_warned_of(self, make_dprm, tokenizer, caplog):
        with caplog.at_level(logging.WARNING):
            RewardModelFunction(make_dprm(anchored=False), tokenizer)
            assert "unanchored" not in caplog.text
            RewardModelFunction(make_dprm(anchored=False), tokenizer, RewardStatistic("cvar"))
        assert "'dprm' is unanchored: it was trained on pairs alone" in caplog.text

    def test_a_scalar_model_reports_nothing(self, make_scalar, tokenizer, texts, hooks):
        function = RewardModelFunction(make_scalar(), tokenizer)
        function(**texts, log_metric=hooks.log_metric, log_extra=hooks.log_extra)
        assert hooks.metrics == hooks.columns == {}


class TestBadInput:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_reward_that_is_not_finite_stops_the_run_with_its_prompt(self, value, make_scalar, tokenizer, texts):
        model = make_scalar()
        with torch.no_grad():  # only texts with an exclamation mark
            model.model.embed_tokens.weight[tokenizer("!", add_special_tokens=False)["input_ids"][0]] = value
        message = "The reward model 'judge' gave nan for the prompt 'Hm' with the completion '!'. Check its weights"
        with pytest.raises(ValueError, match=message):
            RewardModelFunction(model, tokenizer, name="judge")(**texts)

    def test_a_sequence_beyond_the_positions_stops_the_run_with_its_prompt(self, make_dprm, tokenizer):
        function = RewardModelFunction(make_dprm(), tokenizer)
        assert len(function(["a" * 120], ["b" * 6])) == 1  # <s> and </s> make 128
        message = r"has 128 positions, but got 129 tokens for the prompt 'a+' with the completion 'b+'. Shorten"
        with pytest.raises(ValueError, match=message):
            function(["a" * 120], ["b" * 7])

    def test_a_sequence_beyond_the_training_s_length_is_warned_of_once(self, make_dprm, tokenizer, caplog):
        function = RewardModelFunction(make_dprm(tokenization={"max_length": 10}), tokenizer)
        with caplog.at_level(logging.WARNING):
            function(["12345"], ["678"])
            assert caplog.records == []
            function(["12345", "12345"], ["6789", "6789"])
            function(["12345"], ["6789"])
        assert len(caplog.records) == 1
        assert "trained on at most 10 tokens, but got 11 for the prompt '12345'" in caplog.text

    def test_a_conversation_without_a_chat_template_names_the_prompt(self, make_dprm, own_tokenizer, messages):
        own_tokenizer.chat_template = None
        with pytest.raises(
            ValueError, match=r"'dprm' cannot read the prompt \[\{'role': 'user', 'content': 'Say: '.*Set `tok"
        ):
            RewardModelFunction(make_dprm(), own_tokenizer)(**messages)

    def test_text_without_tokens_names_the_prompt(self, make_dprm, tokenizer):
        bare = {"add_special_tokens": False, "append_eos": False}
        with pytest.raises(ValueError, match="got no tokens for the prompt '' with the completion ''"):
            RewardModelFunction(make_dprm(tokenization=bare), tokenizer)([""], [""])

    def test_long_prompts_are_cut_in_messages(self, make_dprm, tokenizer):
        with pytest.raises(ValueError, match=r"aaa \[...\] aaa") as raised:
            RewardModelFunction(make_dprm(), tokenizer)(["a" * 9000], ["b"])
        assert len(str(raised.value)) < 1000

    def test_a_classifier_with_several_labels_is_refused(self, tokenizer):
        model = tiny_stock_model("llama", "classifier", num_labels=3)
        with pytest.raises(ValueError, match="has 3 labels, LABEL_0, LABEL_1, LABEL_2, and does not say what each is"):
            RewardModelFunction(model, tokenizer)

    def test_a_language_model_is_refused(self, tokenizer):
        with pytest.raises(TypeError, match="`LlamaForCausalLM` is a language model, no reward model"):
            RewardModelFunction(tiny_stock_model("llama", num_labels=1), tokenizer)

    def test_what_is_no_model_is_refused(self, tokenizer):
        with pytest.raises(TypeError, match="`Linear` is no reward model: pass a path, a Hub id, a DPRM"):
            RewardModelFunction(torch.nn.Linear(1, 1), tokenizer)

    def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(self, make_dprm, own_tokenizer):
        own_tokenizer.add_tokens(["<first>", "<second>"])
        message = "has 2 tokens beyond its 260 embeddings, the first is '<first>' with id 260: it is the tokenizer of"
        with pytest.raises(ValueError, match=message):
            RewardModelFunction(make_dprm(), own_tokenizer)

    def test_a_statistic_of_a_scalar_model_is_refused(self, make_scalar, tokenizer):
        with pytest.raises(
            ValueError, match="'llama' gives one number, not a distribution, so it has no statistic `cvar`"
        ):
            RewardModelFunction(make_scalar(), tokenizer, RewardStatistic("cvar"))

    def test_rewards_for_other_categories_are_refused(self, make_dprm, tokenizer):
        with pytest.raises(ValueError, match="names 'toxic'. The model has 3 categories: harmful, dull, good."):
            RewardModelFunction(make_dprm(), tokenizer, RewardStatistic(category_rewards={"toxic": -9.0}))
