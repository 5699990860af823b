"""The figures of a report. They need matplotlib (`pip install "trl-dprm[plots]"`)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..metrics.model_plots import (
    MODEL_COLOURS,
    VOTES_ONLY,
    contested_items,
    plot_contested,
    plot_expectations,
    plot_groups,
    plot_pairs,
    plot_reliabilities,
    plot_votes_curves,
)
from .data_report import EvaluationReport
from .item_report import ItemReport
from .pair_report import PairNumbers, PairReport
from .subjects import shown_forms

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_CAPTIONS = {
    "reliability": (
        "Reliability",
        "Of the votes on items where a model gave a category 30 %, are 30 % for it? Ten bins that hold equally many "
        "votes; the area of a point shows how many. On the dashed line a model is calibrated, below it, it promises "
        "more than the votes hold. Shaded are intervals of each bin by itself: of ten bins, one off the line now and "
        "then is chance.",
    ),
    "contested": (
        "Contested items",
        "Predicted beside observed distributions of the items whose annotators disagree most, by the ground cost. "
        "They were chosen by their votes, so part of their disagreement is luck: a calibrated model predicts less.",
    ),
    "expectations": (
        "Rewards and disagreement",
        "Left: expected reward against the mean reward of the votes. Right: how far two annotators would be apart if "
        "the prediction were true, against how far they are, an estimate without bias. Ten bins by the prediction: "
        "this shows contested items without choosing them by their votes.",
    ),
    "groups": (
        "Groups by {variable}",
        "Left: what the model promises beyond what the group finds; at 0 it is right on average for the group. "
        "Middle: calibration error by the group's own votes, without what chance adds; 0 is best. Right: nats per "
        "vote of the group; the bar is what the group's own best constant would cost. One prediction for all cannot "
        "be right for groups that see things differently.",
    ),
    "votes": (
        "With some votes of the item",
        "Scores of the posterior mean after some votes of the item, judged on its other votes, over every way to "
        "choose them. The model is the prior, worth its prior strength; “votes only” has the table's prior, the same "
        "for every item. Lower is better. Shaded are intervals over other items, for this panel of annotators. "
        "Whether a model is ahead of votes alone is said by the paired differences in the tables, not by shades that "
        "overlap.",
    ),
    "pairs": (
        "Pairs",
        "Probability that a response is preferred, σ(κΔ), against the share of the votes, every pair in both orders. "
        "Ten bins that hold equally many votes; the area of a point shows how many. Several models are shown with κ "
        "fitted on the validation pairs, where these were given. Shaded are intervals of each bin by itself.",
    ),
}


class ReportFigure(NamedTuple):
    """A figure and what a reader is told of it.

    Attributes:
        title (`str`): what it shows.
        caption (`str`): how to read it.
        figure (`matplotlib.figure.Figure`): write it with `figure.savefig(path)`.
    """

    title: str
    caption: str
    figure: "Figure"


def report_figures(report: EvaluationReport) -> dict[str, ReportFigure]:
    """Every figure of a report, by a name of letters and digits.

    Models are shown as they are, up to five; an only one recalibrated, too. On pairs several are shown with κ fitted
    where it was.

    Args:
        report ([`~trl_dprm.evaluation.data_report.EvaluationReport`]): what was found.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    figures = {} if report.items is None else dict(_item_figures(report.items))
    if report.pairs is not None:
        figures["pairs"] = _captioned("pairs", _pairs(report.pairs))
    return figures


def _item_figures(report: ItemReport) -> Iterator[tuple[str, ReportFigure]]:
    """The figures of predicted distributions, by name."""
    shown = {model.title: model for model in shown_forms(report.models)[: len(MODEL_COLOURS)]}
    models = {name: model.category_probs for name, model in shown.items()}
    dashed = {name for name, model in shown.items() if model.temperature is not None and model.name in shown}
    counts, names = report.items.target_counts, report.items.categories.names
    rewards, _, cost = report.items.geometry
    intervals = {name: model.reliability for name, model in shown.items()}
    yield "reliability", _captioned("reliability", plot_reliabilities(models, counts, names, dashed, intervals))
    rows = contested_items(counts, cost)
    if len(rows):
        chosen = {name: probs[rows] for name, probs in models.items()}
        titles = [item_name(report, row) for row in rows]
        yield "contested", _captioned("contested", plot_contested(chosen, counts[rows], names, titles))
    yield "expectations", _captioned("expectations", plot_expectations(models, counts, rewards, cost, dashed))
    for number, variable in enumerate(report.models[0].groups, start=1):
        groups = {name: model.groups[variable] for name, model in shown.items()}
        yield f"groups{number}", _captioned("groups", plot_groups(groups, dashed), variable)
    curves = {name: model.votes_curve for name, model in shown.items() if model.votes_curve is not None}
    curves |= {} if report.votes_only is None else {VOTES_ONLY: report.votes_only}
    if curves:
        yield "votes", _captioned("votes", plot_votes_curves(curves, dashed))


def _pairs(report: PairReport) -> "Figure":
    shown = {model.title: model for model in _pair_forms(report)[: len(MODEL_COLOURS)]}
    return plot_pairs(
        {name: model.win_probs for name, model in shown.items()},
        report.pairs.chosen_vote_share,
        report.pairs.pair_weight,
        {name for name, model in shown.items() if model.refitted and model.name in shown},
        {name: model.reliability for name, model in shown.items()},
    )


def _pair_forms(report: PairReport) -> list[PairNumbers]:
    """An only model in all its forms; several with κ fitted where it was, since a raw κ is but a unit of rewards."""
    names = {model.name for model in report.models}
    fitted = {model.name for model in report.models if model.refitted}
    return [model for model in report.models if len(names) == 1 or model.refitted == (model.name in fitted)]


def _captioned(name: str, figure: "Figure", variable: str = "") -> ReportFigure:
    title, caption = _CAPTIONS[name]
    return ReportFigure(title.format(variable=variable), caption, figure)


def item_name(report: ItemReport, row: int) -> str:
    """What an item is called: by its text if texts may be shown, else by its name or number, with its votes.

    Args:
        report ([`ItemReport`]): of N items.
        row (`int`): which one.
    """
    items = report.items
    if items.texts is not None:
        return items.texts[row]
    name = f"item {row + 1}" if items.item_names is None else items.item_names[row]
    return f"{name} ({items.vote_weight[row]:g} votes)"
