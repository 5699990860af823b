"""What every method says of pairs of test items, raw and recalibrated on validation pairs."""

from dataclasses import dataclass

import numpy as np
from evaluation import JudgedItems
from judgments import ItemVotes
from pair_probs import own_pair_probs
from pairs import Pairs, compare, pairs_of_passes
from predictions import PairOutputs, Predictions
from recalibration import apply_pair_link, fit_pair_link
from scipy.special import expit

from trl_dprm.metrics import calibration_error_if_calibrated, fit_bradley_terry_scale, pair_vote_metrics

NUM_PASSES = 10  # over the items of a part
PAIR_SEED = 0
DRAWS_AT_ONCE = 250
ENDS = ("difference", "low", "high")


@dataclass
class PairSpeech:
    """Probabilities of higher, equal, lower of test pairs, for questions with and without ties.

    Args:
        three_way (`np.ndarray` of shape *(num_pairs, 3)*): For all votes.
        decisive (`np.ndarray` of shape *(num_pairs, 3)*): For the votes that are not "equal".
    """

    three_way: np.ndarray
    decisive: np.ndarray

    def metrics(self, votes: np.ndarray) -> dict[str, float]:
        """The numbers of `pair_vote_metrics`, each from the probabilities that are meant for it."""
        report, decisive = (pair_vote_metrics(probs, votes) for probs in (self.three_way, self.decisive))
        report |= {name: value for name, value in decisive.items() if name.startswith("decisive")}
        higher, lower = self.decisive[:, 0], self.decisive[:, 2]
        level = calibration_error_if_calibrated(higher / (higher + lower), votes[:, ::2].sum(axis=1), both_orders=True)
        return report | {"decisive_calibration_error_if_calibrated": level.mean}

    def nats(self) -> dict[str, np.ndarray]:
        """What a vote of each kind costs, of shape *(num_pairs, 3)*; "equal" costs nothing in the second question."""
        sides = self.decisive / self.decisive[:, ::2].sum(axis=1, keepdims=True)
        sides[:, 1] = 1.0
        with np.errstate(divide="ignore"):
            return {"three_way_nats": -np.log(self.three_way), "decisive_nats": -np.log(sides)}


def recalibrated(validation_probs: np.ndarray, votes: np.ndarray, test_probs: np.ndarray) -> PairSpeech:
    """Link and temperature of the largest likelihood of the votes on validation pairs.

    Args:
        validation_probs (`np.ndarray` of shape *(num_pairs, 3)*): Of the validation pairs.
        votes (`np.ndarray` of shape *(num_pairs, 3)*): On them.
        test_probs (`np.ndarray` of shape *(num_pairs, 3)*): Of the test pairs.
    """
    decisive = votes[:, ::2].sum(axis=1)
    share = np.divide(votes[:, 0], decisive, out=np.full(len(votes), 0.5), where=decisive > 0)
    odds, test_odds = _log_odds(validation_probs), _log_odds(test_probs)
    scale = fit_bradley_terry_scale(odds, np.zeros_like(odds), share, decisive).scale
    two_way = np.stack([expit(scale * test_odds), np.zeros_like(test_odds), expit(-scale * test_odds)], axis=1)
    return PairSpeech(apply_pair_link(test_probs, fit_pair_link(validation_probs, votes)), two_way)


def pair_rows(
    runs: dict[str, list[Predictions | PairOutputs]],
    train: ItemVotes,
    validation: ItemVotes,
    test: JudgedItems,
    reference: str,
    num_resamples: int,
) -> list[dict]:
    """Two rows per method, raw and recalibrated: means and spreads over seeds, differences to a reference.

    The last row is the best constant for nats: for every pair the vote shares of the training pairs.

    Args:
        runs (`dict`): Per method one run per seed.
        train (`ItemVotes`): For the pairs of the constant.
        validation (`ItemVotes`): For the pairs that recalibration is fitted on.
        test (`JudgedItems`): For the pairs that are judged.
        reference (`str`): The method that the others are compared with, recalibrated both or neither.
        num_resamples (`int`): Of the bootstrap.
    """
    pairs = {"validation": pairs_of_passes(validation, PAIR_SEED, NUM_PASSES)}
    pairs["test"] = pairs_of_passes(test.judgments, PAIR_SEED, NUM_PASSES)
    speeches = {
        (method, calibrated): [_speech(method, run, pairs, calibrated) for run in seed_runs]
        for method, seed_runs in runs.items()
        for calibrated in (False, True)
    }
    constant = np.tile(_constant(train), (len(pairs["test"]), 1))
    speeches["best_constant_for_nats_per_vote", False] = [PairSpeech(constant, constant)]
    rows = [_mean_row(*key, speech, pairs["test"]) for key, speech in speeches.items()]
    differences = PairDifferences(test, pairs["test"], num_resamples)
    nats = {key: differences.mean_nats(seed_speeches) for key, seed_speeches in speeches.items()}
    for row, key in zip(rows, nats, strict=True):
        for name, values in nats[key].items():
            baseline = nats[reference, key[1]][name]
            if key[0] != reference and np.isfinite(values).all() and np.isfinite(baseline).all():
                difference = differences.interval(values - baseline, name)
                row |= {f"{name}_{end}": value for end, value in zip(ENDS, difference, strict=True)}
    return rows


