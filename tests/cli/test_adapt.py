"""`trl-dprm adapt`: the folder that it writes scores as the map says, and says what the map is worth."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset, Value
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from tiny_models import tiny_stock_model
from tiny_runs import flags
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from trl_dprm import DPRMForSequenceClassification
from trl_dprm.cli import main
from trl_dprm.evaluation.recalibration import recalibrated
from trl_dprm.trainer.rows import prepare_row
from trl_dprm.trainer.tokenization import TokenizationRule

NAMES = ["bad", "fair", "good"]
SHIFT = np.array([-1.0, 0.0, 1.0])
RULE = {"add_special_tokens": True, "append_eos": True, "max_length": 64}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, tokenizer):
    """Folder of a tiny BERT whose head has biases, and whose probabilities differ between texts."""
    folder = tmp_path_factory.mktemp("encoder")
    model = DPRMForSequenceClassification.from_classifier(
        tiny_stock_model("bert", "classifier", num_labels=3), category_names=NAMES, category_rewards=[-1.0, 0.0, 1.0]
    )
    with torch.no_grad():
        model.classifier.weight.mul_(40)
    model.config.anchored, model.config.tokenization, model.config.prior_strength = True, RULE, 20.0
    model.config.bradley_terry_scale = 2.5
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def texts(num_texts, seed=0):
    letters = np.random.default_rng(seed).integers(97, 123, (num_texts, 6))
    return [bytes(word.astype(np.uint8)).decode() for word in letters]


def category_logits(folder, words):
    model = DPRMForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for word in words:
        ids = tokenizer(word + tokenizer.eos_token, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            rows.append(model(ids).category_logits[0].double().numpy())
    return np.array(rows)


def votes_file(path, folder, words, shift, votes=8, seed=1, **columns):
    draw = np.random.default_rng(seed)
    probs = softmax(category_logits(folder, words) + shift, axis=1)
    rows = [
        {"text": word, "target_counts": draw.multinomial(votes, p).tolist(), **columns}
        for word, p in zip(words, probs, strict=True)
    ]
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return str(path)


def adapt(model, votes, folder, **options):
    main(["adapt", *flags({"model": model, "dataset_name": votes, "output_dir": str(folder), **options})])
    return json.loads((Path(folder) / "adaptation.json").read_text())


@pytest.fixture(scope="module")
def shifted(encoder, tmp_path_factory):
    """Folder of the encoder adapted to 60 texts of a population that likes everything better, and the report."""
    place = tmp_path_factory.mktemp("shifted")
    votes = votes_file(place / "votes.jsonl", encoder, texts(60), SHIFT)
    return place / "adapted", adapt(encoder, votes, place / "adapted", map="bias"), votes


def test_the_shift_is_recovered_and_every_loader_gives_the_mapped_score(encoder, shifted):
    folder, report, _ = shifted
    assert report["kind"] == "bias"
    np.testing.assert_allclose(report["map"]["bias"], SHIFT, rtol=0, atol=0.1 * np.ptp(SHIFT))
    new = texts(5, seed=9)
    expected = category_logits(encoder, new) @ np.array(report["map"]["matrix"]).T + report["map"]["bias"]
    np.testing.assert_allclose(category_logits(folder, new), expected, rtol=0, atol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(new[0] + tokenizer.eos_token, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        reward = AutoModelForSequenceClassification.from_pretrained(folder)(ids).logits.item()
    assert reward == pytest.approx(softmax(expected[0]) @ [-1.0, 0.0, 1.0], abs=1e-5)


def test_the_report_says_that_it_pays_and_the_card_with_it(shifted):
    folder, report, _ = shifted
    assert report["change"]["high"] < 0 and report["verdict"].endswith("it pays.")
    card = (folder / "README.md").read_text()
    assert report["verdict"] in card and "480 new votes on 60 texts" in card
    assert "bad -" in card and "good +" in card
    assert "is the checkpoint's (2.5)" in card


def test_everything_but_the_head_and_the_prior_strength_stays(encoder, shifted):
    folder, report, _ = shifted
    before, after = (DPRMForSequenceClassification.from_pretrained(place).state_dict() for place in (encoder, folder))
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["classifier.bias"]
    configs = [json.loads((Path(place) / "config.json").read_text()) for place in (encoder, folder)]
    assert configs[0].pop("prior_strength") == 20.0
    assert configs[1].pop("prior_strength") == report["prior_strength"] > 1
    assert configs[0] == configs[1]


def test_posteriors_are_the_model_and_the_votes_and_training_takes_the_votes(shifted):
    folder, report, votes = shifted
    items = pd.read_parquet(folder / "item_posteriors.parquet")
    counts = np.array([json.loads(line)["target_counts"] for line in Path(votes).read_text().splitlines()])
    strength = report["prior_strength"]
    assert report["item_posteriors"] == {"prior_strength": strength, "source": "refitted"}
    prior = np.stack(items["prior_probs"])
    expected = (strength * prior + counts) / (strength + 8)
    np.testing.assert_allclose(np.stack(items["posterior_probs"]), expected, rtol=1e-9)
    np.testing.assert_allclose(items["posterior_strength"], strength + 8)
    np.testing.assert_array_equal(np.stack(items["target_counts"]), counts)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    row = Dataset.from_parquet(str(folder / "item_posteriors.parquet"))[1]
    prepared = prepare_row(row, 1, tokenizer, TokenizationRule(), NAMES)
    np.testing.assert_allclose(prepared["response_target_probs"][0], counts[1] / 8)
    assert prepared["response_target_weight"] == [8.0]


def test_targets_from_the_model_are_made_on_demand_at_the_weight_that_is_asked_for(shifted, tmp_path):
    """`trl-dprm prepare --prior_strength` on the file: the way that the documentation of the rows names."""
    options = {"item_id_column": "text", "rows": "counts", "prior_strength": 2.0, "output_dir": tmp_path / "rows"}
    named = ["--category_names", *NAMES, "--category_rewards", "-1", "0", "1"]
    main(["prepare", *flags({"annotations": shifted[0] / "item_posteriors.parquet", **options}), *named])
    items = pd.read_parquet(shifted[0] / "item_posteriors.parquet").set_index("text")
    made = pd.read_parquet(next((tmp_path / "rows").rglob("*.parquet"))).set_index("item_id").loc[items.index]
    prior, counts = (np.stack(items[name]) for name in ("prior_probs", "target_counts"))
    np.testing.assert_allclose(np.stack(made["target_probs"]), (2 * prior + counts) / 10, rtol=1e-6)
    np.testing.assert_allclose(made["vote_weight"], 10)


def test_ten_votes_of_the_same_population_change_next_to_nothing(encoder, tmp_path):
    votes = votes_file(tmp_path / "votes.jsonl", encoder, texts(10, seed=3), 0.0, votes=1)
    report = adapt(encoder, votes, tmp_path / "adapted")
    new = texts(20, seed=4)
    change = softmax(category_logits(tmp_path / "adapted", new), axis=1) - softmax(
        category_logits(encoder, new), axis=1
    )
    assert np.abs(change).mean() < 0.02
    assert not report["verdict"].endswith(": it pays.")
    assert report["kind"] == "identity"
    assert report["prior_strength"] == 20.0  # of the checkpoint: the probabilities are the old ones
    items = pd.read_parquet(tmp_path / "adapted" / "item_posteriors.parquet")
    np.testing.assert_allclose(items["posterior_strength"], 21.0)


def test_a_map_from_few_votes_leaves_no_prior_strength_but_counts_items_by_the_old_one(encoder, tmp_path, capsys):
    votes = votes_file(tmp_path / "votes.jsonl", encoder, texts(10, seed=3), SHIFT, votes=1)
    report = adapt(encoder, votes, tmp_path / "adapted", map="bias")
    assert report["prior_strength"] is None and 0 < report["no_change_prob"] < 0.5
    items = pd.read_parquet(tmp_path / "adapted" / "item_posteriors.parquet")
    np.testing.assert_allclose(items["posterior_strength"], 21.0)
    assert report["item_posteriors"] == {"prior_strength": 20.0, "source": "checkpoint"}
    card, printed = (tmp_path / "adapted" / "README.md").read_text(), capsys.readouterr().out
    assert "`prior_strength` is not set in this checkpoint" in card
    told = "the model as 20 votes, the old checkpoint's number, since the new votes determine none"
    assert told in card and told.replace("model as", "model counts as") in printed
    report = adapt(encoder, votes, tmp_path / "given", map="bias", prior_strength=5)
    assert report["item_posteriors"] == {"prior_strength": 5.0, "source": "given"}
    assert "5 votes, the number given by `--prior_strength`" in (tmp_path / "given" / "README.md").read_text()


def test_judgments_of_one_annotator_each_are_counted(encoder, tmp_path):
    rows = [{"text": word, "annotator_id": k % 3, "category": NAMES[k % 3]} for k, word in enumerate(texts(9))]
    rows.append({"text": texts(9)[0], "annotator_id": 7, "category": "good"})
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = adapt(encoder, str(tmp_path / "votes.jsonl"), tmp_path / "adapted", map="temperature")
    assert (report["num_items"], report["num_votes"], report["num_annotators"]) == (9, 10, 4)
    assert "10 new votes on 9 texts by 4 annotators" in (tmp_path / "adapted" / "README.md").read_text()
    rows = [row | {"annotator_id": 1} for row in rows[:9]]
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    adapt(encoder, str(tmp_path / "votes.jsonl"), tmp_path / "one", map="temperature")
    assert "9 new votes on 9 texts by 1 annotator. " in (tmp_path / "one" / "README.md").read_text()


def test_the_card_takes_over_the_old_one_s_numbers_and_no_figures(encoder, tmp_path):
    shutil.copytree(encoder, tmp_path / "old")
    figures = "**Calibration.** Predicted against\nvotes.\n\n![A](calibration.png)\n\n![B](calibration.votes.png)\n"
    told = f"# old\n\n## Training data\n\n1234 votes\n\n## Evaluation\n\n0.4901 nats\n\n{figures}\n## Limits\n\nmany\n"
    (tmp_path / "old" / "README.md").write_text(told)
    votes = votes_file(tmp_path / "votes.jsonl", encoder, texts(5), SHIFT)
    adapt(str(tmp_path / "old"), votes, tmp_path / "adapted", map="bias")
    card = (tmp_path / "adapted" / "README.md").read_text()
    assert "1234 votes" in card and "0.4901 nats" in card
    assert "![" not in card and "**Calibration.**" not in card


def test_plain_maximum_likelihood_is_the_temperature_of_scipy_and_of_evaluate(encoder, tmp_path):
    """From 1 to 12 votes of a text, and a model that is worth 20: none is discounted."""
    votes = ""
    for number, seed in ((1, 11), (12, 12)):
        votes = votes_file(tmp_path / "votes.jsonl", encoder, texts(30, seed=seed), 0.0, votes=number, seed=seed)
    report = adapt(encoder, votes, tmp_path / "adapted", map="temperature", prior_weight=0)
    rows = [json.loads(line) for line in Path(votes).read_text().splitlines()]
    logits = category_logits(encoder, [row["text"] for row in rows])
    counts = np.array([row["target_counts"] for row in rows])
    best = minimize_scalar(
        lambda log_t: -(counts * log_softmax(logits / np.exp(log_t), axis=1)).sum(), options={"xtol": 1e-9}
    )
    assert 1 / report["map"]["matrix"][0][0] == pytest.approx(np.exp(best.x), abs=1e-5)
    _, _, of_evaluate = recalibrated(*[softmax(logits, axis=1)] * 2, counts)
    assert 1 / report["map"]["matrix"][0][0] == pytest.approx(of_evaluate, abs=1e-5)


def test_where_the_choice_gains_nothing_the_model_stays_and_the_output_says_so(encoder, tmp_path, capsys):
    seed = 9
    votes = votes_file(tmp_path / "votes.jsonl", encoder, texts(32, seed=seed), 0.0, votes=1, seed=seed)
    report = adapt(encoder, votes, tmp_path / "adapted", num_folds=3)
    assert report["dropped_kind"] == min(report["nats_by_kind"], key=report["nats_by_kind"].get) != "identity"
    assert report["kind"] == "identity" and report["change"]["difference"] >= 0
    printed = capsys.readouterr().out
    assert report["verdict"] in printed and "the model is left as it was" in printed
    assert "The weights are the checkpoint's" in (tmp_path / "adapted" / "README.md").read_text()
    assert f"Model, unchanged: {tmp_path / 'adapted'}" in printed and "nats per vote, held out" not in printed
    before, after = (
        DPRMForSequenceClassification.from_pretrained(place).state_dict() for place in (encoder, tmp_path / "adapted")
    )
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_recalibration_is_one_factor(encoder, tmp_path):
    overconfident = tmp_path / "overconfident"
    shutil.copytree(encoder, overconfident)
    model = DPRMForSequenceClassification.from_pretrained(encoder)
    with torch.no_grad():
        model.classifier.weight.mul_(2)
        model.classifier.bias.mul_(2)
    model.save_pretrained(overconfident)
    votes = votes_file(tmp_path / "votes.jsonl", encoder, texts(150, seed=5), 0.0, votes=20)
    report = adapt(str(overconfident), votes, tmp_path / "adapted", map="temperature", prior_weight=0)
    assert report["map"]["matrix"][0][0] == pytest.approx(0.5, abs=0.05)
    assert report["map"]["bias"] == [0, 0, 0]
    new = texts(5, seed=6)
    after = softmax(category_logits(tmp_path / "adapted", new), axis=1)
    np.testing.assert_allclose(after, softmax(category_logits(encoder, new), axis=1), rtol=0, atol=0.05)


@pytest.fixture(scope="module")
def grouped(encoder, tmp_path_factory):
    """Two groups that voted on the same texts, one against the model's taste, the other with it."""
    place = tmp_path_factory.mktemp("grouped")
    votes = votes_file(place / "votes.jsonl", encoder, texts(60), SHIFT, group="glad")
    votes_file(place / "votes.jsonl", encoder, texts(60), -SHIFT, seed=2, group="grim")
    words = texts(7, seed=8)
    (place / "new.jsonl").write_text("".join(json.dumps({"text": word}) + "\n" for word in words))
    options = {"group_column": "group", "population_shares": "grim=0.75,glad=0.25", "apply_to": place / "new.jsonl"}
    return place / "adapted", adapt(encoder, votes, place / "adapted", **options), words


