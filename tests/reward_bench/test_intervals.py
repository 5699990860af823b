"""Intervals of RewardBench's numbers: against the formula of the standard error, and against a loop."""

import numpy as np
import pytest

from trl_dprm.reward_bench import (
    Benchmark,
    Question,
    ScoredBenchmark,
    benchmark_intervals,
    benchmark_results,
    results_table,
    ties_score,
)

Z = 1.959964


def scored(form, rows):
    """Rows of (subset, id, chosen rewards, rejected rewards)."""
    questions = [Question(row[1], row[0], "p", ["c"] * len(row[2]), ["r"] * len(row[3])) for row in rows]
    return ScoredBenchmark(Benchmark(form, questions), [row[2] for row in rows], [row[3] for row in rows], 0)


def pairs(subset, num_right, num_wrong):
    return [(subset, k, [float(k < num_right)], [0.5]) for k in range(num_right + num_wrong)]


def half_width(shares):
    """Of the interval of a sum of `weight` times a share of so many right answers, which is close to normal."""
    return Z * np.sqrt(sum(w**2 * r * n / (r + n) ** 3 for w, r, n in shares))


def middle_and_half(interval):
    low, high = interval
    return (low + high) / 2, (high - low) / 2


def test_subsets_sections_and_the_overall_score_by_their_standard_errors():
    rows = [
        *pairs("alpacaeval-easy", 150, 50),  # section Chat: 100 to 40
        *pairs("mt-bench-med", 30, 70),
        *pairs("shp", 120, 80),  # the prior sets, half a section
        *pairs("mine", 250, 250),  # in no section
    ]
    intervals = benchmark_intervals(scored("v1", rows), num_resamples=4000)
    assert list(intervals.subsets) == ["alpacaeval-easy", "mt-bench-med", "mine", "shp"]
    chat, prior = [(100 / 140, 150, 50), (40 / 140, 30, 70)], [(1.0, 120, 80)]
    overall = [*((w / 1.5, *counts) for w, *counts in chat), (0.5 / 1.5, 120, 80)]
    expected = {
        "subset": (intervals.subsets["mine"], [(1.0, 250, 250)]),
        "Chat": (intervals.sections["Chat"], chat),
        "Prior Sets": (intervals.sections["Prior Sets"], prior),
        "overall": (intervals.overall, overall),
    }
    for name, (interval, shares) in expected.items():
        middle, half = middle_and_half(interval)
        assert middle == pytest.approx(sum(w * r / (r + n) for w, r, n in shares), abs=0.01), name
        assert half == pytest.approx(half_width(shares), rel=0.08), name


def test_ties_against_a_loop_over_draws_of_numbers():
    draw = np.random.default_rng(3)
    chosen = {("ref", n): [draw.normal(0.5)] for n in range(12)}
    chosen |= {("tied", n): draw.normal(0.7, 0.2, 3).tolist() for n in range(12)}
    rows = [("Ties", f"{kind}:{n}", right, draw.normal(0, 0.3, 2).tolist()) for (kind, n), right in chosen.items()]
    rows += [("Math", k, [float(k % 3)], [0.5, 1.5, 0.0]) for k in range(30)]
    intervals = benchmark_intervals(scored("v2", rows), num_resamples=2000)
    by_number = [[row for row in rows if row[0] == "Ties" and row[1].endswith(f":{n}")] for n in range(12)]
    scores = []
    for _ in range(2000):
        drawn = [(f"{row[1].split(':')[0]}:{k}", *row[2:]) for k in range(12) for row in by_number[draw.integers(12)]]
        scores.append(ties_score(*zip(*drawn, strict=True)).score)
    np.testing.assert_allclose(intervals.subsets["Ties"], np.quantile(scores, [0.025, 0.975]), atol=0.04)
    assert intervals.sections == {}
    low, high = intervals.overall
    assert low < benchmark_results(scored("v2", rows)).overall < high


def test_numbers_without_both_prompts_stay_in_every_draw():
    """Else a draw could lack what the score of Ties compares."""
    rows = [
        ("Ties", f"{kind}:{n}", [1.0, 0.9][: 1 + (kind == "tied")], [0.0]) for n in (1, 2) for kind in ("ref", "tied")
    ]
    rows += [("Ties", f"ref:{n}", [0.0], [1.0]) for n in range(3, 23)]
    low, high = benchmark_intervals(scored("v2", rows), num_resamples=50).subsets["Ties"]
    assert low == high == pytest.approx(benchmark_results(scored("v2", rows)).subsets["Ties"])


def test_the_same_seed_gives_the_same():
    rows = pairs("mine", 13, 8)
    first, again, other = (benchmark_intervals(scored("v1", rows), 100, seed) for seed in (1, 1, 2))
    assert first == again and first.overall is None
    assert first != other


def test_a_single_prompt_says_nothing_of_chance():
    rows = [*pairs("mine", 5, 5), *pairs("hep-go", 1, 0)]
    assert benchmark_intervals(scored("v1", rows)) is None
    table = results_table(benchmark_results(scored("v1", rows)), intervals=None)
    assert "interval" not in table


def test_the_table_shows_them():
    rows = [*pairs("hep-go", 8, 2), *pairs("mine", 5, 5)]
    results, intervals = benchmark_results(scored("v1", rows)), benchmark_intervals(scored("v1", rows))
    lines = results_table(results, intervals=intervals).splitlines()
    assert lines[0].split() == ["subset", "prompts", "score", "95", "%", "interval"]
    for name, score, interval in (
        ("hep-go", 0.8, intervals.subsets["hep-go"]),
        ("Reasoning", 0.8, intervals.sections["Reasoning"]),
        ("overall", 0.8, intervals.overall),
    ):
        (line,) = (line for line in lines if line.startswith(name))
        assert line.endswith(f"{score:.4f}  [{interval[0]:.4f}, {interval[1]:.4f}]")