def _speech(method, run, pairs, calibrated):
    probs = {part: own_pair_probs(method, run, part, some.first, some.second) for part, some in pairs.items()}
    if not calibrated:
        return PairSpeech(probs["test"], probs["test"])
    return recalibrated(probs["validation"], pairs["validation"].votes, probs["test"])


def _constant(train):
    shares = pairs_of_passes(train, PAIR_SEED, NUM_PASSES).votes.sum(axis=0)
    return (shares + shares[::-1]) / (2 * shares.sum())  # which item is the first says nothing


def _mean_row(method, calibrated, speeches, pairs):
    reports = [speech.metrics(pairs.votes) for speech in speeches]
    row = {"method": method, "recalibrated": calibrated, "num_pairs": len(pairs), "num_votes": pairs.votes.sum()}
    for name in reports[0]:
        values = [report[name] for report in reports]
        spread = np.std(values, ddof=1) if len(values) > 1 and np.isfinite(values).all() else np.nan
        row |= {name: float(np.mean(values)), f"{name}_spread": float(spread)}
    return row


class PairDifferences:
    """Intervals of differences of nats per vote on pairs, for other conversations judged by other annotators.

    Conversations and annotators are drawn with replacement; a vote on a pair counts as often as its annotator was
    drawn, times as often as each of the two conversations was (where both items are of one: as often as that was).

    Args:
        test (`JudgedItems`): The items.
        pairs (`Pairs`): Of these items.
        num_resamples (`int`): How many draws.
        seed (`int`): Of the draws.
    """

    def __init__(self, test: JudgedItems, pairs: Pairs, num_resamples: int, seed: int = 0):
        self.votes = compare(test.judgments, pairs.first, pairs.second)
        _, conversation = np.unique(test.conversations, return_inverse=True)
        self.conversations = conversation[pairs.first], conversation[pairs.second]
        self.num_conversations = conversation.max() + 1
        self.num_resamples, self.seed = num_resamples, seed

    def mean_nats(self, speeches: list[PairSpeech]) -> dict[str, np.ndarray]:
        """Nats of each pair, annotator and seed's mean, weighted by votes, of shape *(num_pairs, num_annotators)*."""
        nats = [speech.nats() for speech in speeches]
        return {name: self._sum_votes(np.mean([seed_nats[name] for seed_nats in nats], axis=0)) for name in nats[0]}

    def _sum_votes(self, costs):
        with np.errstate(invalid="ignore"):
            return np.where(self.votes > 0, self.votes * costs[:, None], 0.0).sum(axis=2)

    def interval(self, difference: np.ndarray, name: str) -> tuple[float, float, float]:
        """Difference per vote with its 95 % interval.

        Args:
            difference (`np.ndarray` of shape *(num_pairs, num_annotators)*): Summed over the votes of the annotator.
            name (`str`): `"three_way_nats"` or `"decisive_nats"`, which counts votes that are not "equal".
        """
        kinds = slice(None) if name == "three_way_nats" else slice(None, None, 2)
        number = self.votes[..., kinds].sum(axis=2)
        draws = np.concatenate([self._resample(*drawn, difference, number) for drawn in self._draws()])
        low, high = np.quantile(draws, [0.025, 0.975])
        return float(difference.sum() / number.sum()), float(low), float(high)

    def _draws(self):
        """How often each conversation and each annotator was drawn, some resamples at a time."""
        rng = np.random.default_rng(self.seed)
        sizes = self.num_conversations, self.votes.shape[1]
        for start in range(0, self.num_resamples, DRAWS_AT_ONCE):
            some = min(DRAWS_AT_ONCE, self.num_resamples - start)
            yield tuple(rng.multinomial(size, np.full(size, 1 / size), some).astype(np.float64) for size in sizes)

    def _resample(self, conversations, annotators, difference, number):
        first, second = (conversations[:, rows] for rows in self.conversations)
        times = np.where(self.conversations[0] == self.conversations[1], first, first * second)
        total, votes = (((times @ table) * annotators).sum(axis=1) for table in (difference, number))
        return total[votes > 0] / votes[votes > 0]


def _log_odds(pair_probs):
    higher, lower = np.log(pair_probs[:, ::2].clip(min=np.finfo(np.float64).tiny)).T
    return higher - lower
