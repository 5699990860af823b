"""The quick numbers against the report on the same votes with rows repeated, draw by draw."""

import math

import numpy as np
import pytest

from trl_dprm.metrics import (
    RewardAgreement,
    compare_sharpness,
    distribution_metrics,
    reward_agreement,
    vote_shares,
)
from trl_dprm.metrics.debiased_calibration import signed_calibration_error
from trl_dprm.metrics.resampled_report import (
    RESAMPLED_METRICS,
    ResampledReport,
    pair_costs,
    recentred_interval,
    resampled_metrics,
)
from trl_dprm.metrics.vote_draws import crossed_draws, panel_draws, votes_as_given

RNG = np.random.default_rng(8)
REWARDS = [1.0, -1.0, 0.5, 3.0]  # in no order
COST = np.abs(np.subtract.outer(REWARDS, REWARDS))
COUNTS = RNG.multinomial(5, RNG.dirichlet([0.5] * 4, 60)).astype(float)
COUNTS[:6] = np.eye(4)[[0, 1, 2, 3, 0, 1]]  # single votes
COUNTS[6:9] = [1.5, 0.5, 1.0, 0.0]
PROBS = RNG.dirichlet([1.0] * 4, 60)
COSTS = pair_costs(REWARDS, COST)
# bins of equal mass are not cut anew in a draw, and copies of an item are one item where items are compared
OF_ITS_OWN = ("expected_calibration_error_equal_mass", "debiased_calibration_error", "signed_calibration_error")
AS_REPEATED = [name for name in RESAMPLED_METRICS if name not in OF_ITS_OWN]


def report_of(counts, probs, positions):
    """What `distribution_metrics` and `compare_sharpness` say."""
    numbers = distribution_metrics(probs, *vote_shares(counts), REWARDS, positions, COST)
    sharpness = compare_sharpness(probs, counts, REWARDS, COST)
    disagreement = sharpness.predicted.pair_cost, sharpness.observed.pair_cost
    return numbers | dict(zip(("predicted_disagreement", "observed_disagreement"), disagreement, strict=True))


@pytest.mark.parametrize("positions", [REWARDS, None], ids=["line", "matrix"])
def test_without_a_draw_the_numbers_are_those_of_the_report(positions):
    report = ResampledReport(PROBS, COUNTS.sum(1), REWARDS, positions, COST)
    got = dict(zip(RESAMPLED_METRICS, report(votes_as_given(COUNTS, COSTS)), strict=True))
    expected = report_of(COUNTS, PROBS, positions)
    expected["signed_calibration_error"] = signed_calibration_error(PROBS, *vote_shares(COUNTS))
    left_out = set() if positions else {"wasserstein_distance", "ranked_probability_score"}
    for name in set(RESAMPLED_METRICS) - left_out:
        assert got[name] == pytest.approx(expected[name], rel=1e-10), name
    assert all(math.isnan(got[name]) for name in left_out)


def test_drawn_items_count_as_often_as_they_were_drawn():
    report = ResampledReport(PROBS, COUNTS.sum(1), REWARDS, REWARDS, COST)
    for draw in panel_draws(COUNTS, COSTS, num_resamples=10, seed=1):
        rows = np.repeat(np.arange(60), draw.times.astype(int))
        expected = report_of(COUNTS[rows], PROBS[rows], REWARDS)
        got = dict(zip(RESAMPLED_METRICS, report(draw), strict=True))
        assert {name: got[name] for name in AS_REPEATED} == pytest.approx(
            {name: expected[name] for name in AS_REPEATED}, rel=1e-9
        )
        assert got["debiased_calibration_error"] < expected["debiased_calibration_error"]


def test_an_item_drawn_twice_is_not_compared_with_itself():
    report = ResampledReport(PROBS, COUNTS.sum(1), REWARDS, REWARDS, COST)
    place = RESAMPLED_METRICS.index("debiased_calibration_error")
    given = votes_as_given(COUNTS, COSTS)
    times = np.arange(60) % 3
    whole = distribution_metrics(PROBS, vote_shares(COUNTS)[0], times * COUNTS.sum(1), REWARDS, REWARDS, COST)
    got = report(given._replace(times=times.astype(float)))
    assert got[place] == pytest.approx(whole["debiased_calibration_error"], rel=1e-9)
    signed = signed_calibration_error(PROBS, vote_shares(COUNTS)[0], times * COUNTS.sum(1))
    assert got[RESAMPLED_METRICS.index("signed_calibration_error")] == pytest.approx(signed, rel=1e-9)