def test_groups_are_predicted_and_another_population_mixed(encoder, grouped):
    folder, report, words = grouped
    predictions = pd.read_parquet(folder / "group_predictions.parquet")
    assert list(predictions["text"]) == words
    glad, grim = (softmax(category_logits(encoder, words) + shift, axis=1) for shift in (SHIFT, -SHIFT))
    mixed = np.stack(predictions["post_stratified_probs"])
    np.testing.assert_allclose(mixed, 0.25 * glad + 0.75 * grim, rtol=0, atol=0.08)
    np.testing.assert_allclose(predictions["post_stratified_reward"], mixed @ [-1, 0, 1], rtol=1e-9)
    assert set(predictions["worst_group"]) == {"grim"}
    by_group = np.array([[list(probs) for probs in row] for row in predictions["group_probs"]])
    np.testing.assert_allclose(predictions["worst_group_reward"], by_group[:, 1] @ [-1, 0, 1], rtol=1e-9)
    card = (folder / "README.md").read_text()
    for name, group in report["groups"].items():
        assert (group["num_votes"], group["num_items"]) == (480, 60)
        assert group["nats_own"] < group["nats_shared"] and group["nats_own"] < group["nats_before"]
        assert group["own_change"]["high"] < 0 and group["change"]["high"] < 0
        assert group["kind"] == report["group_kind"] and group["verdict"].endswith("it pays.")
        assert f"- {name}: {group['verdict']}" in card
    assert report["group_kind"] == min(report["group_nats_by_kind"], key=report["group_nats_by_kind"].get)
    assert set(report["nats_by_kind"]) == {"identity", "temperature", "bias", "matrix"}
    assert report["kind"] == min(report["nats_by_kind"], key=report["nats_by_kind"].get)
    assert "The kind of map was chosen by cross-validation" in (folder / "README.md").read_text()
    assert "### Groups" in (folder / "README.md").read_text()
    assert report["warning"] is None and report["alike_note"] is None
    assert report["population"] == {
        "shares": {"glad": 0.25, "grim": 0.75},
        "num_texts": 7,
        "reward": pytest.approx(predictions["post_stratified_reward"].mean(), rel=1e-9),
        "saved_reward": pytest.approx((softmax(category_logits(folder, words), 1) @ [-1, 0, 1]).mean(), abs=1e-5),
        "old_reward": pytest.approx((softmax(category_logits(encoder, words), 1) @ [-1, 0, 1]).mean(), abs=1e-5),
    }
    assert "over 7 texts:" in card and "in the population (glad 0.25, grim 0.75)" in card


