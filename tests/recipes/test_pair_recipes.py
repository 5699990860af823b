"""`recipes/arguments-minilm` and `recipes/tulu-pairs`: hand counts, links, numbers by loops, and whole runs."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from recipe_modules import recipe_modules
from scipy.optimize import minimize
from tiny_models import tiny_stock_model

from trl_dprm.metrics import davidson_probs, fit_davidson

SENTENCE = "we should not ban water because people like to read a good book when they are at home with friends"
WORDS = SENTENCE.split()


@pytest.fixture(scope="module")
def recipe():
    """The modules as attributes."""
    with recipe_modules("arguments-minilm", "tulu-pairs") as modules:
        yield modules


@pytest.fixture(scope="module")
def backbone(tmp_path_factory, tokenizer):
    """A tiny random encoder with its tokenizer."""
    folder = tmp_path_factory.mktemp("backbone")
    tiny_stock_model("bert", "headless").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def write_arguments(folder, pairs):
    """UKPConvArg1's two files; pairs are (title, first text, second text, choices, gold)."""
    texts = sorted({text for _, first, second, *_ in pairs for text in (first, second)})
    ids = {text: f"arg{number}" for number, text in enumerate(texts)}
    rows = [
        {
            "id": f"pair{number}",
            "title": title,
            "arg1": ids[first],
            "arg2": ids[second],
            "votes": [[f"w{worker}", choice] for worker, choice in enumerate(choices)],
            "gold": gold,
        }
        for number, (title, first, second, choices, gold) in enumerate(pairs)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "args.json").write_text(json.dumps({ids[text]: text for text in texts}))
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(folder)


@pytest.fixture(scope="module")
def argument_folder(tmp_path_factory):
    """Eight titles with six pairs each; the longer text wins more votes."""
    generator = np.random.default_rng(0)
    pairs = []
    for title in range(8):
        for _ in range(6):
            lengths = generator.choice(np.arange(2, 14), size=2, replace=False)
            first, second = (" ".join(generator.choice(WORDS, size=length)) + f" {title}" for length in lengths)
            win = 0.65 if lengths[0] > lengths[1] else 0.15
            choices = list(generator.choice(["a1", "equal", "a2"], p=[win, 0.2, 0.8 - win], size=5))
            gold = max(("a1", "a2"), key=choices.count)
            pairs.append((f"title {title}", first, second, choices, gold if title else None))
    return write_arguments(tmp_path_factory.mktemp("arguments"), pairs)


@pytest.fixture
def arguments(recipe, backbone, argument_folder, tmp_path):
    """A run of the tiny model, as short as it can be."""
    return recipe.arguments.RecipeArguments(
        dataset=argument_folder,
        backbone=backbone,
        output_dir=str(tmp_path / "run"),
        seeds=[0, 1, 2],
        num_folds=3,
        num_train_pairs=16,
        num_train_epochs=1.0,
        num_resamples=50,
        max_length=100,
        frozen_layers=1,
        bf16=False,
    )


def test_arguments_by_hand(recipe, tmp_path):
    folder = write_arguments(
        tmp_path / "data",
        [
            ("one", "short", "a longer text", ["a2", "equal", "a2", "a1", "a2"], "a2"),
            ("one", "third", "short", ["equal", "equal", "a1", "a1"], "equal"),
            ("two", "x", "y", ["a1"] * 5, None),
        ],
    )
    data = recipe.argument_pairs.read_argument_pairs(folder, "train")
    assert data.pairs[recipe.pair_data.VOTES].to_numpy().tolist() == [[1, 1, 3], [2, 2, 0], [5, 0, 0]]
    np.testing.assert_allclose(data.pairs[recipe.pair_data.TARGETS], [[0.2, 0.2, 0.6], [0.5, 0.5, 0], [1, 0, 0]])
    assert data.pairs["gold"].tolist() == [-1, 0, 0]
    assert data.pairs["cluster"].tolist() == ["one", "one", "two"]
    texts = data.responses.set_index("response_id")["completion"]
    assert texts[data.pairs["first"]].tolist() == ["short", "third", "x"]
    assert texts[data.pairs["second"]].tolist() == ["a longer text", "short", "y"]


