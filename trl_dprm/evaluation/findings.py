"""What a report says, in sentences: only what its numbers bear, with the interval or the chance level beside it."""

import math

from .attainable import POOLED
from .data_report import EvaluationReport
from .intervals import PANEL
from .item_report import ItemReport, ModelNumbers
from .pair_report import OTHER_PAIRS, PairReport
from .tables import column_name, number_text


def item_findings(report: ItemReport) -> list[str]:
    """Sentences on predicted distributions.

    Args:
        report ([`ItemReport`]): what was found.
    """
    first = report.models[0]
    found = [_against_constant(report, first), _against_attainable(report, first), _calibration(first)]
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
        parts += [f"those of {' and '.join(names)} over {PANEL}"] if names else []
    if report.pairs is not None:
        parts.append(f"those of pairs over {OTHER_PAIRS}" if parts else OTHER_PAIRS)
    if not parts:
        return ""
    return f"Square brackets hold {100 * (report.items or report.pairs).level:g} % intervals over {'; '.join(parts)}."


def _against_constant(report: ItemReport, model: ModelNumbers) -> str:
    nats, constant = model.metrics["nats_per_vote"], report.constants["nats_per_vote"]
    if not math.isfinite(nats):
        return f"{model.name} calls categories impossible that got votes: its nats per vote are infinite."
    verdict = "less than" if nats < constant else "no less than"
    chosen = " (chosen on these very votes, in its favour)" if report.constants_from.startswith("the judged") else ""
    interval = model.intervals.get("nats_per_vote")
    return (
        f"A vote costs {model.name} {_with_interval(nats, interval)} nats, {verdict} the best constant "
        f"distribution's {number_text(constant)}{chosen}."
    )


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
    ends = sorted((abs(difference.low), abs(difference.high)))
    if difference.low <= 0 <= difference.high:
        change = (
            f"{number_text(difference.difference)} [{number_text(difference.low)}, {number_text(difference.high)}]"
        )
        return f"{unit} that these votes cannot tell from {first}'s (difference {change})"
    change = f"{number_text(abs(difference.difference))} [{number_text(ends[0])}, {number_text(ends[1])}]"
    return f"{change} {unit} {'less' if difference.difference < 0 else 'more'} than {first}"


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
    side = "more" if gap.mean > 0 else "less"
    return (
        f"By {variable}, the expected reward is farthest off for {worst.group} ({worst.num_votes:,} votes): "
        f"{model.name} promises {_with_interval(abs(gap.mean), None)} {side} than this group finds"
        + (f" (difference {_with_interval(gap.mean, gap)})." if math.isfinite(gap.low) else ".")
    )


def _votes(report: ItemReport, model: ModelNumbers) -> str:
    """How many votes of an item say as much as the model does without any."""
    if model.votes_curve is None or report.votes_only is None:
        return ""
    name = "unbiased_brier_score"
    unaided, curve = model.votes_curve.scores[name][0], report.votes_only
    enough = [step for step, value in zip(curve.num_votes, curve.scores[name], strict=True) if value <= unaided]
    if enough:
        return (
            f"In squared distance to the truth, {enough[0]} votes of an item say as much as {model.name} without any."
        )
    return (
        f"In squared distance to the truth, {model.name} without a vote of the item is ahead of the estimate from "
        f"{curve.num_votes[-1]} votes alone, the most that can be tried here."
    )


def _with_interval(value: float, interval) -> str:
    text = number_text(value)
    return text if interval is None else f"{text} [{number_text(interval.low)}, {number_text(interval.high)}]"
