"""Pictures of one model or several against the same votes, drawn without a display. They need matplotlib.

Every function takes the models as a `dict` of predictions by name: a colour each, in the order given. Names in
`dashed` have the colour of the model before them: the same one, recalibrated.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .arrays import distribution_table, vote_shares
from .calibration import NUM_BINS, reliability_curve
from .disagreement import pairwise_disagreement, predicted_disagreement
from .group_report import GroupReport
from .held_out_votes import VotesCurve
from .plots import most_contested, name_categories, panels, shortened
from .reliability_intervals import ReliabilityPoints

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008): told apart with every common colour vision.
OBSERVED = "#E69F00"
MODEL_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MUTED, GRID = "#737373", "#E6E6E6"
NUM_CONTESTED = 6
VOTES_ONLY = "votes only"
_MOST_BARS = 4  # beside the observed one
_OF_GROUPS = {
    "reward_gap": "expected − mean reward",
    "debiased_calibration_error": "debiased calibration error",
    "nats_per_vote": "nats per vote",
}
_CURVE_TITLES = {
    "nats_per_vote": "nats per vote",
    "unbiased_brier_score": "squared distance to the truth",
    "unbiased_energy_distance": "energy distance to the truth",
}


def plot_reliabilities(
    models: Mapping[str, ArrayLike],
    target_counts: ArrayLike,
    category_names: Sequence[str],
    dashed: Collection[str] = (),
    intervals: Mapping[str, Sequence[ReliabilityPoints]] | None = None,
) -> "Figure":
    """Predicted probability against observed share of the votes, a panel per category, a line per model.

    Ten bins of equal votes; the area of a point shows how many. Each panel goes as far as its own numbers do.
    Intervals are shaded, each in the colour of its model.

    Args:
        models (`dict` of arrays of shape `(num_items, num_categories)`): predictions by name.
        target_counts (array of shape `(num_items, num_categories)`): raw votes.
        category_names (sequence of `str`): titles of the panels.
        dashed (collection of `str`): see the module.
        intervals (`dict` of lists of [`~trl_dprm.metrics.reliability_intervals.ReliabilityPoints`], *optional*): by
            model one for each category, of the same predictions and votes.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.

    Example:

    >>> figure = plot_reliabilities({"ours": [[0.7, 0.3], [0.4, 0.6]]}, [[2, 1], [0, 3]], ["no", "yes"])
    >>> [ax.get_title() for ax in figure.axes]
    ['no', 'yes']
    """
    targets, weight = vote_shares(target_counts)
    figure, axes = panels(len(category_names), width=2.7, height=2.6, share=False)
    for place, (ax, name) in enumerate(zip(axes, category_names, strict=True)):
        for colour, style, label in _styles(models, dashed):
            predicted = distribution_table(label, models[label])[:, place]
            curve = reliability_curve(predicted, targets[:, place], weight, NUM_BINS, "equal_mass")
            _curve(ax, *curve, colour, style, label)
            if intervals is not None:
                points = intervals[label][place]
                _band(ax, points.predicted, points.low, points.high, colour, len(models))
        ax.set_title(shortened(name), fontsize=10)
        _square(ax, low=0)
    _frame(figure, axes, "predicted probability", "observed share of votes")
    return figure


def contested_items(
    target_counts: ArrayLike, cost_matrix: Sequence[Sequence[float]], num_items: int = NUM_CONTESTED
) -> np.ndarray:
    """The items on which annotators disagree most, among those with at least the median number of votes.

    Args:
        target_counts (array of shape `(num_items, num_categories)`): raw votes.
        cost_matrix (nested sequence of shape `(num_categories, num_categories)`): ground cost.
        num_items (`int`): how many.

    Returns:
        `np.ndarray` of `int`: rows, most contested first; none where no item has two votes.

    Example:

    >>> contested_items([[3, 0], [2, 1], [1, 1], [0, 1]], [[0, 1], [1, 0]], num_items=1)
    array([1])
    """
    targets, votes = vote_shares(target_counts)
    several = votes[votes > 1]
    if len(several) == 0:
        return np.array([], dtype=int)
    return most_contested(targets, votes, cost_matrix, num_items, min_votes=max(2.0, float(np.median(several))))


def plot_contested(
    models: Mapping[str, ArrayLike],
    target_counts: ArrayLike,
    category_names: Sequence[str],
    item_names: Sequence[str] | None = None,
) -> "Figure":
    """Predicted beside observed distributions, a panel per item, for the first few models.

    Args:
        models (`dict` of arrays of shape `(num_items, num_categories)`): predictions by name.
        target_counts (array of shape `(num_items, num_categories)`): raw votes on the items to show
            ([`contested_items`] chooses them).
        category_names (sequence of `str`): under the bars.
        item_names (sequence of `str`, *optional*): titles; numbers from 1 if not given.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.

    Example:

    >>> figure = plot_contested({"ours": [[0.7, 0.3]]}, [[2, 1]], ["no", "yes"])
    >>> [bars.get_label() for bars in figure.axes[0].containers]
    ['observed', 'ours']
    """
    targets, _ = vote_shares(target_counts)
    names = [f"item {row + 1}" for row in range(len(targets))] if item_names is None else item_names
    figure, axes = panels(len(targets), width=max(2.7, 0.6 * len(category_names)), height=2.1)
    series = [(OBSERVED, "observed", targets)]
    series += [(colour, name, distribution_table(name, models[name])) for colour, _, name in _styles(models)][
        :_MOST_BARS
    ]
    width = 0.84 / len(series)
    for row, (ax, name) in enumerate(zip(axes, names, strict=True)):
        for place, (colour, label, table) in enumerate(series):
            offset = (place - (len(series) - 1) / 2) * width
            ax.bar(np.arange(len(category_names)) + offset, table[row], width * 0.92, color=colour, label=label)
        ax.set_title(shortened(name), fontsize=9)
        name_categories(ax, category_names)
    _frame(figure, axes, "", "share of annotators", grid="y")
    return figure


def plot_expectations(
    models: Mapping[str, ArrayLike],
    target_counts: ArrayLike,
    category_rewards: Sequence[float],
    cost_matrix: Sequence[Sequence[float]],
    dashed: Collection[str] = (),
) -> "Figure":
    """Two more curves of reliability: expected against mean reward, predicted against observed disagreement.

    Disagreement is the cost between two annotators. Items are binned by what was predicted, so that, other than by
    looking at the most contested ones, no luck of their votes chose them; the observed one is unbiased.

    Args:
        models, target_counts, dashed: as [`plot_reliabilities`].
        category_rewards (sequence of `float`): reward of each category.
        cost_matrix (nested sequence of shape `(num_categories, num_categories)`): ground cost.

    Returns:
        `matplotlib.figure.Figure`; without the second panel where no item has two votes.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.

    Example:

    >>> figure = plot_expectations({"ours": [[0.7, 0.3], [0.4, 0.6]]}, [[2, 1], [0, 3]], [0.0, 1.0], [[0, 1], [1, 0]])
    >>> [ax.get_title() for ax in figure.axes]
    ['Expected reward', 'Disagreement of two annotators']
    """
    targets, weight = vote_shares(target_counts)
    observed, rewards = pairwise_disagreement(target_counts, cost_matrix), np.asarray(category_rewards)
    several = np.isfinite(observed)
    figure, axes = panels(2 if several.any() else 1, width=3.6, height=3.0, share=False)
    for colour, style, name in _styles(models, dashed):
        probs = distribution_table(name, models[name])
        _curve(axes[0], *_binned(probs @ rewards, targets @ rewards, weight), colour, style, name)
        if several.any():
            predicted = predicted_disagreement(probs, cost_matrix)
            _curve(axes[1], *_binned(predicted[several], observed[several], weight[several]), colour, style, name)
    labels = (
        ("Expected reward", "expected reward", "mean reward of the votes"),
        ("Disagreement of two annotators", "predicted", "observed"),
    )
    for ax, (title, xlabel, ylabel) in zip(axes, labels, strict=False):
        _square(ax)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.set_title(title, fontsize=10)
    _frame(figure, axes, "", "")
    return figure


def plot_groups(groups: Mapping[str, GroupReport], dashed: Collection[str] = ()) -> "Figure":
    """For each group what a model promises beyond what the group finds, its calibration error, and its nats per vote.

    All with intervals. The calibration error is the debiased one: by it groups of different sizes can be compared.

    Args:
        groups (`dict` of [`~trl_dprm.metrics.GroupReport`]): of the same judgments, by model.
        dashed (collection of `str`): see the module.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    first = next(iter(groups.values())).groups
    place = -np.arange(len(first), dtype=float)
    figure, axes = panels(len(_OF_GROUPS), width=3.0, height=0.7 + 0.34 * len(first), share=False)
    for number, (colour, style, name) in enumerate(_styles(groups, dashed)):
        offset = place - (number - (len(groups) - 1) / 2) * min(0.18, 0.6 / len(groups))
        for ax, kind in zip(axes, _OF_GROUPS, strict=True):
            _intervals(ax, [getattr(row, kind) for row in groups[name].groups], offset, colour, style, name)
    constants = [row.constant_nats_per_vote for row in first]
    axes[2].plot(constants, place, linestyle="", marker="|", markersize=13, color=MUTED, label="group's best constant")
    for ax in axes[:2]:
        ax.axvline(0, color=MUTED, linestyle="--", linewidth=1)
    for ax, label in zip(axes, _OF_GROUPS.values(), strict=True):
        ax.set_yticks(place, [shortened(row.group, 24) for row in first])
        ax.set(xlabel=label, ylim=(place.min() - 0.6, 0.6))
        ax.locator_params(axis="x", nbins=5)
    for ax in axes[1:]:
        ax.set_yticklabels([])
    _frame(figure, axes[::-1], "", "", grid="x")
    return figure


