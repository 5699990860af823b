"""Pictures of predictions beside votes, drawn without a display. Need matplotlib (`pip install "trl-dprm[plots]"`)."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .arrays import distribution_table, matching_distributions, weight_vector
from .calibration import NUM_BINS, reliability_curve
from .disagreement import pairwise_disagreement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008): told apart with every common colour vision, and in grey.
_BLUE, _ORANGE = "#0072B2", "#E69F00"
_SMALLEST_POINT, _ALL_VOTES = 8.0, 400.0  # areas of points in square points


def most_contested(
    target_probs: ArrayLike,
    vote_weight: ArrayLike,
    cost_matrix: Sequence[Sequence[float]],
    num_items: int = 6,
    min_votes: float = 2,
) -> np.ndarray:
    """The items on which two annotators disagree most, by the cost between their categories.

    By `pairwise_disagreement`, which is unbiased at any number of votes. One vote says nothing of disagreement, and of
    two votes that differ not much can be seen in a picture: raise `min_votes` where items have more.

    Args:
        target_probs (array of shape `(num_items_given, num_categories)`): vote shares, rows sum to 1.
        vote_weight (array of shape `(num_items_given,)`): votes of each item.
        cost_matrix (nested sequence of shape `(num_categories, num_categories)`): ground cost.
        num_items (`int`): how many to return; fewer if fewer have the votes.
        min_votes (`float`, above 1): items with fewer votes are left out.

    Returns:
        `np.ndarray` of `int` of shape `(up to num_items,)`: row numbers, most contested first, in order of rows at
        ties.

    Raises:
        ValueError: a table that is no distribution, a cost for another number of categories, or `min_votes` of at most
            1.

    Source: [ours].

    Example:

    >>> most_contested([[1, 0, 0], [0.5, 0, 0.5], [0.5, 0.5, 0]], [2, 2, 2], [[0, 1, 2], [1, 0, 1], [2, 1, 0]], 2)
    array([1, 2])
    """
    targets = distribution_table("target_probs", target_probs)
    votes = weight_vector("vote_weight", vote_weight, len(targets))
    if min_votes <= 1:
        raise ValueError(f"min_votes is {min_votes}; one vote shows no disagreement, give more than 1")
    eligible = np.flatnonzero(votes >= min_votes)
    disagreement = pairwise_disagreement(targets * votes[:, None], cost_matrix)[eligible]
    return eligible[np.argsort(-disagreement, kind="stable")[:num_items]]


def plot_distributions(
    category_probs: ArrayLike,
    target_probs: ArrayLike,
    category_names: Sequence[str],
    item_names: Sequence[str] | None = None,
    category_label: str = "predicted",
    target_label: str = "observed",
) -> "Figure":
    """Predicted beside observed distribution, one panel of grouped bars per item.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1; select a handful of
            items (`most_contested`).
        target_probs (array of shape `(num_items, num_categories)`): vote shares, or the true distribution.
        category_names (sequence of `str`, length `num_categories`): under the bars.
        item_names (sequence of `str`, length `num_items`, *optional*): titles of the panels, wrapped and shortened;
            numbers from 1 if not given.
        category_label, target_label (`str`): names in the legend.

    Returns:
        `matplotlib.figure.Figure`: write it with `figure.savefig(path)`.

    Raises:
        ValueError: tables that are no distributions or of different shapes, or another number of names.
        ModuleNotFoundError: matplotlib is not installed.

    Source: colours of Okabe & Ito (2008).

    Example:

    >>> figure = plot_distributions([[0.7, 0.3]], [[0.5, 0.5]], ["no", "yes"], ["Is it art?"])
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['predicted', 'observed']
    """
    category_probs, target_probs = matching_distributions(category_probs, target_probs)
    num_items, num_categories = category_probs.shape
    _check_names("category_names", category_names, num_categories)
    item_names = [f"item {number}" for number in range(1, num_items + 1)] if item_names is None else item_names
    _check_names("item_names", item_names, num_items)
    figure, axes = panels(num_items, width=max(2.6, 0.55 * num_categories), height=2.4)
    for ax, name, prediction, target in zip(axes, item_names, category_probs, target_probs, strict=True):
        _grouped_bars(ax, prediction, target, category_label, target_label)
        ax.set_title(shortened(name), fontsize=9)
        name_categories(ax, category_names)
    axes[0].set_ylim(0, min(1.0, 1.08 * max(category_probs.max(), target_probs.max())))
    _frame(figure, axes, xlabel="category", ylabel="share of annotators")
    return figure


def plot_reliability(
    category_probs: ArrayLike,
    target_probs: ArrayLike,
    vote_weight: ArrayLike | None,
    category_names: Sequence[str],
    num_bins: int = NUM_BINS,
    binning: str = "equal_mass",
) -> "Figure":
    """Reliability diagram: predicted probability against observed share of the votes, one panel per category.

    On the diagonal the model is calibrated; below it, it promises more than the votes hold. The area of a point shows
    how many votes are behind it; the title gives the expected calibration error of the category in these bins.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        target_probs (array of shape `(num_items, num_categories)`): raw vote shares, rows sum to 1.
        vote_weight (array of shape `(num_items,)` or `None`): votes of each item; equal if `None`.
        category_names (sequence of `str`, length `num_categories`): titles of the panels.
        num_bins, binning: as [`reliability_curve`].

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: as [`category_calibration_errors`], or another number of names.
        ModuleNotFoundError: matplotlib is not installed.

    Source: DeGroot & Fienberg (1983); colours of Okabe & Ito (2008).

    Example:

    >>> figure = plot_reliability([[0.7, 0.3], [0.4, 0.6]], [[1.0, 0.0], [0.0, 1.0]], None, ["no", "yes"])
    >>> [ax.get_title().splitlines() for ax in figure.axes]
    [['no', 'ECE 0.350'], ['yes', 'ECE 0.350']]
    """
    category_probs, target_probs = matching_distributions(category_probs, target_probs)
    _check_names("category_names", category_names, category_probs.shape[1])
    figure, axes = panels(len(category_names), width=2.6, height=2.8)
    for ax, name, predicted, observed in zip(axes, category_names, category_probs.T, target_probs.T, strict=True):
        curve = reliability_curve(predicted, observed, vote_weight, num_bins, binning)
        ax.plot([0, 1], [0, 1], color="0.45", linestyle="--", linewidth=1, label="calibrated")
        ax.plot(curve.predicted, curve.observed, color=_BLUE, linewidth=1.2)
        area = np.maximum(_SMALLEST_POINT, _ALL_VOTES * curve.weight / curve.weight.sum())
        ax.scatter(curve.predicted, curve.observed, s=area, color=_BLUE, alpha=0.75, linewidths=0, label="model")
        ax.set_title(f"{shortened(name)}\nECE {curve.calibration_error:.3f}", fontsize=9)
        ax.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        ax.grid(color="0.9", linewidth=0.8)
    _frame(figure, axes, xlabel="predicted probability", ylabel="observed share of votes")
    return figure


def panels(count: int, width: float, height: float, share: bool = True) -> tuple["Figure", np.ndarray]:
    """A grid of at most three columns.

    Args:
        count (`int`): number of panels.
        width, height (`float`): of a panel, in inches.
        share (`bool`): whether they share both axes.

    Returns:
        `matplotlib.figure.Figure` and its axes, `np.ndarray` of shape `(count,)`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('plots need matplotlib; install it with: pip install "trl-dprm[plots]"') from error
    columns = 2 if count == 4 else min(3, count)
    rows = -(-count // columns)
    size = (0.9 + columns * width, 1.3 + rows * height)
    figure = Figure(figsize=size, dpi=150, layout="constrained")  # not pyplot: no display, no global state
    axes = figure.subplots(rows, columns, sharex=share, sharey=share, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.remove()
    for ax in axes[max(0, count - columns) : count]:
        ax.tick_params(labelbottom=True)
    return figure, axes[:count]


def _grouped_bars(ax: "Axes", prediction: np.ndarray, target: np.ndarray, label: str, target_label: str) -> None:
    place, width = np.arange(len(prediction)), 0.4
    ax.bar(place - width / 2, prediction, width, color=_BLUE, label=label)
    ax.bar(place + width / 2, target, width, color=_ORANGE, edgecolor="0.25", hatch="///", label=target_label)
    ax.grid(axis="y", color="0.9", linewidth=0.8)


def name_categories(ax: "Axes", category_names: Sequence[str]) -> None:
    """Names under the bars, slanted if they are long.

    Args:
        ax (`matplotlib.axes.Axes`): with bars at 0, 1, 2 ….
        category_names (sequence of `str`): their names.
    """
    slant = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if max(map(len, category_names)) > 4 else {}
    ax.set_xticks(np.arange(len(category_names)), [_plain(name) for name in category_names], fontsize=8, **slant)


def _frame(figure: "Figure", axes: np.ndarray, xlabel: str, ylabel: str) -> None:
    """What all panels share: labels of the axes and the legend above."""
    for ax in axes:
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(xlabel, fontsize=10)
    figure.supylabel(ylabel, fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)


def shortened(name: str, width: int = 34) -> str:
    """At most two lines, as plain text.

    Args:
        name (`str`): a title.
        width (`int`): characters of a line.
    """
    return "\n".join(textwrap.wrap(_plain(name), width=width, max_lines=2, placeholder=" …"))


def _plain(name: str) -> str:
    return name.replace("$", r"\$")  # two dollar signs would be read as a formula


def _check_names(argument: str, names: Sequence[str], length: int) -> None:
    if len(names) != length:
        raise ValueError(f"{argument} has {len(names)} entries where {length} are needed; give one name for each")
