"""All that came of adapting a model, for its card, its report and the screen."""

from dataclasses import dataclass

from .adapting import Adaptation
from .group_adapting import GroupAdaptation
from .population import PopulationReward
from .posterior_strength import PosteriorStrength


@dataclass(frozen=True)
class AdaptationOutcome:
    """What was fitted, for whom, and what it rests on.

    Attributes:
        adaptation ([`Adaptation`]): the map of all.
        num_annotators (`int`, *optional*): of the new votes.
        num_left_out (`int`): texts with votes that were too long for the model.
        groups ([`GroupAdaptation`], *optional*): maps of groups of the annotators.
        population ([`PopulationReward`], *optional*): what a population of given shares of them would say.
        strength ([`PosteriorStrength`], *optional*): what the items' posteriors count the model as.
    """

    adaptation: Adaptation
    num_annotators: int | None = None
    num_left_out: int = 0
    groups: GroupAdaptation | None = None
    population: PopulationReward | None = None
    strength: PosteriorStrength | None = None
