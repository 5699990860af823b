"""Where the critic comes from, and that it is trained with the policy."""

import copy
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tiny_models import tiny_config, tiny_stock_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, TrainerCallback

from trl_dprm import DPRMForSequenceClassification
from trl_dprm.ppo.critic import Critic, is_causal, new_value_head


def constant(completion_ids, **columns):
    return [1.0] * len(completion_ids)


def same_tensors(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("as_path", [True, False], ids=["path", "instance"])
def test_a_dprm_lends_its_backbone_to_a_fresh_head(make_ppo, reward_folder, as_path):
    dprm = DPRMForSequenceClassification.from_pretrained(reward_folder)
    critic = make_ppo(reward_funcs=constant, trainer={"value_model": reward_folder if as_path else dprm}).critic
    assert same_tensors(critic.backbone, dprm.base_model)
    assert critic.head.weight.shape == (1, 32) and critic.head.bias is None
    assert not any(torch.equal(critic.head.weight[0], row) for row in dprm.score.weight)


@pytest.mark.parametrize("as_path", [True, False], ids=["path", "instance"])
def test_a_classifier_with_one_label_keeps_its_head(make_ppo, checkpoint, as_path):
    folder = checkpoint("llama", "classifier", num_labels=1)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    stock = copy.deepcopy(model)
    critic = make_ppo(reward_funcs=constant, trainer={"value_model": folder if as_path else model}).critic
    assert same_tensors(critic.backbone, stock.model)
    assert torch.equal(critic.head.weight, stock.score.weight)


@pytest.mark.parametrize("what", ["model", "value_model"])
def test_pickled_weights_are_not_read(make_ppo, backbone, what, tmp_path):
    """Neither the policy's nor the critic's."""
    folder = shutil.copytree(backbone, tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    given = {"model": str(folder)} if what == "model" else {"trainer": {"value_model": str(folder)}}
    with pytest.raises(OSError, match=r"no file named model\.safetensors, and pickled weights are not read"):
        make_ppo(reward_funcs=constant, **given)


def test_several_labels_and_language_models_lend_their_backbone(make_ppo, checkpoint):
    for kind, options in (("classifier", {"num_labels": 3}), ("lm", {})):
        folder = checkpoint("llama", kind, **options)
        critic = make_ppo(reward_funcs=constant, trainer={"value_model": folder}).critic
        assert critic.head.weight.shape == (1, 32)
        assert same_tensors(critic.backbone, tiny_stock_model("llama", kind, **options).base_model)


def test_without_a_value_model_the_reward_models_backbone_is_copied(make_ppo, reward_folder):
    trainer = make_ppo()
    reward_model = trainer.reward_funcs[0].model
    assert same_tensors(trainer.critic.backbone, reward_model.base_model)
    assert trainer.critic.backbone is not reward_model.base_model
    assert all(p.requires_grad for p in trainer.critic.parameters())


@pytest.mark.parametrize("reward", ["function", "other tokenizer", "encoder"])
def test_else_the_policys(make_ppo, backbone, checkpoint, tokenizer, tmp_path, reward):
    reward_funcs, classes = constant, None
    if reward == "other tokenizer":
        reward_funcs = tiny_stock_model("llama", "classifier", seed=8, num_labels=1)
        classes = renumbered(tokenizer, tmp_path)
    if reward == "encoder":
        reward_funcs, classes = tiny_stock_model("bert", "classifier", num_labels=1), tokenizer
    trainer = make_ppo(reward_funcs=reward_funcs, trainer={"reward_processing_classes": classes})
    policy = AutoModelForCausalLM.from_pretrained(backbone)
    assert same_tensors(trainer.critic.backbone, policy.model)
    assert trainer.critic.backbone is not trainer.model.model


def renumbered(tokenizer, folder):
    """The same tokens, two of them under each other's ids."""
    tokenizer.save_pretrained(folder / "other")
    text = (folder / "other" / "tokenizer.json").read_text(encoding="utf-8")
    text = text.replace('"a": ', '"A ": ').replace('"b": ', '"a": ').replace('"A ": ', '"b": ')
    (folder / "other" / "tokenizer.json").write_text(text, encoding="utf-8")
    return type(tokenizer).from_pretrained(folder / "other")


def test_a_reward_model_in_half_precision_lends_a_float32_critic(make_ppo, reward_folder):
    reward = DPRMForSequenceClassification.from_pretrained(reward_folder, dtype=torch.bfloat16)
    critic = make_ppo(reward_funcs=reward).critic
    assert {p.dtype for p in critic.parameters()} == {torch.float32}


@pytest.mark.parametrize("wrapped", [True, False], ids=["PeftModel", "peft_config"])
def test_the_critic_of_an_adapter_starts_from_the_policy_as_it_is(make_ppo, backbone, wrapped):
    model, lora = AutoModelForCausalLM.from_pretrained(backbone), LoraConfig(r=2, target_modules=["q_proj"])
    if wrapped:
        model = get_peft_model(model, lora)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
    expected = copy.deepcopy(model).merge_and_unload() if wrapped else copy.deepcopy(model)
    trainer = make_ppo(model, constant, trainer={"peft_config": None if wrapped else lora}, max_steps=1)
    assert same_tensors(trainer.critic.backbone, expected.base_model)
    before = copy.deepcopy(trainer.critic)
    trainer.train()
    assert not same_tensors(trainer.critic.backbone, before.backbone)


@pytest.mark.parametrize("backbone_type", ["bert", "modernbert"])
def test_an_encoder_is_refused(make_ppo, backbone_type):
    encoder = tiny_stock_model(backbone_type, "classifier", num_labels=1)
    with pytest.raises(TypeError, match="is an encoder: its value of a state would depend on the tokens that follow"):
        make_ppo(reward_funcs=constant, trainer={"value_model": encoder})
    assert not is_causal(encoder.base_model)


@pytest.mark.parametrize("backbone_type", ["llama", "qwen3", "gpt2", "gpt_neo", "gpt_neox", "mixtral"])
def test_decoders_are_not(backbone_type):
    assert is_causal(tiny_stock_model(backbone_type, "headless"))


def test_values_do_not_depend_on_padding():
    critic = Critic(tiny_stock_model("gpt2", "headless")).eval()
    ids = torch.tensor([[5, 6, 7]])
    padded = torch.tensor([[0, 0, 5, 6, 7, 0]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 0]])
    with torch.no_grad():
        torch.testing.assert_close(critic(padded, mask)[:, 2:5], critic(ids, torch.ones_like(ids)))


def test_the_reward_model_itself_is_refused(make_ppo, reward_folder):
    reward = DPRMForSequenceClassification.from_pretrained(reward_folder)
    with pytest.raises(ValueError, match="`reward_model` and `value_model` are the same object"):
        make_ppo(reward_funcs=reward, trainer={"value_model": reward})


def test_the_reward_model_inside_a_function_is_refused(make_ppo, reward_folder):
    from trl_dprm.rewards import dprm_reward_function

    reward = DPRMForSequenceClassification.from_pretrained(reward_folder)
    with pytest.raises(TypeError, match="same object as the policy or the reward model"):
        make_ppo(reward_funcs=dprm_reward_function(reward), trainer={"value_model": reward})


def test_another_vocabulary_is_refused(make_ppo, checkpoint, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="The critic knows 100 tokens, the policy 260"):
        make_ppo(reward_funcs=constant, trainer={"value_model": checkpoint("llama", "classifier", vocab_size=100)})
    renumbered(tokenizer, tmp_path)
    tiny_stock_model("llama").save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="tokenizer beside the `value_model` .* is not the policy's"):
        make_ppo(reward_funcs=constant, trainer={"value_model": str(tmp_path / "other")})


