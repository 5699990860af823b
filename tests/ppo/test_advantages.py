"""Advantages against a double loop over the compressed sequence, and masked statistics against numpy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from double_loop import advantages_by_double_loop

from trl_dprm.ppo.advantages import (
    generalized_advantage_estimation,
    masked_mean,
    masked_totals,
    masked_variance,
    masked_whiten,
    totals_mean_and_variance,
)
from trl_dprm.ppo.arguments import wide


def random_normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def random_mask(*shape, seed=0):
    return torch.rand(*shape, generator=torch.manual_seed(seed)) < 0.6


def close(ours, reference):
    torch.testing.assert_close(ours, torch.as_tensor(reference, dtype=torch.float64), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.7), (1.0, 1.0), (0.99, 0.0), (0.0, 0.5)])
def test_advantages_against_a_double_loop(gamma, lam):
    rewards, values, mask = random_normal(20, 9, seed=1), random_normal(20, 9, seed=2), random_mask(20, 9)
    mask[0], mask[1] = True, False
    advantages, returns = generalized_advantage_estimation(rewards, values, mask, gamma, lam)
    reference = advantages_by_double_loop(rewards.numpy(), values.numpy(), mask.numpy(), gamma, lam)
    close(advantages, reference)
    close(returns, (reference + values.numpy()) * mask.numpy())


def test_masked_tokens_in_the_middle_are_as_if_they_were_not_there():
    rewards, values = random_normal(1, 5, seed=1), random_normal(1, 5, seed=2)
    short, _ = generalized_advantage_estimation(rewards, values, torch.ones(1, 5), 0.9, 0.8)
    places, mask = torch.tensor([0, 1, 4, 6, 7]), torch.zeros(1, 9)
    mask[:, places] = 1
    spread = [torch.full((1, 9), torch.nan, dtype=torch.float64) for _ in range(2)]
    for tensor, numbers in zip(spread, (rewards, values), strict=True):
        tensor[:, places] = numbers
    long, returns = generalized_advantage_estimation(*spread, mask, 0.9, 0.8)
    close(long[:, places], short)
    assert not long[mask == 0].any() and not returns[mask == 0].any()


def test_advantages_by_hand():
    # deltas: 0 + 0.5 * 4 - 2 = 0 and 8 - 4 = 4; then 4, and 0 + 0.5 * 0.5 * 4
    advantages, returns = generalized_advantage_estimation(
        torch.tensor([[0.0, 8.0]]), torch.tensor([[2.0, 4.0]]), torch.ones(1, 2), gamma=0.5, lam=0.5
    )
    assert advantages.tolist() == [[1.0, 4.0]]
    assert returns.tolist() == [[3.0, 8.0]]


def test_advantages_carry_no_gradient_and_leave_half_precision():
    values = torch.ones(1, 2, dtype=torch.bfloat16, requires_grad=True)
    advantages, returns = generalized_advantage_estimation(values, values, torch.ones(1, 2), 1.0, 0.95)
    assert advantages.dtype == returns.dtype == torch.float32
    assert not advantages.requires_grad and not returns.requires_grad


def test_bad_arguments_of_the_advantages_are_named():
    good = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"rewards has shape \(2, 3\) but values has \(2, 1\)"):
        generalized_advantage_estimation(good, good[:, :1], good, 1.0, 0.9)
    with pytest.raises(ValueError, match=r"mask has shape \(3,\) but values has \(2, 3\)"):
        generalized_advantage_estimation(good, good, good[0], 1.0, 0.9)
    with pytest.raises(ValueError, match="gamma is -0.1; give a number between 0 and 1"):
        generalized_advantage_estimation(good, good, good, -0.1, 0.9)
    with pytest.raises(ValueError, match="lam is nan"):
        generalized_advantage_estimation(good, good, good, 1.0, float("nan"))
    with pytest.raises(TypeError, match="values is a list, not a torch.Tensor"):
        generalized_advantage_estimation(good, [[0.0]], good, 1.0, 0.9)


def test_masked_statistics_against_numpy():
    values, mask = random_normal(6, 7), random_mask(6, 7)
    kept = values[mask].numpy()
    dirty = values.masked_fill(~mask, torch.nan)
    for given in (values, dirty):
        close(masked_mean(given, mask), kept.mean())
        close(masked_variance(given, mask), kept.var(ddof=1))
        close(masked_variance(given, mask, unbiased=False), kept.var())
        close(masked_totals(given, mask.long()), [kept.sum(), (kept**2).sum(), kept.size])
        for unbiased in (True, False):
            mean, variance = totals_mean_and_variance(masked_totals(given, mask), unbiased)
            close(mean, kept.mean())
            close(variance, kept.var(ddof=int(unbiased)))
    mask[2] = False
    rows = [row[kept].mean() if kept.any() else np.nan for row, kept in zip(values.numpy(), mask.numpy(), strict=True)]
    torch.testing.assert_close(masked_mean(dirty, mask, dim=1), torch.tensor(rows), rtol=1e-10, atol=0, equal_nan=True)


def test_the_statistics_of_nothing_are_not_numbers():
    nothing, values = torch.zeros(3), torch.ones(3)
    assert masked_mean(values, nothing).isnan()
    assert masked_variance(values, nothing).isnan()
    assert masked_variance(values, torch.tensor([1, 0, 0])).isnan()


@pytest.mark.parametrize("shift_mean", [True, False])
def test_whitened_values_against_numpy(shift_mean):
    values, mask = 5.0 + 3.0 * random_normal(6, 7), random_mask(6, 7)
    kept = values[mask].numpy()
    whitened = masked_whiten(values.masked_fill(~mask, torch.nan), mask, shift_mean)
    reference = (kept - kept.mean()) / np.sqrt(kept.var(ddof=1) + 1e-8) + (0.0 if shift_mean else kept.mean())
    close(whitened[mask], reference)
    assert not whitened[~mask].any()


def test_whitening_with_summed_totals_is_whitening_of_the_whole():
    values, mask = 2.0 + random_normal(6, 7), random_mask(6, 7)
    parts = [(values[:2], mask[:2]), (values[2:], mask[2:])]
    totals = sum(masked_totals(*part) for part in parts)
    close(torch.cat([masked_whiten(*part, totals=totals) for part in parts]), masked_whiten(values, mask))


@pytest.mark.parametrize("count", [6, 7, 11])  # sums of this many 0.1 leave a remainder
def test_the_variance_of_equal_numbers_is_zero_and_not_the_rounding_of_their_sums(count):
    totals = masked_totals(torch.full((count,), 0.1, dtype=torch.float64), torch.ones(count))
    assert totals[1] - totals[0] ** 2 / count != 0
    assert totals_mean_and_variance(totals)[1] == 0


@pytest.mark.parametrize("shift_mean", [True, False])
def test_whitening_one_token_or_none_or_equal_ones_stays_finite(shift_mean):
    values = torch.full((1, 3), 0.1)
    for mask in ([0, 0, 0], [1, 0, 0], [1, 1, 1]):
        whitened = masked_whiten(values, torch.tensor([mask]), shift_mean)
        expected = torch.tensor([mask]) * (0.0 if shift_mean else 0.1)
        torch.testing.assert_close(whitened, expected)


def test_whitening_keeps_float32_and_its_far_mean():
    values = (1000.0 + random_normal(50, 40)).float()
    whitened = masked_whiten(values, torch.ones(50, 40))
    assert whitened.dtype == torch.float32
    exact = (values.double() - values.double().mean()) / values.double().std()
    torch.testing.assert_close(whitened, exact.float(), rtol=1e-5, atol=1e-6)


def test_means_and_whitening_have_their_gradients():
    values, mask = random_normal(3, 4).requires_grad_(), random_mask(3, 4)
    assert torch.autograd.gradcheck(lambda x: masked_mean(x, mask), values)
    assert torch.autograd.gradcheck(lambda x: masked_variance(x, mask), values)
    totals = masked_totals(values, mask)
    assert torch.autograd.gradcheck(lambda x: masked_whiten(x, mask, totals=totals), values)


def test_sums_run_in_float32_where_there_is_no_float64():
    on_apple = SimpleNamespace(device=SimpleNamespace(type="mps"), dtype=torch.float16, to=lambda dtype: dtype)
    assert wide(on_apple) == torch.float32
