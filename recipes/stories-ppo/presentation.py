"""The tables as Markdown and the frontiers as a picture."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = {
    "start": "before PPO",
    "oracle": "oracle (true mean utility)",
    "bradley_terry_majority": "Bradley–Terry, majority",
    "bradley_terry_vote_shares": "Bradley–Terry, vote shares",
    "scalar_regression": "regression to mean ratings",
    "dprm_expected_reward": "DPRM, expected reward",
    "dprm_cvar": "DPRM, CVaR",
}
MEASURES = {"mean_utility": "mean utility", "worst_group_utility": "worst group"}
COLOURS = dict(zip(LABELS, ("black", "0.5", "C0", "C9", "C2", "C3", "C1"), strict=True))


def markdown_tables(points: pd.DataFrame, equal: pd.DataFrame, agreement: pd.DataFrame, num_seeds: int) -> str:
    """All tables: agreement of the rewards, then per population the points and the frontiers at equal KL.

    Args:
        points, equal, agreement (`pd.DataFrame`): From `table.point_rows`, `table.equal_kl_rows`,
            `table.agreement_rows`.
        num_seeds (`int`): How many replications each mean is over.
    """
    parts = [f"**Agreement with the truth before PPO** ({num_seeds} seeds)\n\n{_agreement_table(agreement)}"]
    for name, rows in points.groupby("population", sort=False):
        parts.append(f"**{name}** ({num_seeds} seeds)\n\n{_points_table(rows, num_seeds)}")
        parts.append(f"**{name}, at equal KL**\n\n{_equal_table(equal[equal['population'] == name], num_seeds)}")
    return "\n\n".join(parts) + "\n"


def _agreement_table(agreement):
    populations = list(dict.fromkeys(agreement["population"]))
    cells = agreement.set_index(["arm", "population"])
    lines = [
        [LABELS[arm], *(_agreement_cell(cells.loc[arm, population]) for population in populations)]
        for arm in dict.fromkeys(agreement["arm"])
    ]
    return _markdown(["reward", *populations], lines)


def _agreement_cell(row):
    spread = row["correlation_spread"]
    value = f"{row['correlation']:.2f}" + ("" if np.isnan(spread) else f" ± {spread:.2f}")
    return f"{value} ({row['least_group_correlation']:+.2f})"


def _points_table(rows, num_seeds):
    header = ["reward", "kl_coef", "KL", "proxy", *_measure_header()]
    lines = [
        [
            LABELS[row["arm"]],
            "—" if np.isnan(row["kl_coef"]) else f"{row['kl_coef']:g}",
            f"{row['kl']:.1f}",
            "—" if np.isnan(row["proxy_reward"]) else f"{row['proxy_reward']:+.2f}",
            *_measure_cells(row, num_seeds),
        ]
        for _, row in rows.iterrows()
    ]
    return _markdown(header, lines)


def _equal_table(rows, num_seeds):
    lines = [[LABELS[row["arm"]], f"{row['kl']:g}", *_measure_cells(row, num_seeds)] for _, row in rows.iterrows()]
    return _markdown(["reward", "KL", *_measure_header()], lines)


def _measure_header():
    return [title for label in MEASURES.values() for title in (label, f"Δ {label} to DPRM")]


def _measure_cells(row, num_seeds):
    return [
        cell
        for name in MEASURES
        for cell in (_with_interval(row, name), _with_interval(row, f"{name}_difference", num_seeds))
    ]


def _with_interval(row, name, num_seeds=None):
    """Value and interval; of a difference also in how many seeds it is positive."""
    value, low, high = (row.get(f"{name}{end}", np.nan) for end in ("", "_low", "_high"))
    if np.isnan(value):
        return "—"
    cell = f"{value:+.3f}" if np.isnan(low) else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
    return cell if num_seeds is None else f"{cell} {row[f'{name}_positive']:.0f}/{num_seeds}"


def _markdown(header, lines):
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *lines))


def plot_frontiers(points: pd.DataFrame) -> "Figure":
    """True utilities against KL: a row of panels for the mean and one for the worst group, a column per population.

    Args:
        points (`pd.DataFrame`): From `table.point_rows`.
    """
    from matplotlib.figure import Figure

    populations = list(dict.fromkeys(points["population"]))
    figure = Figure(figsize=(4.2 * len(populations) + 2.2, 7), dpi=150, layout="constrained")
    panels = figure.subplots(2, len(populations), squeeze=False, sharex="col")
    for column, population in enumerate(populations):
        rows = points[points["population"] == population]
        for ax, (measure, label) in zip(panels[:, column], MEASURES.items(), strict=True):
            _draw_frontiers(ax, rows, measure)
            ax.set_ylabel(f"true {label}")
        panels[0, column].set_title(population)
        panels[1, column].set_xlabel("KL to the original model, nats per completion")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _draw_frontiers(ax, rows, measure):
    start = rows[rows["arm"] == "start"].iloc[0]
    for arm, of_arm in rows[rows["arm"] != "start"].groupby("arm", sort=False):
        line = pd.concat([rows[rows["arm"] == "start"], of_arm]).sort_values("kl")
        ax.errorbar(
            line["kl"],
            line[measure],
            yerr=_distances(line, measure),
            color=COLOURS[arm],
            linestyle="--" if arm == "oracle" else "-",
            marker="o",
            markersize=4,
            linewidth=1.2,
            capsize=2,
            label=LABELS[arm],
        )
    ax.plot(start["kl"], start[measure], "o", color="black")
    ax.grid(color="0.9")
    ax.set_axisbelow(True)


def _distances(line, measure):
    """Lengths of the error bars; none where there is one seed."""
    low, high = line[measure] - line[f"{measure}_low"], line[f"{measure}_high"] - line[measure]
    return np.nan_to_num(np.stack([low, high])).clip(min=0)
