"""Pictures of several models: their points are the numbers, their legends name everything that is drawn."""

import numpy as np
import pytest

from trl_dprm.metrics import group_report, reliability_curve, vote_shares
from trl_dprm.metrics.held_out_votes import (
    HELD_OUT_METRICS,
    held_out_scores,
    held_out_votes_curve,
    votes_only_curve,
)
from trl_dprm.metrics.model_plots import (
    MODEL_COLOURS,
    VOTES_ONLY,
    contested_items,
    plot_contested,
    plot_expectations,
    plot_groups,
    plot_pairs,
    plot_reliabilities,
    plot_votes_curves,
)
from trl_dprm.metrics.pair_calibration import pair_reliability_points
from trl_dprm.metrics.reliability_intervals import reliability_points
from trl_dprm.metrics.votes_curve_intervals import curve_with_intervals

pytest.importorskip("matplotlib")
RNG = np.random.default_rng(8)
NAMES, REWARDS = ["bad", "fair", "good"], [-1.0, 0.0, 1.0]
COST = np.abs(np.subtract.outer(REWARDS, REWARDS))
TRUTH = RNG.dirichlet(np.ones(3), 60)
COUNTS = np.array([RNG.multinomial(4, p) for p in TRUTH])
MODELS = {"truth": TRUTH, "other": RNG.dirichlet(np.ones(3), 60), "other, recalibrated": TRUTH[::-1]}
DASHED = {"other, recalibrated"}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def points(ax):
    return [np.asarray(collection.get_offsets()) for collection in ax.collections]


def test_reliability_points_are_the_curves_of_each_model_and_category():
    figure = plot_reliabilities(MODELS, COUNTS, NAMES, DASHED)
    targets, votes = vote_shares(COUNTS)
    for k, ax in enumerate(figure.axes):
        for drawn, probs in zip(points(ax), MODELS.values(), strict=True):
            curve = reliability_curve(probs[:, k], targets[:, k], votes, 10, "equal_mass")
            np.testing.assert_allclose(drawn, np.stack([curve.predicted, curve.observed], 1), rtol=1e-12)
    assert legend(figure) == list(MODELS)
    lines = [line for line in figure.axes[0].lines if line.get_label() in MODELS]
    assert [line.get_color() for line in lines] == [MODEL_COLOURS[0], MODEL_COLOURS[1], MODEL_COLOURS[1]]
    assert [line.get_linestyle() for line in lines] == ["-", "-", "--"]


def test_contested_items_have_many_votes_and_bars_of_every_distribution():
    counts = np.concatenate([COUNTS, [[1, 0, 1]]])  # as contested as can be, by two votes only
    rows = contested_items(counts, COST, num_items=3)
    assert len(rows) == 3 and 60 not in rows and set(np.abs(counts[rows, 0] - counts[rows, 2])) <= {0, 1}
    figure = plot_contested({"truth": TRUTH[rows]}, counts[rows], NAMES)
    for ax, row in zip(figure.axes, rows, strict=True):
        bars = {bar.get_label(): [patch.get_height() for patch in bar] for bar in ax.containers}
        assert bars == {"observed": (counts[row] / 4).tolist(), "truth": TRUTH[row].tolist()}
    assert len(contested_items([[1, 0, 0]], COST)) == 0


def test_expectations_are_weighted_means_in_bins_of_the_prediction():
    figure = plot_expectations({"truth": TRUTH}, COUNTS, REWARDS, COST)
    expected, mean = TRUTH @ REWARDS, COUNTS @ REWARDS / 4
    order = np.argsort(expected)
    by_hand = [(expected[rows].mean(), mean[rows].mean()) for rows in np.split(order, 10)]
    np.testing.assert_allclose(points(figure.axes[0])[0], by_hand, rtol=1e-10)
    disagreement = points(figure.axes[1])[0]
    assert np.corrcoef(disagreement.T)[0, 1] > 0.5  # the truth knows where people disagree


