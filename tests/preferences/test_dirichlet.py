import itertools
import json
import math
import os

import numpy as np
import pytest
from scipy import stats

from trl_dprm.preferences.dirichlet import DirichletUpdater
from trl_dprm.preferences.dirichlet_distribution import DirichletDistribution
from trl_dprm.preferences.dirichlet_multinomial import dirichlet_multinomial_log_probs, log_rising_factorial

PRIOR = np.array([0.5, 0.3, 0.2])
REWARDS = np.array([-1.0, 0.5, 1.0])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def concentration(rng):
    return rng.gamma(2.0, 2.0, size=(7, 4)) + 0.1


def close(actual, expected, rtol=1e-10):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-13)


class TestLogRisingFactorial:
    @pytest.mark.parametrize("base", [1e-9, 0.3, 7.0, 99.9, 100.1, 1e4, 1e8, 1e12])
    @pytest.mark.parametrize("count", [0, 1, 2, 17, 300])
    def test_whole_counts_are_a_sum_of_logs(self, base, count):
        close(log_rising_factorial(base, count), math.fsum(math.log(base + j) for j in range(count)), rtol=1e-12)

    def test_fractional_counts_continue_the_recursion(self):
        """Γ(x + 1) = x Γ(x): one more vote multiplies by base + count, on both sides of the change to Stirling."""
        for base in (0.2, 50.0, 99.0, 101.0, 1e7):
            step = log_rising_factorial(base, 3.4) - log_rising_factorial(base, 2.4)
            close(step, np.log(base + 2.4), rtol=1e-9)

    def test_empty_base(self):
        assert log_rising_factorial(0.0, 0.0) == 0
        assert log_rising_factorial(0.0, 2.0) == -np.inf


