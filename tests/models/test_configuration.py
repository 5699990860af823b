"""DPRMConfig: what it promises, what it refuses, and that JSON keeps it."""

import copy
import json

import numpy as np
import pytest
from tiny_models import tiny_config
from transformers import AutoConfig

from trl_dprm import DPRMConfig
from trl_dprm.models.rope_dprm import rope_for_transformers_4

THREE = {"category_names": ["bad", "fair", "good"], "category_rewards": [-1.0, 0.25, 2.0]}
BY_LAYER_TYPE = {
    "full_attention": {"rope_type": "default", "rope_theta": 5e3},
    "sliding_attention": {"rope_type": "default", "rope_theta": 777.0},
}


def saved_backbone(backbone, folder):
    """Save a DPRM's configuration; returns what the file says of its backbone."""
    DPRMConfig(backbone).save_pretrained(folder)
    return json.loads((folder / "config.json").read_text())["text_config"]


class TestDefaults:
    def test_five_likert_categories(self):
        config = DPRMConfig(tiny_config("llama"))
        assert config.category_rewards == [-1.0, -0.5, 0.0, 0.5, 1.0]
        assert config.category_names == ["strongly disagree", "disagree", "neutral", "agree", "strongly agree"]
        assert (config.ground_cost, config.bradley_terry_scale, config.prior_strength) == ("rewards", 1.0, None)
        assert (config.anchored, config.tokenization) == (False, None)

    def test_own_names_for_the_default_rewards(self):
        assert DPRMConfig(category_names=list("abcde")).category_rewards == [-1.0, -0.5, 0.0, 0.5, 1.0]

    def test_rewards_alone_get_numbered_names(self):
        assert DPRMConfig(category_rewards=[3, 1]).category_names == ["category_1", "category_2"]

    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"num_labels": 1},
            {"id2label": {0: "x", 1: "y"}},
            {"label2id": {"x": 0}},
            {"problem_type": "single_label_classification"},
        ],
        ids=lambda given: next(iter(given), "nothing"),
    )
    def test_to_strangers_it_is_a_regression_with_one_label(self, given):
        config = DPRMConfig(tiny_config("bert"), **given)
        assert (config.num_labels, config.problem_type) == (1, "regression")
        assert (config.id2label, config.label2id) == ({0: "expected_reward"}, {"expected_reward": 0})
        assert config.auto_map["AutoConfig"] == "configuration_dprm.DPRMConfig"
        assert config.auto_map["AutoModel"] == config.auto_map["AutoModelForSequenceClassification"]

    @pytest.mark.parametrize("problem_type", [None, "regression", "multi_label_classification"])
    def test_the_backbone_becomes_a_classifier_of_categories(self, problem_type):
        backbone = DPRMConfig(tiny_config("bert", problem_type=problem_type), **THREE).text_config
        assert (backbone.num_labels, backbone.problem_type) == (3, "single_label_classification")
        assert (backbone.id2label, backbone.label2id) == (
            {0: "bad", 1: "fair", 2: "good"},
            {"bad": 0, "fair": 1, "good": 2},
        )

    def test_the_backbone_is_found_as_text_config(self):
        config = DPRMConfig(tiny_config("llama"))
        assert config.get_text_config() is config.text_config
        config.get_text_config().pad_token_id = 7
        assert config.text_config.pad_token_id == 7


class TestGroundCost:
    rewards = (1.0, 0.5, -1.0, -1.0)

    def test_distance_of_rewards_by_default(self):
        config = DPRMConfig(category_rewards=self.rewards)
        assert config.category_positions == list(self.rewards)
        assert config.cost_matrix == [[0, 0.5, 2, 2], [0.5, 0, 1.5, 1.5], [2, 1.5, 0, 0], [2, 1.5, 0, 0]]

    def test_distance_of_ranks(self):
        config = DPRMConfig(category_rewards=self.rewards, ground_cost="ranks")
        assert config.category_positions == [0.0, 1.0, 2.0, 3.0]
        assert config.cost_matrix == [[0, 1, 2, 3], [1, 0, 1, 2], [2, 1, 0, 1], [3, 2, 1, 0]]

    def test_an_explicit_matrix_has_no_line(self):
        matrix = [[0, 1, 5], [2, 0, 1], [1, 1, 0]]
        config = DPRMConfig(**THREE, ground_cost=matrix)
        assert config.category_positions is None
        assert config.cost_matrix == matrix
        config.cost_matrix[0][1] = 99
        assert config.cost_matrix == matrix

    @pytest.mark.parametrize("dtype", [np.int64, np.float32])
    def test_an_array_becomes_plain_numbers(self, dtype):
        config = DPRMConfig(**THREE, ground_cost=1 - np.eye(3, dtype=dtype))
        assert json.loads(config.to_json_string())["ground_cost"] == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]


