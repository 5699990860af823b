"""One backbone with four roles says what four models say, trains what they train, and survives saving."""

import copy
import shutil

import pytest
import torch
from datasets import Dataset
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from shared_models import (
    adapter_parameters,
    left_padded_batch,
    lora,
    right_padded_batch,
    shake,
    train_reward_adapter,
)
from transformers import AutoModel, AutoModelForCausalLM, BitsAndBytesConfig
from trl import GRPOTrainer

from trl_dprm import DPRMConfig, DPRMForSequenceClassification
from trl_dprm.models.checkpoint_dprm import keep_differentiable_on_cpu
from trl_dprm.ppo.critic import Critic
from trl_dprm.ppo.shared_backbone import CRITIC, POLICY, REWARD
from trl_dprm.rewards import dprm_reward_function

WIDE = {"hidden_size": 64, "intermediate_size": 128}  # nf4 works on blocks of 64 weights


def log_probs(model, input_ids, attention_mask, temperature=0.7):
    """Log probability of every token but the first, by an independent model."""
    positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
    logits = model(input_ids=input_ids, attention_mask=attention_mask, position_ids=positions).logits[:, :-1]
    return (logits / temperature).log_softmax(-1).gather(2, input_ids[:, 1:, None]).squeeze(2)


def shared_log_probs(ppo, input_ids, attention_mask):
    return ppo._get_per_token_logps_and_entropies(
        ppo.model, input_ids, attention_mask, input_ids.size(1) - 1, batch_size=len(input_ids)
    )[0]


