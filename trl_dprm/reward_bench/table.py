"""RewardBench's numbers as a table for people."""

from .averages import BenchmarkResults
from .benchmark import OVERALL_WEIGHTS
from .intervals import LEVEL, BenchmarkIntervals


def results_table(results: BenchmarkResults, num_skipped: int = 0, intervals: BenchmarkIntervals | None = None) -> str:
    """Subsets, sections and the overall score, and what keeps them from being the benchmark's.

    Args:
        results ([`BenchmarkResults`]): Of one model.
        num_skipped (`int`): Questions that were left out.
        intervals ([`BenchmarkIntervals`], *optional*): Of the same model.

    Returns:
        `str`, lines of text.
    """
    width = max(map(len, [*results.subsets, *results.sections, "overall"]))
    shown = intervals or BenchmarkIntervals({}, {}, None)
    title = f"  {100 * LEVEL:g} % interval" if intervals else ""
    lines = [f"{'subset':<{width}}  {'prompts':>7}  {'score':>6}{title}"]
    lines += [
        f"{name:<{width}}  {results.num_questions[name]:>7,}  {score:.4f}{_ends(shown.subsets.get(name))}"
        for name, score in results.subsets.items()
    ]
    if results.sections:
        lines += ["", f"{'section':<{width}}  {'weight':>7}  {'score':>6}"]
        lines += [
            f"{name:<{width}}  {OVERALL_WEIGHTS[name]:>7g}  {score:.4f}{_ends(shown.sections.get(name))}"
            for name, score in results.sections.items()
        ]
    overall = "–" if results.overall is None else f"{results.overall:.4f}"
    lines += ["", f"{'overall':<{width}}  {'':>7}  {overall}{_ends(shown.overall)}"]
    return "\n".join([*lines, *_notes(results, num_skipped)])


def _ends(interval):
    return "" if interval is None else f"  [{interval[0]:.4f}, {interval[1]:.4f}]"


def _notes(results, num_skipped):
    notes = []
    if num_skipped:
        notes.append(f"Left out for a response that is too long: {num_skipped:,} prompts.")
    if results.overall is None:
        notes.append("No subset is one of RewardBench's, so there are no sections and no overall score.")
    elif results.missing:
        notes.append(f"The averages are not the benchmark's: the data lack {', '.join(results.missing)}.")
    return ["", *notes] if notes else []