def test_the_harm_that_the_saved_checkpoint_does_to_a_group_is_told(encoder, tmp_path, capsys):
    """Seven votes of one group to one of the other: the map of all goes with the larger. Fresh votes show the same."""
    votes_file(tmp_path / "votes.jsonl", encoder, texts(80), SHIFT, votes=7, group="many")
    votes = votes_file(tmp_path / "votes.jsonl", encoder, texts(80), -SHIFT, votes=1, seed=2, group="few")
    report = adapt(encoder, votes, tmp_path / "adapted", group_column="group", map="bias", prior_weight=1)
    printed, card = capsys.readouterr().out, (tmp_path / "adapted" / "README.md").read_text()
    few, many = report["groups"]["few"], report["groups"]["many"]
    assert few["shared_change"]["low"] > 0 > many["shared_change"]["high"] and few["change"]["high"] < 0
    assert "few (+" in report["warning"] and "many (" not in report["warning"]
    assert report["warning"] in printed and report["warning"] in card
    old, saved = (
        log_softmax(category_logits(place, texts(50, seed=3)), axis=1) for place in (encoder, tmp_path / "adapted")
    )
    for group, shift in ((few, -SHIFT), (many, SHIFT)):
        change = (softmax(old + shift, axis=1) * (old - saved)).sum(1).mean()
        assert group["shared_change"]["low"] < change < group["shared_change"]["high"]
        row = f"{group['shared_change']['difference']:+.4f} (95 % interval"
        assert row in printed and row in card


