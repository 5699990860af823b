import numpy as np
import pytest
from scipy import stats

from trl_dprm.preferences.beta import BetaDistribution, BetaUpdater
from trl_dprm.preferences.dirichlet import DirichletUpdater


def close(actual, expected, rtol=1e-10):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-13)


class TestDistribution:
    alpha, beta = np.array([0.6, 3.0, 40.0]), np.array([1.2, 3.0, 7.5])

    def test_equals_scipy(self):
        known, scipy = BetaDistribution(self.alpha, self.beta), stats.beta(self.alpha, self.beta)
        close(known.mean(), scipy.mean())
        close(known.variance(), scipy.var())
        close(known.majority_probability(), scipy.sf(0.5))
        for end, tail in zip(known.credible_interval(0.8), (0.1, 0.9), strict=True):
            close(end, scipy.ppf(tail), rtol=1e-9)

    def test_predictive_equals_scipy(self):
        known, scipy = BetaDistribution(self.alpha, self.beta), stats.betabinom(9, self.alpha, self.beta)
        close(known.predictive_log_probs([0, 4, 9], [9, 5, 0]), scipy.logpmf([0, 4, 9]))
        for end, tail in zip(known.vote_share_interval(9, level=0.8), (0.1, 0.9), strict=True):
            close(end, scipy.ppf(tail) / 9)


class TestUpdater:
    @pytest.mark.parametrize("timed", [False, True])
    def test_equals_the_dirichlet_updater_with_two_categories(self, timed):
        rng = np.random.default_rng(0)
        two = BetaUpdater(0.3, 4.0, retention=0.8)
        dirichlet = DirichletUpdater([0.3, 0.7], 4.0, retention=0.8)
        for day in (0.0, 2.5, 3.0):
            items, votes, time = rng.integers(0, 4, 10), rng.integers(0, 5, (10, 2)), day if timed else None
            two.update(items, votes[:, 0], votes[:, 1], timestamp=time)
            dirichlet.update(items, votes, timestamp=time)
        ours, theirs = two.posterior(), dirichlet.posterior()
        assert np.array_equal(np.stack([ours.alpha, ours.beta], 1), theirs.concentration)
        assert np.array_equal(ours.mean(), theirs.mean()[:, 0])
        assert np.array_equal(ours.variance(), theirs.variance()[:, 0])
        assert (two.item_ids, two.clock, two.prior_strength, two.retention) == (
            dirichlet.item_ids,
            dirichlet.clock,
            4.0,
            0.8,
        )

    def test_a_tie_is_half_a_vote_to_each_side(self):
        updater = BetaUpdater(0.5, 2)
        updater.update(["p", "q"], [3, 0], [1, 0], ties=[1, 2])
        known = updater.posterior()
        assert (known.alpha.tolist(), known.beta.tolist()) == ([4.5, 2.0], [2.5, 2.0])

    def test_swapping_the_pair_mirrors_the_posterior(self):
        one, other = BetaUpdater(0.5, 2), BetaUpdater(0.5, 2)
        one.update(["p"], [5], [2], ties=[1])
        other.update(["p"], [2], [5], ties=[1])
        close(one.posterior().mean(), 1 - other.posterior().mean())
        close(one.posterior().majority_probability(), 1 - other.posterior().majority_probability())

    @pytest.mark.parametrize("labels", [[True, False, True], [1, 0, 1], [1.0, 0.0, 1.0]])
    def test_labels_are_votes(self, labels):
        updater = BetaUpdater(0.5, 2)
        updater.update_labels(["a", "a", "b"], labels)
        known = updater.posterior()
        assert (known.alpha.tolist(), known.beta.tolist()) == ([2.0, 2.0], [2.0, 1.0])

    def test_prior_mean_per_item(self):
        updater = BetaUpdater([0.9, 0.2], 10, item_ids=["a", "b"])
        updater.add_items(["c"], [0.5])
        updater.update(["b"], [3], [0])
        close(updater.posterior().alpha, [9, 5, 5])
        close(updater.posterior().beta, [1, 8, 5])

    def test_loading_continues_bit_by_bit(self, tmp_path):
        straight = BetaUpdater(1 / 3, 2.2, retention=0.97)
        straight.update(["a", "b"], [0.1, 3], [2, 0.7], timestamp=1.5)
        straight.save(tmp_path / "state.json")
        resumed = BetaUpdater.load(tmp_path / "state.json")
        for updater in (straight, resumed):
            updater.update(["b", "c"], [1, 1], [0, 2], ties=[1, 1], timestamp=2.7)
        assert np.array_equal(straight.posterior().alpha, resumed.posterior().alpha)
        assert np.array_equal(straight.posterior().beta, resumed.posterior().beta)

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda u: BetaUpdater(1.2), "prior_mean is 1.2; .*from 0 to 1"),
            (lambda u: BetaUpdater([[0.5]]), r"prior_mean has shape \(1, 1\)"),
            (lambda u: BetaUpdater(0.5, 0), "prior_strength is 0"),
            (lambda u: u.update(["a"], [-1], [0]), "votes_for is -1.0 at row 0"),
            (lambda u: u.update(["a"], [0], [np.nan]), "votes_against is nan at row 0"),
            (lambda u: u.update(["a"], [0], [1], ties=[-2]), "ties is -2.0 at row 0"),
            (lambda u: u.update(["a"], [0], [1, 2]), r"votes_against has shape \(2,\); give one number per row"),
            (lambda u: u.update(["a", "b"], [1], [1]), "item_ids has 2 entries for 1 rows"),
            (lambda u: u.update_labels(["a", "b"], [1, 2]), "labels is .*2.* at row 1; labels are 1"),
            (lambda u: u.posterior(["z"]), "item 'z' at row 0 is unknown"),
        ],
    )
    def test_refusals(self, call, message):
        with pytest.raises(ValueError, match=message):
            call(BetaUpdater())

    def test_a_state_with_more_categories_is_refused(self, tmp_path):
        DirichletUpdater([0.5, 0.3, 0.2], 1).save(tmp_path / "state.json")
        with pytest.raises(ValueError, match="holds 3 categories, a BetaUpdater has 2; use DirichletUpdater.load"):
            BetaUpdater.load(tmp_path / "state.json")
