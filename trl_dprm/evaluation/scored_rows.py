"""What every model of a report has said of a data set, whatever it is: the rows it has read, and the votes on them."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..metrics.share_votes import votes_of_shares


@dataclass(frozen=True, kw_only=True)
class ScoredRows:
    """Predictions for the rows of a data set, in their order; overlong rows are not among them.

    Args:
        metrics (`dict[str, float]`): numbers of the whole set, `eval_` before their names.
        predictions (`dict` of `np.ndarray`): `rewards` of shape *(num_rows, 2)*, NaN where a row has no second
            response; what else the model says.
        labels (`dict` of `np.ndarray`): as [`DPRMTrainer`] hands them to `compute_metrics`.
    """

    metrics: dict[str, float]
    predictions: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]

    @property
    def rows(self) -> np.ndarray:
        """Which rows of the data set were scored, shape *(num_rows,)*."""
        return self.labels["row"].astype(np.int64)

    @property
    def judged(self) -> np.ndarray:
        """Which responses have votes, shape *(num_rows, 2)*: place 0 the single or chosen one, 1 the rejected."""
        return np.nan_to_num(self.labels["target_weight"]) > 0

    @property
    def judged_rewards(self) -> np.ndarray:
        """Of the responses with votes, float64 of shape *(num_judged,)*."""
        return self.predictions["rewards"][self.judged].astype(np.float64)

    @property
    def target_counts(self) -> np.ndarray:
        """Votes on those responses, float64 of shape *(num_judged, num_categories)*; whole ones exactly so."""
        return votes_of_shares(self.labels["target_probs"][self.judged], self.labels["target_weight"][self.judged])

    @property
    def pairs(self) -> np.ndarray:
        """Which rows are pairs that count, shape *(num_rows,)*."""
        return self.labels["is_pair"].astype(bool) & (self.labels["pair_weight"] > 0)

    @property
    def pair_rewards(self) -> np.ndarray:
        """Of the two responses of these, float64 of shape *(num_pairs, 2)*."""
        return self.predictions["rewards"][self.pairs].astype(np.float64)

    def of_rows(self, rows: np.ndarray) -> Self:
        """The predictions for some rows of the data set, with the metrics as they were.

        Args:
            rows (`np.ndarray` of `int`): rows that were scored.
        """
        kept = np.isin(self.rows, rows)
        predictions, labels = (
            {name: values[kept] for name, values in arrays.items()} for arrays in (self.predictions, self.labels)
        )
        return replace(self, predictions=predictions, labels=labels)
