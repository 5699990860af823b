"""How a metric is documented: in data, so that tables in READMEs and reports are printed, not retyped."""

from typing import NamedTuple


class MetricDescription(NamedTuple):
    """One row of a table of metrics.

    Attributes:
        meaning (`str`): one line, with unit.
        low, high (`float`): the range, ends included.
        best (`float`): the best value; for scores of noisy votes it is the best that could be said, not what is in
            reach.
    """

    meaning: str
    low: float
    high: float
    best: float


def markdown_table(descriptions: dict[str, MetricDescription]) -> str:
    """The descriptions as a Markdown table, one row per metric.

    Example:

    >>> print(markdown_table({"accuracy": MetricDescription("Share of pairs.", 0, 1, 1)}))
    | name | meaning | range | best |
    |---|---|---|---|
    | `accuracy` | Share of pairs. | 0 to 1 | 1 |
    """
    rows = [
        f"| `{name}` | {about.meaning} | {_number(about.low)} to {_number(about.high)} | {_number(about.best)} |"
        for name, about in descriptions.items()
    ]
    return "\n".join(["| name | meaning | range | best |", "|---|---|---|---|", *rows])


def _number(value: float) -> str:
    return f"{value:g}".replace("inf", "∞").replace("-", "−")
