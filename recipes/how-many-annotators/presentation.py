"""The curves as tables in Markdown and as one picture."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "votes_alone": "the item's votes alone",
    "votes_with_table_prior": "votes, prior of the table",
    "dprm": "DPRM, no vote on the item",
    "dprm_with_votes": "DPRM updated by the item's votes",
    "regression": "mean regression, no vote on the item",
    "pairs": "Bradley–Terry, no vote on the item",
}
# Okabe & Ito (2008): told apart with every common colour vision.
COLOURS = dict(zip(LABELS, ("#000000", "#999999", "#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=True))
MARKERS = dict(zip(LABELS, "osD^vX", strict=True))
MEASURES = {
    "simulated": {
        "wasserstein_distance": "W1 to the true distribution, levels",
        "reward_error": "error of the expected reward (root mean square)",
        "reward_correlation": "correlation with the true expected reward",
    },
    "convabuse": {
        "ranked_probability_score": "ranked probability score against held-out votes",
        "nats_per_vote": "nats per held-out vote",
        "reward_correlation": "correlation with the mean of the held-out votes",
    },
}


def equal_items(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in which every arm has as many items: votes grow with the votes per item."""
    items = rows["num_votes"] / rows["votes_per_item"]
    return rows[items == rows.loc[rows["votes_per_item"] == 1, "num_votes"].min()]


def markdown_tables(rows: pd.DataFrame) -> str:
    """Per crowd one table per measure, and one of the arms with equally many votes in all.

    Args:
        rows (`pd.DataFrame`): From `table.compared`.
    """
    parts = []
    for crowd, of_crowd in rows.groupby("crowd", sort=False):
        seeds = of_crowd["num_replications"].max()
        for measure, label in MEASURES[crowd].items():
            table = _by_votes(equal_items(of_crowd), measure)
            parts.append(f"**{crowd}, equal items: {label}** ({seeds} seeds; ± 95 % interval)\n\n{table}")
        distance, label = next(iter(MEASURES[crowd].items()))
        table = _by_votes(equal_items(of_crowd), f"{distance}_to_dprm", leave_out="dprm", sign="+")
        parts.append(f"**{crowd}, equal items: {label}, difference to the DPRM, paired by seed**\n\n{table}")
        worth = _worth(equal_items(of_crowd))
        parts.append(f"**{crowd}, equal items: what a prior is worth in votes** (median of {seeds} seeds)\n\n{worth}")
        for measure, label in list(MEASURES[crowd].items())[:2]:
            table = _by_budget(of_crowd[of_crowd["method"] == "dprm"], measure)
            title = f"{crowd}, equal votes in all: {label}, DPRM"
            parts.append(f"**{title}** ({seeds} seeds; in brackets the paired difference to one per item)\n\n{table}")
    return "\n\n".join(parts) + "\n"


def _by_votes(rows, measure, leave_out=None, sign=""):
    levels = sorted(rows["votes_per_item"].unique())
    lines = [
        [
            LABELS[method],
            *(_cell(rows[(rows["method"] == method) & (rows["votes_per_item"] == n)], measure, sign) for n in levels),
        ]
        for method in LABELS
        if method != leave_out and rows.loc[rows["method"] == method, measure].notna().any()
    ]
    return _markdown(["votes per item", *map(str, levels)], lines)


def _worth(rows):
    """The strength of both priors."""
    priors = {"votes_with_table_prior": "the table", "dprm": "the DPRM"}
    cells = rows.set_index(["method", "votes_per_item"])["prior_strength"]
    levels = sorted(rows["votes_per_item"].unique())
    lines = [[label, *(_strength(cells.get((method, n))) for n in levels)] for method, label in priors.items()]
    return _markdown(["votes per item", *map(str, levels)], lines)


def _strength(value):
    if value is None:
        return "—"
    return "∞" if np.isinf(value) else f"{value:.1f}"


