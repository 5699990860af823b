"""How often 95 % intervals hold the truth when items and annotators both differ: `pytest -m benchmark -s`.

Every item is judged by three of the annotators; a score is the sum of an effect of the item, one of the annotator, and
noise, all normal with mean 0. Printed are the shares of 500 simulated data sets whose interval holds 0, and the mean
width against the interval that knows the true variance.
"""

import math

import numpy as np
import pytest

from trl_dprm.metrics import crossed_interval, mean_interval, two_way_interval

pytestmark = pytest.mark.benchmark

TRIALS, ITEMS, VOTES = 500, 150, 3
DESIGNS = {  # annotators, spread of items, of annotators, of noise
    "8 annotators who differ": (8, 0.5, 0.3, 1.0),
    "8 annotators alike": (8, 0.5, 0.0, 1.0),
    "40 annotators who differ": (40, 0.5, 0.3, 1.0),
    "40 annotators alike": (40, 0.5, 0.0, 1.0),
}


def intervals(scores, items, annotators, seed):
    return {
        "items only": mean_interval(scores, cluster_ids=items, num_resamples=400, seed=seed),
        "crossed": crossed_interval(scores, items, annotators, num_resamples=400, seed=seed),
        "two ways": two_way_interval(scores, items, annotators),
    }


@pytest.mark.parametrize("design", DESIGNS)
def test_coverage(design):
    num_annotators, item_spread, annotator_spread, noise = DESIGNS[design]
    generator = np.random.default_rng(0)
    items = np.repeat(np.arange(ITEMS), VOTES)
    covered, width = {}, {}
    for trial in range(TRIALS):
        annotators = generator.permuted(np.tile(np.arange(num_annotators), (ITEMS, 1)), axis=1)[:, :VOTES].ravel()
        scores = item_spread * generator.normal(size=ITEMS)[items] + noise * generator.normal(size=len(items))
        scores += annotator_spread * generator.normal(size=num_annotators)[annotators]
        load = (np.bincount(annotators) / len(items)) ** 2
        true = item_spread**2 / ITEMS + annotator_spread**2 * load.sum() + noise**2 / len(items)
        for name, interval in intervals(scores, items, annotators, trial).items():
            covered[name] = covered.get(name, 0) + (interval.low <= 0 <= interval.high) / TRIALS
            width[name] = width.get(name, 0) + (interval.high - interval.low) / (3.92 * math.sqrt(true)) / TRIALS
    print(f"\n{design}: " + ", ".join(f"{name} {covered[name]:.1%} ({width[name]:.2f} x)" for name in covered), end="")
    assert covered["two ways"] > 0.9 and covered["crossed"] > 0.9