def trained(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def assert_roles_trained(ppo):
    """Exactly the policy's adapter, the critic's adapter and the value head ask for gradients."""
    names = set(trained(ppo.model))
    expected = {n for n, _ in ppo.model.named_parameters() if f".{POLICY}." in n or f".{CRITIC}." in n}
    assert names == expected | {"base_model.model.value_model.head.weight"}
    assert {layer.active_adapters[0] for layer in ppo.model.modules() if isinstance(layer, BaseTunerLayer)} == {POLICY}


def with_copied_adapter(model, policy, name):
    """`model` with a LoRA of its own that holds the weights of one of the shared adapters."""
    single = get_peft_model(model, lora(task_type=None))
    own = adapter_parameters(single, "default")
    shared = adapter_parameters(policy, name)
    with torch.no_grad():
        for parameter_name, parameter in own.items():
            (match,) = [p for n, p in shared.items() if n.endswith(parameter_name.removeprefix("base_model.model."))]
            parameter.copy_(match)
    return single


# The same numbers as separate models


def test_rewards_equal_those_of_the_dprm_alone(make_shared, reward_adapter):
    ppo = make_shared(reward_statistic="cvar", cvar_level=0.3)
    shake(adapter_parameters(ppo.model, POLICY).values())
    shake(adapter_parameters(ppo.model, CRITIC).values())
    alone = DPRMForSequenceClassification.from_pretrained(reward_adapter)
    ids, mask = right_padded_batch()
    with torch.no_grad():
        expected = alone(ids, mask).category_logits
        assert torch.equal(ppo._read_category_logits(ids, mask), expected)
        padded_otherwise = ids.masked_fill(mask == 0, 9)
        assert torch.equal(ppo._read_category_logits(padded_otherwise, mask), expected)
        assert torch.equal(alone(padded_otherwise, mask).category_logits, expected)
    assert expected.std(0).min() > 1e-4, "the adapter does not tell completions apart"

    prompts, completions = ["tell me", "tell me of it"], ["</s>", " it is 5"]
    function = dprm_reward_function(reward_adapter, statistic="cvar", level=0.3)
    assert ppo.reward_funcs[0](prompts, completions) == function(prompts, completions)


@pytest.mark.parametrize("pad_token_id", [0, 2, None])
def test_pooling_is_the_dprms_own(pad_token_id, make_ppo, reward_adapter, tokenizer, tmp_path):
    """Also where the padding token is EOS (2), by the checkpoint or, where that has none, by the tokenizer."""
    folder = str(shutil.copytree(reward_adapter, tmp_path / "adapter"))
    config = DPRMConfig.from_pretrained(folder)
    config.text_config.pad_token_id = pad_token_id
    config.save_pretrained(folder)
    padding = copy.deepcopy(tokenizer)
    padding.pad_token_id = pad_token_id or 2
    padding.save_pretrained(folder)
    ppo = make_ppo(reward_funcs=folder, trainer={"peft_config": lora()}, share_backbone=True)
    alone = dprm_reward_function(folder)
    completions = ["</s>", " it is 5", " it is", "</s></s>"]
    ours = ppo.reward_funcs[0](["tell me"] * 4, completions)
    assert ours == pytest.approx(alone(["tell me"] * 4, completions), abs=1e-6)
    assert len(set(ours)) > 1


def test_the_backbone_pools_by_the_token_that_the_reward_function_pads_with(make_shared, reward_adapter):
    ppo = make_shared()
    assert ppo.reward_funcs[0].config is ppo.shared.reward.config


def test_other_decoders(make_ppo, backbone_folder, tmp_path):
    base = backbone_folder("gpt2")  # absolute positions, fused projections
    adapter = train_reward_adapter(base, tmp_path, LoraConfig(r=4, fan_in_fan_out=True))
    options = {"share_backbone": True, "max_steps": 2, "gradient_checkpointing": True}
    ppo = make_ppo(base, adapter, trainer={"peft_config": lora(fan_in_fan_out=True)}, **options)
    alone = DPRMForSequenceClassification.from_pretrained(adapter)
    ids, mask = right_padded_batch()
    with torch.no_grad():
        expected = alone(ids, mask).category_logits
        torch.testing.assert_close(ppo._read_category_logits(ids, mask), expected, rtol=0, atol=1e-6)
    ppo.train()
    assert_roles_trained(ppo)


def test_readouts_are_float32_under_autocast(make_shared):
    ppo = make_shared(bf16=True)
    ids, mask = right_padded_batch()
    with torch.no_grad(), ppo.accelerator.autocast():
        values = ppo._values(ppo.model, ids, mask, 6)
        logits = ppo._read_category_logits(ids, mask)
    assert values.dtype == logits.dtype == torch.float32
    assert (logits != logits.bfloat16().float()).any() and (values != values.bfloat16().float()).any()


def test_a_reward_function_beside_the_adapter(make_shared, reward_adapter):
    def length(prompts, completions, **columns):
        return [float(len(text)) for text in completions]

    ppo = make_shared(reward_funcs=[reward_adapter, length], reward_weights=[1.0, 0.1], max_steps=1)
    ppo.train()
    row = ppo.state.log_history[0]
    assert row["reward"] == pytest.approx(row["rewards/adapter/mean"] + 0.1 * row["rewards/length/mean"], rel=1e-4)


def test_rewards_are_read_without_dropout(make_ppo, backbone, tmp_path):
    adapter = train_reward_adapter(backbone, tmp_path, LoraConfig(r=4, lora_dropout=0.5))
    options = {"share_backbone": True, "disable_dropout": False}
    ppo = make_ppo(reward_funcs=adapter, trainer={"peft_config": lora(lora_dropout=0.5)}, **options)
    for module in ppo.model.modules():
        if hasattr(module, "attention_dropout"):  # the backbone's own
            module.attention_dropout = 0.5
    ppo.model.train()
    alone = DPRMForSequenceClassification.from_pretrained(adapter)
    ids, mask = right_padded_batch()
    with torch.no_grad():
        assert torch.equal(ppo._read_category_logits(ids, mask), alone(ids, mask).category_logits)
        values = [ppo.model(input_ids=ids, attention_mask=mask, readout="values") for _ in range(2)]
    assert ppo.model.training and all(module.training for module in ppo.model.modules())
    shake(adapter_parameters(ppo.model, CRITIC).values())
    with torch.no_grad():
        values = [ppo.model(input_ids=ids, attention_mask=mask, readout="values") for _ in range(2)]
    assert not torch.equal(*values), "`disable_dropout=False` holds for the critic's adapter"
    quiet = make_ppo(reward_funcs=adapter, trainer={"peft_config": lora(lora_dropout=0.5)}, share_backbone=True)
    assert not [m for m in quiet.model.modules() if isinstance(m, torch.nn.Dropout) and m.p > 0]


def test_values_equal_those_of_a_critic_alone(make_shared, backbone):
    ppo = make_shared()
    shake(adapter_parameters(ppo.model, CRITIC).values())
    shake(adapter_parameters(ppo.model, POLICY).values(), seed=4)
    ids, mask = left_padded_batch()
    adapted = with_copied_adapter(AutoModel.from_pretrained(backbone), ppo.model, CRITIC)
    alone = Critic(adapted.get_base_model(), copy.deepcopy(ppo.critic.head))
    with torch.no_grad():
        values = ppo.model(input_ids=ids, attention_mask=mask, readout="values")
        expected = alone(ids, mask)
        assert torch.equal(values, expected)
        merged = Critic(adapted.merge_and_unload(), copy.deepcopy(ppo.critic.head))
        torch.testing.assert_close(values[mask == 1], merged(ids, mask)[mask == 1], rtol=0, atol=1e-5)
        plain = Critic(AutoModel.from_pretrained(backbone), copy.deepcopy(ppo.critic.head))
        assert (values - plain(ids, mask))[mask == 1].abs().max() > 1e-2


def test_log_probabilities_equal_those_of_a_policy_alone(make_shared, backbone):
    ppo = make_shared()
    shake(adapter_parameters(ppo.model, POLICY).values())
    shake(adapter_parameters(ppo.model, CRITIC).values(), seed=4)
    ids, mask = left_padded_batch()
    alone = with_copied_adapter(AutoModelForCausalLM.from_pretrained(backbone), ppo.model, POLICY)
    with torch.no_grad():
        ours, expected = shared_log_probs(ppo, ids, mask), log_probs(alone, ids, mask)
    torch.testing.assert_close(ours[mask[:, 1:] == 1], expected[mask[:, 1:] == 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("start", ["new adapter", "trained adapter"])
def test_the_reference_is_where_the_policy_starts(start, make_shared, backbone, tmp_path):
    model = None
    separate = AutoModelForCausalLM.from_pretrained(backbone)
    if start == "trained adapter":
        made = get_peft_model(AutoModelForCausalLM.from_pretrained(backbone), lora())
        shake(adapter_parameters(made, "default").values())
        made.save_pretrained(tmp_path / "policy")
        model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "policy")
        separate = PeftModel.from_pretrained(separate, tmp_path / "policy")
    ppo = make_shared(model)
    rows = [ppo.train_dataset[k] for k in range(4)]
    shake(adapter_parameters(ppo.model, POLICY).values(), seed=9, std=0.05)  # as if it had trained
    shake(adapter_parameters(ppo.model, CRITIC).values(), seed=4)
    ppo.model.train()
    output = GRPOTrainer._generate_and_score_completions(ppo, rows)
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
    mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
    with torch.no_grad():
        expected = log_probs(separate, ids, mask)[:, -output["completion_ids"].size(1) :]
    counted = output["completion_mask"] == 1
    torch.testing.assert_close(output["ref_per_token_logps"][counted], expected[counted], rtol=0, atol=1e-5)
    with torch.no_grad():
        now = shared_log_probs(ppo, ids, mask)[:, -output["completion_ids"].size(1) :]
    assert (now - expected)[counted].abs().max() > 1e-3
    ppo.shared.activate_policy()
    assert_roles_trained(ppo)


# Training


def losses(ppo, ids, mask):
    """Something that depends on every log probability and every value, in one graph."""
    weights = torch.linspace(-1, 1, ids.size(1) - 1)
    policy = (shared_log_probs(ppo, ids, mask) * weights * mask[:, 1:]).sum()
    values = ppo.model(input_ids=ids, attention_mask=mask, readout="values")
    return policy + ((values - 1).square() * mask).sum()


def gradients(ppo, checkpointing):
    ppo.model.train()
    ppo.model.zero_grad()
    if checkpointing:
        ppo.model.activation_checkpointing_enable()
    losses(ppo, *left_padded_batch()).backward()
    assert_roles_trained(ppo)
    return {name: p.grad.clone() for name, p in ppo.model.named_parameters() if p.grad is not None}


def test_gradients_equal_those_of_separate_models(make_shared, backbone):
    ppo = make_shared()
    shake(adapter_parameters(ppo.model, POLICY).values())
    shake(adapter_parameters(ppo.model, CRITIC).values(), seed=4)
    ours = gradients(ppo, checkpointing=False)
    assert ours.keys() == trained(ppo.model).keys()

    ids, mask = left_padded_batch()
    policy = with_copied_adapter(AutoModelForCausalLM.from_pretrained(backbone), ppo.model, POLICY)
    backbone_alone = with_copied_adapter(AutoModel.from_pretrained(backbone), ppo.model, CRITIC)
    critic = Critic(backbone_alone.get_base_model(), copy.deepcopy(ppo.critic.head))
    critic.head.weight.grad = None
    (log_probs(policy, ids, mask) * torch.linspace(-1, 1, ids.size(1) - 1) * mask[:, 1:]).sum().backward()
    ((critic(ids, mask) - 1).square() * mask).sum().backward()
    for name, model in ((POLICY, policy), (CRITIC, backbone_alone)):
        expected = adapter_parameters(model, "default")
        compared = 0
        for parameter_name, gradient in ours.items():
            if f".{name}." in parameter_name:
                own_name = parameter_name.replace(f".{name}.", ".")
                (match,) = [p for n, p in expected.items() if own_name.endswith(n.removeprefix("base_model.model."))]
                torch.testing.assert_close(gradient, match.grad, rtol=1e-4, atol=1e-5)
                compared += 1
        assert compared == len(expected)
    head = ours["base_model.model.value_model.head.weight"]
    torch.testing.assert_close(head, critic.head.weight.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("start", ["new", "reference adapter"])
def test_checkpointed_gradients_are_those_without(start, make_shared, backbone):
    model = None if start == "new" else get_peft_model(AutoModelForCausalLM.from_pretrained(backbone), lora())
    ppo = make_shared(model)
    shake(adapter_parameters(ppo.model, POLICY).values())
    shake(adapter_parameters(ppo.model, CRITIC).values(), seed=4)
    plain = gradients(ppo, checkpointing=False)
    checkpointed = gradients(ppo, checkpointing=True)
    assert ppo.model.get_base_model().is_gradient_checkpointing
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        assert torch.equal(checkpointed[name], gradient), name


def test_without_its_context_checkpointing_would_be_wrong(make_shared):
    """The trap that the test above is about: layers run again under the policy's adapter."""
    ppo = make_shared()
    shake(adapter_parameters(ppo.model, POLICY).values())
    shake(adapter_parameters(ppo.model, CRITIC).values(), seed=4)
    plain = gradients(ppo, checkpointing=False)
    del ppo.model.get_base_model().gradient_checkpointing_enable  # back to the class's
    ppo.model.zero_grad()
    ppo.model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    losses(ppo, *left_padded_batch()).backward()
    name = next(n for n in plain if f".{CRITIC}." in n)
    assert not torch.allclose(ppo.model.get_parameter(name).grad, plain[name], atol=1e-4)


def test_training_with_checkpointing_is_training_without(make_shared):
    weights = []
    for checkpointing in (False, True):
        ppo = make_shared(gradient_checkpointing=checkpointing, max_steps=4)
        ppo.train()
        assert_roles_trained(ppo)
        weights.append({name: p.detach().clone() for name, p in ppo.model.named_parameters()})
    for name, weight in weights[0].items():
        assert torch.equal(weights[1][name], weight), name


def test_training_moves_policy_critic_and_head_and_nothing_else(make_shared, backbone):
    start = get_peft_model(AutoModelForCausalLM.from_pretrained(backbone), lora())  # so that there is a "ref" adapter
    ppo = make_shared(start, max_steps=4)
    before = {name: p.detach().clone() for name, p in ppo.model.named_parameters()}
    head = ppo.shared.reward.head.weight.clone()
    assert any(".ref." in name for name in before) and any(f".{REWARD}." in name for name in before)
    assert_roles_trained(ppo)
    ppo.train()
    assert_roles_trained(ppo)
    for name, weight in ppo.model.named_parameters():
        moved = (weight != before[name]).any()
        assert moved == (f".{POLICY}." in name or f".{CRITIC}." in name or "value_model" in name), name
    assert torch.equal(ppo.shared.reward.head.weight, head)


def test_it_learns(make_ppo, backbone_folder, tmp_path):
    base = backbone_folder("llama", initializer_range=0.2)  # the default's logits are too flat to be moved by LoRA
    adapter = train_reward_adapter(base, tmp_path, learning_rate=1e-4)
    ppo = make_ppo(
        base,
        adapter,
        trainer={"peft_config": lora(r=8, lora_alpha=32)},
        share_backbone=True,
        learning_rate=2e-2,
        lr_scheduler_type="constant",
        kl_coef=0.0,
        max_steps=48,
        num_ppo_epochs=4,
        num_mini_batches=1,
        response_length=3,
        per_device_train_batch_size=64,
        gradient_accumulation_steps=1,
        train_dataset=Dataset.from_dict({"prompt": ["tell me"] * 64}),
    )
    ppo.train()
    history = [row for row in ppo.state.log_history if "reward" in row]
    rewards = [row["reward"] for row in history]
    explained = [row["value/explained_variance"] for row in history]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.2, rewards
    assert explained[-1] > explained[0]


def four_bit():
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def test_four_bit_layers_pass_gradients_after_an_evaluation(make_ppo, backbone_folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    base = backbone_folder("llama", **WIDE)
    adapter = train_reward_adapter(base, tmp_path)
    trainer = {"peft_config": lora(), "quantization_config": four_bit()}
    ppo = make_ppo(base, adapter, trainer=trainer, share_backbone=True)
    shake(adapter_parameters(ppo.model, POLICY).values())
    before = gradients(ppo, checkpointing=False)
    ppo.model.eval()
    with torch.no_grad():
        shared_log_probs(ppo, *left_padded_batch())
    after = gradients(ppo, checkpointing=False)
    assert all(torch.equal(after[name], gradient) for name, gradient in before.items())


def test_four_bit(make_ppo, backbone_folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    base = backbone_folder("llama", **WIDE)
    adapter = train_reward_adapter(base, tmp_path, quantization_config=four_bit())
    trainer = {"peft_config": lora(), "quantization_config": four_bit()}
    options = {"share_backbone": True, "max_steps": 4, "gradient_checkpointing": True}
    ppo = make_ppo(base, adapter, trainer=trainer, **options)
    assert {p.dtype for p in trained(ppo.model).values()} == {torch.float32}
    assert any(type(m).__name__ == "Linear4bit" for m in ppo.model.modules())
    ids, mask = right_padded_batch()
    alone = DPRMForSequenceClassification.from_pretrained(adapter, quantization_config=four_bit(), dtype=torch.float32)
    keep_differentiable_on_cpu(alone)  # the other kernel rounds otherwise
    with torch.no_grad():
        assert torch.equal(ppo._read_category_logits(ids, mask), alone(ids, mask).category_logits)
    before = {name: p.detach().clone() for name, p in trained(ppo.model).items()}
    ppo.train()
    assert_roles_trained(ppo)
    for name, weight in trained(ppo.model).items():
        assert weight.dtype == torch.float32 and (weight != before[name]).any(), name
    ppo.save_model(tmp_path / "policy")
    assert {t.dtype for t in load_file(tmp_path / "policy" / "adapter_model.safetensors").values()} == {torch.float32}


# Saving


def test_save_model_writes_the_policys_adapter_alone(make_shared, backbone, tmp_path):
    ppo = make_shared(max_steps=2)
    ppo.train()
    folder = tmp_path / "saved"
    ppo.save_model(folder)
    names = {path.name for path in folder.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "tokenizer.json"} <= names
    assert not {"critic", "reward", "ref", "value_model.safetensors", "model.safetensors"} & names
    tensors = load_file(folder / "adapter_model.safetensors")
    assert len(tensors) == len(adapter_parameters(ppo.model, POLICY))
    assert all(".lora_" in name for name in tensors)
    ids, mask = left_padded_batch()
    with torch.no_grad():
        expected = shared_log_probs(ppo, ids, mask)[mask[:, 1:] == 1]
        for loaded in (
            AutoPeftModelForCausalLM.from_pretrained(folder),
            PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(backbone), folder),
        ):
            assert list(loaded.peft_config) == ["default"]
            ours = log_probs(loaded, ids, mask)[mask[:, 1:] == 1]
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    assert_roles_trained(ppo)


@pytest.mark.parametrize("start", ["new adapter", pytest.param("trained adapter", marks=pytest.mark.slow)])
def test_resuming_is_bitwise(start, make_shared, backbone, tmp_path):
    model = lambda: None  # noqa: E731
    if start == "trained adapter":
        made = get_peft_model(AutoModelForCausalLM.from_pretrained(backbone), lora())
        shake(adapter_parameters(made, "default").values())
        made.save_pretrained(tmp_path / "policy")
        model = lambda: AutoPeftModelForCausalLM.from_pretrained(tmp_path / "policy")  # noqa: E731
    options = {"max_steps": 8, "save_strategy": "steps", "save_steps": 4, "output_dir": str(tmp_path / "run")}
    whole = make_shared(model(), **options)
    whole.train()
    checkpoint = tmp_path / "run" / "checkpoint-4"
    critic = load_file(checkpoint / "value_model.safetensors")
    assert "head.weight" in critic and any(".critic." in name for name in critic)
    assert not any(".reward." in name or ".default." in name for name in critic)
    resumed = make_shared(model(), **{**options, "output_dir": str(tmp_path / "again")})
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert_roles_trained(resumed)
    for (name, ours), (other, theirs) in zip(
        whole.model.named_parameters(), resumed.model.named_parameters(), strict=True
    ):
        assert name == other and torch.equal(ours, theirs), name
    timed = ("step_time", "runtime", "per_second", "epoch", "loss_")
    last, same = (
        {k: v for k, v in t.state.log_history[-2].items() if not k.endswith(timed)} for t in (whole, resumed)
    )
    assert last == same


def test_peft_knows_the_adapter_that_is_switched_to(make_shared, reward_adapter):
    """The switch writes PEFT's private attribute: its public names must agree with it."""
    ppo = make_shared()
    ids, mask = left_padded_batch()
    shake(adapter_parameters(ppo.model, CRITIC).values())
    backbone = ppo.model.get_base_model().base_model
    with torch.no_grad(), ppo.shared.adapter(CRITIC):
        status = {layer.active_adapters[0] for layer in ppo.model.modules() if isinstance(layer, BaseTunerLayer)}
        switched = backbone(ids, mask).last_hidden_state
    assert status == {CRITIC}
    ppo.model.set_adapter(CRITIC)
    with torch.no_grad():
        assert torch.equal(backbone(ids, mask).last_hidden_state, switched)
