"""The items of a data set with the votes on them: what every model of a report is judged by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ..metrics import vote_shares
from ..preferences import PreferenceCategories


@dataclass(frozen=True)
class SingleVotes:
    """R judgments of items, one per row: who chose what, and to which groups they belong.

    Args:
        item (array of shape `(R,)`): row of the item among the N judged ones, from 0.
        annotator (array of shape `(R,)`): who judged, numbers or text.
        category (array of shape `(R,)`): index of the chosen category.
        weight (array of shape `(R,)`, *optional*): how much the judgment counts; 1 if not given. An annotator who
            judged an item twice counts half each time.
        groups (`dict` of sequences of length R, *optional*): by variable the group of each judgment's annotator.

    Raises:
        ValueError: for columns of different lengths.
    """

    item: np.ndarray
    annotator: np.ndarray
    category: np.ndarray
    weight: np.ndarray | None = None
    groups: Mapping[str, Sequence] = field(default_factory=dict)

    def __post_init__(self):
        item = np.asarray(self.item, dtype=np.int64)
        object.__setattr__(self, "item", item)
        object.__setattr__(self, "category", np.asarray(self.category, dtype=np.int64))
        object.__setattr__(self, "annotator", np.asarray(self.annotator))
        weight = np.ones(len(item)) if self.weight is None else np.asarray(self.weight, dtype=np.float64)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "groups", {name: np.asarray(values) for name, values in self.groups.items()})
        columns = {"annotator": self.annotator, "category": self.category, "weight": weight, **self.groups}
        for name, values in columns.items():
            if values.shape != item.shape:
                raise ValueError(
                    f"{name} has shape {values.shape} for {len(item)} judgments; give one entry for each judgment"
                )

    def groups_are_people(self, variable: str) -> bool:
        """Whether the groups are single people, such as the annotators themselves: others of them do not exist.

        Args:
            variable (`str`): one of `groups`.

        Example:

        >>> votes = SingleVotes([0, 0], ["ann", "bob"], [0, 1], groups={"age": ["old", "old"], "who": ["ann", "bob"]})
        >>> votes.groups_are_people("age"), votes.groups_are_people("who")
        (False, True)
        """
        members = zip(self.annotator, self.groups[variable], strict=True)
        pairs = {(annotator, group) for annotator, group in members if group is not None}
        return len(pairs) == len({group for _, group in pairs})


@dataclass(frozen=True)
class JudgedItems:
    """N items, the votes on each, and the categories that people chose from.

    Args:
        target_counts (array of shape `(N, K)`): raw votes, may be fractional, at least one in every row.
        categories ([`~trl_dprm.preferences.PreferenceCategories`]): the K categories.
        item_names (sequence of N `str`, *optional*): what figures call the items; numbers from 1 if not given.
        texts (sequence of N `str`, *optional*): the items' texts. They are shown to nobody unless that is asked for.
        clusters (sequence of length N, *optional*): which items belong together, such as conversation ids: intervals
            draw whole clusters.
        single_votes ([`SingleVotes`], *optional*): who voted for what. Without them intervals are over items alone,
            for this panel of annotators, and there are no numbers per group.

    Raises:
        ValueError: for votes that are no counts, and lengths that differ.

    Example:

    >>> items = JudgedItems([[2, 1], [0, 3]], PreferenceCategories(["bad", "good"], [0.0, 1.0]))
    >>> items.target_probs[1].tolist(), items.vote_weight.tolist()
    ([0.0, 1.0], [3.0, 3.0])
    """

    target_counts: ArrayLike
    categories: PreferenceCategories
    item_names: Sequence[str] | None = None
    texts: Sequence[str] | None = None
    clusters: Sequence | None = None
    single_votes: SingleVotes | None = None

    def __post_init__(self):
        counts = np.asarray(self.target_counts, dtype=np.float64)
        vote_shares(counts)
        object.__setattr__(self, "target_counts", counts)
        if counts.shape[1] != len(self.categories):
            raise ValueError(
                f"target_counts has {counts.shape[1]} columns for {len(self.categories)} categories "
                f"({', '.join(self.categories.names)}); give one column per category"
            )
        for name in ("item_names", "texts", "clusters"):
            values = getattr(self, name)
            if values is not None and len(values) != len(counts):
                raise ValueError(f"{name} has {len(values)} entries for {len(counts)} items; give one for each item")
        self._check_single_votes()

    def _check_single_votes(self):
        votes = self.single_votes
        if votes is None or len(votes.item) == 0:
            return
        for name, values, size in (
            ("item", votes.item, len(self.target_counts)),
            ("category", votes.category, len(self.categories)),
        ):
            if values.min() < 0 or values.max() >= size:
                row = int(np.argmax((values < 0) | (values >= size)))
                raise ValueError(f"single_votes: {name} {values[row]} in row {row}; give 0 to {size - 1}")

    def __len__(self) -> int:
        return len(self.target_counts)

    @property
    def target_probs(self) -> np.ndarray:
        """Raw vote shares, shape `(N, K)`."""
        return vote_shares(self.target_counts)[0]

    @property
    def vote_weight(self) -> np.ndarray:
        """Votes of each item, shape `(N,)`."""
        return self.target_counts.sum(axis=1)

    @property
    def geometry(self) -> tuple:
        """Rewards, positions and cost of the categories, as the functions of `metrics` take them."""
        return self.categories.rewards, self.categories.positions, self.categories.cost_matrix.tolist()
