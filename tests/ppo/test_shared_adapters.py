"""What cannot share a backbone is refused, by name, before the first rollout."""

import copy

import pytest
from peft import IA3Config, get_peft_model
from shared_models import lora, train_reward_adapter
from transformers import AutoModelForCausalLM

from trl_dprm.ppo.shared_adapters import read_reward_adapter
from trl_dprm.ppo.shared_backbone import SharedBackbone


def test_arguments_that_exclude_sharing(make_shared, make_ppo, backbone, reward_folder, reward_adapter):
    value_model = AutoModelForCausalLM.from_pretrained(backbone)
    with pytest.raises(ValueError, match="`value_model` and `share_backbone=True` exclude each other"):
        make_shared(trainer={"value_model": value_model})
    with pytest.raises(ValueError, match="`ref_model` and `share_backbone=True` exclude each other"):
        make_shared(trainer={"ref_model": value_model})
    with pytest.raises(ValueError, match="`share_backbone=True` does not go with `use_vllm`"):
        make_shared(use_vllm=True)
    with pytest.raises(TypeError, match="needs a policy that is an adapter on its backbone"):
        make_ppo(backbone, reward_adapter, share_backbone=True)
    with pytest.raises(ValueError, match=r"`use_reentrant=False` in `gradient_checkpointing_kwargs`"):
        make_shared(gradient_checkpointing=True, gradient_checkpointing_kwargs={"use_reentrant": True})
    with pytest.raises(TypeError, match="folder or Hub id of a DPRM adapter as the first reward, got `function`"):
        make_shared(reward_funcs=[lambda prompts, **_: [0.0] * len(prompts)])
    with pytest.raises(ValueError, match="holds no adapter"):
        make_shared(reward_funcs=reward_folder)
    with pytest.raises(FileNotFoundError, match="no-such-adapter"):
        make_shared(reward_funcs="./no-such-adapter")


def test_adapters_that_cannot_share(make_shared, backbone, tmp_path):
    with pytest.raises(TypeError, match="`peft_config` is a `IA3Config`"):
        make_shared(trainer={"peft_config": IA3Config(task_type="CAUSAL_LM")})
    with pytest.raises(ValueError, match="`bias='all'`"):
        make_shared(trainer={"peft_config": lora(bias="all")})
    with pytest.raises(ValueError, match=r"`modules_to_save=\['embed_tokens'\]`"):
        make_shared(trainer={"peft_config": lora(modules_to_save=["embed_tokens"])})
    with pytest.raises(ValueError, match="`init_lora_weights='pissa'`, which changes the backbone's weights"):
        make_shared(trainer={"peft_config": lora(init_lora_weights="pissa")})
    two = get_peft_model(AutoModelForCausalLM.from_pretrained(backbone), lora())
    two.add_adapter("critic", lora())
    with pytest.raises(ValueError, match=r"adapters \['critic', 'default'\]"):
        make_shared(two)
    get_peft_model(AutoModelForCausalLM.from_pretrained(backbone), lora()).save_pretrained(tmp_path / "policy")
    with pytest.raises(ValueError, match="is no DPRM's adapter"):
        make_shared(reward_funcs=str(tmp_path / "policy"))


def test_another_backbone(make_shared, make_ppo, backbone_folder, reward_adapter):
    other = backbone_folder("llama", num_hidden_layers=1)
    with pytest.raises(ValueError, match="was trained on .*, but the policy's backbone is"):
        make_ppo(other, reward_adapter, trainer={"peft_config": lora()}, share_backbone=True)


def test_a_reward_adapter_names_the_backbone_that_it_was_trained_on(reward_adapter, backbone):
    """What the check relies on: `DPRMTrainer` writes the language model's folder, not a DPRM's."""
    assert read_reward_adapter(reward_adapter).base == backbone


def test_a_path_to_the_same_folder(make_shared, backbone):
    assert make_shared(f"{backbone}/.").shared is not None


def test_an_adapter_that_does_not_fit(backbone, reward_adapter):
    reward = read_reward_adapter(reward_adapter)
    name = next(iter(reward.lora_tensors))
    del reward.lora_tensors[name]
    policy = get_peft_model(AutoModelForCausalLM.from_pretrained(backbone), lora())
    with pytest.raises(ValueError, match="does not fit the policy's backbone"):
        SharedBackbone(policy, reward)


def test_an_encoder(backbone_folder, tmp_path, make_ppo):
    base = backbone_folder("bert")
    adapter = train_reward_adapter(base, tmp_path)
    with pytest.raises(ValueError, match=f"head of {adapter} is not one linear layer of 3 categories"):
        make_ppo(base, adapter, trainer={"peft_config": lora()}, share_backbone=True)


def test_a_tokenizer_that_numbers_otherwise(make_shared, tokenizer):
    other = copy.deepcopy(tokenizer)
    other.add_tokens(["<new>"])
    with pytest.raises(ValueError, match="tokenizers of the policy and of the reward adapter .* number tokens"):
        make_shared(trainer={"reward_processing_classes": other})
