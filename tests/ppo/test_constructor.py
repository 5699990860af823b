"""What the PPO trainer's constructor accepts and refuses, before the first rollout."""

import inspect

import pytest
from tiny_arguments import CPU, arguments
from tiny_models import VOCAB_SIZE, tiny_stock_model
from transformers import TrainingArguments
from trl import GRPOConfig, GRPOTrainer, RewardConfig

from trl_dprm import DPRMConfig, DPRMTrainingArguments
from trl_dprm.ppo import constructor
from trl_dprm.ppo.constructor import (
    check_arguments,
    check_models,
    rewards_of,
    safe_tokenizer,
    tokenizer_of,
)
from trl_dprm.ppo.expected_reward_ppo_config import ExpectedRewardPPOConfig
from trl_dprm.ppo.expected_reward_ppo_trainer import ExpectedRewardPPOTrainer

pytestmark = pytest.mark.usefixtures("process_state")

OLD_KEYWORDS = {
    *("args", "processing_class", "model", "ref_model", "reward_model", "train_dataset", "value_model"),
    *("data_collator", "eval_dataset", "optimizers", "callbacks", "peft_config"),
}
BOS, EOS, PAD = 1, 2, 0


class TestKeywords:
    def test_the_constructor_takes_trl_s_keywords_in_their_order_and_the_old_ones(self):
        ours = list(inspect.signature(ExpectedRewardPPOTrainer.__init__).parameters)
        trls = list(inspect.signature(GRPOTrainer.__init__).parameters)
        assert ours[: len(trls)] == trls
        assert set(ours) >= OLD_KEYWORDS

    def test_its_own_config_is_taken_as_it_is(self, tmp_path, policy):
        args = arguments(tmp_path)
        assert check_arguments(args, policy) is args

    @pytest.mark.parametrize("model", ["org/story", "/models/story"])
    def test_without_config_the_run_is_named_after_the_policy(self, model, monkeypatch):
        class OnTheCPU(ExpectedRewardPPOConfig):
            def __init__(self, output_dir):
                super().__init__(output_dir, **CPU)

        monkeypatch.setattr(constructor, "ExpectedRewardPPOConfig", OnTheCPU)
        args = check_arguments(None, model)
        assert isinstance(args, ExpectedRewardPPOConfig)
        assert args.output_dir == "story-PPO"

    WRONG = {
        "GRPOConfig": (lambda: GRPOConfig("out", **CPU), "Its defaults are GRPO's"),
        "DPRMConfig": (DPRMConfig, "It describes a model"),
        "DPRMTrainingArguments": (
            lambda: DPRMTrainingArguments("out", **CPU),
            "the training of a reward model, by `D",
        ),
        "RewardConfig": (lambda: RewardConfig("out", **CPU), "the training of a reward model, by `DPRMTrainer` or"),
        "TrainingArguments": (lambda: TrainingArguments("out", use_cpu=True), "It describes another trainer's run"),
        "dict": (dict, ""),
    }

    @pytest.mark.parametrize("name", sorted(WRONG))
    def test_a_config_of_another_class_is_told_the_right_one(self, name):
        make, hint = self.WRONG[name]
        with pytest.raises(TypeError, match=rf"`args` is a `{name}`; use `ExpectedRewardPPOConfig`\..*{hint}"):
            check_arguments(make(), "policy")

    def test_the_old_order_of_positional_arguments_is_recognised(self, tmp_path):
        with pytest.raises(
            TypeError, match=r"first argument is `model`, and got `ExpectedRewardPPOConfig`.*by keyword"
        ):
            check_arguments(None, arguments(tmp_path))

    def test_a_missing_policy(self, tmp_path):
        with pytest.raises(TypeError, match="`model`, the policy, is missing"):
            check_arguments(arguments(tmp_path), None)

    def test_rewards_by_either_keyword(self, policy):
        assert rewards_of(policy, None) == rewards_of(None, policy) == [policy]
        assert rewards_of(["a", len], None) == ["a", len]
        assert rewards_of(None, None, environment_factory=object) == []

    BAD_REWARDS = {
        "both": (("a", "b"), ValueError, "`reward_funcs` and `reward_model` are both given"),
        "none": ((None, None), ValueError, "There is nothing to maximise: give `reward_model`, or `reward_funcs`"),
        "empty": (([], None), ValueError, "There is nothing to maximise"),
        "hole": ((["a", None], None), TypeError, "Reward 1 of the list is None"),
    }

    @pytest.mark.parametrize("case", sorted(BAD_REWARDS))
    def test_bad_rewards(self, case):
        given, error, message = self.BAD_REWARDS[case]
        with pytest.raises(error, match=message):
            rewards_of(*given)

    SAME = {
        "ref_model": {"ref_model": "policy"},
        "value_model": {"value_model": "policy"},
        "reward_model": {"reward_sources": ["policy"]},
    }

    @pytest.mark.parametrize("place", sorted(SAME))
    def test_one_object_in_two_places(self, place, policy):
        parts = {name: [policy] if isinstance(part, list) else policy for name, part in self.SAME[place].items()}
        with pytest.raises(ValueError, match=rf"`{place}` and `model` are the same object. For `{place}`, l"):
            check_models(policy, **parts)

    def test_the_critic_may_not_be_the_reward_model(self, policy):
        other = tiny_stock_model("llama")
        with pytest.raises(ValueError, match=r"`reward_model` and `value_model` are the same object"):
            check_models(policy, value_model=other, reward_sources=[other])

    def test_one_path_or_function_in_two_places_is_fine(self, policy):
        check_models("path", ref_model="path", value_model="path", reward_sources=["path"])
        check_models(policy, reward_sources=[len, len])

    def test_an_old_data_collator_is_said_to_be_unused(self, policy, caplog):
        check_models(policy, data_collator=list)
        assert "`data_collator` (type) is not used: rollouts are padded by the trainer" in caplog.text