def test_shares_that_cannot_matter_name_no_worst_group_and_say_so(encoder, tmp_path, capsys):
    for seed, group in ((1, "a"), (2, "b")):
        votes = votes_file(tmp_path / "votes.jsonl", encoder, texts(20), SHIFT, seed=seed, votes=4, group=group)
    options = {
        "group_column": "group",
        "population_shares": "a=0.9,b=0.1",
        "map": "temperature",
        "prior_weight": "inf",
    }
    report = adapt(encoder, votes, tmp_path / "adapted", **options)
    predictions = pd.read_parquet(tmp_path / "adapted" / "group_predictions.parquet")
    assert predictions["worst_group"].isna().all() and (predictions["worst_group_reward"].abs() <= 1).all()
    assert Dataset.from_parquet(str(tmp_path / "adapted" / "group_predictions.parquet")).features[
        "worst_group"
    ] == Value("string")
    assert report["population"]["reward"] == pytest.approx(report["population"]["saved_reward"], rel=1e-9)
    printed, card = capsys.readouterr().out, (tmp_path / "adapted" / "README.md").read_text()
    for told in (report["alike_note"], "in the population (a 0.9, b 0.1)"):
        assert told in printed and told in card
    assert "shares of the groups in a population change nothing" in report["alike_note"]