class TestDistribution:
    def test_moments_equal_scipy(self, concentration):
        known = DirichletDistribution(concentration)
        close(known.mean(), [stats.dirichlet.mean(row) for row in concentration])
        close(known.variance(), [stats.dirichlet.var(row) for row in concentration])
        close(known.strength(), concentration.sum(1))

    def test_credible_interval_is_the_beta_marginals(self, concentration):
        lower, upper = DirichletDistribution(concentration).credible_interval(0.8)
        others = concentration.sum(1, keepdims=True) - concentration
        close(lower, stats.beta.ppf(0.1, concentration, others), rtol=1e-9)
        close(stats.beta.cdf(upper, concentration, others), np.full_like(upper, 0.9))

    def test_credible_interval_of_impossible_and_certain_categories(self):
        lower, upper = DirichletDistribution([[0.0, 3.0]]).credible_interval()
        assert lower.tolist() == upper.tolist() == [[0.0, 1.0]]

    def test_predictive_equals_scipy(self, concentration, rng):
        counts = rng.multinomial(6, [0.4, 0.3, 0.2, 0.1], size=7)
        expected = [stats.dirichlet_multinomial.logpmf(c, a, 6) for c, a in zip(counts, concentration, strict=True)]
        close(DirichletDistribution(concentration).predictive_log_probs(counts), expected)

    def test_predictive_sums_to_one(self):
        outcomes = [c for c in itertools.product(range(6), repeat=3) if sum(c) == 5]
        log_probs = dirichlet_multinomial_log_probs([0.4, 1.3, 2.2], outcomes)
        close(np.exp(log_probs).sum(), 1.0)

    def test_predictive_moments_equal_scipy(self, concentration):
        known = DirichletDistribution(concentration)
        close(known.predictive_mean(9), [stats.dirichlet_multinomial.mean(a, 9) for a in concentration])
        close(known.predictive_covariance(9), [stats.dirichlet_multinomial.cov(a, 9) for a in concentration])

    def test_predictive_probability_of_an_impossible_vote(self):
        log_probs = DirichletDistribution([[2.0, 0.0], [2.0, 0.0]]).predictive_log_probs([[0, 1], [3, 0]])
        assert log_probs.tolist() == [-np.inf, 0.0]

    def test_vote_share_interval_equals_scipy_betabinom(self, concentration):
        votes = np.array([1, 2, 3, 5, 8, 13, 21])
        lower, upper = DirichletDistribution(concentration).vote_share_interval(votes, level=0.8)
        for row, column in np.ndindex(concentration.shape):
            alpha = concentration[row, column]
            marginal = stats.betabinom(votes[row], alpha, concentration[row].sum() - alpha)
            assert lower[row, column] == marginal.ppf(0.1) / votes[row]
            assert upper[row, column] == marginal.ppf(0.9) / votes[row]

    def test_expected_reward_and_its_variance_equal_the_double_loop(self, concentration):
        rewards = [-3.0, -1.0, 0.5, 1.0]
        known = DirichletDistribution(concentration)
        for row, alpha in enumerate(concentration):
            mean, covariance = stats.dirichlet.mean(alpha), stats.dirichlet.cov(alpha)
            pairs = itertools.product(range(4), repeat=2)
            close(known.expected_reward(rewards)[row], sum(m * r for m, r in zip(mean, rewards, strict=True)))
            close(
                known.expected_reward_variance(rewards)[row],
                sum(covariance[i, j] * rewards[i] * rewards[j] for i, j in pairs),
            )

    def test_expected_reward_interval_is_exact_for_two_categories(self):
        lower, upper = DirichletDistribution([[3.0, 5.0]]).expected_reward_interval([-1.0, 3.0], level=0.9)
        close([lower[0], upper[0]], -1 + 4 * stats.beta.ppf([0.05, 0.95], 5, 3))

    def test_expected_reward_interval_covers_as_promised(self, concentration, rng):
        rewards = np.array([-3.0, -1.0, 0.5, 1.0])
        lower, upper = DirichletDistribution(concentration).expected_reward_interval(rewards, level=0.9)
        for row, alpha in enumerate(concentration):
            drawn = rng.dirichlet(alpha, size=40_000) @ rewards
            assert abs(((lower[row] <= drawn) & (drawn <= upper[row])).mean() - 0.9) < 0.02

    def test_expected_reward_interval_without_uncertainty(self):
        known = DirichletDistribution([[0.0, 3.0, 0.0], [1.0, 1.0, 1.0]])
        lower, upper = known.expected_reward_interval(REWARDS)
        assert lower[0] == upper[0] == 0.5 and lower[1] < upper[1]
        assert [end.tolist() for end in known.expected_reward_interval([2.0, 2.0, 2.0])] == [[2.0, 2.0]] * 2

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda d: d.credible_interval(1.0), "level is 1.0.*between 0 and 1"),
            (lambda d: d.vote_share_interval(0), "num_votes is 0.0 at column 0.*whole number of at least 1"),
            (lambda d: d.vote_share_interval([3, 2.5]), "num_votes is 2.5 at column 1"),
            (lambda d: d.vote_share_interval([3, 3, 3]), r"num_votes has shape \(3,\) for 2 items"),
            (lambda d: d.updated([[1, 0, 0]]), "target_counts has 1 rows for 2 items; give one row per item"),
            (
                lambda d: d.updated([[0, 0, 0], [0, 0, 1]]),
                "row 1 has 1 votes in column 2, where the concentration is 0",
            ),
            (lambda d: d.expected_reward([1.0, 2.0]), r"category_rewards has shape \(2,\) for 3 categories"),
            (lambda d: d.expected_reward([1.0, 2.0, np.nan]), "category_rewards is nan at column 2"),
            (lambda d: DirichletDistribution([[1.0, 1.0], [0.0, 0.0]]), "concentration of row 1 sums to 0"),
        ],
    )
    def test_refusals(self, call, message):
        with pytest.raises(ValueError, match=message):
            call(DirichletDistribution([[2.0, 3.0, 1.0], [2.0, 3.0, 0.0]]))


class TestUpdates:
    def test_posterior_is_prior_plus_votes(self):
        updater = DirichletUpdater(PRIOR, 10)
        updater.update(["x", 7], [[1, 2, 3], [0, 0, 4]])
        close(updater.posterior([7, "x"]).concentration, [[5, 3, 6], [6, 5, 5]])

    def test_batch_equals_sequential_in_any_order_of_annotators(self, rng):
        items, choices = rng.integers(0, 5, 200), rng.integers(0, 3, 200)
        votes = np.eye(3)[choices]
        batch = DirichletUpdater(PRIOR, 2.5, item_ids=range(5))
        batch.update(items, votes)
        sequential = DirichletUpdater(PRIOR, 2.5, item_ids=range(5))
        for row in rng.permutation(200):
            sequential.update([items[row]], votes[[row]])
        assert np.array_equal(batch.posterior().concentration, sequential.posterior().concentration)
        by_hand = [[((items == i) & (choices == k)).sum() for k in range(3)] for i in range(5)]
        close(batch.posterior().concentration, 2.5 * PRIOR + by_hand)

    def test_prior_per_item(self):
        updater = DirichletUpdater([[0.9, 0.1], [0.2, 0.8]], 10, item_ids=["a", "b"])
        updater.add_items(["c"], [[0.5, 0.5]])
        updater.update(["c", "a"], [[0, 5], [1, 0]])
        assert updater.item_ids == ["a", "b", "c"]
        close(updater.posterior().concentration, [[10, 1], [2, 8], [5, 10]])

    def test_number_and_string_ids_are_different_items(self):
        updater = DirichletUpdater(PRIOR, 1)
        updater.update([1, "1", np.int64(1), np.str_("1")], np.eye(3)[[0, 1, 0, 1]])
        assert updater.item_ids == [1, "1"]

    def test_a_refused_update_changes_nothing(self):
        updater = DirichletUpdater(PRIOR, 1)
        updater.update(["a"], [[1, 0, 0]], timestamp=3)
        before = updater._state()
        for ids, votes, time in ((["b"], [[-1, 0, 0]], 4), (["b"], [[1, 0, 0]], None), ([None], [[1, 0, 0]], 4)):
            with pytest.raises(ValueError):
                updater.update(ids, votes, timestamp=time)
        assert updater._state() == before


