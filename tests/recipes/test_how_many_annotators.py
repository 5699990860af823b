"""`recipes/how-many-annotators`: how budgets are spent, what methods may see, and a whole tiny run."""

import copy
import doctest
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from crowd_recipes import many_judgments, write_judgments
from recipe_modules import recipe_modules
from tiny_models import tiny_stock_model

from trl_dprm.preferences import PriorStrengthEstimate

METHODS = {"votes_alone", "votes_with_table_prior", "dprm", "dprm_with_votes", "regression", "pairs"}


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules("how-many-annotators") as modules:
        yield modules


@pytest.fixture
def arguments(recipe, tmp_path):
    """A run as short as it can be."""
    return recipe.arguments.RecipeArguments(
        output_dir=str(tmp_path / "run"),
        crowds=["simulated"],
        seeds=[0],
        num_items=128,
        max_votes=2,
        num_test_items=30,
        simulated_steps=2,
    )


@pytest.fixture
def with_convabuse(arguments, tokenizer, tmp_path):
    """The same with a tiny encoder and invented judgments."""
    backbone = tmp_path / "backbone"
    tiny_stock_model("bert", "headless").save_pretrained(backbone)
    without_end = copy.deepcopy(tokenizer)  # as those of encoders are
    without_end.eos_token = None
    without_end.save_pretrained(backbone)
    arguments.crowds = ["simulated", "convabuse"]
    arguments.seeds = [0, 1]
    arguments.dataset = write_judgments(tmp_path / "judgments.csv", many_judgments())
    arguments.backbone = str(backbone)
    arguments.convabuse_steps = 2
    return arguments


@pytest.mark.parametrize("kind", ["simulated", "thinned"])
def test_every_arm_spends_its_budget_to_the_last_vote(recipe, kind):
    arms = {
        "simulated": recipe.arms.simulated_arms(2048, 16),
        "thinned": recipe.arms.thinned_arms(2040, 3),
    }[kind]
    for arm in arms:
        validation = arm.num_validation_items * arm.validation_votes_per_item
        assert arm.num_training_items * arm.votes_per_item + validation in range(
            arm.num_votes - arm.votes_per_item + 1, arm.num_votes + 1
        )
        assert validation <= arm.num_votes / 8
        assert arm.validation_votes_per_item >= 2
    names = [arm.name for arm in arms]
    assert len(names) == len(set(names))


def test_examples_in_the_documentation(recipe):
    for module in (recipe.arms, recipe.methods):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed


def test_arms_by_hand(recipe):
    arms = {arm.name: arm for arm in recipe.arms.simulated_arms(2048, 16)}
    assert len(arms) == 5 + 4 + 4
    one, two = arms["2048-votes-1-each"], arms["4096-votes-2-each"]
    assert (one.num_training_items, one.num_validation_items) == (1792, 128)  # 1792 + 2 · 128
    assert (two.num_training_items, two.num_validation_items) == (1792, 256)
    many = arms["2048-votes-16-each"]
    assert (many.num_training_items, many.num_validation_items) == (112, 16)
    assert not one.only_distribution and not two.only_distribution  # every method learns from equal items
    assert many.only_distribution


def test_an_arm_gets_the_votes_that_it_pays_for(recipe, arguments):
    crowd = recipe.crowd.make_crowd("simulated", arguments, seed=0)
    for arm in crowd.arms:
        train, validation = crowd.bought(arm, seed=0)
        assert train.counts.sum() + validation.counts.sum() == arm.num_votes
        assert set(train.counts.sum(axis=1)) == {arm.votes_per_item}
        assert set(validation.counts.sum(axis=1)) == {max(2, arm.votes_per_item)}
        texts = [set(texts["completion"]) for texts in (train.texts, validation.texts, crowd.test_texts)]
        assert not texts[0] & texts[1]
        assert not (texts[0] | texts[1]) & texts[2]
        given = crowd.given(arm.votes_per_item, seed=0)
        assert set(given.sum(axis=1)) == {arm.votes_per_item}
    assert crowd.given(3, seed=0) is None


def test_held_out_votes_are_not_given(recipe, with_convabuse):
    crowd = recipe.crowd.make_crowd("convabuse", with_convabuse, seed=0)
    turns = recipe.crowd.convabuse.read_turns(with_convabuse.dataset)
    turns = turns.rows((turns.ratings >= 0).sum(axis=1) >= 3).part("test")
    assert turns.texts["item_id"].tolist() == crowd.test_texts["item_id"].tolist()
    every_vote = np.stack([(turns.ratings == k).sum(axis=1) for k in range(5)], axis=1)
    held_out = crowd.target_probs * crowd.target_weight[:, None]
    np.testing.assert_allclose(crowd.given(2, seed=0) + held_out, every_vote)
    assert (crowd.target_weight >= 1).all()
    for text, part in ((crowd.training_pool[0], "train"), (crowd.validation_pool[0], "validation")):
        assert set(text["part"]) == {part}
    for arm in crowd.arms:
        train, validation = crowd.bought(arm, seed=0)
        assert set(train.counts.sum(axis=1)) == {arm.votes_per_item}
        assert len(validation.counts) == arm.num_validation_items


