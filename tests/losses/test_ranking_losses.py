"""Losses for pairs against probabilities computed by hand, and where probabilities underflow."""

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F

from trl_dprm.losses import bradley_terry_loss, davidson_loss, win_probability_loss, win_tie_log_probs
from trl_dprm.metrics import win_tie_probs

REWARDS = [1.0, 0.5, -1.0, -1.0, -1.5, -3.0]  # the third and the fourth tie


def random_normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def random_shares(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def close(ours, reference):
    torch.testing.assert_close(ours, torch.as_tensor(reference, dtype=torch.float64), rtol=1e-10, atol=1e-14)


def test_at_scale_one_it_is_the_loss_of_trl():
    chosen, rejected, margin = random_normal(20, seed=1), random_normal(20, seed=2), random_shares(20)
    close(bradley_terry_loss(chosen, rejected), -F.logsigmoid(chosen - rejected))
    close(bradley_terry_loss(chosen, rejected, margin=margin), -F.logsigmoid(chosen - rejected - margin))


def test_scale_margin_and_vote_share_against_scipy():
    chosen, rejected, margin, share = (
        random_normal(20, seed=1),
        random_normal(20, seed=2),
        random_shares(20),
        random_shares(20),
    )
    x = (3.5 * (chosen - rejected) - margin).numpy()
    reference = -share.numpy() * scipy.special.log_expit(x) - (1 - share.numpy()) * scipy.special.log_expit(-x)
    close(bradley_terry_loss(chosen, rejected, 3.5, margin, share), reference)
    close(bradley_terry_loss(chosen, rejected, torch.tensor(3.5), margin, share), reference)


def test_a_vote_share_is_its_votes_one_by_one():
    chosen, rejected = random_normal(5, seed=1), random_normal(5, seed=2)
    votes = torch.stack([bradley_terry_loss(chosen, rejected)] * 3 + [bradley_terry_loss(rejected, chosen)])
    close(bradley_terry_loss(chosen, rejected, chosen_vote_share=torch.tensor(0.75)), votes.mean(0))


def test_bradley_terry_is_smallest_where_the_probability_equals_the_share():
    share = torch.tensor(0.7, dtype=torch.float64)
    best = share.logit().requires_grad_()
    loss = bradley_terry_loss(best / 2, torch.zeros_like(share), scale=2.0, chosen_vote_share=share)
    assert torch.autograd.grad(loss, best)[0].abs() < 1e-12


def test_davidson_against_the_three_probabilities():
    chosen, rejected = random_normal(20, seed=1), random_normal(20, seed=2)
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    weights = np.exp(2.0 * np.stack([chosen, rejected], axis=-1))
    outcomes = np.column_stack([weights, 0.8 * np.sqrt(weights.prod(-1))])
    reference = -(shares * np.log(outcomes / outcomes.sum(-1, keepdims=True))).sum(-1)
    share, tie = torch.from_numpy(shares[:, 0]), torch.from_numpy(shares[:, 2])
    close(davidson_loss(chosen, rejected, 0.8, share, tie, scale=2.0), reference)


def test_davidson_without_ties_is_bradley_terry():
    chosen, rejected, share = random_normal(20, seed=1), random_normal(20, seed=2), random_shares(20)
    ours = davidson_loss(chosen, rejected, 1e-15, share, torch.zeros(()), scale=1.5)
    close(ours, bradley_terry_loss(chosen, rejected, scale=1.5, chosen_vote_share=share))


def test_win_probability_against_a_double_loop():
    chosen, rejected, share = random_normal(10, 6, seed=1), random_normal(10, 6, seed=2), random_shares(10)
    for row in range(10):
        q, r = chosen[row].softmax(-1).tolist(), rejected[row].softmax(-1).tolist()
        win = 0.0
        for i in range(6):
            for j in range(6):
                win += q[i] * r[j] * (1.0 if REWARDS[i] > REWARDS[j] else 0.5 if REWARDS[i] == REWARDS[j] else 0.0)
        reference = -share[row].item() * np.log(win) - (1 - share[row].item()) * np.log1p(-win)
        close(win_probability_loss(chosen[row], rejected[row], REWARDS, share[row]), reference)
        close(win_probability_loss(chosen[row], rejected[row], REWARDS), -np.log(win))


def three_shares(count):
    """Shares for chosen, tie, rejected, and of them what the loss takes: half of the ties count for the chosen."""
    shares = np.random.default_rng(0).dirichlet(np.ones(3), count)
    return shares, torch.from_numpy(shares[:, 0] + shares[:, 1] / 2), torch.from_numpy(shares[:, 1])


def test_three_ways_against_a_double_loop():
    chosen, rejected = random_normal(10, 6, seed=1), random_normal(10, 6, seed=2)
    shares, share, tie = three_shares(10)
    for row in range(10):
        q, r = chosen[row].softmax(-1).tolist(), rejected[row].softmax(-1).tolist()
        outcomes = [0.0, 0.0, 0.0]
        for i in range(6):
            for j in range(6):
                outcomes[0 if REWARDS[i] > REWARDS[j] else 1 if REWARDS[i] == REWARDS[j] else 2] += q[i] * r[j]
        reference = -sum(s * np.log(p) for s, p in zip(shares[row], outcomes, strict=True))
        close(win_probability_loss(chosen[row], rejected[row], REWARDS, share[row], tie[row]), reference)
        close(win_tie_log_probs(chosen[row], rejected[row], REWARDS).exp(), outcomes)


def test_log_probabilities_are_those_of_the_metrics():
    logits = random_normal(2, 10, 6)
    close(win_tie_log_probs(*logits, REWARDS).exp(), win_tie_probs(*logits.softmax(-1).numpy(), REWARDS))


def test_pairs_whose_ties_are_not_known_keep_the_loss_of_two_ways():
    logits, (_, share, tie) = random_normal(2, 10, 6).requires_grad_(), three_shares(10)
    unknown = torch.arange(10) % 2 == 0
    mixed = win_probability_loss(*logits, REWARDS, share, tie.masked_fill(unknown, torch.nan))
    close(mixed[unknown], win_probability_loss(*logits, REWARDS, share)[unknown])
    close(mixed[~unknown], win_probability_loss(*logits, REWARDS, share, tie)[~unknown])
    assert torch.autograd.grad(mixed.sum(), logits)[0].isfinite().all()


def test_three_ways_are_best_where_the_outcomes_are_the_votes():
    """A descent on the logits of two responses reaches the entropy of the votes, which nothing can go below."""
    shares, share, tie = np.array([0.6, 0.3, 0.1]), torch.tensor(0.75).double(), torch.tensor(0.3).double()
    logits = random_normal(2, 6).requires_grad_()
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def closure():
        optimizer.zero_grad()
        loss = win_probability_loss(*logits, REWARDS, share, tie)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert closure().item() == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-6)


