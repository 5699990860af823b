"""The card of a policy says what was maximised, by whom it was judged, and what the numbers do not mean."""

import re

import pytest
from huggingface_hub import ModelCard

from trl_dprm.hub import RewardFacts, policy_model_card
from trl_dprm.ppo import ExpectedRewardPPOConfig

DPRM = RewardFacts(
    "org/reward", "distributional preference reward model", 0.5, "expected reward", [("bad", -1.0), ("good", 2.0)]
)
FUNCTION = RewardFacts("brevity", "reward function", 2.0)


@pytest.fixture
def make_card(tmp_path):
    """Function (rewards, metrics, options of the run…) -> card."""

    def make(rewards=(DPRM,), metrics=None, base_model="org/base", dataset_name=None, is_adapter=False, **options):
        args = ExpectedRewardPPOConfig(str(tmp_path / "run"), use_cpu=True, bf16=False, report_to="none", **options)
        return policy_model_card("my-policy", base_model, args, rewards, metrics or {}, dataset_name, None, is_adapter)

    return make


def cell(card, name):
    """The cell beside a name in one of the card's tables."""
    return re.search(rf"^\| {re.escape(name)} \| (.*?) \|", card.text, re.MULTILINE).group(1)


def test_says_what_was_maximised(make_card):
    card = make_card(rewards=(DPRM, FUNCTION))
    assert "PPO on the expected reward of [org/reward](https://huggingface.co/org/reward) + `brevity`. It" in card.text
    assert "trained by PPO on `brevity`. It" in make_card(rewards=(FUNCTION,)).text
    assert "expected reward | 0.5 |" in card.text and "reward function |  | 2 |" in card.text
    assert (cell(card, "bad"), cell(card, "good")) == ("-1", "2")


def test_says_how_it_was_trained(make_card):
    card = make_card(kl_coef=0.2, adaptive_kl=True, kl_target=3.0, num_ppo_epochs=3, gradient_accumulation_steps=4)
    assert cell(card, "KL coefficient, estimator") == "0.2 at first, adapted to 3 nats, k1"
    assert cell(card, "epochs, mini-batches per epoch") == "3, 1"
    assert cell(card, "completions per rollout") == str(4 * 8)
    assert "penalty of a completion without end" not in card.text
    assert cell(make_card(missing_eos_penalty=1.5), "penalty of a completion without end") == "1.5"


def test_the_reward_models_own_opinion_is_called_so(make_card):
    card = make_card(metrics={"reward": 0.25, "kl": 3.0, "proxy/good": 0.75, "learning_rate": 1.0})
    assert (cell(card, "`reward`"), cell(card, "`proxy/good`")) == ("0.2500", "0.7500")
    assert "own opinion" in card.text and "learning_rate" not in card.text
    assert "None had been logged" in make_card().text


def test_metadata_name_the_base_and_the_task(make_card):
    for is_adapter, library, relation in ((False, "transformers", "finetune"), (True, "peft", "adapter")):
        data = ModelCard(str(make_card(is_adapter=is_adapter, dataset_name="org/prompts"))).data
        assert (data.base_model, data.base_model_relation) == ("org/base", relation)
        assert (data.library_name, data.pipeline_tag, data.datasets) == (library, "text-generation", ["org/prompts"])


def test_no_path_of_this_machine_gets_into_a_card(make_card, tmp_path):
    reward = RewardFacts(str(tmp_path / "my-reward"), DPRM.kind, 1.0, "expected reward", DPRM.categories)
    card = make_card(rewards=(reward,), base_model=str(tmp_path / "my-base"), dataset_name=str(tmp_path / "my-data"))
    assert str(tmp_path) not in str(card)
    assert "`my-reward`" in card.text and "`my-base`" in card.text and "`my-data`" in card.text
