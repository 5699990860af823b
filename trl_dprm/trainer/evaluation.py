"""Measures a gathered evaluation set: every distance and score, whichever loss trained."""

import numpy as np
import torch

from ..losses import DistributionLoss, bradley_terry_loss, win_probability_loss
from ..metrics import distribution_metrics, pair_metrics, pair_vote_scores, win_tie_probs
from ..models import DPRMConfig
from .rows import PAIR_VOTES


def in_dataset_order(predictions: dict, labels: dict, repeated: bool) -> tuple[dict, dict]:
    """Bring gathered rows into the order of the dataset.

    Args:
        predictions, labels (`dict` of `np.ndarray` of shape *(num_gathered, ...)*): `labels["row"]` tells rows apart.
        repeated (`bool`):
            Whether some rows were scored twice, to fill the last batches of several processes; each is kept once.

    Returns:
        The two dicts.
    """
    if repeated:
        _, order = np.unique(labels["row"], return_index=True)
    else:
        order = np.argsort(labels["row"], kind="stable")
    return tuple({name: values[order] for name, values in arrays.items()} for arrays in (predictions, labels))


def evaluation_metrics(
    predictions: dict,
    labels: dict,
    config: DPRMConfig,
    distribution_loss: DistributionLoss,
    ranking_loss: str,
    ranking_weight: float,
    bradley_terry_scale: float,
    center_rewards_coefficient: float | None = None,
) -> dict[str, float]:
    """The numbers that an evaluation logs; the README lists them with their meaning.

    Args:
        predictions, labels (`dict` of `np.ndarray`): Of the whole set, shaped as `DPRMTrainer` hands them to
            `compute_metrics`.
        config ([`DPRMConfig`]): For rewards and geometry of the categories.
        distribution_loss, ranking_loss, ranking_weight: As trained, for `loss`.
        bradley_terry_scale (`float`): κ.
        center_rewards_coefficient (`float`, *optional*): As trained, for `loss`.

    Returns:
        `dict[str, float]`: `loss`, `min_reward`, `mean_reward`, `max_reward`; what
        [`~trl_dprm.metrics.distribution_metrics`] says of the responses with targets, and
        [`~trl_dprm.metrics.pair_metrics`] of the pairs, where there are any; `three_way_nats` of the pairs whose
        share of ties is known, where the ranking loss is the win probability.
    """
    rewards = predictions["rewards"]
    metrics = {
        "min_reward": float(np.nanmin(rewards)),
        "mean_reward": float(np.nanmean(rewards)),
        "max_reward": float(np.nanmax(rewards)),
    }
    loss = 0.0
    logits, targets, weight = judged_responses(predictions, labels)
    if len(weight):
        loss += ((weight * distribution_loss(logits, targets)).sum() / weight.sum()).item()
        metrics |= distribution_metrics(
            logits.softmax(-1).numpy(),
            targets.numpy(),
            weight.numpy(),
            config.category_rewards,
            config.category_positions,
            config.cost_matrix,
        )
    pairs = labels["is_pair"].astype(bool) & (labels["pair_weight"] > 0)
    if pairs.any():
        scale = bradley_terry_scale if ranking_loss == "bradley_terry" else None
        loss += ranking_weight * _mean_ranking_loss(
            predictions, labels, pairs, config.category_rewards, scale, center_rewards_coefficient or 0.0
        )
        metrics |= pair_metrics(
            *rewards[pairs].T, labels["chosen_vote_share"][pairs], labels["pair_weight"][pairs], bradley_terry_scale
        )
    with_ties = pairs & np.isfinite(labels["tie_vote_share"])
    if ranking_loss == "win_probability" and with_ties.any():
        metrics["three_way_nats"] = _three_way_nats(predictions, labels, with_ties, config.category_rewards)
    return {"loss": loss, **metrics}


def judged_responses(predictions: dict, labels: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The responses of a gathered evaluation set that people judged.

    Args:
        predictions, labels (`dict` of `np.ndarray`): As in [`evaluation_metrics`].

    Returns:
        Category logits and target distributions, each *(num_judged, num_categories)*, and votes *(num_judged,)*,
        float64.
    """
    judged = np.nan_to_num(labels["target_weight"]) > 0
    arrays = predictions["category_logits"], labels["target_probs"], labels["target_weight"]
    return tuple(torch.from_numpy(values[judged]).double() for values in arrays)


def _mean_ranking_loss(predictions, labels, pairs, category_rewards, scale, center_rewards_coefficient):
    """Weighted mean over the pairs; the win-probability loss where there is no scale."""
    rewards = torch.from_numpy(predictions["rewards"][pairs]).double()
    weight, margin, vote_share, tie_share = (
        torch.from_numpy(labels[name][pairs]).double() for name in ("pair_weight", "margin", *PAIR_VOTES)
    )
    if scale is not None:
        loss = bradley_terry_loss(*rewards.unbind(1), scale, margin, vote_share)
    else:
        logits = torch.from_numpy(predictions["category_logits"][pairs]).double()
        loss = win_probability_loss(*logits.unbind(1), category_rewards, vote_share, tie_share)
    loss = loss + center_rewards_coefficient * rewards.sum(1).square()
    return ((weight * loss).sum() / weight.sum()).item()


def _three_way_nats(predictions, labels, pairs, category_rewards):
    """Minus the mean log-probability of a vote for chosen, tie or rejected, as two independent ratings have it."""
    logits = torch.from_numpy(predictions["category_logits"][pairs]).double()
    share, ties, weight = (labels[name][pairs].astype(np.float64) for name in (*PAIR_VOTES, "pair_weight"))
    votes = weight[:, None] * np.stack([share - ties / 2, ties, 1 - share - ties / 2], axis=1).clip(min=0)
    probs = win_tie_probs(*logits.softmax(-1).unbind(1), category_rewards)
    scores = pair_vote_scores(probs, votes)
    return float(np.average(scores.three_way_nats, weights=scores.votes))
