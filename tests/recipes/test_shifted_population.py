"""`recipes/shifted-population`: who is left out of what, updates by hand, and a whole tiny run."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from crowd_recipes import many_judgments, write_judgments
from recipe_modules import recipe_modules
from scipy.special import log_softmax, softmax
from scipy.stats import ttest_1samp
from tiny_models import tiny_stock_model

LEVEL = {-3: 0, -2: 1, -1: 2, 0: 3, 1: 4}


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules("shifted-population") as modules:
        yield modules


@pytest.fixture
def judgments():
    return many_judgments()


@pytest.fixture
def arguments(recipe, judgments, tokenizer, tmp_path):
    """A run as short as it can be."""
    backbone = tmp_path / "backbone"
    tiny_stock_model("bert", "headless").save_pretrained(backbone)
    tokenizer.save_pretrained(backbone)
    return recipe.arguments.RecipeArguments(
        output_dir=str(tmp_path / "run"),
        dataset=write_judgments(tmp_path / "judgments.csv", judgments),
        backbone=str(backbone),
        seeds=[0],
        left_out=["Annotator0", "Annotator2"],
        new_votes=[5, 20],
        simulated_trained_votes=[5],
        convabuse_trained_votes=[5],
        convabuse_trained_again=[5],
        num_draws=2,
        num_items=70,
        num_other_items=30,
        simulated_steps=2,
        group_steps=3,
        convabuse_steps=2,
        continued_steps=2,
    )


@pytest.fixture
def old():
    """Saved arrays of an old model: six items that new votes may fall on, three to test."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(4, [0.4, 0.3, 0.3], size=40).astype(float)
    return {
        "validation_logits": rng.normal(size=(40, 3)),
        "validation_counts": counts,
        "pool_logits": rng.normal(size=(6, 3)),
        "pool_counts": np.eye(3)[[0, 2, 2, 1, 2, 0]],
        "pool_texts": np.array(["yes", "no", "yes", "why", "yes", "so"]),
        "test_logits": rng.normal(size=(3, 3)),
        "test_probs": np.eye(3)[[2, 1, 0]],
        "test_texts": np.array(["yes", "other", "so"]),
        "category_rewards": np.array([-1.0, 0.0, 1.0]),
    }


def test_leaving_out_leaves_no_vote_of_the_annotator_behind(recipe, arguments, judgments):
    shift = recipe.left_out.left_out_shift(arguments, "Annotator2", seed=0)
    own = {(conversation, user) for annotator, conversation, user, _ in judgments if annotator == "Annotator2"}
    others = {}
    for annotator, conversation, user, level in judgments:
        if annotator != "Annotator2":
            others.setdefault((conversation, user), []).append(LEVEL[level])
    for judged, may_be_own in ((shift.train, False), (shift.validation, True)):
        keys = list(zip(judged.texts["conv_id"], judged.texts["completion"], strict=True))
        assert keys
        for key, counts in zip(keys, judged.counts, strict=True):
            assert counts.tolist() == np.bincount(others[key], minlength=5).tolist()
            assert may_be_own or key not in own
    levels = {(c, u): LEVEL[level] for a, c, u, level in judgments if a == "Annotator2"}
    for texts, counts in ((shift.pool.texts, shift.pool.counts), (shift.test_texts, shift.test_probs)):
        keys = list(zip(texts["conv_id"], texts["completion"], strict=True))
        assert keys and set(keys) <= own
        assert counts.argmax(axis=1).tolist() == [levels[key] for key in keys]
        assert (counts.sum(axis=1) == 1).all()
    parts = [texts["part"].unique().tolist() for texts in (shift.train.texts, shift.pool.texts, shift.test_texts)]
    assert parts == [["train"], ["train"], ["test"]]


def test_unknown_annotators_are_refused(recipe, arguments):
    arguments.left_out = ["Annotator2", "Nobody"]
    with pytest.raises(ValueError, match="`left_out` holds Nobody; the annotators are Annotator0"):
        recipe.left_out.annotators(arguments)


def test_new_votes_to_train_on_and_to_stop_by(recipe, arguments):
    shift = recipe.left_out.left_out_shift(arguments, "Annotator0", seed=0)
    train, stop_by = shift.new_votes(20)
    assert (len(train.texts), len(stop_by.texts)) == (16, 4)
    ids = shift.pool.texts["item_id"][:20]
    assert sorted([*train.texts["item_id"], *stop_by.texts["item_id"]]) == sorted(ids)
    assert (recipe.shift.drawn_order(20, 0) == np.arange(20)).all()
    assert sorted(recipe.shift.drawn_order(20, 1)) == list(range(20))


def test_votes_by_group_add_up(recipe, arguments, tmp_path):
    groups = recipe.simulated_shift.simulated_shift(arguments, 0, tmp_path / "seed")
    shift = groups.shift
    np.testing.assert_allclose(groups.validation_group_counts.sum(axis=0), shift.validation.counts)
    assert groups.train.counts.sum() == shift.train.counts.sum() == 70 * 4
    assert (groups.train.counts.sum(axis=1) > 0).all()
    first = groups.train.texts["prompt"].str.split().str[0]
    assert set(first) == {"practical", "playful"}
    np.testing.assert_allclose(shift.test_probs, 0.2 * groups.test_group_probs[0] + 0.8 * groups.test_group_probs[1])
    texts = [
        set(t["completion"]) for t in (shift.train.texts, shift.validation.texts, shift.pool.texts, shift.test_texts)
    ]
    assert len(set.union(*texts)) == sum(map(len, texts))