def test_texts_that_are_too_long_are_left_out_on_demand_and_counted(encoder, tmp_path, capsys):
    """As if they had not been there; the two rows of the long one are one text."""
    long, words = "z" * 100, texts(12)
    clean = votes_file(tmp_path / "clean.jsonl", encoder, words, SHIFT, group="a")
    rows = Path(clean).read_text().splitlines()
    rows[3:3] = [json.dumps({"text": long, "target_counts": [0, 9, 0], "group": "a"})] * 2
    (tmp_path / "votes.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "new.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("x", long, "y")))
    options = {"map": "bias", "group_column": "group", "apply_to": tmp_path / "new.jsonl"}
    expected = adapt(encoder, clean, tmp_path / "clean", **options, overlong="skip")
    capsys.readouterr()
    found = adapt(encoder, str(tmp_path / "votes.jsonl"), tmp_path / "adapted", **options, overlong="skip")
    assert (expected.pop("num_left_out"), found.pop("num_left_out")) == (0, 1)
    assert found == expected
    printed = capsys.readouterr().out
    assert "(`--overlong skip`): 1 of 13 texts with votes" in printed
    assert f"(`--overlong skip`): 1 of 3 texts of `{tmp_path / 'new.jsonl'}`" in printed
    assert (
        "1 more text with votes was longer than the model's limit and left out"
        in (tmp_path / "adapted" / "README.md").read_text()
    )
    assert list(pd.read_parquet(tmp_path / "adapted" / "item_posteriors.parquet")["text"]) == words
    assert list(pd.read_parquet(tmp_path / "adapted" / "group_predictions.parquet")["text"]) == ["x", "y"]
    in_full = adapt(encoder, str(tmp_path / "votes.jsonl"), tmp_path / "full", **options, overlong="score")
    assert (in_full["num_items"], in_full["num_left_out"]) == (13, 0)