class TestSafeTokenizer:
    def test_a_padding_token_that_the_policy_embeds_stays(self, tokenizer, caplog):
        assert safe_tokenizer(tokenizer, VOCAB_SIZE) is tokenizer
        assert not caplog.records

    def test_the_old_example_s_padding_token_never_reaches_a_forward(self, own_tokenizer, policy, caplog):
        own_tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        assert own_tokenizer.pad_token_id == VOCAB_SIZE  # no row of the embeddings
        safe = safe_tokenizer(own_tokenizer, VOCAB_SIZE)
        assert (safe.pad_token, safe.pad_token_id) == ("</s>", EOS)
        assert own_tokenizer.pad_token == "[PAD]", "the user's tokenizer was changed"
        assert "pads with '[PAD]', id 260, for which the policy's 260 embeddings have no row" in caplog.text
        batch = safe(["once", "upon a time"], padding=True, return_tensors="pt")
        assert policy(**batch).logits.isfinite().all()

    def test_a_missing_padding_token(self, own_tokenizer, caplog):
        own_tokenizer.pad_token = None
        assert safe_tokenizer(own_tokenizer, VOCAB_SIZE).pad_token_id == EOS
        assert own_tokenizer.pad_token is None
        assert "The tokenizer has no padding token. A copy that pads with EOS, '</s>' (id 2)" in caplog.text

    def test_a_missing_eos_token(self, own_tokenizer):
        own_tokenizer.eos_token = None
        with pytest.raises(
            ValueError, match=r"has no EOS token, and the policy has 260 embeddings: no completion could"
        ):
            safe_tokenizer(own_tokenizer, VOCAB_SIZE)

    def test_an_eos_token_without_embedding(self, own_tokenizer):
        own_tokenizer.add_special_tokens({"eos_token": "[EOS]"})
        with pytest.raises(ValueError, match=r"has the EOS token '\[EOS\]' with id 260, and the policy has 260 embed"):
            safe_tokenizer(own_tokenizer, VOCAB_SIZE)

    def test_no_tokenizer_at_all(self):
        with pytest.raises(TypeError, match="`processing_class` is a `str`; give the policy's tokenizer"):
            tokenizer_of("path")
