"""Losses for pairs: what a preference for one response over another says about their rewards."""

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .arguments import at_least_float32, check_broadcast, check_tensors, one_per_category


def bradley_terry_loss(
    chosen_rewards: Tensor,
    rejected_rewards: Tensor,
    scale: float | Tensor = 1.0,
    margin: Tensor | None = None,
    chosen_vote_share: Tensor | None = None,
) -> Tensor:
    r"""Bradley–Terry negative log-likelihood of a pair, with a scale, a margin and soft votes.

        x = scale * (chosen - rejected) - margin
        loss = -s log sigma(x) - (1 - s) log sigma(-x)

    Expected rewards are bounded, so that without a scale no pair could be more certain than `sigma(r_max - r_min)`;
    the scale is learned. The margin is subtracted *after* scaling, in log-odds: at scale 1 this is TRL's loss, and a
    growing scale cannot make a margin free. With a vote share the margin still favours the chosen response.

    Args:
        chosen_rewards (`Tensor` of shape `(...)`): gradients flow.
        rejected_rewards (`Tensor` of shape `(...)`): the same shape; gradients flow.
        scale (`float` or `Tensor` that broadcasts to `(...)`, positive): gradients flow; keep a learned scale positive
            by learning its logarithm.
        margin (`Tensor` that broadcasts to `(...)`, *optional*): log-odds by which the chosen response should lead.
        chosen_vote_share (`Tensor` that broadcasts to `(...)`, between 0 and 1, *optional*): share `s` of annotators
            who preferred the chosen response, a tie as half a vote; 1 if not given.

    Returns:
        `Tensor` of shape `(...)`, in nats.

    Raises:
        ValueError: rewards of different shapes, another argument that does not broadcast to them, or a scale that is a
            number and not positive.

    Source: Bradley & Terry (1952); margin as in Llama 2 (arXiv 2307.09288) and TRL; scale [ours].

    Example:

    >>> bradley_terry_loss(torch.tensor([1.0]), torch.tensor([-1.0]), scale=2.0)
    tensor([0.0181])
    >>> bradley_terry_loss(torch.tensor([0.0]), torch.tensor([0.0]), chosen_vote_share=torch.tensor([0.7]))
    tensor([0.6931])
    """
    log_odds = _scaled_difference(chosen_rewards, rejected_rewards, scale)
    if margin is not None:
        log_odds = log_odds - _for_each_pair("margin", margin, log_odds)
    if chosen_vote_share is None:
        return -F.logsigmoid(log_odds)
    share = _for_each_pair("chosen_vote_share", chosen_vote_share, log_odds)
    return -share * F.logsigmoid(log_odds) - (1 - share) * F.logsigmoid(-log_odds)


def davidson_loss(
    chosen_rewards: Tensor,
    rejected_rewards: Tensor,
    tie_propensity: float | Tensor,
    chosen_vote_share: Tensor,
    tie_vote_share: Tensor,
    scale: float | Tensor = 1.0,
) -> Tensor:
    r"""Davidson negative log-likelihood of a pair whose annotators may also call a tie (`davidson_log_probs`).

    Args:
        chosen_rewards (`Tensor` of shape `(...)`): gradients flow.
        rejected_rewards (`Tensor` of shape `(...)`): the same shape; gradients flow.
        tie_propensity (`float` or `Tensor` that broadcasts to `(...)`, positive): `nu`; gradients flow.
        chosen_vote_share (`Tensor` that broadcasts to `(...)`, between 0 and 1): share who preferred the chosen
            response, *without* ties (elsewhere, and in the trainer's column of that name, a tie is half a vote).
        tie_vote_share (`Tensor` that broadcasts to `(...)`, between 0 and 1): share who called a tie; the rest
            preferred the rejected response.
        scale (`float` or `Tensor` that broadcasts to `(...)`, positive): as in `bradley_terry_loss`; gradients flow.

    Returns:
        `Tensor` of shape `(...)`, in nats.

    Raises:
        ValueError: rewards of different shapes, another argument that does not broadcast to them, or a scale or tie
            propensity that is a number and not positive.

    Source: Davidson, *On extending the Bradley-Terry model to accommodate ties* (1970), equation 2.1.

    Example:

    >>> equal = torch.tensor([0.0])
    >>> davidson_loss(equal, equal, 1.0, chosen_vote_share=torch.tensor([0.5]), tie_vote_share=torch.tensor([0.2]))
    tensor([1.0986])
    """
    chosen, tie, rejected = davidson_log_probs(chosen_rewards, rejected_rewards, tie_propensity, scale).unbind(-1)
    chosen_share = _for_each_pair("chosen_vote_share", chosen_vote_share, chosen)
    tie_share = _for_each_pair("tie_vote_share", tie_vote_share, chosen)
    return -(chosen_share * chosen + (1 - chosen_share - tie_share) * rejected + tie_share * tie)