class TestRetention:
    def test_evidence_decays_by_age_and_the_prior_does_not(self):
        """A double loop over votes and items; item 3 gets no votes after time 0 and decays too."""
        rng = np.random.default_rng(1)
        items, times = np.append(rng.integers(0, 3, 40), 3), np.append(rng.uniform(0, 9, 40), 0.0)
        votes = rng.integers(0, 4, (41, 3)).astype(float)
        updater = DirichletUpdater(PRIOR, 2, item_ids=range(4), retention=0.7)
        for start, end in ((0, 10), (10, 11), (11, 41)):
            updater.update(items[start:end], votes[start:end], timestamp=times[start:end])
        expected = np.tile(2 * PRIOR, (4, 1))
        for item, time, vote in zip(items, times, votes, strict=True):
            for k in range(3):
                expected[item, k] += vote[k] * 0.7 ** (11.5 - time)
        close(updater.posterior(timestamp=11.5).concentration, expected)
        assert updater.clock == times.max()

    def test_late_votes_enter_with_the_discount_of_their_age(self):
        on_time, late = (DirichletUpdater(PRIOR, 2, retention=0.5) for _ in range(2))
        for updater, order in ((on_time, (0, 4)), (late, (4, 0))):
            for time in order:
                updater.update(["a"], [[8, 0, time]], timestamp=time)
        close(late.posterior().concentration, on_time.posterior().concentration)
        assert late.clock == 4

    def test_without_timestamps_one_unit_passes_per_update(self):
        updater = DirichletUpdater([0.5, 0.5], 2, retention=0.5)
        for _ in range(3):
            updater.update(["a"], [[8, 0]])
        close(updater.posterior().concentration, [[1 + 8 + 4 + 2, 1]])

    def test_evidence_is_bounded(self):
        updater = DirichletUpdater([0.5, 0.5], 2, retention=0.9)
        for _ in range(300):
            updater.update(["a"], [[3, 0]])
        evidence = updater.posterior().strength()[0] - 2
        assert evidence <= 3 / (1 - 0.9) * (1 + 1e-12) and evidence > 29.9

    def test_full_forgetting_keeps_the_latest_votes_only(self):
        updater = DirichletUpdater([0.5, 0.5], 2, retention=0.0)
        updater.update(["a", "b"], [[3, 0], [4, 0]], timestamp=0)
        updater.update(["a", "a"], [[0, 1], [0, 1]], timestamp=1)
        close(updater.posterior().concentration, [[1, 3], [1, 1]])