def test_without_different_rewards_nothing_can_win():
    with pytest.raises(ValueError, match="category_rewards are all 1: every pair would be a tie"):
        win_tie_log_probs(torch.zeros(2), torch.zeros(2), [1.0, 1.0])


def test_win_probability_sees_only_the_order_of_rewards():
    chosen, rejected = random_normal(10, 6, seed=1), random_normal(10, 6, seed=2)
    ranks = torch.tensor([5, 4, 3, 3, 2, 1])
    close(win_probability_loss(chosen, rejected, ranks), win_probability_loss(chosen, rejected, REWARDS))


def test_gradients_reach_rewards_scale_and_tie_propensity():
    rewards, scale, propensity = random_normal(2, 5), torch.tensor(1.5).double(), torch.tensor(0.7).double()
    share, tie = random_shares(5) / 2, random_shares(5, seed=1) / 2
    inputs = (rewards.requires_grad_(), scale.requires_grad_(), propensity.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda r, k, _: bradley_terry_loss(r[0], r[1], k, tie, share), (*inputs[:2], share)
    )
    assert torch.autograd.gradcheck(lambda r, k, nu: davidson_loss(r[0], r[1], nu, share, tie, k), inputs)


@pytest.mark.parametrize(("share", "tie"), [(None, None), (random_shares(5), None), three_shares(5)[1:]])
def test_win_probability_gradients_through_logits(share, tie):
    logits = random_normal(2, 5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: win_probability_loss(z[0], z[1], REWARDS, share, tie), logits)


