"""`recipes/stories-ppo`: tastes that cannot be gamed, votes, truth, table, and a whole run on a tiny model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from recipe_modules import recipe_modules
from scipy.special import expit
from transformers import AutoModelForCausalLM

STORY = 'and saw his friend by the tree . " we can play , " said Tom and they ran up to the big red house'


@pytest.fixture(scope="module")
def recipe():
    """The modules as attributes."""
    with recipe_modules("stories-ppo") as modules:
        yield modules


@pytest.fixture
def arguments(recipe, backbone, tmp_path):
    """A run of the tiny model, as short as it can be."""
    return recipe.arguments.RecipeArguments(
        policy=backbone,
        output_dir=str(tmp_path / "run"),
        populations=["minority"],
        seeds=[0, 1],
        arms=["oracle", "dprm_expected_reward"],
        kl_coefs=[0.05, 0.5],
        max_new_tokens=6,
        num_test_completions=1,
        num_judged_prompts=64,
        reward_model_passes=1.0,
        num_rollouts=2,
        rollout_size=8,
        num_mini_batches=2,
        num_resamples=50,
        equal_kl=[0.0],
    )


def utilities(recipe, population, stories):
    """Utilities to the groups of perfectly fluent stories, (groups, stories)."""
    traits = recipe.tastes.story_traits(stories, np.zeros(len(stories)), (-2.0, -1.0))
    return recipe.populations.group_utilities(population, traits)


def test_parts_share_no_prompt(recipe):
    prompts = recipe.prompts.make_prompts()
    assert prompts == recipe.prompts.make_prompts()
    assert {part: len(set(texts)) for part, texts in prompts.items()} == recipe.prompts.SIZES
    assert not set(prompts["train"]) & set(prompts["test"])
    assert not (set(prompts["train"]) | set(prompts["test"])) & set(prompts["eval"])


def test_traits_by_hand(recipe):
    stories = ["Happy cat , happy dog , happy mom", '"Yes ."', ""]
    traits = recipe.tastes.story_traits(stories, np.array([-1.5, -0.5, -3.0]), (-2.0, -1.0))
    np.testing.assert_allclose(traits["joy"], [1 - np.exp(-1), 0, 0])
    np.testing.assert_allclose(traits["animals"], [1 - np.exp(-2), 0, 0])
    np.testing.assert_allclose(traits["family"], [1 - np.exp(-1), 0, 0])
    np.testing.assert_allclose(traits["dialogue"], [0, 1, 0])
    np.testing.assert_allclose(traits["fluency"], [0.5, 1, 0])
    np.testing.assert_allclose(traits["variety"], [(4 / 6 - 0.6) / 0.25, 1, 0])
    np.testing.assert_allclose(traits["length"], [0, 0, 0])


def test_no_population_can_be_had_by_repeating_a_word(recipe):
    """Even where the repetition is as fluent as can be."""
    words = [*sorted(set.union(*map(set, recipe.tastes.THEME_WORDS.values()))), '"']
    spam = [" ".join([word] * 20) for word in words]
    for population in recipe.populations.POPULATIONS:
        shares = recipe.populations.group_shares(population)
        best_spam = (shares @ utilities(recipe, population, spam)).max()
        themes = "mom and dad saw a dog , a cat and a bird in the park" if population == "tuning" else STORY
        assert shares @ utilities(recipe, population, [themes])[:, 0] > best_spam


def test_traits_saturate(recipe):
    some, more = "happy fun friend smile", "happy fun friend smile nice best love hug together"
    joy = [recipe.tastes.story_traits([text], np.zeros(1), (-2.0, -1.0))["joy"][0] for text in (some, more)]
    assert joy[1] - joy[0] < 0.02
    fluency = recipe.tastes.story_traits([""] * 4, np.array([-9, -2, -1, 0.0]), (-2.0, -1.0))["fluency"]
    assert fluency.tolist() == [0, 0, 1, 1]


def test_shares_sum_to_one_and_groups_are_as_described(recipe):
    for population in recipe.populations.POPULATIONS:
        assert recipe.populations.group_shares(population).sum() == pytest.approx(1.0)
    plain, sweet = "the man saw a red box", "the man saw a happy friend"
    for population, direction in (("agreeing", [1, 1, 1]), ("minority", [1, -1])):
        difference = np.diff(utilities(recipe, population, [plain, sweet]))[:, 0]
        assert np.sign(difference).tolist() == direction
    gain = np.diff(utilities(recipe, "minority", [plain, sweet]))[:, 0]
    shares = recipe.populations.group_shares("minority")
    assert shares[gain > 0].sum() > 0.5 > 0 > shares @ gain, "a majority gains, and the mean falls"


def test_vote_frequencies_are_those_of_the_logistic_noise(recipe):
    stories = [STORY, "happy friend"] * 4000
    traits = recipe.tastes.story_traits(stories, np.zeros(len(stories)), (-2.0, -1.0))
    ratings = recipe.votes.vote("minority", traits, panel_size=3, seed=0)
    felt = utilities(recipe, "minority", stories[:2])
    below = expit((np.array(recipe.votes.THRESHOLDS) - felt[..., None]) / recipe.votes.NOISE_SCALE)
    expected = np.diff(below, axis=-1, prepend=0, append=1)
    expected = np.einsum("g,gsk->sk", recipe.populations.group_shares("minority"), expected)
    for place in (0, 1):
        observed = np.bincount(ratings[place::2].ravel(), minlength=5) / ratings[place::2].size
        np.testing.assert_allclose(observed, expected[place], atol=0.02)


def test_both_completions_of_a_prompt_meet_the_same_people(recipe):
    """A pair of equal stories is rated by the same groups, so that ratings of the two go together."""
    stories = ["happy friend love"] * 4000
    traits = recipe.tastes.story_traits(stories, np.zeros(len(stories)), (-2.0, -1.0))
    ratings = recipe.votes.vote("minority", traits, panel_size=1, seed=0)[:, 0]
    assert np.corrcoef(ratings[0::2], ratings[1::2])[0, 1] > 0.5
    assert abs(np.corrcoef(ratings[0:-2:2], ratings[2::2])[0, 1]) < 0.1


def test_the_same_votes_become_items_and_pairs(recipe):
    ratings = np.array([[4, 3, 0], [2, 2, 4], [1, 1, 1], [1, 1, 1], [0, 1, 2], [2, 1, 0]])
    samples = recipe.sampling.Samples([f"p{k // 2}" for k in range(6)], [f"c{k}" for k in range(6)], [], [])
    items = recipe.votes.items_with_votes(samples, ratings)
    assert items["completion"][:] == samples.completions
    assert items["target_counts"][0] == [1, 0, 0, 1, 1]
    assert items["vote_weight"][:] == [3.0] * 6
    pairs = [tuple(row.values()) for row in recipe.votes.majority_pairs(samples, ratings)]
    assert pairs == [("p0", "c0", "c1")], "ties of the votes leave no pair"
    votes = [tuple(row.values()) for row in recipe.votes.single_vote_pairs(samples, ratings)]
    assert votes == [
        ("p0", "c0", "c1"),
        ("p0", "c0", "c1"),
        ("p0", "c1", "c0"),
        ("p2", "c5", "c4"),
        ("p2", "c4", "c5"),
    ]


def test_log_probs_and_kl_equal_a_loop(recipe, backbone):
    torch.manual_seed(0)
    reference = AutoModelForCausalLM.from_pretrained(backbone).eval()
    policy = AutoModelForCausalLM.from_pretrained(backbone).eval()
    with torch.no_grad():
        policy.lm_head.weight.add_(0.1 * torch.randn_like(policy.lm_head.weight))
    prompt_ids, completion_ids = [[1, 9, 30], [1, 7]], [[40, 41], [50, 51, 52, 2]]
    samples = recipe.sampling.Samples(["", ""], ["", ""], prompt_ids, completion_ids)
    means = recipe.sampling.mean_log_probs(reference, prompt_ids, completion_ids)
    sums = recipe.sampling.kl_to_reference(policy, reference, samples, 0.7)
    for row, (prompt, completion) in enumerate(zip(prompt_ids, completion_ids, strict=True)):
        log_probs, kl = [], 0.0
        for place, token in enumerate(completion):
            ids = torch.tensor([prompt + completion[:place]])
            with torch.no_grad():
                mine, original = (model(ids).logits[0, -1] for model in (policy, reference))
            log_probs.append(original.log_softmax(-1)[token].item())
            p, q = (torch.distributions.Categorical(logits=logits / 0.7) for logits in (mine, original))
            kl += torch.distributions.kl_divergence(p, q).item()
        assert means[row] == pytest.approx(np.mean(log_probs), rel=1e-4)
        assert sums[row] == pytest.approx(kl, rel=1e-3)
    np.testing.assert_allclose(recipe.sampling.kl_to_reference(policy, policy, samples, 0.7), 0, atol=1e-6)


def test_samples_end_at_their_eos(recipe, eos_policy, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(eos_policy)
    samples = recipe.sampling.sample_completions(model, tokenizer, ["a b", "a", "abc"] * 8, 10, 1.0, seed=0)
    ends = [ids.index(2) + 1 if 2 in ids else 10 for ids in samples.completion_ids]
    assert [len(ids) for ids in samples.completion_ids] == ends
    assert min(ends) < 10, "the model writes EOS"
    again = recipe.sampling.sample_completions(model, tokenizer, ["a b", "a", "abc"] * 8, 10, 1.0, seed=0)
    assert again.completion_ids == samples.completion_ids


def result(recipe, mean, worst, kl, proxy=0.5):
    return recipe.results.ArmResult({"a": worst, "b": worst + 1}, mean, kl, {}, proxy, [], {"ppo": 60.0}, [])


@pytest.fixture
def hand_made(recipe, arguments):
    """Results of two seeds: the oracle is 0.2 and 0.4 better than DPRM at twice its KL."""
    recipe.results.result_path(arguments, "minority", 0, "x", None).parent.mkdir(parents=True)
    for seed in (0, 1):
        path = recipe.results.result_path
        result(recipe, -0.5, -0.6, 0.0, None).save(path(arguments, "minority", seed, "start", None))
        for kl_coef, scale in ((0.5, 1.0), (0.05, 2.0)):
            for arm, gain, kl in (("oracle", 0.4 + 0.2 * seed, 4.0), ("dprm_expected_reward", 0.2, 2.0)):
                done = result(recipe, -0.5 + scale * gain, -0.6, scale * kl)
                done.save(path(arguments, "minority", seed, arm, kl_coef))
    return recipe.table.all_results(arguments)


def test_points_are_paired_by_seed(recipe, arguments, hand_made):
    rows = {(row["arm"], row["kl_coef"]): row for row in recipe.table.point_rows(arguments, hand_made, "minority")}
    oracle = rows["oracle", 0.5]
    assert oracle["mean_utility"] == pytest.approx(0.0)
    assert oracle["mean_utility_difference"] == pytest.approx(0.3)
    assert oracle["mean_utility_difference_positive"] == 2
    assert oracle["mean_utility_difference_low"] == pytest.approx(0.2)
    assert oracle["mean_utility_difference_high"] == pytest.approx(0.4)
    assert oracle["kl"] == 4.0 and oracle["worst_group_utility"] == pytest.approx(-0.6)
    assert "mean_utility_difference" not in rows["dprm_expected_reward", 0.5]


def test_equal_kl_interpolates_each_seed_and_never_extrapolates(recipe, arguments, hand_made):
    arguments.equal_kl = [3.0, 6.0]
    rows = {(row["arm"], row["kl"]): row for row in recipe.table.equal_kl_rows(arguments, hand_made, "minority")}
    assert rows["dprm_expected_reward", 3.0]["mean_utility"] == pytest.approx(-0.5 + 0.3)
    assert rows["oracle", 3.0]["mean_utility"] == pytest.approx(-0.5 + 0.5 * 0.75)
    assert rows["oracle", 3.0]["mean_utility_difference"] == pytest.approx(0.375 - 0.3)
    assert np.isnan(rows["dprm_expected_reward", 6.0]["mean_utility"]), "its frontier ends at 4"
    assert "mean_utility_difference" not in rows["oracle", 6.0]


def test_a_missing_result_is_named(recipe, arguments, hand_made):
    recipe.results.result_path(arguments, "minority", 1, "oracle", 0.5).unlink()
    with pytest.raises(FileNotFoundError, match=r"seed-1.oracle-kl-0\.5\.json: run its seed"):
        recipe.table.all_results(arguments)


def test_another_budget_is_refused_in_the_same_folder(recipe, arguments):
    recipe.run.check_same_run(arguments)
    arguments.seeds = [7]
    recipe.run.check_same_run(arguments)
    arguments.num_rollouts = 99
    with pytest.raises(ValueError, match="other num_rollouts"):
        recipe.run.check_same_run(arguments)


def test_rewards_are_standardised_and_called_proxy(recipe):
    def length(prompts, completions, **_):
        return [float(len(text)) for text in completions]

    reward = recipe.arms.StandardisedReward(length, 3.0, 2.0)
    assert reward.__name__ == "proxy_length"
    assert reward(prompts=["", ""], completions=["abc", "abcdefg"]) == [0.0, 2.0]


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_stopped(recipe, arguments, monkeypatch):
    """And the whole table comes from one command; everything on a tiny random model."""
    arms, trained, arguments.save_policies = [], recipe.run.run_arm, True

    def run_arm(*args):
        if len(arms) == 3:
            raise KeyboardInterrupt
        arms.append(args[2:])
        return trained(*args)

    monkeypatch.setattr(recipe.run, "run_arm", run_arm)
    with pytest.raises(KeyboardInterrupt):
        recipe.run.run_all(arguments)
    results = Path(arguments.output_dir, "results")
    assert len(list(results.rglob("*-kl-*.json"))) == 3

    monkeypatch.setattr(recipe.run, "run_arm", lambda *args: arms.append(args[2:]) or trained(*args))
    recipe.run.run_all(arguments)
    assert len(arms) == len(set(arms)) == 8
    assert len(list(results.rglob("*.json"))) == 2 * (1 + 2 * 2)
    assert not list(Path(arguments.output_dir).rglob("*.unfinished"))

    content = json.loads(recipe.results.result_path(arguments, "minority", 0, "oracle", 0.05).read_text())
    assert len(content["rollouts"]) == arguments.num_rollouts
    assert np.isfinite([content["kl"], content["mean_utility"], content["proxy_reward"]]).all()
    policies = Path(arguments.output_dir, "policies", "minority")
    cards = [f"{arm}-kl-{kl_coef:g}" for arm in arguments.arms for kl_coef in arguments.kl_coefs]
    assert sorted(file.parent.name for file in policies.glob("seed-0/*/README.md")) == sorted(cards)
    assert not (policies / "seed-1").exists(), "only those of the first seed are kept"
    AutoModelForCausalLM.from_pretrained(policies / "seed-0" / cards[0])
    table = recipe.table.write_table(arguments)
    assert "| DPRM, expected reward | 0.5 |" in table
    assert Path(arguments.output_dir, "frontiers.png").stat().st_size > 0