def test_annotators_drawn_are_votes_of_another_table():
    who, item = RNG.integers(0, 6, 300), RNG.integers(0, 60, 300)
    category = RNG.integers(0, 4, 300)
    report = ResampledReport(PROBS, np.ones(60), REWARDS, REWARDS, COST)
    linear = ("wasserstein_distance", "ranked_probability_score", "energy_distance", "brier_score")
    linear += ("expected_reward_mae", "expected_reward_correlation", "expected_reward_slope")
    for draw in crossed_draws(item, who, category, (60, 4), COSTS, num_resamples=5):
        rows = np.repeat(np.arange(60), np.where(draw.counts.any(axis=1), draw.times, 0).astype(int))
        expected = distribution_metrics(PROBS[rows], *vote_shares(draw.counts[rows]), REWARDS, REWARDS, COST)
        got = dict(zip(RESAMPLED_METRICS, report(draw), strict=True))
        assert {name: got[name] for name in linear} == pytest.approx({n: expected[n] for n in linear}, rel=1e-9)


def variance_of_means(draw):
    """Of the mean rewards of the items, weighted by votes."""
    votes = draw.counts.sum(axis=1)
    means = np.divide(draw.counts @ REWARDS, votes, out=np.zeros(len(votes)), where=votes > 0)
    return np.cov(means, aweights=draw.times * votes, ddof=0)


def test_unbiased_numbers_stay_so_when_annotators_are_drawn():
    """Their mean over draws is the value; with an annotator drawn twice as two people it would be far below."""
    truth = RNG.dirichlet([1.0] * 4, 300)
    item, who = np.repeat(np.arange(300), 5), np.tile(np.arange(5), 300)
    category = np.array([RNG.choice(4, p=truth[row]) for row in item])
    counts = np.zeros((300, 4))
    np.add.at(counts, (item, category), 1)
    report = ResampledReport(truth, counts.sum(1), REWARDS, REWARDS, COST)
    given, drawn = (
        votes_as_given(counts, COSTS),
        list(crossed_draws(item, who, category, (300, 4), COSTS, None, None, 300)),
    )
    value = dict(zip(RESAMPLED_METRICS, report(given), strict=True))
    draws = resampled_metrics([report], drawn)[:, 0]  # NaN where all five draws were of one annotator
    mean = dict(zip(RESAMPLED_METRICS, np.nanmean(draws, axis=0), strict=True))
    assert mean["unbiased_brier_score"] == pytest.approx(value["unbiased_brier_score"], abs=0.01)
    assert mean["observed_disagreement"] == pytest.approx(value["observed_disagreement"], rel=0.03)
    assert mean["brier_score"] > value["brier_score"] + 0.02  # what is not unbiased moves, hence the recentring
    ceilings = draws[:, RESAMPLED_METRICS.index("expected_reward_correlation_ceiling")]
    true_variances = [ceiling**2 * variance_of_means(draw) for ceiling, draw in zip(ceilings, drawn, strict=True)]
    expected = value["expected_reward_correlation_ceiling"] ** 2 * variance_of_means(given)
    assert np.nanmean(true_variances) == pytest.approx(expected, rel=0.05)


def test_what_is_constant_has_no_slope():
    report = ResampledReport(np.full((60, 4), 0.25), COUNTS.sum(1), REWARDS, REWARDS, COST)
    got = dict(zip(RESAMPLED_METRICS, report(votes_as_given(COUNTS, COSTS)), strict=True))
    agreement = reward_agreement(np.full((60, 4), 0.25), COUNTS, REWARDS)
    for name in RewardAgreement._fields:
        assert got[f"expected_reward_{name}"] == pytest.approx(getattr(agreement, name), nan_ok=True, rel=1e-10)


def test_recentred_intervals_have_the_spread_of_the_draws_alone():
    draws = np.random.default_rng(0).normal(size=(4000, 400)).mean(axis=1) + 0.4
    low, high = recentred_interval(7.0, draws, 0.95)
    assert (low + high) / 2 == pytest.approx(7.0, abs=0.01) and high - low == pytest.approx(2 * 1.96 / 20, rel=0.05)
    assert recentred_interval(math.nan, draws, 0.95) is None
    assert recentred_interval(1.0, np.array([math.nan]), 0.95) is None
