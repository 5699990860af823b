import math

import numpy as np
import pytest
from scipy import stats

from trl_dprm.preferences.dirichlet import DirichletUpdater
from trl_dprm.preferences.retention import fit_retention, prequential_log_probs

PRIOR, STRENGTH = np.array([0.25, 0.25, 0.25, 0.25]), 4.0


def drifting_votes(seed, num_items=60, num_steps=25, votes_per_step=6, drift=0.35):
    """Each item's logits walk at random. Returns true shares (steps, items, K) and votes (steps - 1, items, K)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (num_items, 4)) + np.cumsum(rng.normal(0, drift, (num_steps, num_items, 4)), axis=0)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return shares, rng.multinomial(votes_per_step, shares[:-1])


def as_stream(votes):
    steps, items, _ = votes.shape
    times, ids = np.divmod(np.arange(steps * items), items)
    return ids, votes.reshape(steps * items, -1), times


def nats_to_the_truth(votes, truth, retention):
    """Mean KL(truth at the next step || posterior mean) of an updater that saw all votes, one step at a time."""
    updater = DirichletUpdater(PRIOR, STRENGTH, item_ids=range(votes.shape[1]), retention=retention)
    for time, counts in enumerate(votes):
        updater.update(range(votes.shape[1]), counts, timestamp=time)
    return stats.entropy(truth, updater.posterior(timestamp=len(votes)).mean(), axis=-1).mean()


@pytest.mark.parametrize("seed", range(6))
def test_fitted_retention_beats_both_extremes_on_drift(seed):
    shares, votes = drifting_votes(seed)
    fitted = fit_retention(*as_stream(votes), PRIOR, STRENGTH)
    nats = {x: nats_to_the_truth(votes, shares[-1], x) for x in (0.0, fitted.retention, 1.0)}
    assert nats[fitted.retention] < 0.9 * min(nats[0.0], nats[1.0])
    best = min(nats_to_the_truth(votes, shares[-1], x) for x in np.linspace(0, 1, 41))
    assert nats[fitted.retention] < 1.1 * best
    assert fitted.log_likelihood > fitted.log_likelihood_without_forgetting
    assert fitted.log_likelihood > fitted.log_likelihood_with_full_forgetting
    assert fitted.num_votes == 6 * 60 * 23


def test_without_drift_nothing_is_forgotten():
    _, votes = drifting_votes(0, drift=0.0)
    assert fit_retention(*as_stream(votes), PRIOR, STRENGTH).retention > 0.98


def test_fresh_shares_every_step_are_forgotten():
    rng = np.random.default_rng(0)
    votes = rng.multinomial(20, rng.dirichlet(np.ones(4), (12, 40)))
    fitted = fit_retention(*as_stream(votes), PRIOR, STRENGTH)
    assert fitted.retention < 0.03
    assert fitted.log_likelihood >= fitted.log_likelihood_with_full_forgetting


@pytest.mark.parametrize("unit", [86_400.0, 1 / 30])
def test_the_unit_of_time_is_free(unit):
    ids, votes, times = as_stream(drifting_votes(1)[1])
    days, other = (fit_retention(ids, votes, t, PRIOR, STRENGTH) for t in (times, times * unit))
    np.testing.assert_allclose(other.retention**unit, days.retention, rtol=1e-5)
    np.testing.assert_allclose(other.log_likelihood, days.log_likelihood, rtol=1e-10)


def test_equals_the_updater_step_by_step():
    """Irregular times, several rows per batch, rows in any order: score each batch with the updater before it."""
    rng = np.random.default_rng(5)
    ids, times = rng.integers(0, 4, 80), rng.choice([0.0, 0.7, 1.1, 4.0, 9.5], 80)
    votes = rng.integers(0, 3, (80, 4))
    expected = []
    for item in dict.fromkeys(ids.tolist()):
        updater = DirichletUpdater(PRIOR, STRENGTH, item_ids=[item], retention=0.6)
        for time in sorted(set(times[ids == item])):
            batch = votes[(ids == item) & (times == time)].sum(0)
            alpha = updater.posterior([item], timestamp=time).concentration[0]
            expected.append(stats.dirichlet_multinomial.logpmf(batch, alpha, batch.sum()))
            updater.update([item], [batch], timestamp=time)
    actual = prequential_log_probs(ids, votes, times, PRIOR, STRENGTH, retention=0.6)
    np.testing.assert_allclose(actual, expected, rtol=1e-10)
    order = rng.permutation(80)
    shuffled = prequential_log_probs(ids[order], votes[order], times[order], PRIOR, STRENGTH, retention=0.6)
    np.testing.assert_allclose(np.sort(shuffled), np.sort(actual), rtol=1e-10)


def test_prior_per_row():
    rows = [[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]]
    actual = prequential_log_probs(["a", "b", "a"], [[1, 0], [0, 1], [0, 1]], [0, 0, 1], rows, 10.0, retention=0.5)
    np.testing.assert_allclose(actual, [math.log(0.9), math.log(1 / 10.5), math.log(0.8)], rtol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(timestamp=[1, 1, 1]), "no item has votes at two different times.*or set retention by hand"),
        (dict(item_ids=["a", "b", "c"]), "no item has votes at two different times"),
        (dict(target_counts=[[1, 0], [0, -1], [1, 1]]), "target_counts is -1.0 at row 1, column 1"),
        (dict(prior_probs=[0.5, 0.4]), "prior_probs sums to 0.9"),
        (dict(prior_probs=[[0.5, 0.5]]), r"prior_probs has shape \(1, 2\) but target_counts has \(3, 2\)"),
        (dict(prior_probs=[1.0, 0.0]), "row 1 has 1 votes in column 1, where prior_probs is 0"),
        (dict(prior_strength=0.0), "prior_strength is 0.0"),
        (dict(timestamp=[0, 1, np.inf]), "timestamp is inf at row 2"),
        (dict(item_ids=["a"]), "item_ids has 1 entries for 3 rows"),
    ],
)
def test_refusals(arguments, message):
    stream = dict(item_ids=["a", "a", "b"], target_counts=[[1, 0], [0, 1], [1, 1]], timestamp=[0, 1, 0])
    with pytest.raises(ValueError, match=message):
        fit_retention(**{**stream, "prior_probs": [0.5, 0.5], "prior_strength": 2.0, **arguments})


def test_retention_outside_the_unit_interval():
    with pytest.raises(ValueError, match="retention is 1.5"):
        prequential_log_probs(["a"], [[1, 0]], [0], [0.5, 0.5], 2.0, retention=1.5)
