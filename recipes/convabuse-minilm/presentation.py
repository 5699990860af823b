"""The table as Markdown and as a picture."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADER = (
    "| method | nats per vote | W1 | correlation | Δ nats to cross-entropy | Δ W1 to cross-entropy | Δ W1, % |\n"
    "|---|---|---|---|---|---|---|"
)


def markdown_table(rows: pd.DataFrame, chosen: str | None, num_seeds: int) -> str:
    """One table per subset: mean ± standard deviation over seeds, differences with their 95 % intervals.

    Args:
        rows (`pd.DataFrame`): As `table.subset_rows` makes them.
        chosen (`str` or `None`): The sum that the validation part chose; printed bold.
        num_seeds (`int`): How many trainings each mean is over.
    """
    tables = []
    for name, subset in rows.groupby("subset", sort=False):
        title = f"**{name}** ({subset['num_items'].iloc[0]} test items, {num_seeds} seeds)"
        lines = [_markdown_row(row, row["method"] == chosen) for _, row in subset.iterrows()]
        tables.append("\n".join([f"{title}\n", HEADER, *lines]))
    if chosen is None:
        tables.append("No sum stayed within the margin of validation nats: none is chosen.")
    return "\n\n".join(tables) + "\n"


def _markdown_row(row, bold):
    name = row["method"].replace("_", " ")
    cells = [
        f"**{name}**" if bold else name,
        *(_value(row, metric) for metric in ("nats_per_vote", "wasserstein_distance", "expected_reward_correlation")),
        *(_interval(row, metric) for metric in ("nats_per_vote", "wasserstein_distance")),
        _percent(row),
    ]
    return f"| {' | '.join(cells)} |"


def _value(row, metric):
    value, spread = row[metric], row[f"{metric}_spread"]
    if np.isnan(value):
        return "—"
    if np.isinf(value):
        return "∞"
    return f"{value:.3f}" if np.isnan(spread) or spread < 1e-12 else f"{value:.3f} ± {spread:.3f}"


def _interval(row, metric):
    difference, low, high = (row[f"{metric}_{field}"] for field in ("difference", "low", "high"))
    return "—" if np.isnan(difference) else f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]"


def _percent(row):
    fields = ("relative", "relative_low", "relative_high")
    value, low, high = (row[f"wasserstein_distance_{field}"] for field in fields)
    return "—" if np.isnan(value) else f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def plot_table(rows: pd.DataFrame, chosen: str | None) -> "Figure":
    """Nats per vote against W1, one point per method, with the spread over seeds: the lower left is best.

    Args:
        rows (`pd.DataFrame`): Of one subset.
        chosen (`str` or `None`): The method to mark.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), dpi=150, layout="constrained")
    ax = figure.subplots()
    for number, (_, row) in enumerate(rows.iterrows()):
        ax.errorbar(
            row["nats_per_vote"],
            row["wasserstein_distance"],
            xerr=np.nan_to_num(row["nats_per_vote_spread"]),
            yerr=np.nan_to_num(row["wasserstein_distance_spread"]),
            fmt="osD^vPX"[number % 7],
            color=f"C{number % 10}",
            markersize=10 if row["method"] == chosen else 6,
            markeredgecolor="black" if row["method"] == chosen else "none",
            label=row["method"].replace("_", " "),
        )
    ax.set(xlabel="nats per vote", ylabel="W1 in levels", xscale="log")
    ax.grid(color="0.9", which="both")
    ax.set_axisbelow(True)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure
