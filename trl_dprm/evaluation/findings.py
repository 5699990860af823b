"""What a report says, in sentences: only what its numbers bear, with the interval or the chance level beside it."""

import math

import numpy as np

from .attainable import POOLED
from .data_report import EvaluationReport
from .intervals import PANEL
from .item_report import ItemReport, ModelNumbers
from .pair_report import OTHER_PAIRS, PairReport
from .tables import column_name, group_interval_over, number_text

_HARDLY = 0.01  # of the range of rewards


def item_findings(report: ItemReport) -> list[str]:
    """Sentences on predicted distributions.

    Args:
        report ([`ItemReport`]): what was found.
    """
    first = report.models[0]
    found = [_against_constant(report, first), _against_attainable(report, first), _calibration(first)]
    found += [_collapsed(report, model) for model in report.models if model.temperature is None]
    found += [_above_ceiling(model) for model in report.models if model.temperature is None]
    found += [_difference(first.name, model) for model in report.models[1:] if model.temperature is None]
    found += [_temperature(model) for model in report.models if model.temperature is not None]
    found += [_worst_group(first, variable) for variable in first.groups]
    found.append(_votes(report, first))
    return [sentence for sentence in found if sentence]


def pair_findings(report: PairReport) -> list[str]:
    """Sentences on pairs.

    Args:
        report ([`PairReport`]): what was found.
    """
    first = report.models[0]
    loss, interval = first.metrics["pair_log_loss"], first.intervals.get("pair_log_loss")
    agreement = first.intervals.get("vote_agreement")
    ends = "" if agreement is None else f" [{agreement.low:.1%}, {agreement.high:.1%}]"
    found = [
        f"{first.name} agrees with {first.metrics['vote_agreement']:.1%}{ends} of the votes on pairs; the "
        f"cross-entropy of σ(κΔ) is {_with_interval(loss, interval)}, against 0.6931 for saying nothing."
    ]
    for model in report.models[1:]:
        difference = model.differences.get("pair_log_loss")
        if difference is not None:
            found.append(f"A vote costs {column_name(model)} {_comparison(difference, 'nats', first.name)}.")
    return found


def intervals_sentence(report: EvaluationReport) -> str:
    """What the intervals of a report speak of, in a line; empty where nothing was judged.

    Args:
        report ([`~trl_dprm.evaluation.data_report.EvaluationReport`]): what was found.
    """
    parts = []
    if report.items is not None:
        names = dict.fromkeys(
            name
            for model in report.items.models
            for name, interval in model.intervals.items()
            if interval.over != report.items.interval_over
        )
        parts.append(report.items.interval_over)
        names |= _groups_elsewhere(report.items)
        parts += [f"those of {' and '.join(names)} over {PANEL}"] if names else []
    if report.pairs is not None:
        parts.append(f"those of pairs over {OTHER_PAIRS}" if parts else OTHER_PAIRS)
    if not parts:
        return ""
    return f"Square brackets hold {100 * (report.items or report.pairs).level:g} % intervals over {'; '.join(parts)}."


def report_notes(report: EvaluationReport) -> list[str]:
    """What a reader must bear in mind, for the page, the terminal and JSON alike.

    Args:
        report ([`~trl_dprm.evaluation.data_report.EvaluationReport`]): what was found.
    """
    notes = [*report.notes]
    for part in (report.items, report.pairs):
        notes += [] if part is None else part.notes
    if report.items is not None:
        notes.append(f"The best constants were chosen on {report.items.constants_from}.")
    return list(dict.fromkeys(notes))


def _groups_elsewhere(report: ItemReport) -> dict[str, None]:
    """The group tables whose intervals speak of something else than the others do."""
    variables = report.models[0].groups.items()
    return {
        f"groups by {variable}": None
        for variable, groups in variables
        if {group_interval_over(row) for row in groups.groups} - {report.interval_over}
    }


def _against_constant(report: ItemReport, model: ModelNumbers) -> str:
    nats, constant = model.metrics["nats_per_vote"], report.constants["nats_per_vote"]
    if not math.isfinite(nats):
        return f"{model.name} calls categories impossible that got votes: its nats per vote are infinite."
    chosen = " (chosen on these very votes, in its favour)" if report.constants_from.startswith("the judged") else ""
    cost = f"A vote costs {model.name} {_with_interval(nats, model.intervals.get('nats_per_vote'))} nats"
    best = f"the best constant distribution's {number_text(constant)}{chosen}"
    difference = model.constant_differences.get("nats_per_vote")
    if difference is None:
        return f"{cost}, {'less' if nats < constant else 'no less'} than {best}; the difference has no interval here."
    if difference.low <= 0 <= difference.high:
        return f"{cost}, which these votes cannot tell from {best} (difference {_of_difference(difference)})."
    return f"{cost}, {_distance(difference)} {'less' if difference.difference < 0 else 'more'} than {best}."


def _against_attainable(report: ItemReport, model: ModelNumbers) -> str:
    if report.attainable is None or not math.isfinite(model.metrics["nats_per_vote"]):
        return ""
    low, middle, high, _ = report.attainable
    return (
        f"The votes themselves put what the true distributions would cost between {number_text(low)} and "
        f"{number_text(high)} nats (if they follow a Dirichlet distribution around {report.attainable_prior}, "
        f"{number_text(middle)}){_choice_of_prior(report)}."
    )