def test_groups_are_drawn_at_their_means_with_their_intervals():
    item, annotator = np.divmod(np.arange(240), 4)
    category = np.concatenate([np.repeat(np.arange(3), counts) for counts in COUNTS])
    groups = np.where(annotator < 2, "young", "old").tolist()
    reports = {
        name: group_report(probs, item, groups, category, REWARDS, num_resamples=20) for name, probs in MODELS.items()
    }
    figure = plot_groups(reports, DASHED)
    means = {line.get_label(): line.get_xdata() for line in figure.axes[0].lines}
    for name, report in reports.items():
        assert list(means[name]) == [row.reward_gap.mean for row in report.groups]
    for ax, kind in zip(figure.axes, ("reward_gap", "debiased_calibration_error", "nats_per_vote"), strict=True):
        drawn = getattr(reports["truth"].groups[0], kind)
        assert list(ax.collections[0].get_segments()[0][:, 0]) == [drawn.low, drawn.high]
        assert drawn.mean in ax.lines[0].get_xdata()
    assert legend(figure) == [*MODELS, "group's best constant"]


def test_votes_curves_are_their_scores():
    curves = {name: held_out_votes_curve(probs, COUNTS, 5.0, COST, [0, 1, 2]) for name, probs in MODELS.items()}
    curves[VOTES_ONLY] = votes_only_curve(COUNTS, COUNTS, COST, [0, 1, 2])
    figure = plot_votes_curves(curves, DASHED)
    for ax, metric in zip(figure.axes, curves["truth"].scores, strict=True):
        drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}
        assert drawn == {name: ([0, 1, 2], curve.scores[metric]) for name, curve in curves.items()}
    assert legend(figure) == list(curves)
    assert [points(ax) for ax in figure.axes] == [[]] * 3


def test_bands_are_the_intervals_of_the_curves():
    scores = {name: held_out_scores(probs, COUNTS, 5.0, COST, [0, 1, 2]) for name, probs in MODELS.items()}
    curves = {name: curve_with_intervals(one, num_resamples=50) for name, one in scores.items()}
    figure = plot_votes_curves(curves, DASHED)
    for ax, metric in zip(figure.axes, HELD_OUT_METRICS, strict=True):
        for band, curve in zip(ax.collections, curves.values(), strict=True):
            corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
            assert corners == {(n, end) for n, ends in enumerate(curve.intervals[metric]) for end in ends}


def test_reliability_bands_are_the_intervals_of_the_points():
    item, category = np.nonzero(COUNTS)
    weight = COUNTS[item, category]
    intervals = {
        name: reliability_points(probs, COUNTS, item, category, weight=weight, num_resamples=50)
        for name, probs in MODELS.items()
    }
    figure = plot_reliabilities(MODELS, COUNTS, NAMES, DASHED, intervals)
    for place, ax in enumerate(figure.axes):
        bands = [
            shape
            for shape in ax.collections
            if len(shape.get_paths()[0].vertices) > 20 and not shape.get_offsets().any()
        ]
        for band, of_model in zip(bands, intervals.values(), strict=True):
            drawn, expected = {tuple(corner) for corner in band.get_paths()[0].vertices}, of_model[place]
            for ends in (expected.low, expected.high):
                assert set(zip(expected.predicted, ends, strict=True)) <= drawn


def test_pairs_are_counted_in_both_orders():
    figure = plot_pairs({"model": [0.9, 0.8, 0.7]}, [1.0, 0.8, 0.4], [1, 5, 5])
    drawn = points(figure.axes[0])[0]
    np.testing.assert_allclose(np.sort(drawn[:, 0] + drawn[::-1, 0]), 1.0, rtol=1e-12)
    curve = reliability_curve(
        [0.9, 0.8, 0.7, 0.1, 0.2, 0.3], [1, 0.8, 0.4, 0, 0.2, 0.6], [1, 5, 5] * 2, 10, "equal_mass"
    )
    np.testing.assert_allclose(drawn, np.stack([curve.predicted, curve.observed], 1), rtol=1e-12)


def test_pairs_have_bands_of_their_intervals():
    share, weight = np.arange(40) % 5 / 4, np.full(40, 5.0)
    models = {name: np.random.default_rng(seed).uniform(size=40) for seed, name in enumerate("ab")}
    intervals = {name: pair_reliability_points(probs, share, weight) for name, probs in models.items()}
    (ax,) = plot_pairs(models, share, weight, intervals=intervals).axes
    bands = [
        shape for shape in ax.collections if len(shape.get_paths()[0].vertices) > 20 and not shape.get_offsets().any()
    ]
    for band, expected in zip(bands, intervals.values(), strict=True):
        drawn = {tuple(corner) for corner in band.get_paths()[0].vertices}
        for ends in (expected.low, expected.high):
            assert set(zip(expected.predicted, ends, strict=True)) <= drawn