def plot_votes_curves(curves: Mapping[str, VotesCurve], dashed: Collection[str] = ()) -> "Figure":
    """Scores after 0, 1, 2, 4 … of the item's own votes, with their intervals shaded where the curves have them.

    Args:
        curves (`dict` of [`VotesCurve`]): on the same items, by model; `VOTES_ONLY` is drawn dotted, in grey.
        dashed (collection of `str`): see the module.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    steps = next(iter(curves.values())).num_votes
    figure, axes = panels(len(_CURVE_TITLES), width=2.7, height=2.5, share=False)
    models = [name for name in curves if name != VOTES_ONLY]
    lines = [*_styles(models, dashed), *((MUTED, ":", name) for name in curves if name == VOTES_ONLY)]
    for ax, (metric, title) in zip(axes, _CURVE_TITLES.items(), strict=True):
        for colour, style, name in lines:
            ax.plot(steps, curves[name].scores[metric], style, marker="o", markersize=4, color=colour, label=name)
            if metric in curves[name].intervals:
                _band(ax, steps, *np.transpose(curves[name].intervals[metric]), colour, len(curves))
        ax.set_title(title, fontsize=10)
        ax.set_xticks(steps)
        if ax.get_ylim()[0] > 0:
            ax.set_ylim(bottom=0)
    _frame(figure, axes, "votes of the item seen beforehand", "")
    return figure


def plot_pairs(
    models: Mapping[str, ArrayLike],
    chosen_vote_share: ArrayLike,
    pair_weight: ArrayLike | None = None,
    dashed: Collection[str] = (),
    intervals: Mapping[str, ReliabilityPoints] | None = None,
) -> "Figure":
    """Probability to be preferred against the share of the votes, every pair in both orders.

    Args:
        models (`dict` of arrays of shape `(num_pairs,)`): probability that the chosen response is preferred, by name.
        chosen_vote_share (array of shape `(num_pairs,)`): share of the annotators who prefer it.
        pair_weight (array of shape `(num_pairs,)`, *optional*): votes of each pair; equal if not given.
        dashed (collection of `str`): see the module.
        intervals (`dict` of [`~trl_dprm.metrics.reliability_intervals.ReliabilityPoints`], *optional*): by model, of
            the same predictions and votes ([`~trl_dprm.metrics.pair_calibration.pair_reliability_points`]).

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    figure, axes = panels(1, width=3.8, height=3.2)
    for colour, style, name in _styles(models, dashed):
        curve = reliability_curve(
            models[name], chosen_vote_share, pair_weight, NUM_BINS, "equal_mass", both_orders=True
        )
        _curve(axes[0], *curve, colour, style, name)
        if intervals is not None:
            points = intervals[name]
            _band(axes[0], points.predicted, points.low, points.high, colour, len(models))
    _square(axes[0], low=0, high=1)
    _frame(figure, axes, "predicted probability to be preferred", "observed share of votes")
    return figure