FULL = {
    **THREE,
    "ground_cost": [[0.0, 1.0, 2.5], [1.0, 0.0, 1.0], [2.5, 1.0, 0.0]],
    "bradley_terry_scale": 2.5,
    "prior_strength": 3.75,
    "anchored": True,
    "tokenization": {"add_special_tokens": False, "append_eos": True, "max_length": None},
}


class TestJson:
    @pytest.mark.parametrize("backbone", ["llama", "gpt2", "modernbert"])
    @pytest.mark.parametrize("loader", [DPRMConfig, AutoConfig])
    def test_round_trip(self, backbone, loader, tmp_path):
        config = DPRMConfig(tiny_config(backbone), **FULL)
        config.save_pretrained(tmp_path)
        again = loader.from_pretrained(tmp_path)
        assert type(again) is DPRMConfig
        assert {name: getattr(again, name) for name in FULL} == FULL
        assert type(again.text_config) is type(config.text_config)
        assert again.text_config.to_dict() == config.text_config.to_dict()

    def test_where_the_backbone_lay_is_not_in_the_file(self, checkpoint, tmp_path):
        config = DPRMConfig(AutoConfig.from_pretrained(checkpoint("llama")), **FULL)
        assert config.text_config.name_or_path == checkpoint("llama")
        config.save_pretrained(tmp_path)
        assert "_name_or_path" not in (tmp_path / "config.json").read_text()
        again = AutoConfig.from_pretrained(tmp_path)
        assert again.name_or_path == str(tmp_path), "in memory it is known"
        again.save_pretrained(tmp_path / "again")
        assert (tmp_path / "again" / "config.json").read_text() == (tmp_path / "config.json").read_text()

    def test_the_file_says_what_it_is(self, tmp_path):
        DPRMConfig(tiny_config("llama"), **FULL).save_pretrained(tmp_path)
        content = json.loads((tmp_path / "config.json").read_text())
        assert (content["model_type"], content["text_config"]["model_type"]) == ("dprm", "llama")
        assert (content["id2label"], content["problem_type"]) == ({"0": "expected_reward"}, "regression")
        assert content["category_rewards"] == [-1.0, 0.25, 2.0]

    @pytest.mark.parametrize("backbone", ["llama", "qwen3", "mixtral"])
    @pytest.mark.parametrize("scaling", [{"rope_type": "default"}, {"rope_type": "linear", "factor": 4.0}])
    def test_rope_is_spelt_for_both_generations_of_transformers(self, backbone, scaling, tmp_path):
        rope = {**scaling, "rope_theta": 500000.0}
        content = saved_backbone(tiny_config(backbone, rope_parameters=rope), tmp_path)
        assert (content["rope_parameters"], content["rope_theta"]) == (rope, 500000.0)
        assert content.get("rope_scaling") == (scaling if "factor" in scaling else None)
        assert AutoConfig.from_pretrained(tmp_path).text_config.rope_parameters == rope
        assert AutoConfig.for_model(**content).rope_parameters == rope  # the stock export

    @pytest.mark.parametrize(
        ("backbone", "rope", "spelt"),
        [
            (
                "gpt_neox",
                {"rope_type": "default", "rope_theta": 5e5, "partial_rotary_factor": 0.5},
                {"rotary_emb_base": 5e5, "rotary_pct": 0.5},
            ),
            ("modernbert", BY_LAYER_TYPE, {"global_rope_theta": 5e3, "local_rope_theta": 777.0}),
            ("gemma3_text", BY_LAYER_TYPE, {"rope_theta": 5e3, "rope_local_base_freq": 777.0}),
        ],
    )
    def test_rope_under_a_model_s_own_names(self, backbone, rope, spelt, tmp_path):
        content = saved_backbone(AutoConfig.for_model(backbone, rope_parameters=copy.deepcopy(rope)), tmp_path)
        assert {name: content[name] for name in spelt} == spelt
        assert AutoConfig.from_pretrained(tmp_path).text_config.rope_parameters == rope
        assert AutoConfig.for_model(**content).rope_parameters == rope

    @pytest.mark.parametrize(
        ("backbone", "rope"),
        [
            (
                "modernbert",
                {**BY_LAYER_TYPE, "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e3}},
            ),
            ("olmo3", BY_LAYER_TYPE),
        ],
    )
    def test_rope_that_transformers_4_has_no_words_for(self, backbone, rope):
        assert rope_for_transformers_4(backbone, rope) is None

    def test_transformers_4_refuses_rope_that_it_would_ignore(self, tmp_path, monkeypatch):
        """Here the configuration classes of transformers 5 stand for one that has no such argument."""
        saved_backbone(tiny_config("llama"), tmp_path)
        monkeypatch.setattr("trl_dprm.models.rope_dprm.transformers_version", "4.57.6")
        with pytest.raises(
            ValueError, match=r"transformers 4\.57\.6 cannot read the rotary .* of this llama backbone"
        ):
            DPRMConfig.from_pretrained(tmp_path)

    def test_changes_on_the_way_in_are_checked(self, tmp_path):
        DPRMConfig(tiny_config("llama"), **FULL).save_pretrained(tmp_path)
        assert AutoConfig.from_pretrained(tmp_path, num_labels=1).num_labels == 1
        content = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**content, "category_rewards": [0.0, 1.0]}))
        with pytest.raises(ValueError, match="`category_names` has 3 entries and `category_rewards` has 2"):
            AutoConfig.from_pretrained(tmp_path)

    @pytest.mark.parametrize("loader", [DPRMConfig, AutoConfig])
    def test_what_is_given_beside_the_file_is_checked_with_it(self, loader, tmp_path):
        DPRMConfig(tiny_config("llama"), **FULL).save_pretrained(tmp_path)
        for given, message in (
            ({"category_names": ["a", "b"]}, "`category_names` has 2 entries and `category_rewards` has 3"),
            ({"category_rewards": [-1.0, 1.0]}, "`category_names` has 3 entries and `category_rewards` has 2"),
            ({"bradley_terry_scale": -1.0}, "must be positive and finite, got -1.0"),
        ):
            with pytest.raises(ValueError, match=message):
                loader.from_pretrained(tmp_path, **given)
        config = loader.from_pretrained(tmp_path, category_names=["x", "y", "z"], category_rewards=None)
        assert (config.category_names, config.category_rewards) == (["x", "y", "z"], FULL["category_rewards"])
        assert config.text_config.id2label == {0: "x", 1: "y", 2: "z"}

    def test_another_kind_of_model_is_refused(self, checkpoint):
        with pytest.raises(
            ValueError, match="configuration of a model of type `llama`, not of a DPRM: its categories"
        ):
            DPRMConfig.from_pretrained(checkpoint("llama"))


