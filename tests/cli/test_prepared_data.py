"""From an annotation table to scores: every subcommand on what the one before it wrote."""

import csv
import json

import pytest
from tiny_runs import RUN, flags, judged_rows

from trl_dprm import DPRMConfig
from trl_dprm.cli import main

CATEGORIES = ["bad", "fair", "good"]
REWARDS = [-1.0, 0.0, 2.0]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Folder that `trl-dprm prepare` wrote from three judgments of each of 40 items."""
    folder = tmp_path_factory.mktemp("prepared")
    with (folder / "judgments.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["item_id", "annotator_id", "category", "prompt", "completion"])
        for item, row in enumerate(judged_rows(40, seed=3)):
            for annotator in range(3):
                category = CATEGORIES[(item * annotator + len(row["completion"])) % 3]
                table.writerow([item, annotator, category, row["prompt"], row["completion"]])
    options = {"annotations": folder / "judgments.csv", "output_dir": folder / "data", "split_by": "item_id"}
    main(["prepare", *flags({**options, "category_names": CATEGORIES, "category_rewards": REWARDS})])
    return str(folder / "data")


def run_options(backbone, prepared, output_dir):
    options = {"model_name_or_path": backbone, "dataset_name": prepared, "output_dir": str(output_dir)}
    return {**options, "dataset_test_split": "validation", **RUN}


def test_prepare_train_evaluate_score(prepared, backbone, tmp_path, capsys):
    model = tmp_path / "model"
    main(["train", *flags(run_options(backbone, prepared, model))])
    config = DPRMConfig.from_pretrained(model)
    assert (config.category_names, config.category_rewards) == (CATEGORIES, REWARDS)
    assert "| annotators | 3 |" in (model / "README.md").read_text()
    printed = capsys.readouterr().out
    if config.prior_strength is None:
        assert "No prior strength was fitted." in printed
    else:
        assert "As a prior the model is worth" in printed

    read = ["--model", str(model), "--dataset_name", prepared, "--split", "test"]
    main(["evaluate", *read, "--output", str(tmp_path / "metrics.json"), "--bf16", "False"])
    assert json.loads((tmp_path / "metrics.json").read_text())["eval_wasserstein_distance"] >= 0
    main(["score", *read, "--output", str(tmp_path / "scored.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    assert rows
    for row in rows:
        assert sum(row["category_probs"]) == pytest.approx(1, abs=1e-5)
        expected = sum(p * r for p, r in zip(row["category_probs"], REWARDS, strict=True))
        assert row["reward"] == pytest.approx(expected, abs=1e-5)


def test_options_decide_over_the_categories_of_the_data(prepared, backbone, tmp_path):
    options = run_options(backbone, prepared, tmp_path) | {"category_rewards": [0.0, 1.0, 5.0], "max_steps": 1}
    main(["train", *flags(options)])
    config = DPRMConfig.from_pretrained(tmp_path)
    assert (config.category_names, config.category_rewards) == (CATEGORIES, [0.0, 1.0, 5.0])


def test_an_option_replaces_only_itself(prepared, backbone, tmp_path):
    main(["train", *flags(run_options(backbone, prepared, tmp_path) | {"ground_cost": "ranks", "max_steps": 1})])
    config = DPRMConfig.from_pretrained(tmp_path)
    assert (config.category_names, config.category_rewards) == (CATEGORIES, REWARDS)
    assert config.ground_cost == "ranks"


def test_data_of_other_categories_than_the_models_are_refused(prepared, trained, tmp_path, failure):
    code, error = failure(["train", *flags(run_options(trained, prepared, tmp_path))])
    assert code == 1
    assert "was prepared for PreferenceCategories(names=('bad', 'fair', 'good')" in error


def test_a_fitted_prior_strength_travels_with_the_model(backbone, judged, tmp_path, monkeypatch, capsys):
    """The number itself is tested with the trainer: here, that the command asks for it before it saves."""

    def fit(self, eval_dataset=None):
        self._dprm_config.prior_strength = 7.5
        return 7.5

    monkeypatch.setattr("trl_dprm.trainer.DPRMTrainer.fit_prior_strength", fit)
    options = {"model_name_or_path": backbone, "dataset_name": judged, "output_dir": str(tmp_path), **RUN}
    main(["train", *flags({**options, "max_steps": 1})])
    assert DPRMConfig.from_pretrained(tmp_path).prior_strength == 7.5
    assert "worth 7.5 annotators" in capsys.readouterr().out
