"""From scores to advantages: by hand, against numpy, and cut over two processes."""

import threading

import numpy as np
import pytest
import torch
from double_loop import advantages_by_double_loop

from trl_dprm.ppo.advantages import masked_totals
from trl_dprm.ppo.rollout import penalise_missing_eos, score_rollout, token_rewards


def random_normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def close(ours, reference):
    torch.testing.assert_close(ours, torch.as_tensor(reference, dtype=torch.float64), rtol=1e-10, atol=1e-14)


def random_rollout():
    """Scores, KL, values and mask of 8 completions; one cannot be scored, one has no token, some have tool output."""
    scores, kl, values = random_normal(8, seed=1), random_normal(8, 6, seed=2), random_normal(8, 6, seed=3)
    mask = random_normal(8, 6, seed=4) > -0.5
    scores[2], mask[5] = torch.nan, False
    return scores, kl, values, mask


def test_the_score_stands_on_the_last_token_that_counts():
    kl = torch.tensor([[1.0, 2.0, 3.0, torch.nan]] * 4)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]])
    rewards = token_rewards(torch.tensor([10.0, 20.0, 30.0, torch.nan]), kl, mask, kl_coef=0.5)
    assert rewards.tolist() == [[-0.5, -1.0, 8.5, 0.0], [-0.5, 0.0, 18.5, 0.0], [0.0] * 4, [0.0] * 4]


def test_token_rewards_sum_to_the_score_less_the_penalty():
    scores, kl, _, mask = random_rollout()
    sums = token_rewards(scores, kl, mask, kl_coef=0.3).sum(1)
    for row in range(8):
        counts = mask[row].any() and not scores[row].isnan()
        expected = scores[row] - 0.3 * kl[row][mask[row]].sum() if counts else torch.zeros(())
        close(sums[row], expected.double())


@pytest.mark.parametrize("whiten_rewards", [False, True])
def test_a_rollout_against_numpy(whiten_rewards):
    scores, kl, values, mask = random_rollout()
    ours = score_rollout(scores, kl, values, mask, 0.3, gamma=0.9, lam=0.8, whiten_rewards=whiten_rewards)
    counts = mask.numpy() & ~np.isnan(scores.numpy())[:, None]
    assert (ours.mask.numpy() == counts).all()
    rewards = -0.3 * kl.numpy() * counts
    for row in range(8):
        if counts[row].any():
            rewards[row, np.flatnonzero(counts[row])[-1]] += scores[row].item()
    close(ours.token_rewards, rewards)
    if whiten_rewards:
        kept = rewards[counts]
        rewards = ((rewards - kept.mean()) / np.sqrt(kept.var(ddof=1) + 1e-8) + kept.mean()) * counts
    advantages = advantages_by_double_loop(rewards, values.numpy(), counts, 0.9, 0.8)
    close(ours.returns, (advantages + values.numpy()) * counts)
    kept = advantages[counts]
    close(ours.advantages, (advantages - kept.mean()) / np.sqrt(kept.var(ddof=1) + 1e-8) * counts)


def test_completions_that_do_not_count_change_nothing_for_the_others():
    scores, kl, values, mask = random_rollout()
    others = [0, 1, 3, 4, 6, 7]
    options = dict(kl_coef=0.3, gamma=0.9, lam=0.8, whiten_rewards=True)
    whole = score_rollout(scores, kl, values, mask, **options)
    part = score_rollout(scores[others], kl[others], values[others], mask[others], **options)
    for name in ("mask", "token_rewards", "advantages", "returns"):
        full = getattr(whole, name)
        assert not full[[2, 5]].any(), name
        torch.testing.assert_close(full[others], getattr(part, name), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("whiten_rewards", [False, True])
def test_two_processes_do_what_one_does(whiten_rewards):
    rollout = random_rollout()
    options = dict(kl_coef=0.3, gamma=0.9, lam=0.8, whiten_rewards=whiten_rewards)
    whole = score_rollout(*rollout, **options)
    barrier, slots, parts = threading.Barrier(2, timeout=30), [None, None], [None, None]

    def process(rank, rows):
        def reduce(tensor):
            slots[rank] = tensor
            barrier.wait()
            total = slots[0] + slots[1]
            barrier.wait()
            return total

        parts[rank] = score_rollout(*(tensor[rows] for tensor in rollout), **options, reduce=reduce)

    threads = [threading.Thread(target=process, args=work) for work in enumerate([slice(0, 3), slice(3, 8)])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in ("mask", "token_rewards", "advantages", "returns"):
        joined = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(joined, getattr(whole, name), rtol=1e-10, atol=1e-14)


def test_advantages_are_white_over_the_tokens_that_count():
    ours = score_rollout(*random_rollout(), kl_coef=0.3, gamma=1.0, lam=0.95)
    total, squares, count = masked_totals(ours.advantages, ours.mask)
    assert abs(total / count) < 1e-10
    assert squares / (count - 1) == pytest.approx(1.0, rel=1e-6)


def test_a_rollout_in_which_nothing_counts_is_zero():
    scores, kl, values, _ = random_rollout()
    ours = score_rollout(scores, kl, values, torch.zeros(8, 6), 0.3, 1.0, 0.95, whiten_rewards=True)
    for name in ("mask", "token_rewards", "advantages", "returns"):
        assert not getattr(ours, name).any(), name


def test_a_missing_eos_costs_its_penalty():
    scores = torch.tensor([1.0, 1.0, torch.nan])
    penalised = penalise_missing_eos(scores, torch.tensor([True, False, False]), 1.5)
    torch.testing.assert_close(penalised, torch.tensor([1.0, -0.5, torch.nan]), equal_nan=True)
    assert scores[1] == 1.0  # not in place


def test_bad_arguments_are_named():
    scores, kl, values, mask = random_rollout()
    with pytest.raises(ValueError, match=r"scores has shape \(8, 1\) but kl has \(8, 6\); give one score per"):
        token_rewards(scores[:, None], kl, mask, 0.1)
    with pytest.raises(ValueError, match=r"mask has shape \(8, 5\) but kl has \(8, 6\)"):
        score_rollout(scores, kl, values, mask[:, 1:], 0.1, 1.0, 0.95)
    with pytest.raises(ValueError, match=r"kl has shape \(8, 6\) but values has \(8, 7\)"):
        score_rollout(scores, kl, random_normal(8, 7), mask, 0.1, 1.0, 0.95)
    with pytest.raises(ValueError, match="missing_eos_penalty is -1.0; give what is subtracted"):
        penalise_missing_eos(scores, scores > 0, -1.0)
    with pytest.raises(ValueError, match=r"has_eos has shape \(1,\) but scores has \(8,\)"):
        penalise_missing_eos(scores, mask[0, :1], 1.0)
