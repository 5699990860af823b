"""What a report says, in sentences: only what its numbers bear, with the interval or the chance level beside it."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from ..metrics import MeanInterval, PairedDifference
from .attainable import POOLED
from .data_report import EvaluationReport
from .intervals import PANEL
from .item_report import ItemReport, ModelNumbers
from .pair_report import OTHER_PAIRS, PairNumbers, PairReport
from .table import number_text
from .tables import fitted_first, group_interval_over
from .trainings import OTHER_TRAININGS, MethodNumbers, over_trainings, unpaired_note

_HARDLY = 0.01  # of the range of rewards
_PAIR_COSTS = {
    "pair_log_loss": "By σ(κΔ) a vote on a pair",
    "three_way_nats": "A vote for one of the two responses or a tie",
}


def report_findings(report: EvaluationReport) -> list[str]:
    """Every sentence that a report bears, for the page and the model card.

    Args:
        report ([`~trl_dprm.evaluation.data_report.EvaluationReport`]): what was found.
    """
    found = [] if report.items is None else item_findings(report.items)
    found += [] if report.pairs is None else pair_findings(report.pairs)
    return found + training_findings(report)


def item_findings(report: ItemReport) -> list[str]:
    """Sentences on predicted distributions.

    Args:
        report ([`ItemReport`]): what was found.
    """
    first = report.models[0]
    found = [_against_constant(report, first), _against_attainable(report, first), _calibration(first)]
    found += [_collapsed(report, model) for model in report.models if model.temperature is None]
    found += [_above_ceiling(model) for model in report.models if model.temperature is None]
    found += [_difference(report, model) for model in report.models[1:] if model.temperature is None]
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
    agreement = first.intervals.get("vote_agreement")
    ends = "" if agreement is None else f" [{agreement.low:.1%}, {agreement.high:.1%}]"
    found = [f"{first.name} agrees with {first.metrics['vote_agreement']:.1%}{ends} of the votes on pairs."]
    forms = [model for model in report.models if model.name == first.name]
    for metric in _PAIR_COSTS:
        found += [_against_pair_constant(report, model, metric) for model in forms if metric in model.metrics]
        found += [_pair_difference(report, model, metric) for model in report.models[1:]]
    return [sentence for sentence in found if sentence]


def training_findings(report: EvaluationReport) -> list[str]:
    """Sentences on methods with several trainings: is a difference more than one between seeds?

    Args:
        report ([`~trl_dprm.evaluation.data_report.EvaluationReport`]): what was found.
    """
    found = []
    for part, name in ((report.items, "nats_per_vote"), (report.pairs, "pair_log_loss")):
        for method in () if part is None else over_trainings(part.models, report.methods, part.level):
            if name in method.differences:
                found.append(_over_trainings(method, method.differences[name], " on a pair" * (part is report.pairs)))
    return found


def intervals_sentence(report: EvaluationReport) -> str:
    """What the intervals of a report speak of, in a line; empty where nothing was judged.

    Args:
        report ([`~trl_dprm.evaluation.data_report.EvaluationReport`]): what was found.
    """
    parts = []
    if report.items is not None:
        parts.append(report.items.interval_over)
        elsewhere = _intervals_elsewhere(report.items).items()
        parts += [f"those of {_listed(names)} over {over}" for over, names in elsewhere]
    if report.pairs is not None:
        parts.append(f"those of pairs over {OTHER_PAIRS}" if parts else OTHER_PAIRS)
    if not parts:
        return ""
    parts += [f"those of means over trainings over {OTHER_TRAININGS}"] if report.methods else []
    judged = [part for part in (report.items, report.pairs) if part is not None]
    if any(model.is_fitted for part in judged for model in part.models):
        parts.append("what was fitted on validation votes is held as it is")
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
        own = "; those of groups on the groups' judged votes" if report.items.models[0].groups else ""
        notes.append(f"The best constants were chosen on {report.items.constants_from}{own}.")
    notes += unpaired_note(report.methods)
    return list(dict.fromkeys(notes))


def _intervals_elsewhere(report: ItemReport) -> dict[str, list[str]]:
    """What intervals speak of something else than the others do, by what they speak of."""
    found = [(interval.over, name) for model in report.models for name, interval in model.intervals.items()]
    if report.votes_only is not None or report.models[0].votes_curve is not None:
        found.append((PANEL, "the item's own votes"))
    for variable, groups in report.models[0].groups.items():
        found += [(group_interval_over(row), f"groups by {variable}") for row in groups.groups]
    elsewhere = {}
    for over, name in dict.fromkeys(found):
        if over != report.interval_over:
            elsewhere.setdefault(over, []).append(name)
    return elsewhere


def _over_trainings(method: MethodNumbers, difference: MeanInterval, on: str) -> str:
    costs = f"Over {method.num_trainings} trainings each, a vote{on} costs {method.name},"
    return _compared(costs, difference, method.compared_with, "trainings")


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
    return _beside(cost, best, difference)


def _beside(cost: str, best: str, difference: PairedDifference) -> str:
    """A cost and whether these votes can tell it from the best constant's."""
    if difference.low <= 0 <= difference.high:
        told = _with_interval(difference.difference, difference)
        return f"{cost}, which these votes cannot tell from {best} (difference {told})."
    return f"{cost}, {_distance(*difference[:3])} {'less' if difference.difference < 0 else 'more'} than {best}."


