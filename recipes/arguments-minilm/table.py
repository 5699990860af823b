"""The table's numbers, computed from saved predictions alone; the test votes are read once per table."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from links import LINKS, PairScores, fit_and_apply
from methods import METHODS
from pair_data import VOTES
from presentation import markdown_tables
from scored_pairs import SeedPairs
from tqdm.auto import tqdm

from trl_dprm.metrics import mean_interval, pair_vote_metrics, pair_vote_scores, paired_difference

REFERENCES = {"majority": "majority_bradley_terry, davidson", "shares": "vote_share_davidson, davidson"}
OURS = ("dprm_bradley_terry", "dprm_win_probability", "dprm_three_way")
VALIDATION_GROUPS = 4
ENDS = (("", "difference"), ("_low", "low"), ("_high", "high"))


def write_table(arguments: RecipeArguments) -> str:
    """Write `table.json`, `table.csv` and `table.md` to the output folder.

    Returns:
        The tables in Markdown.
    """
    seeds = [SeedPairs(arguments, seed) for seed in tqdm(arguments.seeds, desc="Reading")]
    validation = validation_nats(seeds)
    chosen = min((row for row in validation if row.split(", ")[0] in OURS), key=validation.get)
    pairs = pd.concat([seed.test.assign(seed=seed.seed) for seed in seeds], ignore_index=True)
    probs, fitted = test_probs(seeds)
    rows = table_rows(pairs, probs, validation, arguments.num_resamples)
    folder = Path(arguments.output_dir)
    report = {
        "seeds": arguments.seeds,
        "chosen": chosen,
        "left_out": json.loads((folder / "data" / "left_out.json").read_text(encoding="utf-8")),
        "num_pairs": len(pairs[["first", "second"]].drop_duplicates()),  # more seeds than folds test them again
        "num_clusters": int(pairs["cluster"].nunique()),
        "train_pairs": {name: [seed.predictions(name).num_pairs for seed in seeds] for name in METHODS},
        "cpu_minutes": {name: cpu_minutes(seeds, name) for name in METHODS},
        "fitted": fitted,
        "rows": json.loads(rows.to_json(orient="records")),
    }
    folder.joinpath("table.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    rows.to_csv(folder / "table.csv", index=False)
    markdown = markdown_tables(rows, report)
    folder.joinpath("table.md").write_text(markdown, encoding="utf-8")
    return markdown


def cpu_minutes(seeds: list[SeedPairs], method: str) -> float:
    """Mean processor minutes of training and scoring once."""
    return float(np.mean([seed.predictions(method).cpu_seconds for seed in seeds])) / 60


def links_of(method: str) -> tuple[str, ...]:
    """The links that a method is read through."""
    return ("davidson",) if method == "longer_wins" else LINKS


def validation_nats(seeds: list[SeedPairs]) -> dict[str, float]:
    """Three-way nats of every row on validation pairs whose group of clusters the link was not fitted on.

    The method in bold is chosen by them: fitted and judged on the same pairs, a link with a number more would win.
    """
    nats = {}
    for method in METHODS:
        for link in links_of(method):
            values = [_held_out_nats(seed, method, link) for seed in seeds]
            nats[f"{method}, {link}"] = float(np.mean(values))
    return nats


def _held_out_nats(seed, method, link):
    votes = seed.validation[VOTES].to_numpy()
    scores = seed.scores(method, "validation")
    names, cluster = np.unique(seed.validation["cluster"], return_inverse=True)
    group = cluster % min(VALIDATION_GROUPS, len(names))
    if len(names) < 2:
        raise ValueError("There is one validation cluster: raise `validation_share` so that links can be compared.")
    probs = np.empty(votes.shape)
    for held_out in np.unique(group):
        inside, outside = group == held_out, group != held_out
        probs[inside], _ = fit_and_apply(link, _rows(scores, outside), votes[outside], _rows(scores, inside))
    result = pair_vote_scores(probs, votes)
    return np.average(result.three_way_nats, weights=result.votes)


def _rows(scores: PairScores, kept: np.ndarray) -> PairScores:
    return PairScores(*(None if values is None else values[kept] for values in scores))


def test_probs(seeds: list[SeedPairs]) -> tuple[dict[str, np.ndarray], dict[str, list[dict]]]:
    """Win, tie and loss of every tested pair by every row, seeds one after the other, and the fitted links."""
    probs, fitted = {}, {}
    for method in METHODS:
        for link in links_of(method):
            results = [
                fit_and_apply(
                    link,
                    seed.scores(method, "validation"),
                    seed.validation[VOTES].to_numpy(),
                    seed.scores(method, "test"),
                )
                for seed in seeds
            ]
            probs[f"{method}, {link}"] = np.concatenate([result for result, _ in results])
            if link != "raw":
                fitted[f"{method}, {link}"] = [numbers for _, numbers in results]
    ties = [np.full(len(seed.test), seed.train_tie_share) for seed in seeds]
    tie = np.concatenate(ties)
    probs["constant"] = np.stack([(1 - tie) / 2, tie, (1 - tie) / 2], axis=1)
    return probs, fitted


def table_rows(
    pairs: pd.DataFrame, probs: dict[str, np.ndarray], validation: dict[str, float], num_resamples: int
) -> pd.DataFrame:
    """One row per method and link.

    Args:
        pairs (`pd.DataFrame`): Tested pairs with `cluster`, votes and `gold`.
        probs (`dict[str, np.ndarray]`): Per row, probabilities of shape *(num_pairs, 3)*.
        validation (`dict[str, float]`): Per row, held-out validation nats.
        num_resamples (`int`): Of the bootstrap over clusters.
    """
    votes, clusters = pairs[VOTES].to_numpy(), pairs["cluster"].to_numpy()
    scores = {row: pair_vote_scores(table, votes) for row, table in probs.items()}
    right = {row: gold_accuracy(table, pairs["gold"].to_numpy()) for row, table in probs.items()}
    has_gold = (pairs["gold"] != 0).to_numpy().astype(float)
    rows = []
    for row, table in tqdm(probs.items(), desc="Comparing"):
        metrics = pair_vote_metrics(table, votes)
        interval = mean_interval(scores[row].three_way_nats, scores[row].votes, clusters, num_resamples)
        numbers = {
            "row": row,
            "validation_nats": validation.get(row, float("nan")),
            **metrics,
            "three_way_low": interval.low,
            "three_way_high": interval.high,
            "gold_accuracy": float(np.average(right[row], weights=has_gold)),
        }
        for name, reference in REFERENCES.items():
            if row == reference:
                continue
            nats, accuracy = (
                paired_difference(one[row], one[reference], weight, clusters, num_resamples)
                for one, weight in (
                    ({key: value.three_way_nats for key, value in scores.items()}, scores[row].votes),
                    (right, has_gold),
                )
            )
            better = cluster_means(scores[row].three_way_nats - scores[reference].three_way_nats, votes, clusters) < 0
            numbers |= {f"nats_to_{name}{end}": getattr(nats, field) for end, field in ENDS}
            numbers |= {f"accuracy_to_{name}{end}": getattr(accuracy, field) for end, field in ENDS}
            numbers |= {f"clusters_better_than_{name}": int(better.sum())}
        rows.append(numbers)
    return pd.DataFrame(rows)


def gold_accuracy(pair_probs: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """1 where the likelier winner is the gold one, 0 elsewhere; equal probabilities are a loss.

    Args:
        pair_probs (`np.ndarray` of shape *(num_pairs, 3)*): First, tie, second.
        gold (`np.ndarray` of shape *(num_pairs,)*): 1, -1, or 0 where there is none.
    """
    return (np.sign(pair_probs[:, 0] - pair_probs[:, 2]) == gold).astype(float) * (gold != 0)


def cluster_means(values: np.ndarray, votes: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Mean of a value per vote in every cluster."""
    _, cluster = np.unique(clusters, return_inverse=True)
    weight = votes.sum(axis=1)
    return np.bincount(cluster, weight * values) / np.bincount(cluster, weight)
