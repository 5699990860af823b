"""What a model card says of the votes that a model was trained on: how many, on how many items, how far they agree."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset


@dataclass(frozen=True)
class DataStatistics:
    """Counts of a training set.

    Args:
        num_rows (`int`): Dataset rows; a pair is one row.
        num_pairs (`int`): Rows with a chosen and a rejected response.
        num_items (`int`): Responses with a target distribution and a positive vote weight.
        num_votes (`float`): Sum of the vote weights, in votes (effective ones where annotators are weighted).
        min_votes, median_votes, max_votes (`float`, *optional*): Votes per item; `None` without items.
        agreement (`float`, *optional*): As [`pairwise_agreement`] defines it; `None` where no item has two votes.
        num_annotators (`int`, *optional*): `None` where it is not known.
    """

    num_rows: int
    num_pairs: int
    num_items: int
    num_votes: float
    min_votes: float | None
    median_votes: float | None
    max_votes: float | None
    agreement: float | None
    num_annotators: int | None = None

    @property
    def pair_share(self) -> float:
        """Share of pairs among the rows (`float` in [0, 1])."""
        return self.num_pairs / self.num_rows


def data_statistics(prepared: Dataset, num_annotators: int | None = None) -> DataStatistics:
    """Statistics of a dataset as `DPRMTrainer` prepares it.

    Args:
        prepared ([`~datasets.Dataset`]):
            With the columns `response_target_probs` (one list of *num_categories* floats per response of the row) and
            `response_target_weight` (one float per response, 0 where it has no target). Two responses are a pair.
        num_annotators (`int`, *optional*): Known to whoever holds the annotation table.

    Returns:
        [`DataStatistics`].

    Raises:
        ValueError: if the dataset has no rows.

    Example:

    ```python
    >>> from datasets import Dataset
    >>> from trl_dprm.hub.data_statistics import data_statistics
    >>> rows = {
    ...     "response_target_probs": [[[0.0, 1.0]], [[0.5, 0.5], [0.0, 0.0]]],
    ...     "response_target_weight": [[3.0], [2.0, 0.0]],
    ... }
    >>> statistics = data_statistics(Dataset.from_dict(rows))
    >>> statistics.num_rows, statistics.num_pairs, statistics.num_items, statistics.num_votes, statistics.agreement
    (2, 1, 2, 5.0, 0.5)

    ```
    """
    columns = prepared.select_columns(["response_target_probs", "response_target_weight"]).with_format("arrow")[:]
    num_responses = pc.list_value_length(columns["response_target_weight"]).to_numpy()
    vote_weight = pc.list_flatten(columns["response_target_weight"]).to_numpy()
    target_probs = pc.list_flatten(pc.list_flatten(columns["response_target_probs"])).to_numpy()
    num_pairs = int((num_responses == 2).sum())
    if len(vote_weight) == 0:
        raise ValueError("The prepared dataset has no rows: there is nothing to count. Check how it was filtered.")
    return vote_statistics(
        target_probs.reshape(len(vote_weight), -1), vote_weight, len(prepared), num_pairs, num_annotators
    )


def vote_statistics(
    target_probs: np.ndarray,
    vote_weight: np.ndarray,
    num_rows: int,
    num_pairs: int = 0,
    num_annotators: int | None = None,
) -> DataStatistics:
    """Statistics of vote shares.

    Args:
        target_probs (`np.ndarray` of shape *(num_responses, num_categories)*): Vote shares of each response.
        vote_weight (`np.ndarray` of shape *(num_responses,)*):
            Votes behind them, at least 0; responses with 0 are left out. Effective votes need not be whole.
        num_rows (`int`): Dataset rows, at least 1.
        num_pairs (`int`, *optional*, defaults to 0): Rows that are pairs.
        num_annotators (`int`, *optional*): Number of distinct annotators, where known.

    Returns:
        [`DataStatistics`].

    Raises:
        ValueError: if the arrays do not belong together.

    Example:

    ```python
    >>> import numpy as np
    >>> from trl_dprm.hub.data_statistics import vote_statistics
    >>> vote_statistics(np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([3.0, 2.0]), num_rows=2).median_votes
    2.5

    ```
    """
    target_probs, vote_weight = np.asarray(target_probs, np.float64), np.asarray(vote_weight, np.float64)
    _check_shapes(target_probs, vote_weight)
    votes = vote_weight[vote_weight > 0]
    return DataStatistics(
        num_rows=num_rows,
        num_pairs=num_pairs,
        num_items=len(votes),
        num_votes=float(votes.sum()),
        min_votes=float(votes.min()) if len(votes) else None,
        median_votes=float(np.median(votes)) if len(votes) else None,
        max_votes=float(votes.max()) if len(votes) else None,
        agreement=pairwise_agreement(target_probs, vote_weight),
        num_annotators=num_annotators,
    )


def pairwise_agreement(target_probs: np.ndarray, vote_weight: np.ndarray) -> float | None:
    r"""Chance that two different annotators of one item chose the same category, averaged over the items.

    For an item with counts \\(c_k = n p_k\\) it is the unbiased estimate \\(\sum_k c_k (c_k - 1) / (n (n - 1))\\),
    which equals \\((n \sum_k p_k^2 - 1) / (n - 1)\\). Read so, it is also right for weighted annotators: with Kish's
    effective number of votes as *n* it is the share of agreement among the pairs of different annotators, each pair
    weighted by the product of its two weights.

    An annotator whose vote is split over several answers counts as one whole vote, so agreement is then a lower bound.
    Targets that are not vote shares (smoothed ones, posterior means) have no such meaning.

    Args:
        target_probs (`np.ndarray` of shape *(num_responses, num_categories)*): Vote shares, rows sum to 1.
        vote_weight (`np.ndarray` of shape *(num_responses,)*): Votes *n* behind them, whole or effective.

    Returns:
        `float`, 1 where all agree; `None` where no item has more than one vote.

    Raises:
        ValueError: if the arrays do not belong together.

    Source:
        Fleiss, "Measuring nominal scale agreement among many raters" (1971), the observed agreement \\(\bar P\\).
        differs: items may have different numbers of votes, and effective votes are allowed [ours].

    Example:

    ```python
    >>> import numpy as np
    >>> from trl_dprm.hub.data_statistics import pairwise_agreement
    >>> pairwise_agreement(np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([4.0, 1.0]))  # 3 of 6 pairs; one vote
    0.5

    ```
    """
    target_probs, vote_weight = np.asarray(target_probs, np.float64), np.asarray(vote_weight, np.float64)
    _check_shapes(target_probs, vote_weight)
    several = vote_weight > 1
    if not several.any():
        return None
    votes = vote_weight[several]
    same = (target_probs[several] ** 2).sum(-1)
    return float(((votes * same - 1) / (votes - 1)).mean())


def _check_shapes(target_probs, vote_weight):
    if target_probs.ndim != 2 or vote_weight.shape != target_probs.shape[:1]:
        raise ValueError(
            f"`target_probs` must be (num_responses, num_categories) and `vote_weight` (num_responses,), got "
            f"{target_probs.shape} and {vote_weight.shape}."
        )
    if not (np.isfinite(vote_weight).all() and (vote_weight >= 0).all()):
        row = int(np.flatnonzero(~(vote_weight >= 0) | ~np.isfinite(vote_weight))[0])
        raise ValueError(f"`vote_weight[{row}]` is {vote_weight[row]}: give a finite number of votes, at least 0.")
