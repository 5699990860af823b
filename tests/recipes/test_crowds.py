"""`recipes/crowds`: thinning by hand, a simulated truth by a double loop, ConvAbuse vote by vote, kept weights."""

import doctest
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from crowd_recipes import write_judgments
from recipe_modules import RECIPES
from scipy.special import expit
from scipy.stats import chi2, ttest_1samp

sys.path.append(str(RECIPES))

from crowds import convabuse, intervals, ratings, saved, simulated, training

VOTES = np.array([[4, -1, 0, 2, 2], [1, 1, 3, 3, -1], [0, 0, -1, -1, -1]])


def test_thinning_takes_votes_of_the_item_and_no_others():
    rng = np.random.default_rng(0)
    for _ in range(50):
        left = ratings.thinned(VOTES, 2, rng)
        assert ((left == VOTES) | (left == -1)).all()
        assert (left >= 0).sum(axis=1).tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="item 2 has 2 votes, not 3"):
        ratings.thinned(VOTES, 3, rng)


def test_examples_in_the_documentation():
    for module in (ratings, intervals):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed


def test_intervals_are_those_of_a_t_test():
    runs = pd.DataFrame({"method": list("aaaabb"), "error": [0.1, 0.4, 0.2, np.nan, 0.3, np.nan]})
    rows = intervals.mean_and_half_width(runs.groupby("method"))
    low, high = ttest_1samp([0.1, 0.4, 0.2], 0).confidence_interval(0.95)
    assert rows.loc["a"].tolist() == pytest.approx([(low + high) / 2, (high - low) / 2, 4])
    assert rows.loc["b", "error"] == 0.3 and np.isnan(rows.loc["b", "error_half_width"])


def test_thinning_draws_every_vote_equally_often():
    rng = np.random.default_rng(0)
    kept = sum((ratings.thinned(VOTES[:1], 1, rng) >= 0) for _ in range(2000))[0]
    assert kept[1] == 0
    observed = kept[[0, 2, 3, 4]]
    assert ((observed - 500) ** 2 / 500).sum() < chi2.ppf(0.999, 3)


def test_counts_by_hand():
    counts = ratings.target_counts(VOTES, 5)
    for row, votes in zip(counts, VOTES, strict=True):
        by_hand = Counter(vote for vote in votes.tolist() if vote >= 0)
        assert row.tolist() == [by_hand[k] for k in range(5)]


def test_simulated_truth_by_a_double_loop():
    items = simulated.draw_items(40, seed=3)
    facts = _facts_of(items.texts)
    for group, (name, taste) in enumerate(simulated.TASTES.items()):
        assert simulated.GROUPS[group] == name
        for row in range(40):
            words = set(items.texts["completion"][row].lower().split())
            liking = sum(simulated._word_effect(word, group) for word in words)
            utility = taste[0] + sum(w * fact for w, fact in zip(taste[1:], facts[row], strict=True)) + liking
            at_most = [expit(threshold - utility) for threshold in (-2.4, -0.8, 0.8, 2.4)] + [1.0]
            by_hand = np.diff([0.0, *at_most])
            np.testing.assert_allclose(items.group_probs[group, row], by_hand, rtol=1e-10)
    np.testing.assert_allclose(items.truth(), 0.65 * items.group_probs[0] + 0.35 * items.group_probs[1])
    assert len(np.unique(items.truth().round(6), axis=0)) == 40  # an opinion of its own for every text


def _facts_of(texts):
    """The facts, read off the sentences."""
    import population

    def says(text, sentences):
        words = [w for words in population.TOPICS.values() for w in [words]]
        return any(sentence.format(*w) in text for sentence in sentences for w in words)

    rows = []
    for text in texts["completion"]:
        helpfulness = next(level for level in (2, 1, 0) if says(text, population.HELP[level]))
        right, polite = says(text, population.RIGHTNESS[True]), says(text, population.OPENINGS[True])
        rows.append((helpfulness, right, polite, says(text, population.JOKES), says(text, population.PADDING)))
    return np.array(rows, dtype=float)