class TestRefusals:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"category_names": ["a", "b"]}, r"`category_names` has 2 names but `category_rewards` is missing"),
            (
                {"category_names": ["a"], "category_rewards": [0, 1]},
                r"`category_names` has 1 entries and `category_rewards` has 2: each category needs one name and one",
            ),
            ({"category_rewards": [1.0]}, r"at least two categories, got 1: \['category_1'\]"),
            ({"category_rewards": []}, r"at least two categories, got 0"),
            (
                {"category_names": ["a", "b", "a"], "category_rewards": [0, 1, 2]},
                r"must be distinct, but \['a'\] occur more than once",
            ),
            ({"category_rewards": [0.0, float("nan")]}, r"`category_rewards\[1\]` must be a finite number, got nan"),
            ({"category_rewards": [float("-inf"), 0]}, r"`category_rewards\[0\]` must be a finite number, got -inf"),
            ({"category_rewards": [0, "1"]}, r"`category_rewards\[1\]` must be a finite number, got '1'"),
            ({"category_rewards": [0, True]}, r"`category_rewards\[1\]` must be a finite number, got True"),
            ({"category_rewards": [0, None]}, r"`category_rewards\[1\]` must be a finite number, got None"),
            ({**THREE, "ground_cost": "reward"}, r'"rewards", "ranks" or a 3 × 3 matrix, got "reward"'),
            ({**THREE, "ground_cost": [[0, 1], [1, 0]]}, r"must be a 3 × 3 matrix, got 2 rows of lengths \[2\]"),
            (
                {**THREE, "ground_cost": [[0, 1, 1], [1, 0], [1, 1, 0]]},
                r"must be a 3 × 3 matrix, got 3 rows of lengths \[2, 3\]",
            ),
            (
                {**THREE, "ground_cost": [[0, 1, 1], [1, 0, -2], [1, 1, 0]]},
                r"`ground_cost\[1\]\[2\]` must be a non-negative finite number, got -2",
            ),
            (
                {**THREE, "ground_cost": [[0, 1, 1], [float("nan"), 0, 2], [1, 1, 0]]},
                r"`ground_cost\[1\]\[0\]` must be a non-negative finite number, got nan",
            ),
            (
                {**THREE, "ground_cost": [[0, 1, 1], [1, 0.5, 2], [1, 1, 0]]},
                r"`ground_cost\[1\]\[1\]` must be 0: staying in a category is free. Got 0.5",
            ),
            ({"bradley_terry_scale": 0}, r"`bradley_terry_scale` must be positive and finite, got 0"),
            ({"bradley_terry_scale": float("inf")}, r"`bradley_terry_scale` must be positive and finite, got inf"),
            ({"bradley_terry_scale": None}, r"`bradley_terry_scale` must be positive and finite, got None"),
            ({"prior_strength": -1.0}, r"`prior_strength` is a positive number of annotators or None, got -1.0"),
            ({"prior_strength": "3"}, r"`prior_strength` is a positive number of annotators or None, got 3"),
            (
                {"num_labels": 5},
                r"`num_labels` of a DPRM is always 1 \(the expected reward\). The number of categories",
            ),
        ],
        ids=lambda value: None if isinstance(value, str) else "-".join(value),
    )
    def test_message(self, given, message):
        with pytest.raises(ValueError, match=message):
            DPRMConfig(tiny_config("llama"), **given)
