"""Pictures: the bars and points are the numbers, titles are plain text, and a file comes out."""

import sys

import numpy as np
import pytest

from trl_dprm.metrics import (
    category_calibration_errors,
    most_contested,
    plot_distributions,
    plot_reliability,
    reliability_curve,
)

pytest.importorskip("matplotlib")
RNG = np.random.default_rng(6)
PREDICTIONS, TARGETS = RNG.dirichlet(np.ones(3), 40), RNG.dirichlet(np.ones(3), 40)
NAMES = ["bad", "fair", "excellent"]
COST = [[0, 1, 2], [1, 0, 1], [2, 1, 0]]


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_bars_are_the_two_distributions(count):
    figure = plot_distributions(PREDICTIONS[:count], TARGETS[:count], NAMES, target_label="true")
    assert len(figure.axes) == count
    for ax, prediction, target in zip(figure.axes, PREDICTIONS, TARGETS, strict=False):
        bars = {bar.get_label(): [patch.get_height() for patch in bar] for bar in ax.containers}
        assert bars == {"predicted": prediction.tolist(), "true": target.tolist()}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["predicted", "true"]
    for ax in figure.axes[-2:]:  # nothing stands below these
        assert [label.get_text() for label in ax.get_xticklabels()] == NAMES


def test_points_are_the_reliability_curve_and_titles_give_its_error():
    figure = plot_reliability(PREDICTIONS, TARGETS, np.arange(40), NAMES, num_bins=5)
    errors = category_calibration_errors(PREDICTIONS, TARGETS, np.arange(40), 5, "equal_mass")
    for k, ax in enumerate(figure.axes):
        curve = reliability_curve(PREDICTIONS[:, k], TARGETS[:, k], np.arange(40), 5, "equal_mass")
        points = ax.collections[0].get_offsets().data
        np.testing.assert_allclose(points, np.stack([curve.predicted, curve.observed], axis=1), rtol=1e-12)
        assert ax.get_title() == f"{NAMES[k]}\nECE {errors[k]:.3f}"


@pytest.mark.filterwarnings("error")
def test_files_are_written_without_a_display_and_dollars_are_no_formula(tmp_path):
    title = r"Costs $5 \oops, or $6: " + "a very long prompt " * 20
    figures = {
        "distributions": plot_distributions(PREDICTIONS[:5], TARGETS[:5], ["$bad$", "b$", "c"], [title] * 5),
        "reliability": plot_reliability(PREDICTIONS, TARGETS, None, ["$bad$", "b$", "c"]),
    }
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert figures["distributions"].axes[0].get_title().count("\n") == 1


def test_most_contested_are_the_items_on_which_two_annotators_differ_most():
    counts = np.array([[2, 0, 2], [4, 0, 0], [1, 0, 1], [0, 2, 2], [1, 0, 0], [3, 0, 1]])
    votes = counts.sum(1)
    disagreement = np.full(len(counts), -1.0)
    for i in np.flatnonzero(votes >= 2):  # mean cost over ordered pairs of different annotators
        answers = np.repeat(np.arange(3), counts[i])
        pairs = [(a, b) for a in range(votes[i]) for b in range(votes[i]) if a != b]
        disagreement[i] = np.mean([COST[answers[a]][answers[b]] for a, b in pairs])
    expected = [i for i in np.argsort(-disagreement, kind="stable") if votes[i] >= 2]
    assert most_contested(counts / votes[:, None], votes, COST, 10).tolist() == expected
    assert most_contested(counts / votes[:, None], votes, COST, 2, min_votes=3).tolist() == [0, 5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_distributions(PREDICTIONS, TARGETS, ["a"]), r"category_names has 1 entries where 3 are needed"),
        (lambda: plot_distributions(PREDICTIONS, TARGETS, NAMES, ["a"]), r"item_names has 1 entries where 40 are"),
        (lambda: plot_reliability(PREDICTIONS, TARGETS, None, ["a"]), r"category_names has 1 entries where 3 are"),
        (lambda: most_contested(TARGETS, np.ones(40), [[0]]), r"cost_matrix has shape \(1, 1\) for 3 categories"),
        (lambda: most_contested(TARGETS, np.ones(40), COST, min_votes=1), r"min_votes is 1; one vote shows no"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_missing_matplotlib_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r'install it with: pip install "trl-dprm\[plots\]"'):
        plot_distributions(PREDICTIONS[:1], TARGETS[:1], NAMES)
