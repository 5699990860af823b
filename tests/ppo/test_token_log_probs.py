"""Log-probabilities from hidden states, against TRL's kernel and autograd of `log_softmax`."""

import pytest
import torch
from trl.kernels import ChunkedLogProbFunction

import trl_dprm.ppo.token_log_probs as module
from trl_dprm.ppo.token_log_probs import token_log_probs

TEMPERATURE = 0.7


def head_and_tokens(num_tokens=7, vocab_size=11, hidden_size=5, dtype=torch.float32, with_bias=True):
    torch.manual_seed(0)
    hidden_states = torch.randn(num_tokens, hidden_size, dtype=dtype, requires_grad=True)
    weight = torch.randn(vocab_size, hidden_size, dtype=dtype, requires_grad=True)
    bias = torch.randn(vocab_size, dtype=dtype, requires_grad=True) if with_bias else None
    return hidden_states, weight, bias, torch.randint(vocab_size, (num_tokens,))


def by_log_softmax(hidden_states, weight, bias, token_ids):
    log_probs = (torch.nn.functional.linear(hidden_states, weight, bias) / TEMPERATURE).log_softmax(-1)
    return log_probs.gather(1, token_ids[:, None])[:, 0], -(log_probs.exp() * log_probs).sum(-1)


def by_trl(hidden_states, weight, bias, token_ids):
    options = TEMPERATURE, 32_768, None, 1.0, ("entropy",)
    return ChunkedLogProbFunction.apply(hidden_states, weight, bias, token_ids, *options)[:2]


def gradients(outputs, inputs, seed=1):
    torch.manual_seed(seed)
    loss = sum((torch.randn(output.shape) * output).sum() for output in outputs if output.requires_grad)
    return torch.autograd.grad(loss, [tensor for tensor in inputs if tensor is not None and tensor.requires_grad])


@pytest.fixture(params=["kept", "computed again", "rows one by one"])
def memory(request, monkeypatch):
    """How the backward pass comes to its logits, and how many rows go together."""
    monkeypatch.setattr(module, "_LOGITS_KEPT", 2**25 if request.param == "kept" else 0)
    monkeypatch.setattr(module, "_LOGITS_AT_ONCE", 1 if request.param == "rows one by one" else 33)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("reference", [by_log_softmax, by_trl])
def test_values_and_gradients(memory, reference, with_bias):
    *inputs, token_ids = head_and_tokens(with_bias=with_bias)
    ours = token_log_probs(*inputs, token_ids, TEMPERATURE)
    theirs = reference(*inputs, token_ids)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for a, b in zip(gradients(ours, inputs), gradients(theirs, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("frozen", [(), (1,), (2,), (0,), (1, 2)])
def test_gradcheck(memory, frozen):
    """With every part of the head frozen in turn."""
    *inputs, token_ids = head_and_tokens(dtype=torch.float64)
    for k in frozen:
        inputs[k].requires_grad_(False)
    assert torch.autograd.gradcheck(lambda *x: token_log_probs(*x, token_ids, TEMPERATURE), inputs)


def test_a_frozen_head_without_entropy_gradient(memory):
    *inputs, token_ids = head_and_tokens(dtype=torch.float64)
    for tensor in inputs[1:]:
        tensor.requires_grad_(False)
    ours = token_log_probs(*inputs, token_ids, TEMPERATURE, entropy_gradient=False)
    theirs = by_log_softmax(*inputs, token_ids)
    torch.testing.assert_close(ours, theirs)
    assert ours[0].requires_grad and not ours[1].requires_grad
    assert torch.autograd.gradcheck(lambda h: token_log_probs(h, *inputs[1:], token_ids, 0.7, False)[0], inputs[:1])


def test_a_trained_head_without_entropy_gradient():
    *inputs, token_ids = head_and_tokens()
    log_probs, entropy = token_log_probs(*inputs, token_ids, TEMPERATURE, entropy_gradient=False)
    assert log_probs.requires_grad and not entropy.requires_grad


def test_the_entropys_gradient_alone():
    *inputs, token_ids = head_and_tokens()
    ours = gradients(token_log_probs(*inputs, token_ids, TEMPERATURE)[1:], inputs)
    theirs = gradients(by_log_softmax(*inputs, token_ids)[1:], inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("parameters", [torch.float32, torch.bfloat16])
def test_bfloat16_as_trl(memory, parameters, frozen):
    """Under autocast, and with a bfloat16 model: the logits are rounded as TRL's are, sums are float32."""
    *inputs, token_ids = head_and_tokens(num_tokens=40, vocab_size=300, hidden_size=32, dtype=parameters)
    if frozen:
        inputs = [inputs[0], inputs[1].detach(), inputs[2].detach()]
    with torch.autocast("cpu", torch.bfloat16):
        ours = token_log_probs(*inputs, token_ids, TEMPERATURE, entropy_gradient=False)
        theirs = by_trl(*inputs, token_ids)
    assert ours[0].dtype == theirs[0].dtype == torch.float32
    exact = by_log_softmax(*(tensor.float() for tensor in inputs), token_ids)
    for a, b, c in zip(ours, theirs, exact, strict=True):
        assert (a - c).norm() <= 1.2 * (b - c).norm(), "rounded no more than TRL's"
    truth = gradients(exact[:1], inputs)
    pairs = zip(gradients(ours[:1], inputs), gradients(theirs[:1], inputs), truth, strict=True)
    for a, b, c in pairs:
        assert a.dtype == b.dtype == parameters
        assert (a - c).norm() <= 1.2 * (b - c).norm()


def test_no_tokens():
    hidden_states, weight, bias, token_ids = head_and_tokens(num_tokens=0)
    log_probs, entropy = token_log_probs(hidden_states, weight, bias, token_ids)
    assert log_probs.shape == entropy.shape == (0,)
    log_probs.sum().backward()
    assert not weight.grad.any() and not bias.grad.any() and hidden_states.grad.shape == (0, 5)


def test_logits_exist_for_a_few_rows_at_a_time(monkeypatch):
    """Without gradients, with a frozen head, and with a trained one above the limit for keeping them."""
    monkeypatch.setattr(module, "_LOGITS_AT_ONCE", 200)
    monkeypatch.setattr(module, "_LOGITS_KEPT", 4000)
    shapes = []
    linear = module.linear
    monkeypatch.setattr(module, "linear", lambda h, w, b: shapes.append((len(h), len(w))) or linear(h, w, b))
    for num_tokens in (20, 60):
        *inputs, token_ids = head_and_tokens(num_tokens=num_tokens, vocab_size=100)
        sum(token_log_probs(*inputs, token_ids)).sum().backward()
    assert shapes == [(2, 100)] * (10 + 30 + 30), "20 × 100 logits are kept, 60 × 100 computed again"