def test_arguments_from_one_file(recipe, tmp_path):
    file = tmp_path / "pairs.jsonl"
    row = {"id": 7, "title": "t", "arg1": "yes", "arg2": "no", "votes": [["w", "a1"]], "gold": "a1"}
    file.write_text(json.dumps(row) + "\n")
    data = recipe.argument_pairs.read_argument_pairs(str(file), "train")
    assert data.pairs[["first", "second", "gold"]].to_numpy().tolist() == [["yes", "no", 1]]
    assert set(data.responses["completion"]) == {"yes", "no"}


def test_missing_data_are_said(recipe, tmp_path):
    read = recipe.argument_pairs.read_argument_pairs
    with pytest.raises(FileNotFoundError, match=r"has no pairs\.jsonl: give the folder"):
        read(str(tmp_path), "train")
    with pytest.raises(FileNotFoundError, match="No data set at"):
        read(str(tmp_path / "nothing.jsonl"), "train")
    with pytest.raises(FileNotFoundError, match="No data set at"):
        recipe.judgments.read_judgments(str(tmp_path / "nothing.jsonl"), "train")
    with pytest.raises(ValueError, match=r"Pair pair0: the votes are \['a3'\]"):
        read(write_arguments(tmp_path / "odd", [("t", "a", "b", ["a3"], None)]), "train")


def test_judgments_by_hand(recipe, tmp_path):
    rows = [
        ("p", "alpha", "beta", "a-is-slightly-better"),
        ("p", "beta", "alpha", "a-is-better"),
        ("p", "beta", "alpha", "tie"),
        ("p", "same", "same", "tie"),
        ("q", "beta", "alpha", "b-is-slightly-better"),
    ]
    file = tmp_path / "judgments.jsonl"
    names = ("prompt", "completion_a", "completion_b", "preference")
    file.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    data = recipe.judgments.read_judgments(str(file), "train")
    texts = data.responses.set_index("response_id")["completion"]
    assert texts[data.pairs["first"]].tolist() == ["alpha", "alpha"]
    assert data.pairs["cluster"].tolist() == ["p", "q"]
    assert data.pairs[recipe.pair_data.VOTES].to_numpy().tolist() == [[1, 1, 1], [1, 0, 0]]
    np.testing.assert_allclose(data.pairs[recipe.pair_data.TARGETS], [[0.5 / 3, 0.5, 1 / 3], [0.5, 0.5, 0]])
    assert data.pairs["gold"].tolist() == [0, 1]
    assert data.left_out == {"two equal responses (judgments)": 1}

    file.write_text(json.dumps(dict(zip(names, ("p", "a", "b", "c-is-better"), strict=True))))
    with pytest.raises(ValueError, match="has the preferences c-is-better; expected a-is-better"):
        recipe.judgments.read_judgments(str(file), "train")


def test_folds_are_whole_clusters_by_a_rule(recipe):
    clusters = pd.Series([f"title {number}" for number in range(16)] * 3)
    parts = recipe.pair_data.cluster_parts(clusters, validation_share=0.25, num_folds=5)
    assert parts == recipe.pair_data.cluster_parts(clusters.sample(frac=1, random_state=0), 0.25, 5)
    assert sorted(parts.values()) == [-1] * 4 + [0] * 3 + [1] * 3 + [2] * 2 + [3] * 2 + [4] * 2
    with pytest.raises(ValueError, match="2 clusters are left to test, fewer than 5 folds"):
        recipe.pair_data.cluster_parts(pd.Series(["a", "b", "c"]), 0.25, 5)