def test_posterior_per_text_by_hand(recipe, old):
    rows = np.array([0, 1, 2, 4])  # yes, no, yes, yes: the votes 0, 2, 2, 2
    strength = recipe.updates.prior_strength(old)
    test, voted = recipe.updates.text_posterior(old, rows)
    before, before_voted = softmax(old["test_logits"], axis=1), softmax(old["pool_logits"][rows], axis=1)
    np.testing.assert_allclose(test[0], (strength * before[0] + [1, 0, 2]) / (strength + 3))
    np.testing.assert_allclose(test[1:], before[1:])
    np.testing.assert_allclose(voted[0], (strength * before_voted[0] + [1, 0, 2]) / (strength + 3))
    np.testing.assert_allclose(voted[1], (strength * before_voted[1] + [0, 0, 1]) / (strength + 1))


def test_posterior_per_item_moves_only_items_with_votes(recipe, old):
    rows = np.array([0, 2])
    strength = recipe.updates.prior_strength(old)
    test, voted = recipe.updates.item_posterior(old, rows)
    np.testing.assert_allclose(test, softmax(old["test_logits"], axis=1))
    before = softmax(old["pool_logits"][rows], axis=1)
    np.testing.assert_allclose(voted, (strength * before + [[1, 0, 0], [0, 0, 1]]) / (strength + 1))


def test_the_best_map_finds_the_map_that_made_the_truth(recipe, old):
    rng = np.random.default_rng(1)
    old["pool_logits"] = rng.normal(size=(300, 3))
    bias = np.array([1.0, 0.0, -0.5])
    truth = softmax(old["pool_logits"] + bias, axis=1)
    test, voted = recipe.updates.best_map(old, truth, "bias")
    np.testing.assert_allclose(voted, truth, atol=1e-4)
    np.testing.assert_allclose(test, softmax(old["test_logits"] + bias, axis=1), atol=1e-4)


def test_every_update_gives_distributions(recipe, old):
    rng = np.random.default_rng(2)
    old["pool_logits"], old["pool_counts"] = rng.normal(size=(60, 3)), np.eye(3)[rng.integers(3, size=60)]
    old["pool_texts"] = np.array([f"text {k}" for k in range(60)])
    for update in recipe.updates.UPDATES.values():
        for probs, number in zip(update(old, np.arange(50)), (3, 50), strict=True):
            assert probs.shape == (number, 3)
            np.testing.assert_allclose(probs.sum(axis=1), 1)


def test_differences_are_paired_by_draw_and_replication(recipe):
    base = {"crowd": "convabuse", "items": "other items", "new_votes": 10}
    values = [
        ("a", 0, 0, "no_update", 1.0),
        ("a", 0, 1, "no_update", 2.0),
        ("a", 0, 0, "bias_map", 0.5),
        ("a", 0, 1, "bias_map", 1.9),
        ("a", 0, 0, "continued", 1.2),
        ("a", 1, 0, "no_update", 5.0),
        ("a", 1, 0, "bias_map", 5.0),
        ("b", 0, 0, "no_update", 3.0),
        ("b", 0, 1, "no_update", 3.0),
        ("b", 0, 0, "bias_map", 3.1),
        ("b", 0, 1, "bias_map", 3.3),
        ("b", 0, 0, "continued", 2.0),
    ]
    runs = pd.DataFrame(
        base
        | {"replication": name, "seed": seed, "draw": draw, "method": method}
        | dict.fromkeys(recipe.table.MEASURES, value)
        for name, seed, draw, method, value in values
    )
    rows = recipe.table.compared(runs).set_index("method")
    assert rows.loc["bias_map", "nats_per_vote_difference"] == pytest.approx((-0.2 + 0.2) / 2)
    low, high = ttest_1samp([-0.2, 0.2], 0).confidence_interval()
    assert rows.loc["bias_map", "nats_per_vote_difference_half_width"] == pytest.approx((high - low) / 2)
    assert rows.loc["bias_map", "nats_per_vote_better"] == 1
    assert rows.loc["continued", "nats_per_vote_difference"] == pytest.approx((0.2 - 1.0) / 2)
    assert rows.loc["no_update", "nats_per_vote"] == pytest.approx((8 / 3 + 3.0) / 2)


def test_a_whole_run(recipe, arguments):
    recipe.run.run_all(arguments)
    markdown = recipe.table.write_tables(arguments)
    folder = Path(arguments.output_dir)
    rows = pd.DataFrame(json.loads((folder / "updates.json").read_text())["rows"])
    assert (rows["num_replications"] == np.where(rows["crowd"] == "simulated", 1, 2)).all()
    assert {"continued", "retrained", "chosen_map", "post_stratified"} <= set(rows["method"])
    for title in ("simulated, items with votes", "convabuse, other items", "the group that likes an item least"):
        assert title in markdown
    for name in ("updates.png", "groups.png"):
        assert (folder / name).read_bytes()[:4] == b"\x89PNG"

    nats = []
    for replication in ("Annotator0-seed-0", "Annotator0-seed-1", "Annotator2-seed-0", "Annotator2-seed-1"):
        saved = np.load(folder / "results" / "convabuse" / replication / "old.npz")
        nats.append(-np.mean((saved["test_probs"] * log_softmax(saved["test_logits"], axis=1)).sum(axis=1)))
    before = rows[(rows["crowd"] == "convabuse") & (rows["method"] == "no_update")]
    np.testing.assert_allclose(before["nats_per_vote"], np.mean(nats))

    times = {file: file.stat().st_mtime_ns for file in folder.rglob("*.npz")}
    recipe.run.run_all(arguments)  # nothing is trained twice
    assert times == {file: file.stat().st_mtime_ns for file in folder.rglob("*.npz")}
