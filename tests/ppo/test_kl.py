"""KL estimators against exact divergences of categorical distributions; the controller by hand."""

import json

import numpy as np
import pytest
import scipy.stats
import torch

from trl_dprm.ppo.kl import AdaptiveKL, approximate_kl, per_token_kl


def random_distributions(seed):
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(6), 10))


def close(ours, reference):
    torch.testing.assert_close(ours, torch.as_tensor(reference, dtype=torch.float64), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_mean_over_the_policys_tokens_is_the_divergence(estimator):
    policy, reference = random_distributions(0), random_distributions(1)
    mean = (policy * per_token_kl(policy.log(), reference.log(), estimator)).sum(-1)
    close(mean, scipy.stats.entropy(policy, reference, axis=-1))


def test_the_mean_over_the_old_policys_tokens_is_the_divergence_from_it():
    new, old = random_distributions(0), random_distributions(1)
    estimate = approximate_kl(new.log(), old.log())
    close((old * estimate).sum(-1), scipy.stats.entropy(old, new, axis=-1))
    assert (estimate >= 0).all()


def test_estimators_by_hand():
    log_probs, ref_log_probs = torch.log(torch.tensor([[0.5, 0.1]])), torch.log(torch.tensor([[0.25, 0.4]]))
    torch.testing.assert_close(per_token_kl(log_probs, ref_log_probs), torch.log(torch.tensor([[2.0, 0.25]])))
    k3 = per_token_kl(log_probs, ref_log_probs, "k3")
    torch.testing.assert_close(k3, torch.tensor([[0.5 - 1 + np.log(2.0), 4.0 - 1 - np.log(4.0)]]).float())


def test_small_steps_agree_with_the_removed_trainers_half_square():
    step = 1e-3 * torch.randn(100, dtype=torch.float64, generator=torch.manual_seed(0))
    torch.testing.assert_close(approximate_kl(step, torch.zeros_like(step)), 0.5 * step**2, rtol=2e-3, atol=0)


def test_k3_keeps_its_digits_where_the_policies_are_close():
    step = torch.tensor([1e-4])
    torch.testing.assert_close(per_token_kl(step, torch.zeros(1), "k3"), torch.tensor([5e-9]), rtol=1e-2, atol=0)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_estimators_have_their_gradients(estimator):
    log_probs, ref_log_probs = (random_distributions(seed).log().requires_grad_() for seed in (0, 1))
    assert torch.autograd.gradcheck(lambda *x: per_token_kl(*x, estimator), (log_probs, ref_log_probs))


def test_bad_arguments_of_the_estimators_are_named():
    with pytest.raises(ValueError, match="kl_estimator is 'k2'; choose one of k1, k3"):
        per_token_kl(torch.zeros(1), torch.zeros(1), "k2")
    with pytest.raises(ValueError, match=r"log_probs has shape \(2, 3\) but ref_log_probs has \(2, 4\)"):
        per_token_kl(torch.zeros(2, 3), torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("kl", "factor"), [(6.0, 1.0), (6.6, 1.01), (5.4, 0.99), (60.0, 1.02), (0.0, 0.98), (-1.0, 0.98)]
)
def test_the_controller_by_hand(kl, factor):
    controller = AdaptiveKL(0.05, target=6.0, horizon=10_000)
    controller.update(kl, num_episodes=1000)
    assert controller.coefficient == pytest.approx(0.05 * factor, rel=1e-12)


def test_the_controller_finds_the_coefficient_of_its_target():
    controller = AdaptiveKL(1.0, target=6.0, horizon=1000)
    for _ in range(2000):
        controller.update(kl=3.0 / controller.coefficient, num_episodes=64)
    assert controller.coefficient == pytest.approx(0.5, rel=1e-6)


def test_the_controller_continues_from_its_state():
    first, second = AdaptiveKL(0.05, 6.0, 1000), AdaptiveKL(0.05, 6.0, 1000)
    first.update(20.0, 7)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    first.update(20.0, 7)
    second.update(20.0, 7)
    assert second.coefficient == first.coefficient > 0.05


def test_a_rollout_without_tokens_leaves_the_coefficient():
    controller = AdaptiveKL(0.05)
    with pytest.warns(UserWarning, match="`kl_coef` stays"):
        controller.update(float("nan"), 8)
    assert controller.coefficient == 0.05


def test_bad_arguments_of_the_controller_are_named():
    for name, arguments in {
        "kl_coef": (0.0,),
        "kl_target": (0.1, -1.0),
        "kl_horizon": (0.1, 6.0, float("nan")),
    }.items():
        with pytest.raises(ValueError, match=f"{name} is .*; give a positive, finite number"):
            AdaptiveKL(*arguments)
    with pytest.raises(ValueError, match="kl_horizon is 10 for rollouts of 50 episodes.*Raise it above 50"):
        AdaptiveKL(0.1, horizon=10).update(6.0, num_episodes=50)
    with pytest.raises(ValueError, match="KL to the reference is inf"):
        AdaptiveKL(0.1).update(float("inf"), 8)