class TestFiles:
    @pytest.mark.parametrize("per_item", [False, True])
    def test_loading_continues_bit_by_bit(self, tmp_path, rng, per_item):
        prior = rng.dirichlet(np.ones(3), 4) if per_item else rng.dirichlet(np.ones(3))
        straight = DirichletUpdater(prior, 1 / 3, item_ids=["a", "b", 3, "ü"], retention=0.93)
        votes = rng.gamma(1.0, size=(4, 3))
        straight.update(["a", 3, "ü", "a"], votes, timestamp=0.1)
        straight.save(tmp_path / "state.json")
        resumed = DirichletUpdater.load(tmp_path / "state.json")
        for updater in (straight, resumed):
            updater.update(["b", 3], votes[:2], timestamp=0.3)
        assert straight._state() == resumed._state()
        assert np.array_equal(straight.posterior().concentration, resumed.posterior().concentration)

    def test_priors_keep_their_last_bit(self, tmp_path, rng):
        """Normalising a second time on loading would move some of these."""
        for prior in rng.dirichlet(np.ones(6), 50):
            saved = DirichletUpdater(prior, 2.0)
            saved.save(tmp_path / "state.json")
            assert DirichletUpdater.load(tmp_path / "state.json")._state() == saved._state()

    def test_an_updater_without_items_is_saved(self, tmp_path):
        DirichletUpdater(PRIOR, 2).save(tmp_path / "state.json")
        assert DirichletUpdater.load(tmp_path / "state.json").num_categories == 3

    @pytest.mark.parametrize("step", ["replace", "fsync"])
    def test_interrupted_write_leaves_the_old_file(self, tmp_path, monkeypatch, step):
        updater = DirichletUpdater(PRIOR, 2)
        updater.update(["a"], [[1, 0, 0]])
        updater.save(tmp_path / "state.json")
        old = (tmp_path / "state.json").read_text()
        updater.update(["a"], [[1, 0, 0]])
        monkeypatch.setattr(os, step, lambda *args: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            updater.save(tmp_path / "state.json")
        assert (tmp_path / "state.json").read_text() == old
        assert os.listdir(tmp_path) == ["state.json"]

    def test_missing_files_and_folders(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nothing.json"):
            DirichletUpdater.load(tmp_path / "nothing.json")
        with pytest.raises(FileNotFoundError, match="no_folder"):
            DirichletUpdater(PRIOR, 2).save(tmp_path / "no_folder" / "state.json")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"kind": "Other"}, "holds the state of Other; load it with Other.load, not DirichletUpdater.load"),
            ({"version": 99}, "format version 99, this release reads 1"),
            ({"evidence": None}, r"lacks the fields \['evidence'\]"),
            ({"extra": 1}, r"unknown ones \['extra'\]"),
            ({"evidence": [[1.0, 0.0, 0.0]]}, "damaged: evidence has 1 rows for 2 items"),
            ({"evidence": [[1.0, 0.0], [0.0, 1.0]]}, "damaged: evidence has 2 columns but the prior has 3 categories"),
            ({"evidence": [[1.0, 0.0, -2.0], [0.0, 1.0, 0.0]]}, "damaged: evidence is -2.0 at row 0, column 2"),
            ({"evidence": [[1.0, 0.0], [0.0, 1.0, 0.0]]}, "damaged"),
            ({"item_ids": ["a", "a"]}, "damaged: item_ids has 'a' at row 1, which is there already"),
            ({"prior_probs": [0.5, 0.3, 0.3]}, "damaged: prior_probs sums to 1.1"),
            ({"prior_strength": "two"}, "damaged: could not convert"),
            ({"retention": 1.5}, "damaged: retention is 1.5"),
            ({"timed": "no"}, "damaged: clock is 0.0 but timed is no"),
        ],
    )
    def test_a_damaged_file_is_refused(self, tmp_path, change, message):
        path = tmp_path / "state.json"
        updater = DirichletUpdater(PRIOR, 2)
        updater.update(["a", "b"], [[1, 0, 0], [0, 1, 0]])
        updater.save(path)
        state = json.loads(path.read_text()) | change
        path.write_text(json.dumps({name: value for name, value in state.items() if value is not None}))
        with pytest.raises(ValueError, match=message) as refusal:
            DirichletUpdater.load(path)
        assert str(path) in str(refusal.value)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"kind": "DirichletUpd', "not a complete JSON file.*rebuild the state from the annotations"),
            ('{"kind": "DirichletUpdater", "prior_strength": NaN}', "NaN is not a number"),
            ("[1, 2]", "holds no updater state; give a file that DirichletUpdater.save wrote"),
        ],
    )
    def test_another_file_is_refused(self, tmp_path, text, message):
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            DirichletUpdater.load(tmp_path / "state.json")


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (dict(prior_probs=[0.5, 0.6]), "prior_probs sums to 1.1, not to 1; divide it by its sum"),
            (dict(prior_probs=[[0.5, 0.5], [0.5, 0.6]], item_ids=[0, 1]), "prior_probs in row 1 sums to 1.1"),
            (dict(prior_probs=[1.5, -0.5]), "prior_probs is -0.5 at column 1"),
            (dict(prior_probs=[0.5, np.nan]), "prior_probs is nan at column 1"),
            (dict(prior_probs=[1.0]), r"prior_probs has shape \(1,\); give \(K,\) for all items or \(N, K\)"),
            (dict(prior_probs=[[0.5, 0.5]]), "one row per item but item_ids is missing; give one id per row"),
            (dict(prior_probs=[[0.5, 0.5]], item_ids=["a", "b"]), r"prior_probs has shape \(1, 2\) for 2 items"),
            (dict(prior_strength=0), "prior_strength is 0; .*give a finite number above 0"),
            (dict(prior_strength=-1.0), "prior_strength is -1.0"),
            (dict(prior_strength=np.inf), "prior_strength is inf"),
            (dict(prior_strength=np.nan), "prior_strength is nan"),
            (dict(retention=1.1), "retention is 1.1; .*give a number from 0 to 1"),
            (dict(retention=np.nan), "retention is nan"),
            (dict(item_ids=["a", "a"]), "item_ids has 'a' at row 1, which is there already; give each item once"),
            (dict(item_ids=["a", True]), r"item_ids is True \(bool\) at row 1; ids are strings or integers"),
            (dict(item_ids=[1.5]), r"item_ids is 1.5 \(float\) at row 0"),
        ],
    )
    def test_construction(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            DirichletUpdater(**{"prior_probs": [0.5, 0.5], "prior_strength": 1.0, **arguments})

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (dict(target_counts=[[1, 0, 0], [0, -2, 0]]), "target_counts is -2.0 at row 1, column 1.*correct the row"),
            (dict(target_counts=[[1, 0, 0], [0, np.nan, 0]]), "target_counts is nan at row 1, column 1"),
            (dict(target_counts=[[1, 0, 0], [0, np.inf, 0]]), "target_counts is inf at row 1, column 1"),
            (dict(target_counts=[[1, 0], [0, 1]]), "target_counts has 2 columns but the prior has 3 categories"),
            (dict(target_counts=[1, 0, 0]), r"target_counts has shape \(3,\); give one row per item"),
            (dict(target_counts=np.zeros((0, 3)), item_ids=[]), "the update has no rows; skip it"),
            (dict(item_ids=["a"]), "item_ids has 1 entries for 2 rows; give one id per row"),
            (dict(timestamp=[1.0]), r"timestamp has shape \(1,\) for 2 rows; give one number, or one per row"),
            (dict(timestamp=[1.0, np.nan]), "timestamp is nan at row 1"),
            (dict(timestamp=np.array(["2024-01-01"] * 2, "M8[D]")), "timestamp has dtype datetime64.*np.timedelta64"),
            (dict(timestamp=None), "earlier updates had timestamps, this one differs"),
        ],
    )
    def test_updates(self, arguments, message):
        updater = DirichletUpdater(PRIOR, 1.0)
        updater.update(["a"], [[1, 0, 0]], timestamp=0)
        with pytest.raises(ValueError, match=message):
            updater.update(
                **{"item_ids": ["a", "b"], "target_counts": [[1, 0, 0], [0, 1, 0]], "timestamp": 1, **arguments}
            )

    def test_timestamps_after_updates_without(self):
        updater = DirichletUpdater(PRIOR, 1.0)
        updater.update(["a"], [[1, 0, 0]])
        with pytest.raises(ValueError, match="earlier updates had no timestamps.*every update or with none"):
            updater.update(["a"], [[1, 0, 0]], timestamp=1)

    @pytest.mark.parametrize("per_item", [False, True])
    def test_votes_where_the_prior_is_zero(self, per_item):
        prior = [[0.5, 0.5, 0.0]] * 2 if per_item else [0.5, 0.5, 0.0]
        updater = DirichletUpdater(prior, 1.0, item_ids=["a", "b"])
        updater.update(["a"], [[1, 0, 0]])
        with pytest.raises(ValueError, match="row 1 has 3 votes in column 2, where prior_probs is 0.*positive prior"):
            updater.update(["a", "b"], [[1, 0, 0], [0, 0, 3]])

    def test_unknown_items(self):
        shared, per_item = DirichletUpdater(PRIOR, 1.0), DirichletUpdater([PRIOR], 1.0, item_ids=["a"])
        with pytest.raises(ValueError, match="item 'b' at row 1 is unknown; enter it with add_items first"):
            per_item.update(["a", "b"], [[1, 0, 0], [1, 0, 0]])
        with pytest.raises(ValueError, match="item 'a' at row 0 is unknown"):
            shared.posterior(["a"])
        with pytest.raises(ValueError, match="prior_probs is missing"):
            per_item.add_items(["b"])
        with pytest.raises(ValueError, match="one prior for all items; leave it out"):
            shared.add_items(["b"], [PRIOR])

    def test_the_past_cannot_be_read(self):
        updater = DirichletUpdater(PRIOR, 1.0, retention=0.9)
        updater.update(["a"], [[1, 0, 0]], timestamp=5)
        with pytest.raises(ValueError, match="timestamp is 4, before the state's clock 5"):
            updater.posterior(timestamp=4)