def test_simulated_votes_follow_the_truth_of_the_population():
    items = simulated.draw_items(4, seed=0)
    votes, groups = simulated.draw_ratings(items, 5000, seed=0, shares=(0.2, 0.8))
    truth = 0.2 * items.group_probs[0] + 0.8 * items.group_probs[1]
    for row in range(4):
        expected = 5000 * truth[row]
        observed = np.bincount(votes[row], minlength=5)
        assert ((observed - expected) ** 2 / expected).sum() < chi2.ppf(0.9999, 4)
    assert abs((groups == 1).mean() - 0.8) < 0.02


def test_convabuse_vote_by_vote(tmp_path):
    judgments = [
        ("Ann", "c1", "You FOOL", -2),
        ("Bob", "c1", "You FOOL", -3),
        ("Ann", "c1", "You FOOL", 1),  # a second thought: the first counts
        ("Bob", "c2", "hello  there", 1),
        ("Cid", "c2", "hello  there", 0),
    ]
    turns = convabuse.read_turns(write_judgments(tmp_path / "judgments.csv", judgments))
    assert turns.annotators == ["Ann", "Bob", "Cid"]
    assert turns.ratings.tolist() == [[1, 0, -1], [-1, 4, 3]]
    assert turns.texts["text"].tolist() == ["you fool", "hello there"]
    assert turns.texts["completion"].tolist() == ["You FOOL", "hello  there"]
    kept = turns.rows(np.array([False, True]))
    assert kept.texts["conv_id"].tolist() == ["c2"]
    assert kept.ratings.tolist() == [[-1, 4, 3]]
    with pytest.raises(FileNotFoundError):
        convabuse.read_turns(str(tmp_path / "nothing.csv"))


def test_weights_of_the_lowest_loss_are_kept():
    model, keeper = torch.nn.Linear(1, 1), training.KeepLowestLoss()
    for loss, value in ((0.5, 1.0), (0.3, 2.0), (0.4, 3.0)):
        torch.nn.init.constant_(model.weight, value)
        keeper.on_evaluate(None, None, None, model=model, metrics={"eval_loss": loss})
    keeper.on_train_end(None, None, None, model=model)
    assert model.weight.item() == 2.0


def test_pairs_put_the_higher_mean_first(tokenizer):
    texts = pd.DataFrame({"prompt": "p ", "completion": list("abcdefgh")})
    counts = np.array([[0, 0, 0, 0, 2], [1, 0, 1, 0, 0], [0, 2, 0, 0, 0], [0, 0, 0, 0, 1], *np.eye(5)[1:]])
    judged = training.JudgedTexts(texts, counts)
    by_hand = [1.0, -0.5, -0.5, 1.0, -0.5, 0.0, 0.5, 1.0]
    np.testing.assert_allclose(judged.mean_rewards(simulated.CATEGORIES), by_hand)
    means = dict(zip("p " + texts["completion"], by_hand, strict=True))
    for seed in range(5):
        pairs = training.preference_pairs(judged, simulated.CATEGORIES, tokenizer, seed)
        assert 0 < len(pairs) <= 8
        for pair in pairs:
            chosen, rejected = (
                tokenizer.decode(pair[f"{side}_ids"], skip_special_tokens=True) for side in ("chosen", "rejected")
            )
            assert means[chosen] > means[rejected]
    with pytest.raises(ValueError, match="of 8 items no two that met have different mean ratings"):
        alike = training.JudgedTexts(texts, np.eye(5)[[2] * 8])
        training.preference_pairs(alike, simulated.CATEGORIES, tokenizer, 0)


def test_runs_with_other_options_do_not_mix(tmp_path):
    saved.check_same_run(tmp_path / "run", {"steps": 3})
    saved.check_same_run(tmp_path / "run", {"steps": 3, "dataset": "x"})
    saved.check_same_run(tmp_path / "run", {"steps": 3})
    with pytest.raises(ValueError, match="a run with other dataset"):
        saved.check_same_run(tmp_path / "run", {"steps": 3, "dataset": "y"})


def test_arrays_come_back(tmp_path):
    saved.save_arrays(tmp_path / "a" / "b.npz", votes=VOTES)
    assert (saved.load_arrays(tmp_path / "a" / "b.npz")["votes"] == VOTES).all()
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["b.npz"]