@pytest.mark.parametrize("extreme", [1e4, 1e30])
def test_extreme_logits_and_rewards_give_finite_losses_and_gradients(extreme):
    """The chosen response is surely in the worst category, the rejected one in the best."""
    logits = torch.zeros(2, 6)
    logits[0, -1] = logits[1, 0] = extreme
    logits.requires_grad_()
    rewards, share = torch.tensor([-extreme, extreme], requires_grad=True), torch.tensor(0.9)
    for loss, leaf in [
        (win_probability_loss(logits[0], logits[1], REWARDS, share), logits),
        (win_probability_loss(logits[0], logits[1], REWARDS, share, torch.tensor(0.1)), logits),
        (bradley_terry_loss(rewards[0], rewards[1], chosen_vote_share=share), rewards),
        (davidson_loss(rewards[0], rewards[1], 1.0, share, torch.tensor(0.1)), rewards),
    ]:
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert loss.isfinite() and loss > 1000 and gradient.isfinite().all() and gradient.abs().sum() > 0


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: win_probability_loss(z[0], z[1], REWARDS, torch.tensor(0.3)),
        lambda z: bradley_terry_loss(z[0, :, 0], z[1, :, 0], 2.0),
        lambda z: davidson_loss(z[0, :, 0], z[1, :, 0], 1.0, torch.tensor(0.3), torch.tensor(0.3)),
    ],
    ids=["win_probability", "bradley_terry", "davidson"],
)
def test_half_precision_under_autocast_is_computed_in_float32(loss):
    logits = random_normal(2, 64, 6).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = loss(logits)
    assert autocast.dtype == torch.float32
    assert torch.equal(autocast, loss(logits.float()))


ZEROS = torch.zeros(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: bradley_terry_loss(ZEROS[:, None], ZEROS),
            r"chosen_rewards has shape \(3, 1\) but .* \(3,\); .*squeeze",
        ),
        (lambda: bradley_terry_loss(ZEROS, ZEROS, scale=0.0), r"scale is 0\.0; give a positive number"),
        (lambda: bradley_terry_loss(ZEROS, ZEROS, scale=float("nan")), r"scale is nan; give a positive number"),
        (
            lambda: bradley_terry_loss(ZEROS, ZEROS, margin=ZEROS[:, None]),
            r"margin has shape \(3, 1\) for pairs of shape",
        ),
        (
            lambda: bradley_terry_loss(ZEROS, ZEROS, chosen_vote_share=torch.zeros(2)),
            r"chosen_vote_share, \(2,\), and of",
        ),
        (lambda: davidson_loss(ZEROS, ZEROS, 0.0, ZEROS, ZEROS), r"tie_propensity is 0\.0; give a positive number"),
        (lambda: davidson_loss(ZEROS, ZEROS, 1.0, ZEROS, ZEROS[:, None]), r"tie_vote_share has shape \(3, 1\)"),
        (lambda: win_probability_loss(ZEROS, ZEROS, REWARDS), r"category_rewards has 6 entries for 3 categories"),
        (lambda: win_probability_loss(ZEROS, ZEROS[:2], REWARDS), r"rejected_category_logits has \(2,\)"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_lists_are_refused():
    with pytest.raises(TypeError, match=r"margin is a list, not a torch\.Tensor; wrap it in torch\.tensor"):
        bradley_terry_loss(ZEROS, ZEROS, margin=[0.0, 0.0, 0.0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_equals_cpu():
    logits, share = random_normal(2, 10, 6), random_shares(10)
    on_cuda = win_probability_loss(logits[0].cuda(), logits[1].cuda(), REWARDS, share.cuda())
    close(on_cuda.cpu(), win_probability_loss(logits[0], logits[1], REWARDS, share))
    on_cuda = bradley_terry_loss(logits[0, :, 0].cuda(), logits[1, :, 0].cuda(), 2.0, None, share.cuda())
    close(on_cuda.cpu(), bradley_terry_loss(logits[0, :, 0], logits[1, :, 0], 2.0, None, share))
