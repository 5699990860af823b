"""From whatever names a reward to reward functions, and the errors that come before the first rollout."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import tiny_stock_model
from transformers import AutoModelForSequenceClassification

from trl_dprm.rewards import (
    RewardModelFunction,
    RewardStatistic,
    dprm_reward_function,
    load_reward_functions,
    load_reward_model,
)


@pytest.fixture
def load(make_args, tokenizer):
    """Function (reward_funcs, reward_processing_classes=None, **options) -> functions and names."""

    def load(reward_funcs, reward_processing_classes=None, policy_tokenizer=tokenizer, **options):
        return load_reward_functions(reward_funcs, reward_processing_classes, make_args(**options), policy_tokenizer)

    return load


def with_adapter(model):
    """LoRA with weights that change the rewards."""
    torch.manual_seed(2)
    peft_model = get_peft_model(model, LoraConfig(r=2, task_type="SEQ_CLS", target_modules="all-linear"))
    for name, parameter in peft_model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return peft_model.eval()


@pytest.fixture
def adapter(tmp_path, saved, tokenizer):
    """Function (model) -> (PEFT model on a saved copy of it, folder of the adapter with the tokenizer)."""

    def make(model, config_beside=False):
        base = type(model).from_pretrained(saved(model, "base"))
        peft_model, folder = with_adapter(base), tmp_path / "adapter"
        peft_model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if config_beside:
            base.config.save_pretrained(folder)
        return peft_model, str(folder)

    return make


class TestSources:
    def test_a_folder_and_an_instance_of_it_give_the_same(self, make_dprm, saved, tokenizer, texts):
        model = make_dprm()
        folder = saved(model)
        expected = RewardModelFunction(model, tokenizer)(**texts)
        for source in (folder, Path(folder), AutoModelForSequenceClassification.from_pretrained(folder)):
            function = dprm_reward_function(source)
            assert function(**texts) == expected
            assert function.__name__ == "reward-model"
            assert function.processing_class.get_vocab() == tokenizer.get_vocab()
        assert dprm_reward_function(folder + "/", name="judge").__name__ == "judge"

    def test_a_peft_model_and_its_folder_give_the_same(self, make_dprm, adapter, tokenizer, texts):
        model, folder = adapter(make_dprm(), config_beside=True)
        expected = RewardModelFunction(model, tokenizer)(**texts)
        assert np.abs(np.subtract(expected, RewardModelFunction(make_dprm(), tokenizer)(**texts))).max() > 1e-3
        np.testing.assert_allclose(dprm_reward_function(folder)(**texts), expected, rtol=0, atol=1e-6)

    def test_a_scalar_model_and_its_folder_give_the_same(self, make_scalar, saved, tokenizer, texts):
        model = make_scalar()
        function = dprm_reward_function(saved(model))
        assert function(**texts) == RewardModelFunction(model, tokenizer)(**texts)
        assert not function.is_distributional

    def test_a_scalar_adapter_and_its_folder_give_the_same(self, make_scalar, adapter, tokenizer, texts):
        model, folder = adapter(make_scalar())
        expected = RewardModelFunction(model, tokenizer)(**texts)
        np.testing.assert_allclose(dprm_reward_function(folder)(**texts), expected, rtol=0, atol=1e-6)

    def test_options_reach_the_function(self, make_dprm, saved, texts):
        function = dprm_reward_function(
            saved(make_dprm()),
            statistic="cvar",
            level=0.3,
            weight=0.4,
            category_rewards={"harmful": -7},
            batch_size=3,
            log_prefix="x/",
            dtype="bfloat16",
            device="cpu",
        )
        assert function.statistic == RewardStatistic("cvar", 0.3, 0.4, {"harmful": -7})
        assert (function.batch_size, function.log_prefix) == (3, "x/")
        assert function.model.model.embed_tokens.weight.dtype == torch.bfloat16

    def test_a_loaded_model_goes_to_the_process_s_device_at_its_first_call(self, make_dprm, saved, texts, monkeypatch):
        moves = []
        monkeypatch.setattr(RewardModelFunction, "to", lambda self, device: moves.append(str(device)) or self)
        folder = saved(make_dprm())
        dprm_reward_function(make_dprm(), processing_class=dprm_reward_function(folder).processing_class)(**texts)
        assert moves == []  # an instance stays where it is
        dprm_reward_function(folder)(**texts)
        assert len(moves) == 1
        dprm_reward_function(folder, device="cpu")(**texts)
        assert moves[1:] == ["cpu"]


class TestListsForTheTrainer:
    def test_every_kind_in_one_list(self, load, make_dprm, make_scalar, saved, tokenizer, texts):
        def length(prompts, completions, **columns):
            return [float(len(completion)) for completion in completions]

        async def sometimes(prompts, completions, **columns):
            return [None if not completion else 1.0 for completion in completions]

        dprm, scalar = make_dprm(), make_scalar()
        sources = [saved(dprm), scalar, length, sometimes, dprm_reward_function(dprm, processing_class=tokenizer)]
        functions, names = load(sources, [None, tokenizer, None, None, None])
        assert names == ["reward-model", "llama", "length", "sometimes", "dprm"]
        assert [function.__name__ for function in functions] == names
        assert functions[0](**texts) == functions[4](**texts) == RewardModelFunction(dprm, tokenizer)(**texts)
        assert functions[1](**texts) == RewardModelFunction(scalar, tokenizer)(**texts)
        assert functions[2](**texts) == [2.0, 18.0, 0.0, 1.0]
        assert asyncio.run(functions[3](**texts)) == [1.0, 1.0, None, 1.0]
        assert functions[4] is sources[4]

    @pytest.mark.parametrize("as_list", [False, True])
    def test_one_reward_needs_no_list(self, load, make_dprm, tokenizer, as_list):
        model = make_dprm()
        functions, names = load([model], [tokenizer]) if as_list else load(model, tokenizer)
        assert names == ["dprm"] and functions[0].model is model

    def test_no_reward_is_left_to_trl(self, load):
        assert load(None) == ([], [])

    def test_the_statistic_holds_for_dprms_loaded_here(self, load, make_dprm, make_scalar, tokenizer):
        own = dprm_reward_function(make_dprm(), processing_class=tokenizer)
        functions, _ = load(
            [make_dprm(), make_scalar(), own],
            [tokenizer, tokenizer, None],
            reward_statistic="lower_semideviation",
            semideviation_weight=0.25,
            cvar_level=0.4,
            reward_category_rewards={"dull": -0.5},
            local_rollout_forward_batch_size=7,
        )
        assert functions[0].statistic == RewardStatistic("lower_semideviation", 0.4, 0.25, {"dull": -0.5})
        assert functions[1].statistic == functions[2].statistic == RewardStatistic()
        assert functions[0].batch_size == functions[1].batch_size == 7

    def test_the_statistic_may_be_that_of_a_function_made_before(self, load, make_dprm, tokenizer):
        """Shared-backbone mode makes its reward function itself."""
        model = make_dprm()
        shared = RewardModelFunction(model, tokenizer, RewardStatistic("cvar", level=0.2), config=model.config)
        functions, _ = load(shared, reward_statistic="cvar", cvar_level=0.2)
        assert functions == [shared]

    def test_equal_names_are_numbered_and_several_dprms_log_apart(self, load, make_dprm, tokenizer):
        functions, names = load([make_dprm(), make_dprm(), len, len], [tokenizer, tokenizer, None, None])
        assert names == ["dprm", "dprm_2", "len", "len_2"]
        assert [function.log_prefix for function in functions[:2]] == ["dprm/", "dprm_2/"]
        assert load(make_dprm(), tokenizer)[0][0].log_prefix == ""

    def test_the_policy_s_ids_are_read_by_models_with_its_tokenizer(self, load, make_dprm, tokenizer, own_tokenizer):
        assert load(make_dprm(), tokenizer)[0][0].shares_policy_tokenizer
        own_tokenizer.add_tokens(["<tool>"])
        functions, _ = load(make_dprm(), tokenizer, policy_tokenizer=own_tokenizer)
        assert not functions[0].shares_policy_tokenizer

    def test_options_for_loading_hold_but_for_the_policy_s_revision(self, load, make_dprm, saved, monkeypatch):
        seen = {}

        def remember(source, processing_class, **options):
            seen.update(options)
            return load_reward_model(source, processing_class, **options)

        monkeypatch.setattr("trl_dprm.rewards.loading.load_reward_model", remember)
        functions, _ = load(saved(make_dprm()), model_init_kwargs={"dtype": "bfloat16", "revision": "step-100"})
        assert functions[0].model.dtype == torch.bfloat16
        assert seen == {"dtype": "bfloat16", "trust_remote_code": False}

    def test_chat_template_options_hold_as_in_trl(self, load, make_dprm, own_tokenizer, messages):
        own_tokenizer.chat_template = "{{ greeting }}" + own_tokenizer.chat_template
        functions, _ = load(make_dprm(), own_tokenizer, chat_template_kwargs={"greeting": "hi"})
        ids = functions[0].token_ids(messages["prompts"][0], messages["completions"][0])
        assert own_tokenizer.decode(ids) == "hiuser: Say: </s>assistant: no</s>"
        ids = functions[0].token_ids(messages["prompts"][0], messages["completions"][0], None, {"greeting": "yo"})
        assert own_tokenizer.decode(ids).startswith("youser")


class TestBadInput:
    def test_a_language_model_s_folder_has_no_head(self, saved):
        folder = saved(tiny_stock_model("llama"))
        with pytest.raises(ValueError, match=r"does not hold the reward head: score.weight would be random"):
            dprm_reward_function(folder)

    def test_a_classifier_s_folder_with_several_labels_has_no_reward_head(self, saved):
        folder = saved(tiny_stock_model("llama", "classifier", num_labels=3))
        with pytest.raises(ValueError, match=r"does not hold the reward head: score.weight would be random"):
            dprm_reward_function(folder)

    def test_a_dprm_s_folder_without_its_head(self, make_dprm, saved):
        folder = saved(make_dprm())
        file = Path(folder) / "model.safetensors"
        tensors = load_file(file)
        del tensors["score.weight"]
        save_file(tensors, file, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=r"does not hold these tensors of .*score.weight \(missing\)"):
            dprm_reward_function(folder)

    def test_a_scalar_adapter_without_its_head(self, make_scalar, adapter, checkpoint):
        _, folder = adapter(make_scalar())
        description = Path(folder) / "adapter_config.json"
        content = json.loads(description.read_text()) | {"base_model_name_or_path": checkpoint("llama")}
        description.write_text(json.dumps(content))
        assert not dprm_reward_function(folder).is_distributional  # the adapter brings the head
        file = Path(folder) / "adapter_model.safetensors"
        tensors = {name: tensor for name, tensor in load_file(file).items() if "score" not in name}
        save_file(tensors, file, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=r"nor its base .* holds the reward head: score.weight would be random"):
            dprm_reward_function(folder)

    def test_pickled_weights(self, make_scalar, saved, adapter):
        _, of_adapter = adapter(make_scalar())
        for folder, name, pickled in (
            (saved(make_scalar()), "model", "pytorch_model"),
            (of_adapter, "adapter_model", "adapter_model"),
        ):
            file = Path(folder) / f"{name}.safetensors"
            torch.save(load_file(file), file.with_name(f"{pickled}.bin"))
            file.unlink()
            with pytest.raises(OSError, match=rf"file named {name}\.safetensors"):
                dprm_reward_function(folder)

    def test_an_adapter_over_a_dprm_without_its_configuration(self, make_dprm, adapter):
        _, folder = adapter(make_dprm())
        with pytest.raises(ValueError, match=r"is over a DPRM \(.*\), but there is no DPRM's `config.json` beside it"):
            dprm_reward_function(folder)

    def test_a_folder_without_a_model(self, tmp_path):
        with pytest.raises(ValueError, match="holds neither `config.json` nor `adapter_config.json`"):
            dprm_reward_function(str(tmp_path))

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="No reward model at .*/absent"):
            dprm_reward_function(str(tmp_path / "absent"))

    @pytest.mark.parametrize("backbone", ["llama", "gpt2"])  # transformers makes an empty GPT-2 tokenizer of nothing
    def test_a_folder_without_a_tokenizer(self, backbone, make_dprm, saved, tokenizer):
        folder = saved(make_dprm(backbone), tokenizer=None)
        with pytest.raises(ValueError, match=f"no tokenizer beside the reward model {folder}. Pass its own as"):
            dprm_reward_function(folder)
        assert dprm_reward_function(folder, processing_class=tokenizer).tokenizer is tokenizer

    def test_an_instance_from_nowhere_without_a_tokenizer(self, make_dprm):
        with pytest.raises(ValueError, match="no tokenizer beside the reward model. Pass its own as"):
            dprm_reward_function(make_dprm())

    def test_another_model_s_tokenizer(self, load, make_dprm, saved, tokenizer, own_tokenizer):
        vocabulary = json.loads(own_tokenizer.backend_tokenizer.to_str())
        tokens = vocabulary["model"]["vocab"]
        tokens["a"], tokens["b"] = tokens["b"], tokens["a"]
        other = type(own_tokenizer)(
            tokenizer_object=type(own_tokenizer.backend_tokenizer).from_str(json.dumps(vocabulary)), pad_token="<pad>"
        )
        folder = saved(make_dprm())
        for source in (folder, AutoModelForSequenceClassification.from_pretrained(folder)):
            with pytest.raises(ValueError, match=f"reward model {folder} numbers its tokens otherwise"):
                load(source, other)
        assert load(folder, tokenizer)[0][0].tokenizer is tokenizer

    def test_options_for_loading_what_is_loaded(self, make_dprm, tokenizer):
        with pytest.raises(ValueError, match="dtype: for loading, but the reward model is loaded already"):
            dprm_reward_function(make_dprm(), processing_class=tokenizer, dtype="bfloat16")

    def test_tokenizers_that_do_not_match_the_rewards(self, load, make_dprm, tokenizer):
        with pytest.raises(ValueError, match="There are 2 reward functions and 1 `reward_processing_classes`"):
            load([make_dprm(), len], [tokenizer])

    @pytest.mark.parametrize("option", [{"reward_statistic": "cvar"}, {"reward_category_rewards": {"harmful": -9.0}}])
    def test_a_statistic_that_no_reward_has(self, load, make_scalar, make_dprm, tokenizer, option):
        own = dprm_reward_function(make_dprm(), processing_class=tokenizer)
        with pytest.raises(ValueError, match="is set, but no reward is a DPRM that it could be read from"):
            load([make_scalar(), len, own], [tokenizer, None, None], **option)

    def test_rewards_for_other_categories(self, load, make_dprm, tokenizer):
        with pytest.raises(ValueError, match="names 'toxic'. The model has 3 categories: harmful, dull, good."):
            load(make_dprm(), tokenizer, reward_category_rewards={"toxic": -9.0})

    def test_what_is_no_reward(self, load):
        with pytest.raises(TypeError, match="a path, a Hub id, a model or a function, got `int`"):
            load([3])