def davidson_log_probs(
    chosen_rewards: Tensor,
    rejected_rewards: Tensor,
    tie_propensity: float | Tensor,
    scale: float | Tensor = 1.0,
) -> Tensor:
    r"""Davidson's log-probabilities that an annotator prefers the chosen response, calls a tie, or prefers the other.

    With `w = exp(scale * reward)` and tie propensity `nu`,

        P(chosen) : P(tie) : P(rejected) = w_c : nu * sqrt(w_c w_r) : w_r,

    so that ties are likeliest between equals, and Bradley–Terry is what remains without ties.

    Args:
        chosen_rewards (`Tensor` of shape `(...)`): gradients flow.
        rejected_rewards (`Tensor` of shape `(...)`): the same shape; gradients flow.
        tie_propensity (`float` or `Tensor` that broadcasts to `(...)`, positive): `nu`; gradients flow. Two equal
            responses tie with probability `nu / (nu + 2)`.
        scale (`float` or `Tensor` that broadcasts to `(...)`, positive): as in `bradley_terry_loss`; gradients flow.

    Returns:
        `Tensor` of shape `(..., 3)`: chosen, tie, rejected; their exponentials sum to 1.

    Raises:
        ValueError: rewards of different shapes, another argument that does not broadcast to them, or a scale or tie
            propensity that is a number and not positive.

    Source: Davidson, *On extending the Bradley-Terry model to accommodate ties* (1970), equation 2.1.

    Example:

    >>> equal = torch.tensor([0.0])
    >>> davidson_log_probs(equal, equal, tie_propensity=2.0).exp()
    tensor([[0.2500, 0.5000, 0.2500]])
    """
    half = _scaled_difference(chosen_rewards, rejected_rewards, scale) / 2
    propensity = _positive("tie_propensity", tie_propensity, half).expand_as(half)
    return torch.stack([half, propensity.log(), -half], dim=-1).log_softmax(-1)