def _by_budget(rows, measure):
    levels = sorted(rows["votes_per_item"].unique())
    budgets = [votes for votes, of in rows.groupby("num_votes") if len(of) > 1]
    lines = []
    for votes in budgets:
        arms = {n: rows[(rows["num_votes"] == votes) & (rows["votes_per_item"] == n)] for n in levels}
        differences = {n: f" ({_cell(arms[n], f'{measure}_to_one', sign='+')})" for n in levels if n > 1}
        lines.append([str(votes), *(_cell(arms[n], measure) + differences.get(n, "") for n in levels)])
    return _markdown(["votes in all", *(f"{n} per item" for n in levels)], lines)


def _cell(row, measure, sign=""):
    if row.empty or np.isnan(row[measure].iloc[0]):
        return "—"
    value, half_width = row[measure].iloc[0], row[f"{measure}_half_width"].iloc[0]
    if np.isinf(value):
        return "∞"
    return f"{value:{sign}.3f}" if np.isnan(half_width) else f"{value:{sign}.3f} ± {half_width:.3f}"


def _markdown(header, lines):
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *lines))


def plot_curves(rows: pd.DataFrame) -> "Figure":
    """A row of panels per crowd: distance and reward at equal items, and the distance at equally many votes in all.

    Args:
        rows (`pd.DataFrame`): From `table.compared`.
    """
    from matplotlib.figure import Figure

    crowds = list(dict.fromkeys(rows["crowd"]))
    figure = Figure(figsize=(15, 0.8 + 4.1 * len(crowds)), dpi=130, layout="constrained")
    panels = figure.subplots(len(crowds), 3, squeeze=False)
    for (left, middle, right), crowd in zip(panels, crowds, strict=True):
        of_crowd = rows[rows["crowd"] == crowd]
        distance = next(iter(MEASURES[crowd]))
        for ax, measure in ((left, distance), (middle, "reward_correlation")):
            _draw_methods(ax, equal_items(of_crowd), measure)
            ax.set(title=f"{crowd}: equally many items", ylabel=MEASURES[crowd][measure])
        if crowd == "simulated":
            left.set_yscale("log")
        _draw_budgets(right, of_crowd[of_crowd["method"] == "dprm"], distance)
        right.set(title=f"{crowd}: equally many votes in all, DPRM", ylabel=MEASURES[crowd][distance])
    handles, labels = panels[0, 0].get_legend_handles_labels()
    more = [pair for pair in zip(*panels[0, 1].get_legend_handles_labels(), strict=True) if pair[1] not in labels]
    handles, labels = [*handles, *(pair[0] for pair in more)], [*labels, *(pair[1] for pair in more)]
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def _draw_methods(ax: "Axes", rows, measure):
    for method, label in LABELS.items():
        curve = rows[rows["method"] == method].sort_values("votes_per_item")
        curve = curve[np.isfinite(curve[measure])]
        if not curve.empty:
            _draw(ax, curve, measure, color=COLOURS[method], marker=MARKERS[method], label=label)
    _finish(ax, rows)


def _draw_budgets(ax: "Axes", rows, measure):
    budgets = [(votes, of) for votes, of in rows.groupby("num_votes") if len(of) > 1]
    for (votes, of), style in zip(budgets, ("-", "--", ":"), strict=False):
        curve = of.sort_values("votes_per_item")
        _draw(ax, curve, measure, color=COLOURS["dprm"], marker="D", linestyle=style, label=f"{votes:,} votes")
    _finish(ax, rows)
    ax.set_xlabel("votes per item (fewer items to the right)")
    ax.legend(frameon=False)


def _draw(ax, curve, measure, **style):
    votes, mean, half_width = curve["votes_per_item"], curve[measure], curve[f"{measure}_half_width"].fillna(0)
    ax.plot(votes, mean, markersize=5, **style)
    ax.fill_between(votes, mean - half_width, mean + half_width, color=style["color"], alpha=0.15)


def _finish(ax, rows):
    levels = sorted(rows["votes_per_item"].unique())
    ax.set_xscale("log", base=2)
    ax.set_xticks(levels, [str(level) for level in levels])
    ax.minorticks_off()
    ax.set_xlabel("votes per item")
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