def _choice_of_prior(report: ItemReport) -> str:
    """Why the upper end is as low as it is, or not lower."""
    if report.attainable_prior != POOLED:
        return "; the validation votes chose that prior"
    if any(model.temperature is not None for model in report.models):
        return "; no model was the better prior by the validation votes"
    return "; with validation votes a model could be the prior instead, which brings the upper end down"


def _calibration(model: ModelNumbers) -> str:
    error, level = model.metrics["expected_calibration_error"], model.if_calibrated
    verdict = "more than chance explains" if error > level.high else "no more than chance explains"
    interval = model.intervals.get("expected_calibration_error")
    return (
        f"The calibration error of {model.name} is {_with_interval(error, interval)}; were it calibrated, and were "
        f"votes independent given the item, chance alone would give {number_text(level.mean)}, and 95 % of the time "
        f"less than {number_text(level.high)}: {verdict}."
    )


def _collapsed(report: ItemReport, model: ModelNumbers) -> str:
    """Numbers that compare items say nothing of a model that hardly does."""
    rewards = np.asarray(report.items.categories.rewards)
    spread, span = float((model.category_probs @ rewards).std()), float(np.ptp(rewards))
    if spread >= _HARDLY * span or len(report.items) < 2:
        return ""
    slope = model.metrics["expected_reward_slope"]
    follow = f"correlation and slope ({number_text(slope)})" if math.isfinite(slope) else "correlation and slope"
    return (
        f"{model.name} hardly tells items apart: its expected rewards have a standard deviation of {spread:.2g} where "
        f"the rewards span {span:g}. Their {follow} mean little."
    )


def _above_ceiling(model: ModelNumbers) -> str:
    """A correlation that looks impossible is not a fault."""
    value, ceiling = (model.metrics[f"expected_reward_correlation{end}"] for end in ("", "_ceiling"))
    if not value > ceiling:
        return ""
    interval = model.intervals.get("expected_reward_correlation_ceiling")
    return (
        f"The correlation of {model.name}'s expected rewards, {number_text(value)}, is above its ceiling, "
        f"{_with_interval(ceiling, interval)}. That is no fault: the ceiling is an estimate from the same few votes, "
        "and the true expected rewards themselves would be above it about half of the time."
    )


def _difference(first: str, model: ModelNumbers) -> str:
    difference = model.differences.get("nats_per_vote")
    return "" if difference is None else f"A vote costs {column_name(model)} {_comparison(difference, 'nats', first)}."


def _comparison(difference, unit: str, first: str) -> str:
    """How a score differs from the first model's; lower is better."""
    if difference.low <= 0 <= difference.high:
        return f"{unit} that these votes cannot tell from {first}'s (difference {_of_difference(difference)})"
    return f"{_distance(difference)} {unit} {'less' if difference.difference < 0 else 'more'} than {first}"


def _of_difference(difference) -> str:
    return _with_interval(difference.difference, difference)


def _distance(difference) -> str:
    """A difference without its sign; its interval is on one side of 0."""
    low, high = sorted((abs(difference.low), abs(difference.high)))
    return f"{number_text(abs(difference.difference))} [{number_text(low)}, {number_text(high)}]"


def _temperature(model: ModelNumbers) -> str:
    nats = _with_interval(model.metrics["nats_per_vote"], model.intervals.get("nats_per_vote"))
    direction = "above 1: flatter than it was" if model.temperature > 1 else "below 1: sharper than it was"
    return (
        f"The temperature that the validation votes give {model.name} is {number_text(model.temperature)} "
        f"({direction}); recalibrated, a vote costs it {nats} nats."
    )


def _worst_group(model: ModelNumbers, variable: str) -> str:
    groups = model.groups[variable]
    worst = next((row for row in groups.groups if row.group == groups.worst_by_reward_gap), None)
    if worst is None:
        return ""
    gap = worst.reward_gap
    promise = f"{model.name} promises {number_text(abs(gap.mean))} {'more' if gap.mean > 0 else 'less'}"
    votes = f"{worst.group} ({worst.num_votes:,} votes)"
    if not math.isfinite(gap.low):
        return (
            f"By {variable}, the expected reward is farthest off for {votes}: {promise} than this group finds "
            "(no interval)."
        )
    told = f"(difference {_with_interval(gap.mean, gap)})"
    if gap.low <= 0 <= gap.high:
        return (
            f"By {variable}, the expected reward looks farthest off for {votes}, but is not told from right there: "
            f"{promise} than this group finds {told}."
        )
    return f"By {variable}, the expected reward is farthest off for {votes}: {promise} than this group finds {told}."


def _votes(report: ItemReport, model: ModelNumbers) -> str:
    """How many votes of an item say as much as the model does without any."""
    if model.votes_curve is None or report.votes_only is None:
        return ""
    name = "unbiased_brier_score"
    unaided, curve = model.votes_curve.scores[name][0], report.votes_only
    enough = [step for step, value in zip(curve.num_votes, curve.scores[name], strict=True) if value <= unaided]
    if enough:
        return (
            f"In squared distance to the truth, {enough[0]} votes of an item say as much as {model.name} without any "
            "(point estimates, no intervals)."
        )
    return (
        f"In squared distance to the truth, {model.name} without a vote of the item scores better than the estimate "
        f"from {curve.num_votes[-1]} votes alone, the most that can be tried here (point estimates, no intervals)."
    )


def _with_interval(value: float, interval) -> str:
    text = number_text(value)
    return text if interval is None else f"{text} [{number_text(interval.low)}, {number_text(interval.high)}]"
