"""Clipped losses by hand and by their gradients; explained variance against numpy."""

import numpy as np
import pytest
import torch

from trl_dprm.ppo.clipped_losses import (
    clipped_policy_loss,
    clipped_value_loss,
    explained_variance,
    explained_variance_of_totals,
    value_is_clipped,
)


def random_normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def close(ours, reference):
    torch.testing.assert_close(ours, torch.as_tensor(reference, dtype=torch.float64), rtol=1e-10, atol=1e-14)


def float64(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_value_loss_by_hand():
    # within the range | beyond it, nearer to the return | beyond it, further away | beyond it below, nearer
    values, returns = float64(0.1, 1.0, -1.0, -1.0), float64(1.0, 1.0, 1.0, -2.0)
    loss = clipped_value_loss(values, torch.zeros(4), returns, cliprange_value=0.5)
    close(loss, [0.5 * 0.9**2, 0.5 * 0.5**2, 0.5 * 2.0**2, 0.5 * 1.5**2])
    assert value_is_clipped(values, torch.zeros(4), returns, 0.5).tolist() == [False, True, False, True]


def test_value_loss_without_a_range_is_half_the_squared_error():
    values, old_values, returns = (10 * random_normal(4, 5, seed=seed) for seed in range(3))
    close(clipped_value_loss(values, old_values, returns, float("inf")), 0.5 * (values - returns) ** 2)
    assert not value_is_clipped(values, old_values, returns, float("inf")).any()


def test_value_loss_has_its_gradient_and_none_where_clipped():
    values, old_values, returns = (random_normal(6, 7, seed=seed) for seed in range(3))
    values.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: clipped_value_loss(x, old_values, returns, 0.3), values)
    clipped_value_loss(values, old_values, returns, 0.3).sum().backward()
    clipped = value_is_clipped(values, old_values, returns, 0.3)
    assert 0 < clipped.sum() < clipped.numel()
    assert not values.grad[clipped].any()
    close(values.grad[~clipped], (values.detach() - returns)[~clipped])


def test_policy_loss_by_hand():
    ratios, advantages = float64(1.1, 1.5, 1.5, 0.5, 0.5, 0.9), float64(2.0, 2.0, -2.0, 2.0, -2.0, -2.0)
    loss = clipped_policy_loss((0.3 * ratios).log(), float64(*[0.3] * 6).log(), advantages, cliprange=0.2)
    close(loss, [-2.2, -2.4, 3.0, -1.0, 1.6, 1.8])


def test_policy_loss_has_its_gradient():
    log_probs, old_log_probs, advantages = (random_normal(6, 7, seed=seed) for seed in range(3))
    log_probs.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: clipped_policy_loss(x, old_log_probs, advantages, 0.2), log_probs)
    at_start = old_log_probs.clone().requires_grad_()
    clipped_policy_loss(at_start, old_log_probs, advantages, 0.2).sum().backward()
    close(at_start.grad, -advantages)  # the policy gradient


def test_explained_variance_against_numpy():
    values, returns = random_normal(6, 7, seed=1), 3.0 + random_normal(6, 7, seed=2)
    mask = random_normal(6, 7, seed=3) > 0
    v, r = values[mask].numpy(), returns[mask].numpy()
    close(explained_variance(values, returns, mask), 1 - np.var(r - v) / np.var(r))
    close(explained_variance(returns - 5.0, returns, mask), 1.0)
    close(explained_variance(torch.ones_like(returns), returns, mask), 0.0)


def test_explained_variance_of_equal_returns_is_not_a_number():
    values = torch.tensor([[0.1, 0.7, 0.3]])
    assert explained_variance(values, torch.full((1, 3), 0.1), torch.ones(1, 3)).isnan()
    assert explained_variance(values, values, torch.zeros(1, 3)).isnan()
    assert explained_variance_of_totals(torch.zeros(3), torch.zeros(3)).isnan()


def test_bad_arguments_are_named():
    good = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"values has shape \(2, 3\) but returns has \(3,\)"):
        clipped_value_loss(good, good, good[0], 0.2)
    with pytest.raises(ValueError, match="cliprange_value is 0; give a positive"):
        clipped_value_loss(good, good, good, 0)
    with pytest.raises(ValueError, match="cliprange is -1; give a positive"):
        clipped_policy_loss(good, good, good, -1)
    with pytest.raises(ValueError, match=r"log_probs has shape \(2, 3\) but advantages has \(2, 1\)"):
        clipped_policy_loss(good, good, good[:, :1], 0.2)
