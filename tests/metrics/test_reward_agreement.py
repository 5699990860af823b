"""The ceiling of the correlation by hand, by enumeration of all votes and by simulation; the line against polyfit."""

import itertools
import math

import numpy as np
import pytest

from trl_dprm.metrics import distribution_metrics, reward_agreement, vote_shares

REWARDS = np.array([-1.0, 0.0, 2.0])


def simulated(num_items=4000, most_votes=5, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.dirichlet([0.8, 1.0, 0.5], num_items)
    return truth, generator.multinomial(generator.integers(1, most_votes + 1, num_items), truth)


def test_by_hand():
    """Two items of 3 and 1 of 2 votes; rewards 0 and 1, so that means and variances are those of shares."""
    probs, counts = [[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]], [[2, 1], [1, 2], [0, 2]]
    votes, mean, expected = np.array([3, 3, 2]), np.array([1 / 3, 2 / 3, 1]), np.array([0.2, 0.5, 0.9])
    share = votes / 8
    mean_mean, expected_mean = share @ mean, share @ expected
    observed_variance = share @ (mean - mean_mean) ** 2
    covariance = share @ ((mean - mean_mean) * (expected - expected_mean))
    expected_variance = share @ (expected - expected_mean) ** 2
    within = np.array([1 / 3, 1 / 3, 0.0])  # 2 of 3: 3/2 · 2/9
    noise = sum(share[i] * (1 - share[i]) * within[i] / votes[i] for i in range(3))
    agreement = reward_agreement(probs, counts, [0.0, 1.0])
    np.testing.assert_allclose(
        agreement,
        [
            covariance / math.sqrt(observed_variance * expected_variance),
            math.sqrt(1 - noise / observed_variance),
            covariance / expected_variance,
            mean_mean - covariance / expected_variance * expected_mean,
        ],
        rtol=1e-12,
    )


def test_the_noise_that_is_taken_away_is_the_noise_of_the_votes():
    """Over all outcomes of three items' votes, observed variance minus noise is the variance of the true means."""
    truth, votes = np.array([[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]]), [2, 3, 2]
    total = 0.0
    for answers in itertools.product(range(2), repeat=sum(votes)):
        answers = np.split(np.array(answers), np.cumsum(votes)[:-1])
        probability = np.prod([truth[i][answer].prod() for i, answer in enumerate(answers)])
        counts = np.array([np.bincount(answer, minlength=2) for answer in answers])
        mean, share = counts[:, 1] / votes, np.array(votes) / sum(votes)
        observed = share @ (mean - share @ mean) ** 2
        within = [np.repeat([0, 1], row).var(ddof=1) for row in counts]
        noise = sum(s * (1 - s) * w / n for s, w, n in zip(share, within, votes, strict=True))
        total += probability * (observed - noise)
        ceiling = reward_agreement(truth, counts, [0.0, 1.0]).correlation_ceiling
        expected = max(0, 1 - noise / observed) if observed > 1e-12 else math.nan
        assert ceiling**2 == pytest.approx(expected, abs=1e-9, nan_ok=True)
    true_variance = share @ (truth[:, 1] - share @ truth[:, 1]) ** 2
    assert total == pytest.approx(true_variance, rel=1e-10)


@pytest.mark.parametrize("most_votes", [2, 5, 20])
def test_the_truth_reaches_the_ceiling_and_lies_on_the_diagonal(most_votes):
    agreements = [reward_agreement(*simulated(8000, most_votes, seed), REWARDS) for seed in range(20)]
    correlation, ceiling, slope, intercept = np.mean(agreements, axis=0)
    assert correlation == pytest.approx(ceiling, abs=0.01)
    assert slope == pytest.approx(1, abs=0.01)
    assert intercept == pytest.approx(0, abs=0.01)
    assert ceiling < 0.97


def test_a_sharpened_truth_exaggerates_and_a_shifted_one_has_an_intercept():
    truth, counts = simulated()
    sharpened = truth**3 / (truth**3).sum(axis=1, keepdims=True)
    assert reward_agreement(sharpened, counts, REWARDS).slope < 0.9
    shifted = 0.5 * truth + 0.5 * np.array([1.0, 0.0, 0.0])  # expected reward = true / 2 - 1 / 2
    _, _, slope, intercept = reward_agreement(shifted, counts, REWARDS)
    assert slope == pytest.approx(2, abs=0.1)
    assert intercept == pytest.approx(1, abs=0.1)


def test_line_and_correlation_against_other_code():
    truth, counts = simulated(200)
    votes = counts.sum(axis=1)
    agreement = reward_agreement(truth, counts, REWARDS)
    slope, intercept = np.polyfit(truth @ REWARDS, counts @ REWARDS / votes, 1, w=np.sqrt(votes))
    np.testing.assert_allclose([agreement.slope, agreement.intercept], [slope, intercept], rtol=1e-9)
    cost = np.abs(np.subtract.outer(REWARDS, REWARDS))
    report = distribution_metrics(truth, *vote_shares(counts), REWARDS, REWARDS, cost)
    assert agreement.correlation == pytest.approx(report["expected_reward_correlation"], rel=1e-12)


def test_single_votes_vary_like_the_others():
    """One vote tells no variance: the item is given the mean of the others, weighted by n - 1."""
    counts = np.array([[2, 1, 0], [0, 1, 1], [0, 0, 1]])
    within = np.array([np.repeat(REWARDS, row).var(ddof=1) for row in counts[:2]])
    within = np.append(within, (2 * within[0] + within[1]) / 3)
    votes, share = np.array([3, 2, 1]), np.array([3, 2, 1]) / 6
    mean = counts @ REWARDS / votes
    noise = (share * (1 - share) * within / votes).sum()
    expected = math.sqrt(1 - noise / (share @ (mean - share @ mean) ** 2))
    probs = np.full((3, 3), 1 / 3)
    assert reward_agreement(probs, counts, REWARDS).correlation_ceiling == pytest.approx(expected, rel=1e-12)


def test_items_without_votes_do_not_count():
    truth, counts = simulated(50)
    counts[::3] = 0
    voted = counts.sum(axis=1) > 0
    np.testing.assert_array_equal(
        reward_agreement(truth, counts, REWARDS), reward_agreement(truth[voted], counts[voted], REWARDS)
    )


def test_undefined_numbers_are_nan():
    spread, constant = [[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.3, 0.7]]
    rewards, nan = [0.0, 1.0], math.nan
    cases = [
        (constant, [[2, 0], [0, 2]], [nan, 1.0, nan, nan]),
        (spread, [[1, 1], [2, 2]], [nan, nan, 0.0, 0.5]),  # equal mean rewards
        (spread, [[1, 0], [0, 1]], [1.0, nan, 1 / 0.7, -0.1 / 0.7]),  # one vote each
        (spread[:1], [[1, 1]], [nan, nan, nan, nan]),
        (spread, [[3, 2], [2, 3]], [1.0, 0.0, 0.2 / 0.7, 0.5 - 0.45 * 0.2 / 0.7]),  # no more than noise
    ]
    for probs, counts, expected in cases:
        np.testing.assert_allclose(reward_agreement(probs, counts, rewards), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("probs", "counts", "rewards", "message"),
    [
        ([[0.5, 0.5]], [[0, 0]], [0, 1], "target_counts has no votes at all; give the votes of at least one item"),
        ([[0.5, 0.5]], [[1, 1]], [0, 1, 2], "category_rewards has 3 entries where 2 are needed"),
        ([[0.5, 0.5]], [[1, 1, 1]], [0, 1], r"category_probs has shape \(1, 2\) but target_counts has \(1, 3\)"),
    ],
)
def test_bad_input_is_refused(probs, counts, rewards, message):
    with pytest.raises(ValueError, match=message):
        reward_agreement(probs, counts, rewards)
