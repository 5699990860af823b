"""What a report says, in sentences: only what its numbers bear, with the interval or the chance level beside it."""

import math

from .item_report import ItemReport, ModelNumbers
from .pair_report import PairReport
from .tables import column_name, number_text


def item_findings(report: ItemReport) -> list[str]:
    """Sentences on predicted distributions.

    Args:
        report ([`ItemReport`]): what was found.
    """
    first = report.models[0]
    found = [_against_constant(report, first), _against_attainable(report, first), _calibration(first)]
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
    loss, interval = first.metrics["pair_log_loss"], first.log_loss_interval
    found = [
        f"{first.name} agrees with {first.metrics['vote_agreement']:.1%} of the votes on pairs; the cross-entropy of "
        f"σ(κΔ) is {_with_interval(loss, interval)}, against 0.6931 for saying nothing."
    ]
    for model in report.models[1:]:
        difference = model.differences.get("pair_log_loss")
        if difference is not None:
            found.append(f"A vote costs {column_name(model)} {_comparison(difference, 'nats', first.name)}.")
    return found


def _against_constant(report: ItemReport, model: ModelNumbers) -> str:
    nats, constant = model.metrics["nats_per_vote"], report.constants["nats_per_vote"]
    if not math.isfinite(nats):
        return f"{model.name} calls categories impossible that got votes: its nats per vote are infinite."
    verdict = "less than" if nats < constant else "no less than"
    chosen = " (chosen on these very votes, in its favour)" if report.constants_from.startswith("the judged") else ""
    return (
        f"A vote costs {model.name} {_with_interval(nats, model.nats_interval)} nats, {verdict} the best constant "
        f"distribution's {number_text(constant)}{chosen}."
    )


def _against_attainable(report: ItemReport, model: ModelNumbers) -> str:
    if report.attainable is None or not math.isfinite(model.metrics["nats_per_vote"]):
        return ""
    low, middle, high, _ = report.attainable
    return (
        f"The votes themselves put what the true distributions would cost between {number_text(low)} and "
        f"{number_text(high)} nats (if they follow a Dirichlet distribution, {number_text(middle)})."
    )


def _calibration(model: ModelNumbers) -> str:
    error, level = model.metrics["expected_calibration_error"], model.if_calibrated
    verdict = "more than chance explains" if error > level.high else "no more than chance explains"
    return (
        f"The calibration error of {model.name} is {number_text(error)}; were it calibrated, chance alone would give "
        f"{number_text(level.mean)}, and 95 % of the time less than {number_text(level.high)}: {verdict}."
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
    nats = _with_interval(model.metrics["nats_per_vote"], model.nats_interval)
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