def _styles(names, dashed=()):
    """Colour and line of each model."""
    used = -1
    for name in names:
        used += name not in dashed
        yield MODEL_COLOURS[max(used, 0) % len(MODEL_COLOURS)], "--" if name in dashed else "-", name


def _binned(predicted, observed, weight) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means in bins of about equal weight, by the prediction, and the weight of each."""
    order = np.argsort(predicted, kind="stable")
    predicted, observed, weight = predicted[order], observed[order], weight[order]
    bins = np.minimum(((np.cumsum(weight) - weight / 2) / weight.sum() * NUM_BINS).astype(int), NUM_BINS - 1)
    total = np.bincount(bins, weight, NUM_BINS)
    means = [
        np.bincount(bins, weight * values, NUM_BINS)[total > 0] / total[total > 0] for values in (predicted, observed)
    ]
    return *means, total[total > 0]


def _curve(ax: "Axes", predicted, observed, weight, colour, style, label) -> None:
    area = np.maximum(9.0, 300 * weight / weight.sum())
    ax.plot(predicted, observed, style, color=colour, linewidth=1.3)
    ax.scatter(predicted, observed, s=area, color=colour, alpha=0.8, linewidths=0)
    ax.plot([], [], style, marker="o", markersize=5, color=colour, label=label)


def _band(ax: "Axes", places, low, high, colour, num_models: int) -> None:
    """Intervals as a shade, the lighter the more lie above each other."""
    ax.fill_between(places, low, high, color=colour, alpha=max(0.08, 0.24 / (num_models + 1)), linewidth=0, zorder=0.8)


def _intervals(ax: "Axes", intervals, place, colour, style, label) -> None:
    ends = np.array([[interval.low, interval.high] for interval in intervals])
    ax.hlines(place, *ends.T, color=colour, linewidth=1.6, linestyles=style)
    means = [interval.mean for interval in intervals]
    face = colour if style == "-" else "white"  # recalibrated: hollow
    ax.plot(means, place, linestyle="", marker="o", markersize=5, color=colour, markerfacecolor=face, label=label)


def _square(ax: "Axes", low: float | None = None, high: float | None = None) -> None:
    """One range on both axes, and the diagonal."""
    ends = np.array([*ax.get_xlim(), *ax.get_ylim()])
    margin = 0.04 * (ends.max() - ends.min())
    low, high = ends.min() if low is None else low - margin, ends.max() if high is None else high + margin
    ax.plot([low, high], [low, high], color=MUTED, linestyle="--", linewidth=1, zorder=0.9)
    ax.set(xlim=(low, high), ylim=(low, high))


def _frame(figure: "Figure", axes: Sequence["Axes"], xlabel: str, ylabel: str, grid: str = "both") -> None:
    """What all panels share, and the first one's legend above."""
    for ax in axes:
        ax.grid(axis=grid, color=GRID, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    if xlabel:
        figure.supxlabel(xlabel, fontsize=10)
    if ylabel:
        figure.supylabel(ylabel, fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    columns = min(4 if max(map(len, labels)) < 24 else 2, len(labels))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)
