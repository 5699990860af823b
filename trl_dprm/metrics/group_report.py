"""For whom is the prediction wrong? Each group's own judgments against the prediction, and the worst group."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import distribution_table, finite_vector, vote_shares, weight_vector
from .bootstrap import MeanInterval, mean_interval
from .calibration import NUM_BINS, calibration_bins, category_calibration_errors
from .crossed_bootstrap import crossed_interval
from .debiased_calibration import category_debiased_calibration_errors
from .drawn_bins import MOST_DRAWS, DrawnBins, calibration_errors
from .item_scores import nats_per_vote
from .judgment_scores import judgment_indices, judgment_nats
from .resampled_report import recentred_interval


class GroupScores(NamedTuple):
    """One group's judgments against the prediction, each counted by its weight.

    Attributes:
        group (`str`): name of the group.
        num_votes (`float`): its judgments, each counted by its weight.
        num_items (`int`): the items that they are about.
        num_annotators (`int` or `None`): who gave them; `None` where annotators are not known.
        nats_per_vote ([`MeanInterval`]): mean of `-log q` of what the group chose. Groups that judge harder items or
            disagree more among themselves have more at the same skill: compare with `constant_nats_per_vote`.
        constant_nats_per_vote (`float`): the same for the group's own vote shares as prediction for every item, the
            best that a constant could do for it.
        predicted_reward (`float`): mean expected reward of the items that the group judged.
        mean_reward (`float`): mean reward of what the group chose.
        reward_gap ([`MeanInterval`]): predicted - mean reward: above 0 the model promises this group more than it
            finds.
        expected_calibration_error ([`MeanInterval`]): mean over categories, ten bins of equal width. A small group has
            more of it by chance alone, and its interval lies around that.
        debiased_calibration_error ([`MeanInterval`]): mean over categories without what chance adds, so that groups of
            different sizes can be compared; NaN for too few votes.
    """

    group: str
    num_votes: float
    num_items: int
    num_annotators: int | None
    nats_per_vote: MeanInterval
    constant_nats_per_vote: float
    predicted_reward: float
    mean_reward: float
    reward_gap: MeanInterval
    expected_calibration_error: MeanInterval
    debiased_calibration_error: MeanInterval


class GroupReport(NamedTuple):
    """All groups, and who is served worst.

    The worst of many groups looks worse than it is, since chance is part of why it was picked: read its interval, and
    pick on one part of the data what is to be measured on another.

    Attributes:
        groups (tuple of [`GroupScores`]): in order of names.
        num_without_group (`float`): votes of annotators whose group is missing; they are in no row.
        worst_by_nats (`str` or `None`): the group with most nats per vote among those with enough votes; `None` where
            there is none.
        worst_by_reward_gap (`str` or `None`): the one whose reward gap is farthest from 0.
        worst_by_calibration (`str` or `None`): the one with the largest debiased calibration error.
    """

    groups: tuple[GroupScores, ...]
    num_without_group: float
    worst_by_nats: str | None
    worst_by_reward_gap: str | None
    worst_by_calibration: str | None


def group_report(
    category_probs: ArrayLike,
    judged_items: ArrayLike,
    judged_groups: Sequence[str | None],
    judged_categories: ArrayLike,
    category_rewards: Sequence[float],
    annotator_ids: ArrayLike | None = None,
    cluster_ids: ArrayLike | None = None,
    min_votes: float = 30,
    num_resamples: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
    weight: ArrayLike | None = None,
) -> GroupReport:
    """Scores of a prediction on the judgments of each group of annotators.

    The prediction is one for everybody: where groups see things differently it cannot be right for all of them, and
    this table says for whom it is not.

    Args:
        category_probs (array of shape `(num_items, num_categories)`): prediction, rows sum to 1.
        judged_items (array of `int` of shape `(num_judgments,)`): row that was judged.
        judged_groups (sequence of `str` or `None`, length `num_judgments`): group of the annotator by name; `None`
            where it is missing.
        judged_categories (array of `int` of shape `(num_judgments,)`): the category chosen.
        category_rewards (sequence of `float`, length `num_categories`): reward of each category.
        annotator_ids (array of shape `(num_judgments,)`, *optional*): who judged. With it intervals are crossed
            (`crossed_interval`) and speak of other annotators of the group; a group with one annotator then has none.
            Without it they resample items only and speak of these annotators.
        cluster_ids (array of shape `(num_items,)`, *optional*): which items belong together (conversations).
        min_votes (`float`): groups with fewer votes are listed but not called worst.
        num_resamples (`int`, at least 1), level (`float`), seed (`int`): of the intervals, as [`mean_interval`]; those
            of calibration errors, which are computed anew for each draw, are of at most 1,000 draws. A repeated item
            makes these errors larger than they are, so the draws are moved to where their mean is the error on all
            data (`statistic_interval`).
        weight (array of shape `(num_judgments,)`, *optional*): how much each judgment counts; 1 if not given. Half
            for each of the two answers of an annotator who judged an item twice, more for those of whom the
            population has more: numbers of groups that share out all annotators then average to those of the votes.
            A judgment of weight 0 is none.

    Returns:
        [`GroupReport`]. Ends of an interval are NaN where there is none: a group with a single item (or cluster, or
        annotator), and nats where a chosen category was given probability 0.

    Raises:
        ValueError: tables, indices or weights that do not fit, no judgment with a group, or `judged_groups` of `None`:
            without a group column there is no such report, say "not available".

    Source: [ours].

    Example:

    >>> probs = [[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]
    >>> report = group_report(probs, [0, 1, 2, 0, 1, 2], list("ppprrr"), [0, 0, 1, 1, 1, 0], [0.0, 1.0], min_votes=3)
    >>> [(row.group, row.num_votes, round(row.nats_per_vote.mean, 4)) for row in report.groups], report.worst_by_nats
    ([('p', 3.0, 0.3406), ('r', 3.0, 1.5351)], 'r')
    """
    probs = distribution_table("category_probs", category_probs)
    items, categories = judgment_indices(judged_items, judged_categories, probs.shape)
    rewards = finite_vector("category_rewards", category_rewards, probs.shape[1])
    clusters = _ids("cluster_ids", np.arange(len(probs)) if cluster_ids is None else cluster_ids, len(probs))
    annotators = None if annotator_ids is None else _ids("annotator_ids", annotator_ids, len(items))
    groups = _group_names(judged_groups, len(items))
    weight = weight_vector("weight", weight, len(items))
    resampling = {"num_resamples": num_resamples, "level": level, "seed": seed}
    rows = []
    for name in sorted(set(groups[weight > 0]) - {None}):
        here = (groups == name) & (weight > 0)
        judges = None if annotators is None else annotators[here]
        given = items[here], categories[here], weight[here]
        rows.append(_scores(name, probs, *given, rewards, judges, clusters, resampling))
    enough = [row for row in rows if row.num_votes >= min_votes]
    return GroupReport(
        tuple(rows),
        float(sum(votes for votes, group in zip(weight, groups, strict=True) if group is None)),
        _worst(enough, [row.nats_per_vote.mean for row in enough]),
        _worst(enough, [abs(row.reward_gap.mean) for row in enough]),
        _worst(enough, [row.debiased_calibration_error.mean for row in enough]),
    )


def _ids(name: str, ids: ArrayLike, length: int) -> np.ndarray:
    values = np.asarray(ids)
    if values.shape != (length,):
        raise ValueError(f"{name} has shape {values.shape} where {length} ids are needed; give one for each")
    return values


def _group_names(judged_groups: Sequence[str | None], length: int) -> np.ndarray:
    if judged_groups is None:
        raise ValueError(
            "judged_groups is None; per-group numbers need the group of each annotator: name its column, or report "
            '"not available"'
        )
    groups = list(judged_groups)
    if len(groups) != length:
        raise ValueError(f"judged_groups has {len(groups)} entries for {length} judgments; give one per judgment")
    for place, group in enumerate(groups):
        if group is not None and not isinstance(group, str):
            raise ValueError(
                f"judged_groups[{place}] is {group!r} ({type(group).__name__}); give names of groups as text, None "
                "where missing"
            )
    if all(group is None for group in groups):
        raise ValueError('judged_groups is None everywhere; fill in the groups, or report "not available"')
    return np.array(groups, dtype=object)


def _scores(
    name: str,
    probs: np.ndarray,
    items: np.ndarray,
    categories: np.ndarray,
    weight: np.ndarray,
    rewards: np.ndarray,
    annotators: np.ndarray | None,
    clusters: np.ndarray,
    resampling: dict[str, float],
) -> GroupScores:
    """One group's row from its own judgments."""
    judged, row = np.unique(items, return_inverse=True)
    counts = np.zeros((len(judged), probs.shape[1]))
    np.add.at(counts, (row, categories), weight)
    shares, votes = vote_shares(counts)
    predicted = probs[judged]
    pooled = votes @ shares / votes.sum()
    gaps = (probs[items] - np.eye(len(rewards))[categories]) @ rewards
    drawn = weight, items, annotators, clusters[items], resampling
    return GroupScores(
        name,
        float(weight.sum()),
        len(judged),
        None if annotators is None else len(np.unique(annotators)),
        _interval(judgment_nats(probs, items, categories), *drawn),
        float(nats_per_vote(pooled[None], pooled[None])[0]),
        float(votes @ (predicted @ rewards) / votes.sum()),
        float(pooled @ rewards),
        _interval(gaps, *drawn),
        *_calibration(
            float(category_calibration_errors(predicted, shares, votes).mean()),
            float(category_debiased_calibration_errors(predicted, shares, votes, cluster_ids=clusters[judged]).mean()),
            probs,
            categories,
            *drawn,
        ),
    )


def _calibration(
    plain: float,
    debiased: float,
    probs: np.ndarray,
    categories: np.ndarray,
    weight: np.ndarray,
    items: np.ndarray,
    annotators: np.ndarray | None,
    clusters: np.ndarray,
    resampling: dict[str, float],
) -> list[MeanInterval]:
    """Both calibration errors with their intervals, NaN where there is none."""
    if not _can_draw(clusters, annotators):
        return [MeanInterval(value, float("nan"), float("nan")) for value in (plain, debiased)]
    num_categories = probs.shape[1]
    bins = calibration_bins(probs[items], weight, NUM_BINS, "equal_width")
    units = np.unique(clusters, return_inverse=True)[1]
    judges = None if annotators is None else np.unique(annotators, return_inverse=True)[1]
    gaps = np.eye(num_categories)[categories] - probs[items]
    drawn = DrawnBins(bins, gaps, weight, units, judges)
    batches = drawn(min(resampling["num_resamples"], MOST_DRAWS), resampling["seed"])
    errors = np.concatenate([calibration_errors(batch, num_categories) for batch in batches], axis=1)
    centres = (centre[0] for centre in calibration_errors(drawn.as_given(), num_categories))
    ends = [recentred_interval(*pair, resampling["level"]) for pair in zip(centres, errors, strict=True)]
    return [_within(value, pair) for value, pair in zip((plain, debiased), ends, strict=True)]


def _within(value: float, ends: tuple[float, float] | None) -> MeanInterval:
    """The part of an interval that an error can take, with the error itself."""
    if ends is None:
        return MeanInterval(value, float("nan"), float("nan"))
    return MeanInterval(value, max(min(ends[0], value), 0.0), min(max(ends[1], value), 1.0))


def _can_draw(clusters: np.ndarray, annotators: np.ndarray | None) -> bool:
    """Whether there are two units of everything that is drawn."""
    drawn = [clusters] if annotators is None else [clusters, annotators]
    return min(len(np.unique(ids)) for ids in drawn) > 1


def _interval(
    scores: np.ndarray,
    weight: np.ndarray,
    items: np.ndarray,
    annotators: np.ndarray | None,
    clusters: np.ndarray,
    resampling: dict[str, float],
) -> MeanInterval:
    """A mean with its interval, NaN where there is none."""
    if not _can_draw(clusters, annotators) or not np.isfinite(scores).all():
        return MeanInterval(float(np.average(scores, weights=weight)), float("nan"), float("nan"))
    if annotators is None:
        return mean_interval(scores, weight, clusters, **resampling)
    return crossed_interval(scores, items, annotators, weight, clusters, **resampling)


def _worst(rows: list[GroupScores], values: list[float]) -> str | None:
    """The group with the largest value; groups whose value is NaN are not compared."""
    return None if np.isnan(values).all() else rows[int(np.nanargmax(values))].group