def _against_pair_constant(report: PairReport, model: PairNumbers, metric: str) -> str:
    nats, constant = model.metrics[metric], report.constant.metrics[metric]
    costs = f"{_PAIR_COSTS[metric]} costs {model.title}{',' * model.is_fitted}"
    if not math.isfinite(nats):
        return f"{costs} infinitely many nats: it calls impossible what got votes."
    own = metric != "pair_log_loss" and report.constant.chosen_on.startswith("the judged")
    chosen = " (its ties chosen on these very votes, in its favour)" if own else ""
    cost = f"{costs} {_with_interval(nats, model.intervals.get(metric))} nats"
    best = f"the best constant's {number_text(constant)}{chosen}"
    difference = model.constant_differences.get(metric)
    if difference is None:
        return f"{cost}, beside {best}; the difference has no interval here."
    return _beside(cost, best, difference)


def _pair_difference(report: PairReport, model: PairNumbers, metric: str) -> str:
    """Like with like: with links fitted where both have them, as they are where neither has; κ by itself for one."""
    first = report.models[0]
    fitted = {other.name: other for other in report.models if other.is_fitted}
    both = first.name in fitted and model.name in fitted
    if model.name == first.name:
        difference = model.differences.get(metric)
    elif both and model.is_fitted:
        first, difference = fitted[first.name], model.fitted_differences.get(metric)
    else:
        difference = None if both or model.is_fitted else model.differences.get(metric)
    if difference is None:
        return ""
    who = model.title + "," * model.is_fitted
    return _compared(f"{_PAIR_COSTS[metric]} costs {who}", difference, first.title, "votes")


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


def _difference(report: ItemReport, model: ModelNumbers) -> str:
    """A model as it is against the first as it is; rewards that were read out against the first one recalibrated."""
    first, differences = report.models[0], model.differences
    if model.read_out:
        first, differences = fitted_first(report), model.fitted_differences
    difference = differences.get("nats_per_vote")
    if difference is None:
        return ""
    return _cost(model, difference, first)


def _cost(model: ModelNumbers, difference: PairedDifference, first: ModelNumbers) -> str:
    """How the nats of a vote differ from those that it costs another model."""
    who = model.title + "," * model.is_fitted  # "bt, read out,"
    return _compared(f"A vote costs {who}", difference, first.title, "votes")


def _compared(costs: str, difference: PairedDifference | MeanInterval, other: str, what: str) -> str:
    """Nats above or below another's, if these `what` can tell them apart."""
    value, low, high = difference[:3]
    if low <= 0 <= high:
        told = _with_interval(value, MeanInterval(value, low, high))
        return f"{costs} nats that these {what} cannot tell from {other}'s (difference {told})."
    return f"{costs} {_distance(value, low, high)} nats {'less' if value < 0 else 'more'} than {other}."


def _distance(value: float, low: float, high: float) -> str:
    """A difference without its sign; its interval is on one side of 0."""
    low, high = sorted((abs(low), abs(high)))
    return f"{number_text(abs(value))} [{number_text(low)}, {number_text(high)}]"


def _temperature(model: ModelNumbers) -> str:
    nats = _with_interval(model.metrics["nats_per_vote"], model.intervals.get("nats_per_vote"))
    interval = model.intervals.get("temperature")
    direction = "above 1: flatter than it was" if model.temperature > 1 else "below 1: sharper than it was"
    if interval is not None and interval.low <= 1 <= interval.high:
        direction = "not told from 1"
    temperature = _with_interval(model.temperature, interval)
    return (
        f"The temperature that the validation votes give {model.name} is {temperature} ({direction}); recalibrated, a "
        f"vote costs it {nats} nats."
    )


def _worst_group(model: ModelNumbers, variable: str) -> str:
    groups = model.groups[variable]
    worst = next((row for row in groups.groups if row.group == groups.worst_by_reward_gap), None)
    if worst is None:
        return ""
    gap = worst.reward_gap
    promise = f"{model.name} promises {number_text(abs(gap.mean))} {'more' if gap.mean > 0 else 'less'}"
    votes = f"{worst.group} ({number_text(worst.num_votes)} votes)"
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
    """How many votes of an item say as much as the model does without any: what paired intervals bear, step by step.

    From no vote upwards, and from the most votes downwards, until an interval holds 0: in an order that was fixed
    beforehand several looks are no more often wrong than one.
    """
    if model.ahead_of_votes is None:
        return ""
    found = model.ahead_of_votes
    steps = list(zip(found.num_votes, found.differences["unbiased_brier_score"], strict=True))
    ahead = list(itertools.takewhile(lambda step: step[1].high < 0, steps))
    behind = list(itertools.takewhile(lambda step: step[1].low > 0, reversed(steps)))
    between = [step for step in steps if not (step[1].high < 0 or step[1].low > 0)]
    told = [f"ahead of {_of_votes(*ahead[-1])}"] if ahead else []
    if len(ahead) == len(steps):
        told[0] += ", the most that can be tried here"
    told += [f"not told from {_listed([_of_votes(*step) for step in between], 'or')}"] if between else []
    told += [f"behind {_of_votes(*behind[-1])}"] if behind else []
    if not told:
        return ""
    return (
        f"In squared distance to the truth, {model.name} without a vote of the item is {_listed(told)}; over {PANEL}."
    )


def _of_votes(number: int, difference: MeanInterval) -> str:
    """The estimate from votes alone, and how far the model is from it."""
    votes = f"{number} vote{'s' * (number != 1)} alone" if number else "one prior for all items"
    if not math.isfinite(difference.low):
        return f"{votes} (difference {number_text(difference.mean)}, no interval)"
    return f"{votes} (difference {_with_interval(difference.mean, difference)})"


def _listed(parts: Sequence[str], last: str = "and") -> str:
    """In a sentence."""
    return f" {last} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _with_interval(value: float, interval) -> str:
    text = number_text(value)
    return text if interval is None else f"{text} [{number_text(interval.low)}, {number_text(interval.high)}]"