def test_a_training_never_opens_the_votes_it_is_tested_on(recipe, arguments):
    data = recipe.pair_data
    data.prepare(arguments, recipe.argument_pairs.read_argument_pairs)
    folds = {seed: data.read_fold(arguments, seed) for seed in (0, 1, 2)}
    for seed, parts in folds.items():
        Path(arguments.output_dir, "data", f"votes-fold-{seed}.parquet").rename(arguments.output_dir + "/hidden")
        again = data.read_fold(arguments, seed)
        pd.testing.assert_frame_equal(again["train"], parts["train"])
        with pytest.raises(FileNotFoundError):
            data.read_test_votes(arguments, seed)
        Path(arguments.output_dir, "hidden").rename(Path(arguments.output_dir, "data", f"votes-fold-{seed}.parquet"))

        clusters = {part: set(parts[part]["cluster"]) for part in ("train", "validation", "test")}
        assert len(clusters["validation"]) == 2
        assert not clusters["train"] & clusters["test"]
        assert not clusters["validation"] & (clusters["train"] | clusters["test"])
        assert not set(data.SECRET) & set(parts["test"].columns)
        assert len(parts["train"]) == 16
        votes = data.read_test_votes(arguments, seed)
        assert votes["pair_id"].tolist() == parts["test"]["pair_id"].tolist()
        assert votes[data.VOTES].sum(axis=1).tolist() == [5] * len(votes)
    tested = pd.concat([parts["test"] for parts in folds.values()])
    assert len(tested) == tested["pair_id"].nunique() == 36


def test_overlong_pairs_are_left_out_and_counted(recipe, backbone, tmp_path):
    pairs = [("t", "a" * 20, "bb", ["a1"], "a1"), ("t", "bb", "cc", ["a1"], "a1")]
    data = recipe.argument_pairs.read_argument_pairs(write_arguments(tmp_path / "data", pairs), "train")
    kept = recipe.pair_data.without_overlong(data, backbone, max_length=10)
    assert kept.pairs["pair_id"].tolist() == ["pair1"]
    assert set(kept.responses["completion"]) == {"bb", "cc"}
    assert kept.left_out == {"longer than 10 tokens": 1}


def test_orientation_by_hand(recipe):
    votes, targets = recipe.pair_data.VOTES, recipe.pair_data.TARGETS
    counts = np.array([[3, 2, 0], [1, 0, 4], [2, 1, 2.0]])
    shares = counts / 5
    pairs = pd.DataFrame({"first": list("ace"), "second": list("bdf")})
    pairs[votes], pairs[targets] = counts, shares
    turned = recipe.training.oriented(pairs)
    assert turned["chosen"].tolist() == ["a", "d", "e"]
    assert turned["rejected"].tolist() == ["b", "c", "f"]
    np.testing.assert_allclose(turned["chosen_vote_share"], [0.8, 0.8, 0.5])
    np.testing.assert_allclose(turned["tie_vote_share"], [0.4, 0.0, 0.2])
    assert turned["majority"].tolist() == [True, True, False]


def test_lower_layers_freeze(recipe):
    model = tiny_stock_model("bert", "classifier")
    recipe.training.freeze_lower_layers(model, 1)
    trains = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert not any(value for name, value in trains.items() if "embeddings" in name or "layer.0." in name)
    assert all(value for name, value in trains.items() if "layer.1." in name or "classifier" in name)
    with pytest.raises(ValueError, match="is 2 but the backbone has 2 layers"):
        recipe.training.freeze_lower_layers(model, 2)


def random_scores(recipe, seed=0, num_pairs=60):
    generator = np.random.default_rng(seed)
    first, second = (generator.dirichlet(np.ones(4), size=num_pairs) for _ in range(2))
    scores = recipe.links.distribution_scores(first, second, [-1.0, 0.0, 0.5, 1.0])
    return scores, generator.multinomial(5, [0.4, 0.25, 0.35], size=num_pairs).astype(float)


def test_tie_signal_by_double_loop(recipe):
    first, second = np.array([[0.2, 0.5, 0.3]]), np.array([[0.6, 0.3, 0.1]])
    scores = recipe.links.distribution_scores(first, second, [-1.0, 0.0, 1.0])
    alike = sum(first[0, k] * second[0, k] for k in range(3))
    wins = sum(first[0, i] * second[0, j] for i in range(3) for j in range(i))
    np.testing.assert_allclose(scores.tie_signal, [math.log(alike)], rtol=1e-10)
    np.testing.assert_allclose(scores.log_odds, [math.log(wins / (1 - wins - alike))], rtol=1e-10)
    np.testing.assert_allclose(scores.raw, [[wins, alike, 1 - wins - alike]], rtol=1e-10)
    np.testing.assert_allclose(scores.first - scores.second, [0.1 + 0.5], rtol=1e-10)


