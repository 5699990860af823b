"""Tables in Markdown and two pictures."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "no_update": "no update",
    "item_posterior": "posterior per item",
    "text_posterior": "posterior per text",
    "bias_map": "map: biases",
    "matrix_map": "map: matrix and biases",
    "chosen_map": "map: kind chosen by cross-validation",
    "map_and_item_posterior": "biases, then posterior per item",
    "continued": "trained on, new votes",
    "retrained": "trained again, old and new votes",
    "post_stratified": "no new votes: groups, post-stratified",
    "best_bias_map": "limit of biases",
    "best_matrix_map": "limit of a matrix",
}
GROUP_LABELS = {
    "one_for_all": "one model for all",
    "bias_map_per_group": "biases per group",
    "matrix_map_per_group": "matrix per group",
    "group_model": "model that reads the group",
}
COLOURS = {
    "no_update": "black",
    "item_posterior": "#56B4E9",
    "text_posterior": "#CC79A7",
    "bias_map": "#0072B2",
    "matrix_map": "#D55E00",
    "chosen_map": "#E69F00",
    "map_and_item_posterior": "#0072B2",
    "continued": "#009E73",
    "retrained": "#999999",
    "post_stratified": "#CC79A7",
    "best_bias_map": "#0072B2",
    "best_matrix_map": "#D55E00",
}
LINES = {"post_stratified": "-.", "best_bias_map": ":", "best_matrix_map": ":", "map_and_item_posterior": "--"}
UNCHANGED_ELSEWHERE = ("item_posterior", "map_and_item_posterior")  # on items without votes: no update, the biases
PER_ANNOTATOR = ("matrix_map", "continued", "retrained")
PANELS = {
    ("simulated", "other items"): [("wasserstein_distance", "W1 to the new population's truth, levels")],
    ("simulated", "items with votes"): [("wasserstein_distance", "W1 to the new population's truth, levels")],
    ("convabuse", "other items"): [
        ("nats_per_vote", "nats per vote of the annotator left out"),
        ("ranked_probability_score", "ranked probability score, levels"),
    ],
}


def shown(rows: pd.DataFrame, crowd: str, items: str) -> pd.DataFrame:
    """The rows of a panel; without what changes nothing there."""
    kept = rows[(rows["crowd"] == crowd) & (rows["items"] == items)]
    if items == "other items":
        kept = kept[~kept["method"].isin(UNCHANGED_ELSEWHERE)]
    if crowd == "simulated":
        kept = kept[kept["method"] != "text_posterior"]  # no text comes twice
    return kept


def markdown_tables(rows: pd.DataFrame) -> str:
    """One table per crowd, set of items and measure: value, and the difference to no update with its interval.

    Args:
        rows (`pd.DataFrame`): From `table.compared`.
    """
    parts = []
    for (crowd, items), measures in PANELS.items():
        panel = shown(rows, crowd, items)
        for measure, label in measures if len(panel) else ():
            unit = "seeds" if crowd == "simulated" else "annotators left out, each the mean over seeds"
            title = f"**{crowd}, {items}: {label}** ({panel['num_replications'].max()} {unit}; ± 95 % interval)"
            parts.append(f"{title}\n\n{_table(panel, measure)}")
    return "\n\n".join(parts) + "\n"


def replication_markdown(rows: pd.DataFrame) -> str:
    """Nats per vote of each annotator left out, by method and number of new votes.

    Args:
        rows (`pd.DataFrame`): From `table.replication_rows`.
    """
    cells = rows.set_index(["replication", "method", "new_votes"])["nats_per_vote"]
    columns = [
        (method, number)
        for method in PER_ANNOTATOR
        for number in sorted(rows.loc[rows["method"] == method, "new_votes"].unique())
    ]
    header = ["annotator", LABELS["no_update"], *(f"{LABELS[method]}, {number:,}" for method, number in columns)]
    lines = [
        [name, f"{before:.3f}", *(_number(cells.get((name, *column))) for column in columns)]
        for name, before in cells.xs("no_update", level="method")
        .groupby(level="replication", sort=False)
        .first()
        .items()
    ]
    return f"**convabuse, nats per vote of each annotator left out, by new votes**\n\n{_markdown(header, lines)}\n"


def _table(panel, measure):
    numbers = sorted(panel["new_votes"].unique())
    lines = [
        [
            LABELS[method],
            *(_cell(panel[(panel["method"] == method) & (panel["new_votes"] == n)], measure) for n in numbers),
        ]
        for method in LABELS
        if method in set(panel["method"])
    ]
    return _markdown(["new votes", *(f"{n:,}" for n in numbers)], lines)


def _cell(row, measure):
    if row.empty:
        return "—"
    row = row.iloc[0]
    value = f"{row[measure]:.3f}"
    if row["method"] == "no_update":
        return value + _plus_minus(row[f"{measure}_half_width"])
    change = f"{row[f'{measure}_difference']:+.3f}" + _plus_minus(row[f"{measure}_difference_half_width"])
    return f"{value} ({change}; {row[f'{measure}_better']:.0f}/{row['num_replications']:.0f})"


def _number(value):
    return "—" if value is None else f"{value:.3f}"


def _plus_minus(half_width):
    return "" if np.isnan(half_width) else f" ± {half_width:.3f}"


def _markdown(header, lines):
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *lines))


def group_markdown(shares: pd.DataFrame, worst: pd.DataFrame) -> str:
    """Two tables: other mixes of the groups without new votes, and the worst-off group's reward.

    Args:
        shares, worst (`pd.DataFrame`): From `group_table.group_rows` and `group_table.worst_group_rows`.
    """
    seeds = worst["num_replications"].max()
    grid = sorted(shares["share"].unique())
    cells = shares.set_index(["method", "share"])
    lines = [
        [label, *(f"{cells.loc[(method, share), 'wasserstein_distance']:.3f}" for share in grid)]
        for method, label in GROUP_LABELS.items()
    ]
    first = _markdown(["share of the second group", *(f"{share:g}" for share in grid)], lines)
    lines = [
        [
            GROUP_LABELS[row["method"]],
            *(_value(row, name) for name in ("correlation", "error", "right_group")),
        ]
        for _, row in worst.iterrows()
    ]
    second = _markdown(["worst-group reward", "correlation", "error", "right group"], lines)
    return (
        f"**simulated, no new votes: W1 to the truth of another mix, levels** ({seeds} seeds)\n\n{first}\n\n"
        f"**simulated: the reward of the group that likes an item least** ({seeds} seeds; ± 95 % interval)\n\n"
        f"{second}\n"
    )


def _value(row, name):
    return "—" if np.isnan(row[name]) else f"{row[name]:.3f}" + _plus_minus(row[f"{name}_half_width"])


def plot_updates(rows: pd.DataFrame) -> "Figure":
    """One panel per crowd, set of items and measure, against the number of new votes.

    Args:
        rows (`pd.DataFrame`): From `table.compared`.
    """
    from matplotlib.figure import Figure

    panels = [
        (crowd, items, measure, label)
        for (crowd, items), measures in PANELS.items()
        for measure, label in measures
        if len(shown(rows, crowd, items))
    ]
    figure = Figure(figsize=(5.2 * len(panels), 5.6), dpi=130, layout="constrained")
    entries = {}
    for ax, (crowd, items, measure, label) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        _draw(ax, shown(rows, crowd, items), measure)
        ax.set(title=f"{crowd}: {items}", xlabel="new votes, each on another item", ylabel=label)
        handles, names = ax.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=len(panels) + 1, frameon=False)
    return figure


def _draw(ax: "Axes", panel, measure):
    """Curves side by side; bars are 95 % intervals of the paired difference to no update.

    The uncertainty of the level itself is mostly that of the items and annotators, which all methods share.
    """
    for place, (method, label) in enumerate(LABELS.items()):
        curve = panel[panel["method"] == method].sort_values("new_votes")
        if curve.empty:
            continue
        style = {"color": COLOURS[method], "linestyle": LINES.get(method, "-"), "label": label}
        if method in LINES or method == "no_update":
            ax.plot(curve["new_votes"], curve[measure], **style)
        else:
            error = curve[f"{measure}_difference_half_width"].fillna(0)
            beside = curve["new_votes"] * 1.05 ** (place - 4)
            ax.errorbar(beside, curve[measure], yerr=error, marker="o", markersize=5, capsize=2, **style)
    ax.set_xscale("log")
    ax.grid(color="0.9")
    ax.set_axisbelow(True)


def plot_groups(shares: pd.DataFrame) -> "Figure":
    """Distance to the truth against the share of the second group, without new votes.

    Args:
        shares (`pd.DataFrame`): From `group_table.group_rows`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6), dpi=130, layout="constrained")
    ax = figure.subplots()
    colours = ("black", "#0072B2", "#D55E00", "#009E73")
    for (method, label), marker, colour in zip(GROUP_LABELS.items(), "osDv", colours, strict=True):
        curve = shares[shares["method"] == method].sort_values("share")
        half_width = curve["wasserstein_distance_half_width"].fillna(0)
        ax.errorbar(
            curve["share"],
            curve["wasserstein_distance"],
            yerr=half_width,
            marker=marker,
            markersize=5,
            capsize=2,
            color=colour,
            label=label,
        )
    ax.set(xlabel="share of the second group in the population", ylabel="W1 to its truth, levels")
    ax.set_title("What if the population were different? No new votes")
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.legend(frameon=False)
    return figure
