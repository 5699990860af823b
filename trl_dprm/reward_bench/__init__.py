"""RewardBench, v1 and v2: its data, its rules for equal rewards, its averages with intervals, and its result files."""

from .averages import BenchmarkResults, benchmark_results
from .data import Benchmark, Question, read_benchmark, read_prior_sets
from .intervals import BenchmarkIntervals, benchmark_intervals
from .layout import result_files
from .scoring import ScoredBenchmark, score_benchmark
from .table import results_table
from .ties import TiesScore, ties_score

__all__ = [
    "Benchmark",
    "BenchmarkIntervals",
    "BenchmarkResults",
    "Question",
    "ScoredBenchmark",
    "TiesScore",
    "benchmark_intervals",
    "benchmark_results",
    "read_benchmark",
    "read_prior_sets",
    "result_files",
    "results_table",
    "score_benchmark",
    "ties_score",
]
