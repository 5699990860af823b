"""Several trainings of one method: is a difference between methods more than one between seeds?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from ..metrics import MeanInterval
from .item_report import ModelNumbers
from .pair_report import PairNumbers

OTHER_TRAININGS = "other trainings, on these votes"
_NOT_COMPARED = ("margin", "expected_reward_correlation_ceiling")  # in each method's own unit; the same for all


@dataclass(frozen=True)
class MethodNumbers:
    """The numbers of a method, over its trainings.

    Attributes:
        name (`str`): of the method, as it is or with what validation votes gave it.
        num_trainings (`int`): at least 2.
        means (`dict` of [`~trl_dprm.metrics.MeanInterval`]): by metric over the trainings.
        compared_with (`str`): the first method with the same help: as it is, or with what validation votes gave it.
        differences (`dict` of [`~trl_dprm.metrics.MeanInterval`]): by metric from its trainings, in the order in which
            they were given; none where it has another number of them.
    """

    name: str
    num_trainings: int
    means: dict[str, MeanInterval]
    compared_with: str
    differences: dict[str, MeanInterval]


def over_trainings(
    models: Sequence[ModelNumbers | PairNumbers], methods: Mapping[str, Sequence[str]], level: float = 0.95
) -> list[MethodNumbers]:
    """Means over trainings, with intervals for other trainings (seeds) judged by the same votes.

    Args:
        models (sequence of [`ModelNumbers`] or [`PairNumbers`]): of a report.
        methods (`dict` by name of sequences of `str`): the models that are trainings of each method, paired across
            methods by their order. The first method is what others are compared with.
        level (`float`, between 0 and 1): of the intervals, which are Student's.

    Returns:
        `list` of [`MethodNumbers`], those of several trainings.
    """
    groups = {}
    for method, names in methods.items():
        for model in sorted((model for model in models if model.name in names), key=lambda m: names.index(m.name)):
            title = method + model.title.removeprefix(model.name)
            groups.setdefault((method, title, model.is_fitted), []).append(model)
    first = next(iter(methods), None)
    firsts = {fitted: (title, trained) for (method, title, fitted), trained in groups.items() if method == first}
    found = []
    for (method, title, is_fitted), trained in groups.items():
        if len(trained) > 1:
            means = {name: _student(values, level) for name, values in _values(trained).items()}
            compared_with, others = firsts.get(is_fitted, ("", ()))
            differences = {} if method == first else _differences(trained, others, level)
            found.append(MethodNumbers(title, len(trained), means, compared_with, differences))
    return found


def unpaired_note(methods: Mapping[str, Sequence[str]]) -> list[str]:
    """What a reader must know where methods have other numbers of trainings than the first.

    Args:
        methods (`dict` by name of sequences of `str`): as in [`over_trainings`].

    Example:

    >>> unpaired_note({"ours": ["a", "b"], "theirs": ["c"]})
    ['Trainings are compared in pairs: theirs has another number of them than ours (2), and is not.']
    """
    numbers = {method: len(names) for method, names in methods.items()}
    first = next(iter(numbers), "")
    others = [method for method, number in numbers.items() if number != numbers[first]]
    if not others:
        return []
    have = "has" if len(others) == 1 else "have"
    return [
        f"Trainings are compared in pairs: {', '.join(others)} {have} another number of them than {first} "
        f"({numbers[first]}), and {'is' if len(others) == 1 else 'are'} not."
    ]


def _values(trained: Sequence[ModelNumbers | PairNumbers]) -> dict[str, np.ndarray]:
    """By metric those of all trainings, where all are finite."""
    values = {name: np.array([model.metrics.get(name, np.nan) for model in trained]) for name in trained[0].metrics}
    return {name: array for name, array in values.items() if np.isfinite(array).all()}


def _differences(trained, others, level) -> dict[str, MeanInterval]:
    """By metric from as many trainings of another method."""
    if len(others) != len(trained):
        return {}
    values, baseline = _values(trained), _values(others)
    return {
        name: _student(values[name] - baseline[name], level)
        for name in values
        if name in baseline and name not in _NOT_COMPARED
    }


def _student(values: np.ndarray, level: float) -> MeanInterval:
    """Mean with Student's interval."""
    half_width = student_t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return MeanInterval(*(float(values.mean() + side * half_width) for side in (0, -1, 1)))
