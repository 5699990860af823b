"""The tables as Markdown."""

import pandas as pd

SCORES = (
    "| method, link | validation nats | three-way nats | decisive nats | ECE, width / mass | tie ECE | accuracy |\n"
    "|---|---|---|---|---|---|---|"
)
DIFFERENCES = (
    "| method, link | Δ nats to majority | better in | Δ nats to shares | better in | Δ accuracy, points |\n"
    "|---|---|---|---|---|---|"
)


def markdown_tables(rows: pd.DataFrame, report: dict) -> str:
    """Scores of every row, and its differences to the two scalar references with their 95 % intervals.

    Args:
        rows (`pd.DataFrame`): As `table.table_rows` makes them.
        report (`dict`): With `chosen`, `seeds`, `num_pairs` and `num_clusters`.
    """
    title = (
        f"{report['num_pairs']} tested pairs of {report['num_clusters']} clusters, {len(report['seeds'])} seeds; "
        "intervals over clusters, for this panel of annotators"
    )
    scores = [_scores(row, report["chosen"]) for _, row in rows.iterrows()]
    differences = [_differences(row, report) for _, row in rows.iterrows()]
    return "\n".join([f"**{title}**\n", SCORES, *scores, "", DIFFERENCES, *differences, ""])


def _name(row, chosen):
    name = row["row"].replace("_", " ")
    return f"**{name}**" if row["row"] == chosen else name


def _scores(row, chosen):
    validation = "—" if pd.isna(row["validation_nats"]) else f"{row['validation_nats']:.4f}"
    cells = [
        _name(row, chosen),
        validation,
        f"{row['three_way_nats']:.4f} [{row['three_way_low']:.3f}, {row['three_way_high']:.3f}]",
        f"{row['decisive_nats']:.4f}",
        f"{row['win_calibration_error']:.3f} / {row['win_calibration_error_equal_mass']:.3f}",
        f"{row['tie_calibration_error']:.3f}",
        f"{row['gold_accuracy']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def _differences(row, report):
    clusters = report["num_clusters"]
    cells = [_name(row, report["chosen"])]
    for name in ("majority", "shares"):
        cells.append(_interval(row, f"nats_to_{name}", 1, ".4f"))
        better = row[f"clusters_better_than_{name}"]
        cells.append("—" if pd.isna(better) else f"{int(better)} of {clusters}")
    cells.append(_interval(row, "accuracy_to_majority", 100, ".1f"))
    return f"| {' | '.join(cells)} |"


def _interval(row, field, factor, form):
    values = [factor * row[f"{field}{end}"] for end in ("", "_low", "_high")]
    if pd.isna(values[0]):
        return "—"
    difference, low, high = (f"{value:+{form}}" for value in values)
    return f"{difference} [{low}, {high}]"
