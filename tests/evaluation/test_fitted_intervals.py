"""Refits by a product of matrices against fits on the drawn items themselves."""

import math

import numpy as np
import pytest
from scipy.special import softmax

from trl_dprm.evaluation.fitted_intervals import (
    VALIDATION,
    fitted_intervals,
    prior_strength_refits,
    temperature_refits,
)
from trl_dprm.evaluation.intervals import Resampling
from trl_dprm.evaluation.recalibration import recalibrated
from trl_dprm.preferences import fit_model_prior_strength


def world(draw, num_items=60, strength=8.0):
    """Votes on items, and a model whose logits are twice too large."""
    logits = draw.normal(size=(num_items, 3))
    counts = np.array([draw.multinomial(5, draw.dirichlet(strength * softmax(row))) for row in logits])
    return counts, softmax(2 * logits, axis=1)


def drawn_rows(num_items, num_draws, seed):
    """The items of each draw, in any order: as a bootstrap draws them."""
    draw = np.random.default_rng(seed)
    return [draw.integers(num_items, size=num_items) for _ in range(num_draws)]


def test_refits_are_fits_on_the_drawn_items():
    counts, probs = world(np.random.default_rng(0))
    counts[:5] = np.eye(3, dtype=int)[[0, 1, 2, 0, 1]]  # single votes say nothing of the strength, and are drawn
    _, after, temperature = recalibrated(probs, probs, counts)
    strength = fit_model_prior_strength(after, counts).prior_strength
    temperatures = temperature * temperature_refits(after, counts, 30, 3)
    strengths = prior_strength_refits(after, counts, strength, 30, 3)
    for rows, of_temperature, of_strength in zip(drawn_rows(60, 30, 3), temperatures, strengths, strict=True):
        assert of_temperature == pytest.approx(recalibrated(probs, probs[rows], counts[rows])[2], rel=1e-3)
        expected = fit_model_prior_strength(after[rows], counts[rows]).prior_strength
        assert of_strength == pytest.approx(expected, rel=3e-3)


def test_intervals_are_percentiles_of_the_refits():
    counts, probs = world(np.random.default_rng(0))
    _, after, temperature = recalibrated(probs, probs, counts)
    found = fitted_intervals(temperature, 6.0, after, counts, Resampling(num_resamples=400, level=0.9, seed=3))
    refits = {
        "temperature": temperature * temperature_refits(after, counts, 400, 3),
        "prior_strength": prior_strength_refits(after, counts, 6.0, 400, 3),
    }
    for name, values in refits.items():
        inside = (values >= found[name].low) & (values <= found[name].high)
        assert 0.89 <= inside.mean() <= 0.91 and found[name].over == VALIDATION
    assert fitted_intervals(None, None, after, counts, Resampling()) == {}
    assert fitted_intervals(1.0, 6.0, None, counts, Resampling()) == {}


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    draw, held = np.random.default_rng(6), np.zeros(2)
    for _ in range(60):
        counts, probs = world(draw, num_items=150)
        _, after, temperature = recalibrated(probs, probs, counts)
        strength = fit_model_prior_strength(after, counts).prior_strength
        found = fitted_intervals(temperature, strength, after, counts, Resampling(num_resamples=300))
        held += [
            interval.low <= truth <= interval.high for interval, truth in zip(found.values(), (2, 8), strict=True)
        ]
    assert (held >= 52).all()


def test_a_strength_that_some_draws_put_at_infinity_has_an_infinite_end():
    counts, probs = world(np.random.default_rng(1), num_items=40, strength=60.0)
    after = np.sqrt(probs) / np.sqrt(probs).sum(axis=1, keepdims=True)
    strength = fit_model_prior_strength(after, counts).prior_strength
    refits = prior_strength_refits(after, counts, strength, 300, 0)
    expected = [fit_model_prior_strength(after[rows], counts[rows]).prior_strength for rows in drawn_rows(40, 40, 0)]
    assert 0 < np.isinf(expected).sum() < 40
    np.testing.assert_allclose(refits[:40], expected, rtol=0.02)
    interval = fitted_intervals(None, strength, after, counts, Resampling(num_resamples=300))["prior_strength"]
    assert 0 < interval.low < strength and interval.high == math.inf


def test_votes_that_do_not_say_what_the_temperature_is_give_no_interval():
    flat = np.full((4, 2), 0.5)
    assert len(temperature_refits(flat, np.ones((4, 2)), 10, 0)) == 0
    assert fitted_intervals(1.0, None, flat, np.ones((4, 2)), Resampling()) == {}