def test_tie_signal_link_is_the_likeliest(recipe):
    """Against a search without gradients over a likelihood written vote by vote."""
    scores, votes = random_scores(recipe)
    link = recipe.links.fit_tie_signal_link(scores, votes)

    def nats(values):
        total = 0.0
        for log_odds, signal, counts in zip(scores.log_odds, scores.tie_signal, votes, strict=True):
            half = values[0] * log_odds / 2
            powers = [math.exp(half), math.exp(values[1] + values[2] * signal), math.exp(-half)]
            total -= sum(count * math.log(power / sum(powers)) for count, power in zip(counts, powers, strict=True))
        return total / votes.sum()

    options = {"maxiter": 4000, "xatol": 1e-7, "fatol": 1e-13}
    best = minimize(nats, [1.0, 0.0, 0.0], method="Nelder-Mead", options=options)
    np.testing.assert_allclose(link, best.x, atol=1e-4)
    assert nats(link) <= best.fun + 1e-10


def test_tie_signal_link_without_signal_is_davidson(recipe):
    """Of votes in exactly the shares of a Davidson model, so that its numbers are the likeliest."""
    generator = np.random.default_rng(5)
    scores = recipe.links.scalar_scores(generator.normal(size=60), generator.normal(size=60), None)
    truth = recipe.links.TieSignalLink(1.7, math.log(0.8), 0.0)
    expected_votes = 1e3 * np.exp(truth.log_probs(scores))
    found = recipe.links.fit_tie_signal_link(scores, expected_votes)
    davidson = fit_davidson(scores.first, scores.second, expected_votes)
    np.testing.assert_allclose(found, truth, atol=1e-4)
    np.testing.assert_allclose([davidson.scale, math.log(davidson.tie_propensity)], truth[:2], atol=1e-4)
    np.testing.assert_allclose(
        np.exp(found.log_probs(scores)), davidson_probs(scores.first, scores.second, 1.7, 0.8), atol=1e-4
    )


def test_constant_ties(recipe):
    probs = recipe.links.constant_tie_probs(np.array([0.75]), 0.2)
    np.testing.assert_allclose(probs, [[0.6, 0.2, 0.2]])


def test_davidson_training_loss_by_loop(recipe):
    class Scores(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            return SimpleNamespace(logits=input_ids.float().sum(1, keepdim=True))

    model = recipe.scalar.DavidsonReward(Scores(), tie_share=0.2)
    ids = torch.tensor([[1], [0], [0], [2]])  # two chosen, two rejected
    share, tie = torch.tensor([0.8, 0.5]), torch.tensor([0.4, 0.2])
    output = model(ids, torch.ones_like(ids), share, tie)
    expected = 0.0
    for chosen, rejected, wins, ties in ((1, 0, 0.6, 0.4), (0, 2, 0.4, 0.2)):
        powers = [math.exp(chosen), 2 * 0.2 / 0.8 * math.exp((chosen + rejected) / 2), math.exp(rejected)]
        shares = [wins, ties, 1 - wins - ties]
        expected -= sum(part * math.log(power / sum(powers)) for part, power in zip(shares, powers, strict=True)) / 2
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)


