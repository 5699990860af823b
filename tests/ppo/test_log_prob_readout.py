"""Log-probabilities by our read-out against TRL's fused head, in the trainer's own passes."""

import inspect
import re

import pytest
import torch
import trl.trainer.utils
from shared_models import left_padded_batch, lora, shake
from tiny_models import tiny_stock_model
from trl.trainer.utils import add_fused_lm_head

import trl_dprm.ppo.log_prob_readout as module
from trl_dprm.ppo.log_prob_readout import LOGIT_CHANGES, has_plain_head
from trl_dprm.ppo.readouts import language_model

LENGTH = 4


def early_bytes(completion_ids, **columns):
    return [sum(token < 132 for token in ids) / len(ids) for ids in completion_ids]


@pytest.fixture
def count_heads(monkeypatch):
    """Number of positions that TRL's kernel and our function have read since the last call."""
    read = {"ours": 0, "theirs": 0}
    ours, theirs = module.token_log_probs, trl.trainer.utils._ChunkedLogProbFunction

    def our_function(hidden_states, *options):
        read["ours"] += len(hidden_states)
        return ours(hidden_states, *options)

    class TheirFunction:
        @staticmethod
        def apply(hidden_states, *options):
            read["theirs"] += len(hidden_states)
            return theirs.apply(hidden_states, *options)

    monkeypatch.setattr(module, "token_log_probs", our_function)
    monkeypatch.setattr(trl.trainer.utils, "_ChunkedLogProbFunction", TheirFunction)

    def count():
        result = dict(read)
        read.update(ours=0, theirs=0)
        return result

    return count


def batch_with_an_empty_completion():
    """Prompts of 12, 7 and 9 tokens padded on the left, then completions of 4, 0 and 2 tokens."""
    ids, mask = left_padded_batch()
    completion = torch.tensor([[5, 6, 7, 2], [0, 0, 0, 0], [9, 2, 0, 0]])
    completion_mask = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]])
    return torch.cat([ids, completion], 1), torch.cat([mask, completion_mask], 1)


def both_ways(ppo, model, **options):
    """(log-probabilities, entropies) by our read-out and by TRL's head."""
    results = []
    for ours in (True, False):
        ppo.reads_log_probs = ours
        ids, mask = batch_with_an_empty_completion()
        options = {"compute_entropy": True, **options}
        results.append(ppo._get_per_token_logps_and_entropies(model, ids, mask, LENGTH, **options)[:2])
    ppo.reads_log_probs = True
    return results


def gradients(ppo, log_probs, entropies):
    ppo.model.zero_grad()
    weight = torch.linspace(-1, 2, log_probs.numel()).view_as(log_probs)
    loss = (weight * log_probs).sum()
    if entropies.requires_grad:
        loss = loss + (weight.flip(0) * entropies).sum()
    loss.backward()
    return {name: p.grad for name, p in ppo.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("options", [{}, {"entropy_coef": 0.01}, {"bf16": True}], ids=["plain", "entropy", "bf16"])
def test_policy(make_ppo, count_heads, options):
    ppo = make_ppo(reward_funcs=early_bytes, **options)
    assert ppo.reads_log_probs
    count_heads()
    ours, theirs = both_ways(ppo, ppo.model)
    assert count_heads() == {"ours": 6, "theirs": 3 * 15}, "the completions' tokens, and every position"
    tolerance = 2e-2 if options.get("bf16") else 1e-5
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    assert not ours[0][1].any() and ours[0][2, 1] and not ours[0][2, 2:].any(), "zero at padding"
    mine, other = gradients(ppo, *ours), gradients(ppo, *(theirs if options.get("entropy_coef") else detached(theirs)))
    assert mine.keys() == other.keys() and "lm_head.weight" in mine
    for name, gradient in mine.items():
        assert (gradient - other[name]).norm() <= tolerance * other[name].norm(), name


def detached(outputs):
    """Without an entropy bonus ours has no gradient of the entropy, and none is asked for."""
    return outputs[0], outputs[1].detach()


@pytest.mark.parametrize("frozen_head", [False, True])
def test_a_batch_without_completions_gives_a_differentiable_zero(make_ppo, frozen_head):
    ppo = make_ppo(reward_funcs=early_bytes, trainer={"peft_config": lora()} if frozen_head else None)
    ids, mask = batch_with_an_empty_completion()
    outputs = ppo._get_per_token_logps_and_entropies(ppo.model, ids[1:2], mask[1:2], LENGTH)
    assert not outputs[0].any()
    outputs[0].sum().backward()
    trained = [p for n, p in ppo.model.named_parameters() if p.requires_grad and "value_model" not in n]
    assert trained and all(p.grad is not None and not p.grad.any() for p in trained)


def test_reference_model(make_ppo, count_heads):
    ppo = make_ppo(reward_funcs=early_bytes, trainer={"ref_model": tiny_stock_model("llama", seed=5)})
    with torch.no_grad():
        policys, _ = both_ways(ppo, ppo.model)
        count_heads()
        ours, theirs = both_ways(ppo, ppo.ref_model, compute_entropy=False)
    assert count_heads() == {"ours": 6, "theirs": 3 * 15}
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-5)
    assert ours[1] is None and theirs[1] is None
    assert (ours[0] - policys[0]).abs().max() > 0.1