def test_posteriors_and_their_limits(recipe):
    prior, votes = np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([[1.0, 2.0], [0.0, 3.0]])

    def updated(strength):
        return recipe.methods.updated_probs(prior, votes, PriorStrengthEstimate(strength, prior, 0.0, 2))

    np.testing.assert_allclose(updated(5.0), [[2 / 8, 6 / 8], [3 / 8, 5 / 8]])
    np.testing.assert_allclose(updated(0.0), [[1 / 3, 2 / 3], [0, 1]])
    np.testing.assert_allclose(updated(math.inf), prior)


def test_scores_by_hand(recipe):
    predictions = recipe.predictions.Predictions(
        np.array([0.0, 1.0, 2.0]), np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    )
    truth, weight = np.array([[0, 0, 1.0], [0, 1, 0], [0, 0.5, 0.5]]), np.array([1.0, 2.0, 1.0])
    scores = recipe.table.scores(predictions, truth, weight, np.array([0.0, 1.0, 2.0]))
    assert scores["wasserstein_distance"] == pytest.approx((2 + 0 + 0.5) / 4)
    assert scores["ranked_probability_score"] == pytest.approx((2 + 0 + 0.25) / 4)
    assert scores["reward_error"] == pytest.approx(math.sqrt((4 + 0 + 0.25) / 4))
    assert math.isinf(scores["nats_per_vote"])
    scalar = recipe.predictions.Predictions(np.array([3.0, 1.0, 2.0]))
    scores = recipe.table.scores(scalar, truth, weight, np.array([0.0, 1.0, 2.0]))
    assert math.isnan(scores["wasserstein_distance"])
    x, y = np.repeat([3.0, 1.0, 2.0], [1, 2, 1]), np.repeat([2.0, 1.0, 1.5], [1, 2, 1])
    assert scores["reward_correlation"] == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_unknown_or_incomplete_options_are_refused(recipe):
    with pytest.raises(ValueError, match="`crowds` holds people; choose among simulated, convabuse"):
        recipe.arguments.RecipeArguments(output_dir="x", crowds=["people"])
    with pytest.raises(ValueError, match="needs `--dataset`"):
        recipe.arguments.RecipeArguments(output_dir="x")


def test_a_whole_run(recipe, arguments):
    recipe.run.run_all(arguments)
    markdown = recipe.table.write_tables(arguments)
    folder = Path(arguments.output_dir)
    rows = pd.DataFrame(json.loads((folder / "curves.json").read_text())["rows"])
    assert (rows["num_replications"] == 1).all()
    one = rows[(rows["num_votes"] == 128) & (rows["votes_per_item"] == 1)]
    assert set(one["method"]) == METHODS
    assert "**simulated, equal votes in all" in markdown
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"

    alone = np.load(folder / "predictions" / "simulated" / "seed-0" / "128-votes-1-each" / "votes_alone.npz")
    target = np.load(folder / "predictions" / "simulated" / "seed-0" / "target.npz")["probs"]
    by_hand = np.mean([np.abs(np.cumsum(p - t)).sum() for p, t in zip(alone["probs"], target, strict=True)])
    seeds = recipe.table.rows_of_seed(arguments, "simulated", 0)
    row = next(row for row in seeds if row["method"] == "votes_alone" and row["num_votes"] == 128)
    assert row["wasserstein_distance"] == pytest.approx(by_hand)

    times = {file: file.stat().st_mtime_ns for file in folder.rglob("dprm.npz")}
    recipe.run.run_all(arguments)  # nothing is trained twice
    assert times == {file: file.stat().st_mtime_ns for file in folder.rglob("dprm.npz")}
    arguments.simulated_steps += 1
    with pytest.raises(ValueError, match="a run with other simulated_steps"):
        recipe.run.run_all(arguments)


@pytest.mark.slow
def test_a_whole_run_with_convabuse(recipe, with_convabuse):
    recipe.run.run_all(with_convabuse)
    markdown = recipe.table.write_tables(with_convabuse)
    rows = pd.DataFrame(json.loads(Path(with_convabuse.output_dir, "curves.json").read_text())["rows"])
    assert set(rows["crowd"]) == {"simulated", "convabuse"}
    rows = rows[rows["crowd"] == "convabuse"]
    assert set(rows.loc[rows["votes_per_item"] == 2, "method"]) == METHODS
    assert set(rows.loc[rows["votes_per_item"] == 3, "method"]) == {"dprm", "regression", "pairs"}
    assert "**convabuse, equal items: nats per held-out vote** (2 seeds; ± 95 % interval)" in markdown
