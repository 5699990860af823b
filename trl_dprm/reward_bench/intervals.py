"""How sure RewardBench's numbers are: intervals from prompts that are drawn anew."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from .averages import averages_over_subsets, benchmark_results, places_by_subset
from .benchmark import is_ties
from .scoring import ScoredBenchmark
from .ties import prompt_of, ties_score

LEVEL = 0.95


class BenchmarkIntervals(NamedTuple):
    """Low and high end for each number of [`BenchmarkResults`].

    Attributes:
        subsets, sections (`dict[str, tuple[float, float]]`): by name.
        overall (`tuple[float, float]` or `None`): `None` where there is no overall score.
    """

    subsets: dict[str, tuple[float, float]]
    sections: dict[str, tuple[float, float]]
    overall: tuple[float, float] | None


def benchmark_intervals(
    scored: ScoredBenchmark, num_resamples: int = 1000, seed: int = 0
) -> BenchmarkIntervals | None:
    """95 % intervals of all averages, by a bootstrap over the prompts of each subset.

    Prompts are drawn within their subset, because its size and its weight belong to the benchmark; in Ties the prompts
    of a number are drawn together. What chance there is in the choice of the prompts shows, nothing else; subsets are
    drawn independently, though v1's six of code hold the same problems, so that Reasoning is surer here than it is.
    Two models are compared on the same prompts, not by whether these intervals overlap.

    Args:
        scored ([`ScoredBenchmark`]): As `score_benchmark` gives it.
        num_resamples (`int`): How often the prompts are drawn.
        seed (`int`): The same seed gives the same intervals.

    Returns:
        [`BenchmarkIntervals`], or `None` if a subset has one prompt alone (Ties: one number of a kind), which says
        nothing of chance.

    Source: Efron & Tibshirani, *An Introduction to the Bootstrap* (1993), chapters 8 and 13. [ours]: RewardBench has
        no intervals.

    Example:

    >>> from trl_dprm.reward_bench import Benchmark, Question
    >>> questions = [Question(k, "mine", "2+2?", ["4"], ["5"]) for k in range(4)]
    >>> rewards = [[1.0], [1.0], [1.0], [0.0]], [[0.5]] * 4
    >>> benchmark_intervals(ScoredBenchmark(Benchmark("v1", questions), *rewards, 0)).subsets
    {'mine': (0.25, 1.0)}
    """
    form, questions = scored.benchmark
    generator, drawn = np.random.default_rng(seed), {}
    per_question = benchmark_results(scored).per_question
    for subset, places in places_by_subset(form, questions).items():
        if form == "v2" and is_ties(subset):
            strata = _numbers_of_ties(scored, places)
            if min(map(len, strata)) < 2:
                return None
            drawn[subset] = [_ties_of_a_draw(strata, generator) for _ in range(num_resamples)]
        else:
            if len(places) < 2:
                return None
            worth = np.array([per_question[place] for place in places])
            drawn[subset] = worth[generator.integers(len(worth), size=(num_resamples, len(worth)))].mean(axis=1)
    averages = [
        averages_over_subsets(form, dict(zip(drawn, row, strict=True))) for row in zip(*drawn.values(), strict=True)
    ]
    sections, overall = zip(*averages, strict=True)
    return BenchmarkIntervals(
        {name: _interval(scores) for name, scores in drawn.items()},
        {name: _interval([of_draw[name] for of_draw in sections]) for name in sections[0]},
        None if overall[0] is None else _interval(overall),
    )


def _numbers_of_ties(scored, places) -> list[list[list[tuple]]]:
    """Kind and rewards of the rows of each number; numbers with both kinds of prompt among themselves."""
    numbers, strata = defaultdict(list), defaultdict(list)
    for place in places:
        kind, number = prompt_of(scored.benchmark.questions[place].id)
        numbers[number].append((kind, scored.chosen_rewards[place], scored.rejected_rewards[place]))
    for rows in numbers.values():
        strata[frozenset(kind for kind, *_ in rows)].append(rows)  # the score needs both, in every draw
    return list(strata.values())


def _ties_of_a_draw(strata, generator) -> float:
    """The score of as many numbers of each stratum, drawn with replacement; every draw is a number of its own."""
    drawn = [stratum[choice] for stratum in strata for choice in generator.integers(len(stratum), size=len(stratum))]
    rows = [(f"{kind}:{number}", *rewards) for number, rows in enumerate(drawn) for kind, *rewards in rows]
    return ties_score(*zip(*rows, strict=True)).score


def _interval(values):
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