def test_a_head_without_biases_takes_no_bias_and_auto_does_without(trained, judged, tmp_path, failure, capsys):
    argv = ["adapt", "--model", trained, "--dataset_name", judged, "--split", "test"]
    code, error = failure([*argv, "--output_dir", str(tmp_path / "a"), "--map", "bias"])
    assert code == 1 and "has a head without biases (`score`)" in error and "--map temperature" in error
    assert not list(tmp_path.iterdir())
    main([*argv, "--output_dir", str(tmp_path / "a")])
    report = json.loads((tmp_path / "a" / "adaptation.json").read_text())
    assert set(report["nats_by_kind"]) == {"identity", "temperature", "matrix"}
    printed = capsys.readouterr().out
    assert "27 votes on 9 texts" in printed and report["verdict"] in printed


def test_the_help_says_how_to_recalibrate(capsys):
    with pytest.raises(SystemExit):
        main(["adapt", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "recalibrate it (`--map temperature` on validation votes)" in printed


class TestFaults:
    @pytest.fixture
    def votes(self, tmp_path):
        (tmp_path / "votes.jsonl").write_text('{"text": "yes", "target_counts": [1, 0, 2]}\n' * 2)
        return str(tmp_path / "votes.jsonl")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({}, "1 of 1 texts have votes, and cross-validation over texts needs 3"),
            (
                {"map": "bias", "group_column": "text"},
                "1 of 1 texts have votes, and cross-validation over texts needs 3",
            ),
            ({"dataset_name": "votes.jsonl"}, "`votes.jsonl` is read as a path"),
            ({"group_column": "team"}, "has no column `team` for the groups; it has ['target_counts', 'text']"),
            ({"map": "matrix", "prior_strength": 0.0}, "prior_strength is 0.0"),
            ({"population_shares": "a=1"}, "say by `group_column` which column names them"),
            ({"apply_to": "x.jsonl"}, "`apply_to` is for predictions of groups"),
            ({"prior_weight": "much"}, "`prior_weight` is 'much': give `auto`, or a number of at least 0"),
            ({"prior_weight": -1, "map": "bias"}, "prior_weight is -1.0; give 'auto'"),
        ],
    )
    def test_wrong_options_are_one_message_and_leave_nothing(
        self, changes, message, encoder, votes, tmp_path, failure
    ):
        options = {"model": encoder, "dataset_name": votes, "output_dir": tmp_path / "out", **changes}
        code, error = failure(["adapt", *flags(options)])
        assert code == 1 and message in error
        assert [file.name for file in tmp_path.iterdir()] == ["votes.jsonl"]

    def test_a_group_without_votes_is_refused(self, encoder, tmp_path, failure):
        rows = [{"text": word, "target_counts": [1, 0, 1], "group": "a"} for word in texts(3)]
        rows.append({"text": "none", "target_counts": [0, 0, 0], "group": "b"})
        (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        options = {"dataset_name": tmp_path / "votes.jsonl", "output_dir": tmp_path / "out", "group_column": "group"}
        code, error = failure(["adapt", *flags({"model": encoder, "map": "bias", **options})])
        assert code == 1 and "The group 'b' has rows but no votes" in error

    @pytest.mark.parametrize("shares", ["a=0.5,b=0.4", "a=1.5,b=-0.5"])
    def test_shares_that_are_none_are_refused_before_anything_is_scored(self, shares, encoder, tmp_path, failure):
        rows = [{"text": word, "target_counts": [1, 0, 1], "group": "a" if word > "m" else "b"} for word in "azby"]
        (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        options = {"dataset_name": tmp_path / "votes.jsonl", "output_dir": tmp_path / "out", "group_column": "group"}
        code, error = failure(["adapt", *flags({"model": encoder, "population_shares": shares, **options})])
        assert code == 1 and "are not shares: they sum to" in error

    @pytest.mark.parametrize("counts", [[-1, 2, 0], [float("nan"), 1, 0]])
    def test_a_negative_vote_is_refused_though_another_row_outweighs_it(self, counts, encoder, tmp_path, failure):
        rows = [{"text": "yes", "target_counts": [3, 0, 0]}, {"text": "yes", "target_counts": counts}]
        (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        options = {"model": encoder, "dataset_name": tmp_path / "votes.jsonl", "output_dir": tmp_path / "out"}
        code, error = failure(["adapt", *flags(options)])
        assert code == 1 and "Row 1, column `target_counts`" in error

    def test_an_empty_file_is_refused(self, encoder, tmp_path, failure):
        (tmp_path / "votes.jsonl").touch()
        options = {"model": encoder, "dataset_name": tmp_path / "votes.jsonl", "output_dir": tmp_path / "out"}
        code, error = failure(["adapt", *flags(options)])
        assert code == 1 and "is empty: there are no rows to read" in error

    def test_a_text_that_is_too_long_is_refused_with_the_options_that_help(self, encoder, tmp_path, failure):
        rows = [{"text": word, "target_counts": [1, 0, 1]} for word in ["a", "a", "z" * 100, "b", "c"]]
        (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        argv = flags({"model": encoder, "dataset_name": tmp_path / "votes.jsonl", "output_dir": tmp_path / "out"})
        code, error = failure(["adapt", *argv, "--map", "bias"])
        assert code == 1 and "votes.jsonl`, counted from 0: Row 1 has " in error
        assert " tokens, more than the limit of 64 (1 of 4 responses are too long)" in error
        for option in ("max_length", "overlong"):
            assert f"`{option}`" in error
        main(["adapt", *argv, "--map", "bias", "--max_length", "120"])
        (tmp_path / "votes.jsonl").write_text(json.dumps(rows[2]) + "\n")
        argv = flags({"model": encoder, "dataset_name": tmp_path / "votes.jsonl", "output_dir": tmp_path / "none"})
        code, error = failure(["adapt", *argv, "--map", "bias", "--overlong", "skip"])
        assert (
            code == 1
            and "is within the model's limit (1 too long): give `--overlong score`, or a larger `--max_length`"
            in error
        )

    def test_an_existing_folder_is_refused(self, encoder, votes, tmp_path, failure):
        code, error = failure(["adapt", "--model", encoder, "--dataset_name", votes, "--output_dir", str(tmp_path)])
        assert code == 1 and "is not empty, and nothing is overwritten" in error

    def test_an_unanchored_model_is_refused(self, trained_on_pairs, votes, tmp_path, failure):
        argv = ["adapt", "--model", trained_on_pairs, "--dataset_name", votes, "--output_dir", str(tmp_path / "out")]
        code, error = failure(argv)
        assert code == 1 and "it is not anchored" in error

    def test_another_kind_of_model_is_refused(self, backbone, votes, tmp_path, failure):
        argv = ["adapt", "--model", backbone, "--dataset_name", votes, "--output_dir", str(tmp_path / "out")]
        code, error = failure(argv)
        assert code == 1 and "not a distributional preference reward model" in error