def win_probability_loss(
    chosen_category_logits: Tensor,
    rejected_category_logits: Tensor,
    category_rewards: Sequence[float] | Tensor,
    chosen_vote_share: Tensor | None = None,
    tie_vote_share: Tensor | None = None,
) -> Tensor:
    r"""Negative log-likelihood of a pair when two independent annotators rate one response each.

        P(chosen wins) = sum_ij q^c_i q^r_j (1[r_i > r_j] + 1/2 1[r_i = r_j])
        loss = -s log P(chosen wins) - (1 - s) log P(rejected wins)

    Where annotators could call a tie, and their share `t` is known, equal ratings are one (`win_tie_log_probs`):

        loss = -(s - t/2) log P(chosen) - t log P(tie) - (1 - s - t/2) log P(rejected)

    The logarithms are taken by log-sum-exp over pairs of categories and stay finite where a probability underflows.

    Args:
        chosen_category_logits (`Tensor` of shape `(..., num_categories)`): finite; gradients flow.
        rejected_category_logits (`Tensor` of shape `(..., num_categories)`): the same shape; gradients flow.
        category_rewards (sequence of `float` or `Tensor`, length `num_categories`): only their order and ties matter.
        chosen_vote_share (`Tensor` that broadcasts to `(...)`, between 0 and 1, *optional*): share `s` of annotators
            who preferred the chosen response, a tie as half a vote; 1 if not given. Within one annotator ratings
            correlate, so shares are more extreme than two independent annotators predict.
        tie_vote_share (`Tensor` that broadcasts to `(...)`, between 0 and 1, *optional*): share `t` of annotators who
            called a tie, at most twice what is left of `chosen_vote_share` to either side; NaN for a pair whose
            annotators could not, or of whom it is not known.

    Returns:
        `Tensor` of shape `(...)`, in nats.

    Raises:
        ValueError: logits of different shapes, another argument that does not fit them, or ties between categories
            of one reward, where no response could win.

    Source: DPL (arXiv 2312.08358), categorical model; three ways [ours].

    Example:

    >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
    >>> win_probability_loss(logits, logits, category_rewards=[1.0, 0.0, -1.0])  # log 2
    tensor([0.6931])
    >>> even = torch.zeros(1, 3)  # of nine pairs of categories three are equal
    >>> win_probability_loss(even, even, [1.0, 0.0, -1.0], torch.tensor([0.5]), tie_vote_share=torch.tensor([1.0]))
    tensor([1.0986])
    """
    pairs, rewards = _category_pairs(chosen_category_logits, rejected_category_logits, category_rewards)
    log_credit = _log_win_credit(rewards, pairs.dtype, pairs.device)
    log_win = (pairs + log_credit).flatten(-2).logsumexp(-1)
    if chosen_vote_share is None and tie_vote_share is None:
        return -log_win
    log_loss = (pairs + log_credit.T).flatten(-2).logsumexp(-1)
    share = torch.ones_like(log_win) if chosen_vote_share is None else chosen_vote_share
    share = _for_each_pair("chosen_vote_share", share, log_win)
    two_ways = -share * log_win - (1 - share) * log_loss
    if tie_vote_share is None:
        return two_ways
    tie_share = _for_each_pair("tie_vote_share", tie_vote_share, log_win)
    three_ways = _three_ways(*_log_outcomes(pairs, rewards), share, tie_share.nan_to_num(0.0))
    return torch.where(tie_share.isnan(), two_ways, three_ways)


def win_tie_log_probs(
    chosen_category_logits: Tensor,
    rejected_category_logits: Tensor,
    category_rewards: Sequence[float] | Tensor,
) -> Tensor:
    r"""Log-probabilities that of two independent annotators' ratings the chosen one is higher, equal, or lower.

    Args:
        chosen_category_logits (`Tensor` of shape `(..., num_categories)`): finite; gradients flow.
        rejected_category_logits (`Tensor` of shape `(..., num_categories)`): the same shape; gradients flow.
        category_rewards (sequence of `float` or `Tensor`, length `num_categories`): only their order and ties matter;
            not all equal.

    Returns:
        `Tensor` of shape `(..., 3)`: chosen, tie, rejected; their exponentials sum to 1.

    Raises:
        ValueError: logits of different shapes, another number of rewards, or rewards that are all equal.

    Source: DPL (arXiv 2312.08358), categorical model; ties kept apart [ours].

    Example:

    >>> win_tie_log_probs(torch.zeros(2), torch.zeros(2), category_rewards=[0.0, 1.0]).exp()
    tensor([0.2500, 0.5000, 0.2500])
    """
    pairs, rewards = _category_pairs(chosen_category_logits, rejected_category_logits, category_rewards)
    return torch.stack(_log_outcomes(pairs, rewards), dim=-1)