def test_table_numbers_by_double_loop(recipe):
    generator = np.random.default_rng(3)
    names = [*recipe.table.REFERENCES.values(), "ours"]
    votes = generator.multinomial(5, [0.5, 0.2, 0.3], size=24).astype(float)
    votes[0] = [0, 5, 0]
    probs = {name: generator.dirichlet([4, 2, 3], size=24) for name in names}
    gold = generator.integers(-1, 2, size=24)
    pairs = pd.DataFrame({"cluster": [f"c{k % 3}" for k in range(24)], "gold": gold})
    pairs[recipe.pair_data.VOTES] = votes
    rows = recipe.table.table_rows(pairs, probs, {"ours": 1.25}, num_resamples=200).set_index("row")

    for name in names:
        nats, decisive, right, judged, num_votes, num_decisive = 0.0, 0.0, 0, 0, 0, 0
        for table, counts, winner in zip(probs[name], votes, gold, strict=True):
            for outcome in range(3):
                nats -= counts[outcome] * math.log(table[outcome])
                num_votes += counts[outcome]
                if outcome != 1:
                    decisive -= counts[outcome] * math.log(table[outcome] / (table[0] + table[2]))
                    num_decisive += counts[outcome]
            if winner:
                judged += 1
                right += (table[0] > table[2]) == (winner == 1)
        assert rows.loc[name, "three_way_nats"] == pytest.approx(nats / num_votes, rel=1e-10)
        assert rows.loc[name, "decisive_nats"] == pytest.approx(decisive / num_decisive, rel=1e-10)
        assert rows.loc[name, "gold_accuracy"] == pytest.approx(right / judged, rel=1e-10)

    reference = recipe.table.REFERENCES["shares"]
    difference = rows.loc["ours", "three_way_nats"] - rows.loc[reference, "three_way_nats"]
    assert rows.loc["ours", "nats_to_shares"] == pytest.approx(difference, rel=1e-10)
    assert rows.loc["ours", "nats_to_shares_low"] < difference < rows.loc["ours", "nats_to_shares_high"]
    assert np.isnan(rows.loc[reference, "nats_to_shares"])
    gain = rows.loc["ours", "gold_accuracy"] - rows.loc[reference, "gold_accuracy"]
    assert rows.loc["ours", "accuracy_to_shares"] == pytest.approx(gain, abs=1e-12)
    better = 0
    for cluster in range(3):
        mine, theirs = (
            sum(-(votes[k] * np.log(probs[name][k])).sum() for k in range(cluster, 24, 3))
            for name in ("ours", reference)
        )
        better += mine < theirs
    assert rows.loc["ours", "clusters_better_than_shares"] == better
    assert rows.loc["ours", "validation_nats"] == 1.25


def test_longer_wins_needs_no_training(recipe, arguments):
    recipe.pair_data.prepare(arguments, recipe.argument_pairs.read_argument_pairs)
    data = recipe.pair_data.read_fold(arguments, 0)
    saved = recipe.methods.train_length(arguments, 0, data)
    responses = recipe.pair_data.judged_responses(data["responses"], data["test"])
    expected = [math.log(1 + len(text)) for text in responses["completion"]]
    np.testing.assert_allclose(saved.test_rewards, expected)


@pytest.mark.slow
def test_whole_run(recipe, arguments):
    """Every method, every link; predictions alone make the table; what is done is not done again."""
    recipe.run_pairs.train_all(arguments, recipe.argument_pairs.read_argument_pairs)
    table = recipe.table.write_table(arguments)
    report = json.loads(Path(arguments.output_dir, "table.json").read_text())
    assert report["num_pairs"] == 36 and report["num_clusters"] == 6
    assert len(report["rows"]) == 17 and table.count("\n| ") == 2 * (17 + 1)  # five trained by three links, two others
    assert report["chosen"].startswith("dprm_")
    assert f"**{report['chosen'].replace('_', ' ')}**" in table
    for row in report["rows"]:
        assert 0.5 < row["three_way_nats"] < 3

    files = sorted(Path(arguments.output_dir, "predictions").rglob("*.npz"))
    assert len(files) == 3 * len(recipe.methods.METHODS)
    before = {file: file.stat().st_mtime_ns for file in files}
    files[0].unlink()
    recipe.run_pairs.train_all(arguments, recipe.argument_pairs.read_argument_pairs)
    assert [file for file in files if file.stat().st_mtime_ns != before[file]] == files[:1]
    assert recipe.table.write_table(arguments) == table
    arguments.learning_rate *= 2
    with pytest.raises(ValueError, match="holds a run with other learning_rate"):
        recipe.run_pairs.train_all(arguments, recipe.argument_pairs.read_argument_pairs)


@pytest.mark.slow
def test_whole_run_on_judgments(recipe, arguments, tmp_path):
    generator = np.random.default_rng(1)
    rows = [
        {
            "prompt": f"Question {prompt}? ",
            "completion_a": " ".join(generator.choice(WORDS, size=4)),
            "completion_b": " ".join(generator.choice(WORDS, size=6)),
            "preference": recipe.judgments.LEVELS[(prompt + place) % 5],
        }
        for prompt in range(12)
        for place in range(4)
    ]
    file = tmp_path / "judgments.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    arguments.dataset = str(file)
    recipe.run_pairs.train_all(arguments, recipe.judgments.read_judgments)
    assert "dprm win probability, tie signal" in recipe.table.write_table(arguments)
