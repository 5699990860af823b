"""How many votes the items' posteriors count the model as, and whose number that is."""

from dataclasses import dataclass
from typing import Literal

_SOURCES = {
    "given": "the number given by `--prior_strength`",
    "refitted": "refitted to the new votes, held out",
    "checkpoint": "the old checkpoint's number, since the new votes determine none",
}


@dataclass(frozen=True)
class PosteriorStrength:
    """What the predictions are worth in votes.

    Attributes:
        votes (`float`): the number.
        source (`str`): `"given"`, `"refitted"` or `"checkpoint"`.
    """

    votes: float
    source: Literal["given", "refitted", "checkpoint"]

    @property
    def in_words(self) -> str:
        """The number and whose it is.

        >>> PosteriorStrength(4.71, "given").in_words
        '4.71 votes, the number given by `--prior_strength`'
        """
        return f"{self.votes:.3g} votes, {_SOURCES[self.source]}"


def posterior_strength(
    given: float | None, refitted: float | None, of_checkpoint: float | None
) -> PosteriorStrength | None:
    """The first number that is known, in the order of the arguments.

    Args:
        given (`float`, *optional*): by whoever adapts.
        refitted (`float`, *optional*): to votes that were held out.
        of_checkpoint (`float`, *optional*): of the model as it was. It belonged to the old probabilities, and stands
            in where there is no better one.

    Returns:
        [`PosteriorStrength`]; `None` where none is known.
    """
    known = {"given": given, "refitted": refitted, "checkpoint": of_checkpoint}
    return next((PosteriorStrength(votes, source) for source, votes in known.items() if votes is not None), None)