def _category_pairs(chosen_logits, rejected_logits, category_rewards) -> tuple[Tensor, tuple[float, ...]]:
    """Log-probability of each pair of categories, `(..., K, K)`, and the rewards as numbers."""
    _check_same_shape(chosen_category_logits=chosen_logits, rejected_category_logits=rejected_logits)
    chosen = at_least_float32(chosen_logits).log_softmax(-1)
    rejected = at_least_float32(rejected_logits).log_softmax(-1)
    rewards = one_per_category(category_rewards, "category_rewards", chosen.shape[-1])
    return chosen[..., :, None] + rejected[..., None, :], rewards


def _log_outcomes(pairs: Tensor, rewards: tuple[float, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of chosen, tie and rejected."""
    if len(set(rewards)) == 1:
        raise ValueError(f"category_rewards are all {rewards[0]:g}: every pair would be a tie; give different rewards")
    masks = _log_outcome_masks(rewards, pairs.dtype, pairs.device)
    return tuple((pairs + mask).flatten(-2).logsumexp(-1) for mask in masks)


def _three_ways(chosen: Tensor, tie: Tensor, rejected: Tensor, chosen_share: Tensor, tie_share: Tensor) -> Tensor:
    """Minus the mean log-probability of the votes, of which ties count half to `chosen_share`."""
    half = tie_share / 2
    return -((chosen_share - half) * chosen + tie_share * tie + (1 - chosen_share - half) * rejected)


@functools.lru_cache(maxsize=64)
def _log_win_credit(rewards: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Logarithm of 1 where the row's reward is larger, of 1/2 where equal, of 0 where smaller: `(K, K)`."""
    with torch.inference_mode(False):  # a tensor born in inference mode could not be used for training later
        values = torch.tensor(rewards, dtype=torch.float64)
        credit = torch.heaviside(values[:, None] - values, torch.tensor(0.5, dtype=torch.float64))
        return credit.log().to(device, dtype)


@functools.lru_cache(maxsize=64)
def _log_outcome_masks(rewards: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Logarithms of 1 where the row's reward is larger, equal, smaller, and of 0 elsewhere: `(3, K, K)`."""
    with torch.inference_mode(False):  # as above
        values = torch.tensor(rewards, dtype=torch.float64)
        order = torch.sign(values[:, None] - values)
        return torch.stack([(order == sign).double().log() for sign in (1, 0, -1)]).to(device, dtype)


def _scaled_difference(chosen_rewards: Tensor, rejected_rewards: Tensor, scale: float | Tensor) -> Tensor:
    _check_same_shape(chosen_rewards=chosen_rewards, rejected_rewards=rejected_rewards)
    difference = at_least_float32(chosen_rewards) - at_least_float32(rejected_rewards)
    return _positive("scale", scale, difference) * difference


def _check_same_shape(**pair: Tensor) -> None:
    """Refuse `(batch, 1)` against `(batch,)`, which would broadcast to every response against every other."""
    check_tensors(**pair)
    (name, one), (other_name, other) = pair.items()
    if one.shape != other.shape:
        raise ValueError(
            f"{name} has shape {tuple(one.shape)} but {other_name} has {tuple(other.shape)}; give both the same shape "
            "(a trailing dimension of 1 is removed by .squeeze(-1))"
        )


def _positive(name: str, value: float | Tensor, pairs: Tensor) -> Tensor:
    """A positive factor as a tensor beside `pairs`; the sign of a tensor is not read (it may live on a GPU)."""
    if not isinstance(value, Tensor):
        if not value > 0:
            raise ValueError(f"{name} is {value}; give a positive number")
        value = torch.full((), value, dtype=pairs.dtype, device=pairs.device)
    return _for_each_pair(name, value, pairs)


def _for_each_pair(name: str, value: Tensor, pairs: Tensor) -> Tensor:
    """Refuse an argument that would enlarge `pairs` by broadcasting."""
    check_tensors(**{name: value})
    check_broadcast(name, value.shape, "the rewards", pairs.shape)
    if torch.broadcast_shapes(value.shape, pairs.shape) != pairs.shape:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)} for pairs of shape {tuple(pairs.shape)}; "
            "give one entry per pair, or one for all"
        )
    return at_least_float32(value)
