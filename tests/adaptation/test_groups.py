"""Groups with a known truth: their maps, other mixtures of them, and the group worst served."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from trl_dprm.adaptation import (
    adapt,
    adapt_groups,
    choose_group_kind,
    fit_group_maps,
    fit_logit_map,
    held_out_group_probs,
    population_reward,
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


def opposite_groups(num_items=40, votes=3, seed=0):
    """Groups whose biases cancel in all votes together, and a third that is like everybody."""
    logits, counts, _ = two_groups(num_items, votes=(votes, votes), seed=seed)
    draw = np.random.default_rng(seed + 1)
    return logits, np.concatenate([counts, [[draw.multinomial(votes, p) for p in softmax(logits, axis=1)]]])


def test_the_groups_kind_is_chosen_by_the_groups_votes_whatever_suits_everybody():
    logits, counts = opposite_groups()
    for shared_kind in ("identity", "bias"):
        groups = adapt_groups(logits, counts, ["up", "down", "like"], shared_kind, num_folds=3)
        assert groups.kind == "bias" == min(groups.nats_by_kind, key=groups.nats_by_kind.get)
        assert [worth.kind for worth in groups.worth[:2]] == ["bias", "bias"]
        assert groups.worth[0].verdict.endswith("it pays.") and groups.worth[0].own_change.high < 0
        many = opposite_groups(num_items=800)
        maps = fit_group_maps(*many, ["up", "down", "like"], "bias", shared_kind=shared_kind).maps
        np.testing.assert_allclose([each.bias for each in maps], [*SHIFTS, np.zeros(3)], rtol=0, atol=0.05)
    flat = np.array([[draw.multinomial(3, softmax(0.2 * z)) for z in logits] for draw in [np.random.default_rng(0)]])
    steep = adapt_groups(logits, np.concatenate([flat, counts[2:]]), ["flat", "like"], "identity", num_folds=3)
    assert steep.kind == "temperature"


def test_a_group_that_gains_nothing_keeps_the_map_of_all():
    kept = 0
    for seed in range(4):
        logits, counts = opposite_groups(seed=seed)
        groups = adapt_groups(logits, counts, ["up", "down", "like"], "identity", num_folds=3)
        like = groups.worth[2]
        assert (like.nats_own >= like.nats_shared) == (like.kind == "identity")
        assert (groups.maps.maps[2] is groups.maps.shared) == (like.kind == "identity")
        if like.kind == "identity":
            kept += 1
            assert like.dropped_kind == groups.kind
            assert like.verdict == "keeps the map of all: one of its own (bias) gains nothing on held-out votes."
            assert like.change.difference == pytest.approx(like.nats_shared - like.nats_before)
    assert kept


def test_a_group_s_numbers_are_of_votes_held_out_by_hand():
    """The kind is chosen, the map of all fitted and the group's on top, all without the fold that they predict."""
    logits, counts = opposite_groups(32)
    names = ["up", "down", "like"]
    groups = adapt_groups(logits, counts, names, "temperature", num_folds=2, seed=7)
    halves = np.array_split(np.random.default_rng(7).permutation(32), 2)
    own, shared = np.zeros((3, 32)), np.zeros((3, 32))
    for fold, others in (halves, halves[::-1]):
        others = np.sort(others)
        kind = choose_group_kind(logits[others], counts[:, others], names, "temperature", num_folds=2, seed=7).kind
        of_all = fit_logit_map(logits[others], counts[:, others].sum(0), "temperature").logit_map
        mapped = of_all.apply(logits)
        for group in range(3):
            on_top = fit_logit_map(mapped[others], counts[group, others], kind).logit_map
            for item in fold:
                own[group, item] = -(counts[group, item] @ on_top.log_probs(mapped[item]))
                shared[group, item] = -(counts[group, item] @ of_all.log_probs(logits[item]))
    for worth, nats_own, nats_shared in zip(groups.worth, own, shared, strict=True):
        assert worth.nats_own == pytest.approx(nats_own.sum() / 96, rel=1e-9)
        assert worth.nats_shared == pytest.approx(nats_shared.sum() / 96, rel=1e-9)
        assert worth.own_change.difference == pytest.approx((nats_own - nats_shared).sum() / 96, rel=1e-6)
    before = -(counts[0] * log_softmax(logits, axis=1)).sum() / 96
    assert groups.worth[0].nats_before == pytest.approx(before)
    assert groups.worth[0].change.difference == pytest.approx(own[0].sum() / 96 - before, rel=1e-6)
    assert groups.worth[0].shared_change.difference == pytest.approx(shared[0].sum() / 96 - before, rel=1e-6)


def test_a_group_that_the_map_of_all_harms_is_named_and_no_other():
    logits, counts, _ = two_groups(60, votes=(6, 2))
    groups = adapt_groups(logits, counts, ["many", "few"], "bias", num_folds=3)
    many, few = groups.worth
    assert many.shared_change.high < 0 < few.shared_change.low and few.change.high < 0  # its own map helps it
    assert many.harm is None and few.harm.startswith("few (+") and "not told from zero" not in few.harm
    assert few.harm in groups.warning and "many" not in groups.warning
    assert f"{few.nats_shared - few.nats_before:+.4f} (95 % interval" in few.shared_in_words
    counts[1, 12:] = 0
    few = adapt_groups(logits, counts, ["many", "few"], "bias", num_folds=3).worth[1]
    assert few.shared_change is None and few.shared_in_words == "not known (too few texts)"
    assert few.harm.endswith("on too few texts for an interval: it may do harm)")
    unmapped = adapt_groups(logits, counts, ["many", "few"], "identity", num_folds=3)
    assert unmapped.warning is None and unmapped.worth[0].shared_in_words == "nothing"


