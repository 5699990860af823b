"""Which budgets of votes are compared, and how a budget is spent: on items to learn from and to validate with."""

from dataclasses import dataclass

VALIDATION_SHARE = 1 / 8
LEAST_VALIDATION_VOTES = 2  # of an item: one vote says nothing of disagreement, hence nothing of the prior's strength


@dataclass(frozen=True)
class Arm:
    """A number of votes bought, so many per item.

    An eighth of the votes goes to validation items. These get at least two votes each, also where training items get
    one.

    Args:
        num_votes (`int`): All votes of the arm, training and validation.
        votes_per_item (`int`): On a training item.
        only_distribution (`bool`): Whether regression and pairs are left out, to save time.
    """

    num_votes: int
    votes_per_item: int
    only_distribution: bool = False

    @property
    def name(self) -> str:
        """In file names."""
        return f"{self.num_votes}-votes-{self.votes_per_item}-each"

    @property
    def validation_votes_per_item(self) -> int:
        """Votes on a validation item."""
        return max(self.votes_per_item, LEAST_VALIDATION_VOTES)

    @property
    def num_validation_items(self) -> int:
        """How many items the validation votes reach."""
        return round(self.num_votes * VALIDATION_SHARE) // self.validation_votes_per_item

    @property
    def num_training_items(self) -> int:
        """How many items the other votes reach."""
        spent = self.num_validation_items * self.validation_votes_per_item
        return (self.num_votes - spent) // self.votes_per_item


def simulated_arms(num_items: int, max_votes: int) -> list[Arm]:
    """Equal items: 1, 2, 4 … votes each. Equal votes: `num_items` of them, and four times as many, spread thin or not.

    >>> [arm.name for arm in simulated_arms(100, 2)]
    ['100-votes-1-each', '200-votes-2-each', '100-votes-2-each', '400-votes-1-each', '400-votes-2-each']
    """
    levels = [2**power for power in range(max_votes.bit_length())]
    equal_items = [Arm(num_items * level, level) for level in levels]
    known = {(arm.num_votes, arm.votes_per_item) for arm in equal_items}
    equal_votes = [
        Arm(num_items * multiple, level, only_distribution=True)
        for multiple in (1, 4)
        for level in levels
        if (num_items * multiple, level) not in known
    ]
    return equal_items + equal_votes


def thinned_arms(num_items: int, max_votes: int) -> list[Arm]:
    """The same for a crowd that cannot give more than `max_votes` votes: equal items, and `num_items` votes in all.

    >>> [arm.name for arm in thinned_arms(60, 3)]
    ['60-votes-1-each', '120-votes-2-each', '180-votes-3-each', '60-votes-2-each', '60-votes-3-each']
    """
    levels = range(1, max_votes + 1)
    equal_items = [Arm(num_items * level, level) for level in levels]
    return equal_items + [Arm(num_items, level, only_distribution=True) for level in levels if level > 1]
