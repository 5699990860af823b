"""Groups with a known truth: their maps, other mixtures of them, and the group worst served."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from trl_dprm.adaptation import (
    fit_group_maps,
    fit_logit_map,
    held_out_group_probs,
    post_stratified_probs,
    worst_group_reward,
)

SHIFTS = np.array([[1.0, 0.0, -1.0], [-1.0, 0.0, 1.0]])
REWARDS = [-1.0, 0.0, 1.0]


def two_groups(num_items, votes, seed=0):
    """Logits, each group's votes (G, N, K), and each group's true distribution; the first group votes most."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(num_items, 3)) * 1.5
    truth = softmax(logits + SHIFTS[:, None], axis=2)
    counts = np.array([[draw.multinomial(n, p) for p in probs] for n, probs in zip(votes, truth, strict=True)])
    return logits, counts, truth


def nats_on(truth, probs):
    return -(truth * np.log(probs)).sum(-1).mean()


def test_post_stratification_foretells_another_population_better_than_the_pooled_model():
    logits, counts, _ = two_groups(100, votes=(4, 1))
    new, _, truth = two_groups(500, votes=(1, 1), seed=1)
    maps = fit_group_maps(logits, counts, ["many", "few"])
    pooled = maps.shared.probs(new)
    for shares in ([0.2, 0.8], [0.0, 1.0], [0.5, 0.5]):
        population = np.tensordot(shares, truth, axes=1)
        best = nats_on(population, population)
        mixed = nats_on(population, post_stratified_probs(maps.group_probs(new), shares))
        assert mixed - best < 0.25 * (nats_on(population, pooled) - best)
        assert mixed < nats_on(population, softmax(new, axis=1))


def test_groups_with_few_votes_stay_near_the_shared_map_and_those_without_at_it():
    logits, counts, _ = two_groups(60, votes=(6, 6))
    counts[1, 3:] = 0
    maps = fit_group_maps(logits, np.concatenate([counts, np.zeros((1, 60, 3))]), ["a", "b", "c"])
    assert maps.maps[2] == maps.shared
    np.testing.assert_array_equal(maps.num_votes, [360, 18, 0])
    own = fit_logit_map(logits, counts[1], prior_weight=0.01).logit_map.bias
    assert abs(maps.maps[1].bias - maps.shared.bias).max() < abs(own - maps.shared.bias).max()


def test_a_group_map_is_the_estimate_around_the_shared_one():
    """By hand: the shared map first, then a map of its logits, with one prior for both."""
    logits, counts, _ = two_groups(40, votes=(3, 3))
    maps = fit_group_maps(logits, counts, ["a", "b"], kind="matrix", prior_weight=5.0)
    shared = fit_logit_map(logits, counts[0] + counts[1], "matrix", 5.0).logit_map
    np.testing.assert_allclose(maps.shared.matrix, shared.matrix, rtol=1e-12)
    own = fit_logit_map(shared.apply(logits), counts[1], "matrix", 5.0).logit_map
    expected = softmax(own.apply(shared.apply(logits)), axis=1)
    np.testing.assert_allclose(maps.group_probs(logits)[1], expected, rtol=1e-9)


def test_held_out_predictions_do_not_see_an_item_s_own_votes():
    logits, counts, truth = two_groups(60, votes=(4, 4))
    arguments = {"group_names": ["a", "b"], "prior_weight": 0.5}
    probs = held_out_group_probs(logits, counts, **arguments)
    changed = counts.copy()
    changed[:, 7] = changed[:, 7][:, ::-1]
    again = held_out_group_probs(logits, changed, **arguments)
    np.testing.assert_array_equal(again[:, 7], probs[:, 7])
    assert np.abs(again - probs).max() > 1e-4
    before = np.broadcast_to(softmax(logits, axis=1), probs.shape)
    assert nats_on(truth, probs) < nats_on(truth, before) - 0.1


def test_mixture_and_worst_group_by_hand():
    probs = np.array(
        [
            [[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]],
            [[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]],
            [[1.0, 0.0, 0.0], [0.25, 0.5, 0.25]],
        ]
    )
    mixed = post_stratified_probs(probs, [0.5, 0.25, 0.25])
    np.testing.assert_allclose(mixed, [[0.5, 0.375, 0.125], [0.1875, 0.25, 0.5625]])
    rewards, group = worst_group_reward(probs, REWARDS)  # item 0: -0.25, 0, -1; item 1: 1, -0.5, 0
    np.testing.assert_allclose(rewards, [-1.0, -0.5])
    assert group.tolist() == [2, 1]


def test_the_mixture_is_of_probabilities_not_of_logits():
    _, _, truth = two_groups(20, votes=(1, 1))
    mixed = post_stratified_probs(truth, [0.5, 0.5])
    assert np.abs(np.log(mixed) - log_softmax(np.log(truth).mean(0), axis=1)).max() > 0.05


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([0.5, 0.6], "shares sums to 1.1, not to 1; divide by the sum"),
        ([1.5, -0.5], r"shares is \[1.5, -0.5\]; give a number of at least 0 for each of 2 groups"),
        ([1.0], "for each of 2 groups"),
        ([np.nan, 1.0], "for each of 2 groups"),
    ],
)
def test_bad_shares_are_named(shares, message):
    with pytest.raises(ValueError, match=message):
        post_stratified_probs(np.full((2, 1, 2), 0.5), shares)


def test_bad_groups_are_named():
    counts = np.ones((2, 1, 2))
    for names in (["a"], ["a", "a"]):
        with pytest.raises(ValueError, match=r"group_counts has shape \(2, 1, 2\) for the groups"):
            fit_group_maps([[0.0, 0.0]], counts, names)
    with pytest.raises(ValueError, match=r"group_probs has shape \(1, 2\); give \(G, N, K\)"):
        worst_group_reward([[0.5, 0.5]], [0.0, 1.0])
    with pytest.raises(ValueError, match="group_probs in row 0 sums to 0.9"):
        worst_group_reward([[[0.5, 0.4]]], [0.0, 1.0])
    with pytest.raises(ValueError, match="category_rewards has shape"):
        worst_group_reward([[[0.5, 0.5]]], [0.0])