def test_groups_are_alike_only_where_several_have_one_map():
    logits, counts, _ = two_groups(20, votes=(3, 3))
    for names, kind, alike in (("ab", "identity", True), ("ab", ["identity", "bias"], False), ("a", "bias", False)):
        maps = fit_group_maps(logits, counts[: len(names)], list(names), kind, shared_kind="bias")
        assert maps.are_alike == alike


def test_a_population_s_reward_is_the_mix_of_its_groups_by_hand():
    logits, counts, _ = two_groups(20, votes=(3, 3))
    maps = fit_group_maps(logits, counts, ["a", "b"])
    means = [np.mean([p @ REWARDS for p in probs]) for probs in maps.group_probs(logits)]
    told = population_reward(maps, logits, REWARDS, [0.2, 0.8])
    assert told.reward == pytest.approx(0.2 * means[0] + 0.8 * means[1], rel=1e-9)
    assert told.saved_reward == pytest.approx(np.mean(maps.shared.probs(logits) @ REWARDS), rel=1e-9)
    assert told.old_reward == pytest.approx(np.mean(softmax(logits, axis=1) @ REWARDS), rel=1e-9)
    assert told.in_words.startswith(
        f"Mean expected reward over 20 texts: {told.reward:.4f} in the population (a 0.2, "
    )


def test_small_groups_do_not_overfit():
    """Groups of ten votes that differ in nothing are foretold, by the truth, about as well as without groups."""
    losses, gains = [], []
    for seed in range(6):
        draw = np.random.default_rng(seed)
        logits = draw.normal(size=(60, 3)) * 1.5
        truth = softmax(logits, axis=1)
        counts = np.zeros((4, 60, 3))
        for item, probs in enumerate(truth):
            counts[0 if item < 30 else 1 + item // 10 - 3, item] = draw.multinomial(1, probs)
        for shift, results in ((np.zeros(3), losses), (2 * SHIFTS[0], gains)):
            few = softmax(logits[50:] + shift, axis=1)
            counts[3, 50:] = [draw.multinomial(1, probs) for probs in few]
            groups = adapt_groups(logits, counts, list("abcd"), "identity", num_folds=3)
            probs, aim = groups.maps.group_probs(logits)[3], softmax(logits + shift, axis=1)
            results.append(nats_on(aim, probs) - nats_on(aim, truth))
            assert groups.worth[3].own_change is None and groups.worth[3].num_items == 10
    assert np.mean(losses) < 0.001 and np.mean(gains) < -0.2


def test_a_group_below_the_number_of_texts_gets_no_verdict():
    logits, counts = opposite_groups(32, votes=4)
    counts[1, 29:] = 0
    up, down, _ = adapt_groups(logits, counts, ["up", "down", "like"], "bias", "bias", num_folds=3).worth
    assert "it pays" in up.verdict and up.change is not None
    assert down.own_change is None and down.change is None
    assert down.verdict.endswith("too few texts have votes of the group (29; a verdict needs 30).")
    with pytest.raises(ValueError, match="The group 'b' has rows but no votes: remove them"):
        adapt_groups(logits, np.stack([counts[0], 0 * counts[0]]), ["a", "b"], "bias")


def test_groups_are_not_held_to_the_kind_that_suits_all_votes_together():
    """Opposite tastes look like uncertainty from afar: a temperature for all, which says nothing of either group."""
    logits, counts = opposite_groups(60)
    of_all = adapt(logits, counts.sum(0), num_folds=3).fitted.kind
    groups = adapt_groups(logits, counts, ["up", "down", "like"], of_all, num_folds=3)
    assert of_all == "temperature" and groups.kind in ("bias", "matrix")
    as_all = adapt_groups(logits, counts, ["up", "down", "like"], of_all, kind=of_all, num_folds=3)
    for chosen, held in zip(groups.worth[:2], as_all.worth, strict=False):
        assert chosen.nats_own < held.nats_own - 0.05


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
    for kind, shared_kind in ((["bias"], "bias"), (["bias", "bias"], None)):
        with pytest.raises(ValueError, match="for the groups .*; give one of identity, temperature, bias, matrix"):
            fit_group_maps([[0.0, 0.0]], counts, ["a", "b"], kind, shared_kind=shared_kind)
    with pytest.raises(ValueError, match="say of which shared_kind the shared map is"):
        held_out_group_probs([[0.0, 0.0]] * 3, np.ones((2, 3, 2)), ["a", "b"], "auto")
    with pytest.raises(ValueError, match=r"group_probs has shape \(1, 2\); give \(G, N, K\)"):
        worst_group_reward([[0.5, 0.5]], [0.0, 1.0])
    with pytest.raises(ValueError, match="group_probs in row 0 sums to 0.9"):
        worst_group_reward([[[0.5, 0.4]]], [0.0, 1.0])
    with pytest.raises(ValueError, match="category_rewards has shape"):
        worst_group_reward([[[0.5, 0.5]]], [0.0])
