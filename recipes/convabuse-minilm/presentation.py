"""The tables as Markdown and as a picture."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {
    "scalar_regression_readout": "scalar regression, read out",
    "bradley_terry_majority": "Bradley–Terry on majorities",
    "bradley_terry_davidson": "Bradley–Terry–Davidson on vote shares",
    "dpl_mean_variance": "DPL mean–variance",
    "dpl_categorical": "DPL categorical",
    "bradley_terry_majority_readout": "Bradley–Terry on majorities, read out",
    "bradley_terry_davidson_readout": "Bradley–Terry–Davidson on vote shares, read out",
    "dpl_mean_variance_readout": "DPL mean–variance, read out",
    "dpl_categorical_readout": "DPL categorical, read out",
    "best_constant_for_nats_per_vote": "best constant for nats",
    "best_constant_for_wasserstein_distance": "best constant for W1",
}
SCORES = {
    "nats per vote": "nats_per_vote",
    "W1": "wasserstein_distance",
    "correlation": "correlation",
    "Δ nats to cross-entropy": "nats_per_vote difference",
    "Δ W1, %": "wasserstein_distance percent",
    "nats, recalibrated": "recalibrated nats_per_vote",
    "Δ nats, recalibrated": "recalibrated nats_per_vote difference",
    "Δ W1 recalibrated, %": "recalibrated wasserstein_distance percent",
}
TRUTH = {
    "RPS": "ranked_probability_score",
    "Brier": "unbiased_brier_score",
    "energy": "unbiased_energy_distance",
    "slope": "expected_reward_slope",
    "ECE": "expected_calibration_error",
    "if calibrated": "expected_calibration_error_if_calibrated",
    "debiased": "debiased_calibration_error",
    "debiased, recalibrated": "recalibrated debiased_calibration_error",
    "contested AUROC": "contested_auroc",
    "worst annotator": "worst_annotator_nats",
}
PAIRS = {
    "accuracy": "majority_accuracy",
    "ties half": "majority_accuracy_ties_half",
    "decisive nats": "decisive_nats",
    "+ temperature": "recalibrated decisive_nats",
    "Δ decisive": "recalibrated decisive_nats difference",
    "three-way nats": "three_way_nats",
    "+ link": "recalibrated three_way_nats",
    "Δ three-way": "recalibrated three_way_nats difference",
    "ECE": "win_calibration_error",
    "ECE + link": "recalibrated win_calibration_error",
    "decisive ECE": "decisive_calibration_error",
    "decisive ECE + temperature": "recalibrated decisive_calibration_error",
}


def markdown_tables(
    rows: pd.DataFrame,
    pairs: pd.DataFrame,
    attainable: dict[str, dict[str, float]],
    prior: str,
    chosen: str | None,
    num_seeds: int,
) -> str:
    """Scores on all items and on unseen texts, whether they are true, and pairs.

    Args:
        rows (`pd.DataFrame`): As `table.subset_rows` makes them.
        pairs (`pd.DataFrame`): As `pair_table.pair_rows` makes them.
        attainable (`dict`): Per subset the bracket of `attainable_nats`.
        prior (`str`): The method whose predictions are the prior of that bracket.
        chosen (`str` or `None`): The sum that the validation part chose; printed bold.
        num_seeds (`int`): How many trainings each mean is over.
    """
    tables = []
    for name, subset in rows.groupby("subset", sort=False):
        bracket = attainable[name]
        tables.append(
            f"**{name}** ({subset['num_items'].iloc[0]} test items, {num_seeds} seeds; attainable: between "
            f"{bracket['low']:.3f} and {bracket['high']:.3f} nats per vote, by a Dirichlet-multinomial "
            f"{bracket['dirichlet_multinomial']:.3f}, around {_name(prior)}; correlation at most "
            f"{subset['expected_reward_correlation_ceiling'].iloc[0]:.3f})\n\n{_table(subset, SCORES, chosen)}"
        )
    every = rows[rows["subset"] == rows["subset"].iloc[0]]
    tables.insert(1, f"**are they true?** ({_by_annotator(every.iloc[0])})\n\n{_table(every, TRUTH, chosen)}")
    first = pairs.iloc[0]
    tables.insert(
        2,
        f"**pairs** ({first['num_pairs']} pairs of test items, {first['num_votes']:.0f} votes, "
        f"{first['majority_pairs']:.0f} pairs with a majority)\n\n{_table(pairs, PAIRS, chosen)}",
    )
    if chosen is None:
        tables.append("No sum stayed within the margin of validation nats: none is chosen.")
    return "\n\n".join(tables) + "\n"


def _by_annotator(row):
    """Of the first method, cross-entropy."""
    nats = {name.removeprefix("nats_of_"): value for name, value in row.items() if name.startswith("nats_of_")}
    means = ", ".join(f"{name} {value:.2f}" for name, value in nats.items() if not name.endswith("_spread"))
    return f"all items; nats per vote of {row['method'].replace('_', ' ')} by annotator: {means}"


def _table(rows, columns, chosen):
    header = f"| method | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}"
    return "\n".join([header, *(_line(rows, method, columns, chosen) for method in rows["method"].unique())])


def _line(rows, method, columns, chosen):
    """One method; a column's name says which of its two rows and how to print."""
    own = {bool(row["recalibrated"]): row for _, row in rows[rows["method"] == method].iterrows()}
    cells = []
    for place in columns.values():
        metric = place.removeprefix("recalibrated ")
        row = own.get(metric != place)
        cells.append("—" if row is None else _cell(row, *metric.split()))
    name = _name(method)
    return f"| {' | '.join([f'**{name}**' if method == chosen else name, *cells])} |"


