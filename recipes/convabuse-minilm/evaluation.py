"""Is a method's distribution true? What the wide table says of one training on one set of items."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from data import CATEGORIES
from judgments import ItemVotes
from votes import vote_shares

from trl_dprm.metrics import (
    PairedDifference,
    attainable_nats,
    category_calibration_errors_if_calibrated,
    contested_auroc,
    crossed_paired_difference,
    disagreement_correlation,
    distribution_metrics,
    judgment_nats,
    squared_calibration_error,
)


@dataclass
class JudgedItems:
    """Items with their votes, and who gave them.

    Args:
        items (`pd.DataFrame`): With `target_probs`, `vote_weight` and `conv_id`.
        judgments (`ItemVotes`): The same votes by annotator.

    Raises:
        ValueError: If they are not the same votes.
    """

    items: pd.DataFrame
    judgments: ItemVotes

    def __post_init__(self):
        difference = np.abs(self.counts - self.shares * self.votes[:, None]).max(axis=1)
        if (difference > 1e-6).any():
            item = int(difference.argmax())
            raise ValueError(f"the judgments of item {item} are not its votes; remove the data folder and run again.")

    def __getitem__(self, kept: np.ndarray) -> "JudgedItems":
        return JudgedItems(self.items[kept], ItemVotes(self.judgments.votes[kept], self.judgments.annotators))

    def __len__(self):
        return len(self.items)

    @property
    def votes(self) -> np.ndarray:
        """Number of votes, of shape *(num_items,)*."""
        return self.items["vote_weight"].to_numpy()

    @cached_property
    def shares(self) -> np.ndarray:
        """Vote shares of shape *(num_items, num_categories)*."""
        return vote_shares(self.items)

    @property
    def counts(self) -> np.ndarray:
        """Votes of shape *(num_items, num_categories)*."""
        return self.judgments.votes.sum(axis=1)

    @property
    def conversations(self) -> np.ndarray:
        """What is drawn in the bootstrap, of shape *(num_items,)*."""
        return self.items["conv_id"].to_numpy()

    @property
    def whole(self) -> np.ndarray:
        """Whether nobody gave several answers, `bool` of shape *(num_items,)*."""
        return (self.counts == np.rint(self.counts)).all(axis=1)

    def attainable(self, prior_probs: np.ndarray) -> dict[str, float]:
        """What no model can go below, and what one that knows each item's other votes reaches.

        Args:
            prior_probs (`np.ndarray` of shape *(num_items, num_categories)*): Of a model that has not seen these votes
                and was not chosen by them.
        """
        return attainable_nats(self.counts, prior_probs)._asdict()

    def evaluate(self, category_probs: np.ndarray) -> dict[str, float]:
        """Every number of the wide table; the debiased calibration error as its square, which seeds may average.

        Disagreement is compared on items where nobody gave several answers.

        Args:
            category_probs (`np.ndarray` of shape *(num_items, num_categories)*): Prediction.
        """
        rewards, positions, cost = CATEGORIES.rewards, CATEGORIES.positions, CATEGORIES.cost_matrix
        report = distribution_metrics(category_probs, self.shares, self.votes, rewards, positions, cost)
        columns = zip(category_probs.T, self.shares.T, strict=True)
        squares = [squared_calibration_error(*pair, self.votes, cluster_ids=self.conversations) for pair in columns]
        whole = category_probs[self.whole], self.counts[self.whole]
        calibrated = category_calibration_errors_if_calibrated(category_probs, self.votes)
        of_annotators = self.nats_of_annotators(category_probs)
        report |= {f"nats_of_{name}": nats for name, nats in of_annotators.items()}
        return report | {
            "squared_calibration_error": float(np.nanmean(squares)),
            "expected_calibration_error_if_calibrated": calibrated.mean_over_categories.mean,
            "contested_auroc": contested_auroc(*whole).probability,
            "disagreement_correlation": disagreement_correlation(*whole),
            "worst_annotator_nats": max(of_annotators.values()),
        }

    def nats_of_annotators(self, category_probs: np.ndarray) -> dict[str, float]:
        """Nats per vote of each annotator's votes."""
        item, annotator, category = np.nonzero(self.judgments.votes)
        weight = self.judgments.votes[item, annotator, category]
        nats = judgment_nats(category_probs, item, category)
        totals = [np.bincount(annotator, values) for values in (weight * nats, weight)]
        return dict(zip(self.judgments.annotators, totals[0] / totals[1], strict=True))

    def nats_difference(
        self, probs: list[np.ndarray], baseline_probs: list[np.ndarray], num_resamples: int
    ) -> PairedDifference:
        """Nats per vote above a baseline's, for other conversations judged by other annotators.

        Args:
            probs, baseline_probs (`list[np.ndarray]`): One prediction per seed.
            num_resamples (`int`): Of the crossed bootstrap.
        """
        item, annotator, category = np.nonzero(self.judgments.votes)
        scores, baseline = (
            [judgment_nats(seed_probs, item, category) for seed_probs in runs] for runs in (probs, baseline_probs)
        )
        weight, conversations = self.judgments.votes[item, annotator, category], self.conversations[item]
        return crossed_paired_difference(
            scores, baseline, item, annotator, weight, conversations, num_resamples=num_resamples
        )