def test_a_frozen_critic_is_refused(make_ppo):
    model = tiny_stock_model("llama", "classifier", num_labels=1).requires_grad_(False)
    with pytest.raises(ValueError, match="No parameter of the `value_model`'s backbone is trained"):
        make_ppo(reward_funcs=constant, trainer={"value_model": model})


class Norms(TrainerCallback):
    """Gradient norms of policy and critic after clipping, by optimizer step."""

    def __init__(self):
        self.norms = []

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        parts = {"policy": [], "critic": []}
        for name, parameter in model.named_parameters():
            parts["critic" if "value_model." in name else "policy"].append(parameter.grad.norm())
        self.norms.append({name: torch.stack(norms).norm().item() for name, norms in parts.items()})


def test_gradients_are_clipped_together_and_do_not_pile_up(make_ppo):
    """With a learning rate of zero every epoch on one mini-batch sees the same gradients."""
    callback = Norms()
    trainer = make_ppo(
        trainer={"callbacks": [callback]},
        num_mini_batches=1,
        num_ppo_epochs=3,
        max_steps=3,
        learning_rate=0.0,
        vf_coef=10.0,
        max_grad_norm=0.5,
    )
    trainer.train()
    assert len(callback.norms) == 3
    for norms in callback.norms:
        assert norms["policy"] ** 2 + norms["critic"] ** 2 == pytest.approx(0.25, rel=1e-4)
        assert norms["critic"] == pytest.approx(callback.norms[0]["critic"], rel=1e-4)
        assert min(norms.values()) > 1e-4


def test_checkpointing_reaches_the_critic_and_changes_no_gradient(make_ppo):
    plain, checkpointed = Norms(), Norms()
    make_ppo(trainer={"callbacks": [plain]}, max_steps=1, max_grad_norm=0.0).train()
    trainer = make_ppo(
        trainer={"callbacks": [checkpointed]}, max_steps=1, max_grad_norm=0.0, gradient_checkpointing=True
    )
    trainer.train()
    assert trainer.critic.backbone.is_gradient_checkpointing
    for name, norm in plain.norms[0].items():
        assert checkpointed.norms[0][name] == pytest.approx(norm, rel=1e-5)


def test_a_new_head_says_nothing_until_it_has_learned():
    head = new_value_head(tiny_config("llama"))
    assert (head.in_features, head.out_features, head.bias, head.weight.dtype) == (32, 1, None, torch.float32)
    assert head.weight.requires_grad and not head.weight.any()