def _name(method):
    return NAMES.get(method, method.replace("_", " "))


def _cell(row, metric, kind="value"):
    if kind == "value":
        return _value(row, metric)
    fields, factor, digits = {
        "difference": (("difference", "low", "high"), 1, 3),
        "percent": (("relative", "relative_low", "relative_high"), 100, 1),
    }[kind]
    value, low, high = (np.round(factor * row.get(f"{metric}_{field}", np.nan), digits) + 0.0 for field in fields)
    return "—" if np.isnan(value) else f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def _value(row, metric):
    value, spread = row[metric], row.get(f"{metric}_spread", np.nan)
    if np.isnan(value):
        return "—"
    if np.isinf(value):
        return "∞"
    return f"{value:.3f}" if np.isnan(spread) or spread < 5e-4 else f"{value:.3f} ± {spread:.3f}"


def plot_table(rows: pd.DataFrame, pairs: pd.DataFrame, chosen: str | None) -> "Figure":
    """Nats per vote, W1 and three-way nats on pairs, one line per method: hollow as it is, filled recalibrated.

    Args:
        rows (`pd.DataFrame`): Of one subset.
        pairs (`pd.DataFrame`): As `pair_table.pair_rows` makes them.
        chosen (`str` or `None`): The method to mark.
    """
    from matplotlib.figure import Figure

    methods = list(rows["method"].unique())[::-1]
    figure = Figure(figsize=(12, 0.3 * len(methods) + 1.2), dpi=150, layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    panels = (
        (rows, "nats_per_vote", "nats per vote"),
        (rows, "wasserstein_distance", "W1 in levels"),
        (pairs, "three_way_nats", "three-way nats per vote on pairs"),
    )
    for ax, (table, metric, label) in zip(axes, panels, strict=True):
        _plot_panel(ax, table, metric, methods)
        ax.set_xlabel(label)
    axes[0].set_yticks(range(len(methods)), [NAMES.get(name, name.replace("_", " ")) for name in methods], fontsize=8)
    if chosen is not None:
        axes[0].get_yticklabels()[methods.index(chosen)].set_fontweight("bold")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    return figure


def _plot_panel(ax: "Axes", table, metric, methods):
    from matplotlib.ticker import LogLocator, NullLocator

    for recalibrated, label in ((False, "as it is"), (True, "recalibrated on validation")):
        own = table[(table["recalibrated"] == recalibrated) & np.isfinite(table[metric])]
        ax.errorbar(
            own[metric],
            [methods.index(method) for method in own["method"]],
            xerr=np.nan_to_num(own[f"{metric}_spread"]),
            fmt="o",
            color="C0",
            markerfacecolor="C0" if recalibrated else "white",
            markersize=5,
            label=label,
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.tick_params(axis="x", labelsize=8)