def test_a_run_reads_all_its_log_probs_so(make_ppo, count_heads):
    """Old, reference and new ones; also where the reference is the model without its adapter."""
    for trainer in ({}, {"peft_config": lora()}):
        ppo = make_ppo(reward_funcs=early_bytes, max_steps=2, num_ppo_epochs=1, trainer=trainer)
        ppo.train()
        tokens = int(ppo._buffered_inputs[0]["num_items_in_batch"])
        assert count_heads() == {"ours": 3 * tokens, "theirs": 0}


def test_reference_by_adapters_off(make_ppo):
    ppo = make_ppo(reward_funcs=early_bytes, trainer={"peft_config": lora()})
    with torch.no_grad(), ppo.model.disable_adapter():
        expected, _ = both_ways(ppo, ppo.model)
    shake([p for name, p in ppo.model.named_parameters() if ".default." in name])
    with torch.no_grad():
        shaken, theirs = both_ways(ppo, ppo.model)
        with ppo.model.disable_adapter():
            again, _ = both_ways(ppo, ppo.model)
    assert torch.equal(again[0], expected[0])
    assert (shaken[0] - again[0]).abs().max() > 0.1
    torch.testing.assert_close(shaken, theirs, rtol=1e-5, atol=1e-5)


def changed(name, value):
    model = tiny_stock_model("llama")
    setattr(model.config, name, value)
    return model


def test_which_heads_are_plain(monkeypatch):
    assert has_plain_head(tiny_stock_model("llama"))
    for name in LOGIT_CHANGES:
        assert not has_plain_head(changed(name, 30.0)), name
        assert has_plain_head(changed(name, None)), name
    assert not has_plain_head(changed("output_router_logits", True))
    model = tiny_stock_model("llama")
    model.lm_head = torch.nn.Sequential(model.lm_head)
    assert not has_plain_head(model)
    monkeypatch.setattr(module, "_use_triton", lambda device: device.type == "cpu")
    assert not has_plain_head(tiny_stock_model("llama")), "TRL's kernel is faster there"


@pytest.mark.parametrize("how", ["copied for training", "in float32"])
def test_other_heads_are_read_by_trl(make_ppo, count_heads, how):
    if how == "in float32":
        options = {"cast_lm_head_to_fp32": True}
    else:
        options = {"trainer": {"peft_config": lora(target_modules=["q_proj"], modules_to_save=["lm_head"])}}
    make_ppo(reward_funcs=early_bytes, max_steps=1, **options).train()
    read = count_heads()
    assert read["ours"] == 0 and read["theirs"] > 0


def test_a_capped_policy_is_read_by_trl(make_ppo, tokenizer):
    capped, given = changed("final_logit_softcapping", 2.0), {"processing_class": tokenizer}
    ppo = make_ppo(model=capped, reward_funcs=early_bytes, trainer=given)
    assert not ppo.reads_log_probs
    assert language_model(ppo.model).config.final_logit_softcapping == 2.0
    ppo = make_ppo(reward_funcs=early_bytes, trainer={"ref_model": changed("logits_scaling", 2.0)})
    assert not ppo.reads_log_probs, "neither, when only the reference is special: it has no read-out"


def test_what_trls_head_does_to_logits_is_known():
    names = set(re.findall(r'text_config, "(\w+)"', inspect.getsource(add_fused_lm_head)))
    assert names - {"output_router_logits", "router_aux_loss_coef"} == set(LOGIT_CHANGES)
