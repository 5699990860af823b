"""Reward models that learn from pairs: a head of one, two or ten numbers, and the likelihood of the votes."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_outputs import ModelOutput

from trl_dprm.losses import bradley_terry_loss, davidson_loss, win_probability_loss

PROPENSITY_SPEED = 100.0  # Adam moves every parameter by about the learning rate, which is too slow for one number
NUM_ATOMS = 10
ENTROPY_BONUS = 0.1


class PairModel(nn.Module):
    """A stock classifier whose outputs for two items predict the votes on them.

    Args:
        classifier (`nn.Module`): Stock classifier with `num_outputs` labels.
        equal_share (`float`): Share of "equal" among the votes of the training pairs.
    """

    num_outputs = 1

    def __init__(self, classifier: nn.Module, equal_share: float):
        super().__init__()
        self.classifier = classifier

    def forward(self, input_ids, attention_mask, pair_votes=None):
        """Outputs of every text; with votes (higher, equal, lower), the texts are all first items, then all second."""
        outputs = self.classifier(input_ids=input_ids, attention_mask=attention_mask).logits
        if pair_votes is None:
            return ModelOutput(outputs=outputs)
        number = pair_votes.sum(1)
        nats = self.nats(*outputs.chunk(2), pair_votes / number[:, None])
        return ModelOutput(loss=(number * nats).sum() / number.sum() + self.penalty(outputs), outputs=outputs)

    def nats(self, first: torch.Tensor, second: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Nats per vote of each pair; shares of higher, equal and lower are of shape *(num_pairs, 3)*."""
        raise NotImplementedError

    def penalty(self, outputs: torch.Tensor) -> torch.Tensor | float:
        """What else is minimised."""
        return 0.0


class BradleyTerry(PairModel):
    """One score; an equal vote is half a vote for either side."""

    def nats(self, first, second, shares):
        return bradley_terry_loss(first[:, 0], second[:, 0], chosen_vote_share=_share(shares))


class Davidson(PairModel):
    """Bradley–Terry with ties: a score and a tie propensity that all pairs share, the second output's logarithm."""

    def __init__(self, classifier: nn.Module, equal_share: float):
        super().__init__(classifier, equal_share)
        start = torch.tensor(2 * equal_share / (1 - equal_share)).log()  # two equal items tie as often as all pairs do
        self.scaled_log_propensity = nn.Parameter(start / PROPENSITY_SPEED)

    def nats(self, first, second, shares):
        propensity = (PROPENSITY_SPEED * self.scaled_log_propensity).exp()
        return davidson_loss(first[:, 0], second[:, 0], propensity, shares[:, 0], shares[:, 1])


class MeanVariance(PairModel):
    """DPL's first head: every text has a normal utility, the second output is its deviation before softplus."""

    num_outputs = 2

    def nats(self, first, second, shares):
        deviations = F.softplus(first[:, 1]), F.softplus(second[:, 1])
        lead = (first[:, 0] - second[:, 0]) / torch.hypot(*deviations)
        share = _share(shares)
        return -share * torch.special.log_ndtr(lead) - (1 - share) * torch.special.log_ndtr(-lead)


class Categorical(PairModel):
    """DPL's second head: every text has a distribution over ten equidistant utilities; equal ones are a coin toss.

    As in the authors' code, the entropy of the mean distribution is rewarded, lest all texts share one utility.
    """

    num_outputs = NUM_ATOMS

    def nats(self, first, second, shares):
        return win_probability_loss(first, second, tuple(range(NUM_ATOMS)), chosen_vote_share=_share(shares))

    def penalty(self, outputs):
        mean = outputs.softmax(-1).mean(0)
        return ENTROPY_BONUS * (mean * mean.log()).sum()


def _share(shares):
    return shares[:, 0] + shares[:, 1] / 2
