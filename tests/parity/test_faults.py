"""What is broken on purpose shows in the table; what cannot run says why."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from trl import GRPOTrainer, RLOOTrainer

from trl_dprm.models import modeling_dprm
from trl_dprm.parity import BOUND, ParityPath, measure_parity
from trl_dprm.parity.forward_paths import direct_forward
from trl_dprm.parity.measure import DIRECT, REMOTE_CODE
from trl_dprm.parity.report import Outcome
from trl_dprm.parity.scores import CannotRun, PathScores
from trl_dprm.rewards import RewardModelFunction
from trl_dprm.serving.scorer import Scorer


def only_result(folder, *paths, **options):
    (result,) = measure_parity(folder, paths=paths, **options).results
    return result


def reading_padding(arguments):
    """A model that takes padding for text; causal ones are wrong only where it comes first."""
    return arguments | {"attention_mask": torch.ones_like(arguments["attention_mask"])}


class TestBroken:
    def test_padding_on_the_left(self, small, monkeypatch, named):
        monkeypatch.setattr(modeling_dprm, "_right_padded", reading_padding)
        report = measure_parity(small, paths=named("padding", "batched"))
        assert report.faults == ["left padding"]
        assert report.as_table().count("BEYOND 1e-05") == 1

    def test_rewards_in_bfloat16(self, small, monkeypatch, named):
        logits = RewardModelFunction.logits
        monkeypatch.setattr(RewardModelFunction, "logits", lambda *given: logits(*given).bfloat16().float())
        report = measure_parity(small, paths=named("dprm_reward_function", "ExpectedRewardPPOTrainer`", "by path"))
        assert report.faults == [
            "`GRPOTrainer` by `dprm_reward_function`",
            "`RLOOTrainer` by `dprm_reward_function`",
            "`ExpectedRewardPPOTrainer`",
        ]

    def test_what_trl_calculates(self, small, monkeypatch, named):
        for trainer in (GRPOTrainer, RLOOTrainer):
            calculate = trainer._calculate_rewards
            monkeypatch.setattr(trainer, "_calculate_rewards", lambda *given, of=calculate: 1.001 * of(*given))
        report = measure_parity(small, paths=named("Trainer"))
        assert report.faults == [
            "`GRPOTrainer` by path",
            "`GRPOTrainer` by instance",
            "`GRPOTrainer` by `dprm_reward_function`",
            "`RLOOTrainer` by path",
            "`RLOOTrainer` by instance",
            "`RLOOTrainer` by `dprm_reward_function`",
            "`ExpectedRewardPPOTrainer`",
        ]

    def test_a_lost_beginning_of_sequence(self, small, monkeypatch, named):
        item_ids = Scorer.item_ids
        monkeypatch.setattr(Scorer, "item_ids", lambda *given: [ids[1:] for ids in item_ids(*given)])
        report = measure_parity(small, paths=named("serve"))
        (result,) = report.results
        assert (result.outcome, result.num_other_ids) == (Outcome.WITHIN, 18), "equal scores for equal ids"
        assert result.first_difference.training == [1, 68, 69, 2]  # <s> a b </s>
        assert result.first_difference.path == [68, 69, 2]
        (warning,) = report.warnings
        assert warning.startswith(
            "`trl-dprm serve`: other token ids than in training for 18 of 18 texts, which changes"
        )
        assert warning.endswith("at place 0 training has 1 ('<s>'), the path 68 ('a').")

    def test_weights_of_the_export(self, small, monkeypatch, named):
        from trl_dprm.hub import export

        def export_another(checkpoint, output, **options):
            folder = export.export_classifier(checkpoint, output, **options)
            tensors = load_file(folder / "model.safetensors")
            tensors["score.weight"] *= 1.001
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

        monkeypatch.setattr("trl_dprm.parity.loading_paths.export_classifier", export_another)
        assert measure_parity(small, paths=named("stock export")).faults == [
            "stock export",
            "stock export in a pipeline",
        ]

    def test_ids_that_depend_on_the_batch(self, small, monkeypatch, named):
        item_ids = Scorer.item_ids

        def of_batches_too(scorer, rows):
            return [ids + [5] * (len(rows) > 1) for ids in item_ids(scorer, rows)]

        monkeypatch.setattr(Scorer, "item_ids", of_batches_too)
        result = only_result(small, *named("serve"))
        assert result.outcome is Outcome.FAILED
        assert "other token ids in a batch than for the same texts one by one" in result.note


@pytest.mark.parametrize("trainer", [GRPOTrainer, RLOOTrainer])
def test_trl_gets_a_path_and_an_instance(trainer, small, monkeypatch, named):
    given, init = [], trainer.__init__
    monkeypatch.setattr(
        trainer,
        "__init__",
        lambda self, *a, **options: given.append(options["reward_funcs"]) or init(self, *a, **options),
    )
    by_path, by_instance = measure_parity(
        small, paths=named(f"`{trainer.__name__}` by path", f"`{trainer.__name__}` by instance")
    ).results
    assert isinstance(given[0], str) and isinstance(given[1], PreTrainedModel)
    assert (by_path.outcome, by_instance.outcome) == (Outcome.WITHIN, Outcome.WITHIN)


class TestTheBound:
    @pytest.mark.parametrize(("error", "outcome"), [(0.9, Outcome.WITHIN), (1.1, Outcome.BEYOND)])
    def test_is_a_share_of_the_range_of_rewards(self, error, outcome, small):
        def slightly_off(subject):
            rewards = direct_forward(subject).rewards
            rewards[3] += error * BOUND * 3.0  # rewards of categories from -2 to 1
            return PathScores(rewards)

        result = only_result(small, ParityPath("off", slightly_off))
        assert result.outcome is outcome
        assert result.max_error == pytest.approx(error * BOUND, rel=1e-3)
        assert result.mean_error == pytest.approx(error * BOUND / 18, rel=1e-3)

    def test_reduced_precision_has_none_but_an_error_and_a_rank_correlation(self, small):
        def reversed_order(subject):
            return PathScores(-direct_forward(subject).rewards)

        result = only_result(small, ParityPath("reversed", reversed_order, Outcome.REDUCED))
        assert (result.outcome, result.is_fault) == (Outcome.REDUCED, False)
        assert result.rank_correlation == pytest.approx(-1)
        assert result.max_error > 0.1


class TestFailures:
    @pytest.mark.parametrize(
        ("rewards", "message"),
        [
            (lambda rewards: np.where(np.arange(len(rewards)) == 2, np.nan, rewards), "there are 18 texts, but these"),
            (lambda rewards: rewards[1:], "there are 18 texts, but these rewards"),
        ],
    )
    def test_rewards_that_are_none(self, rewards, message, small):
        path = ParityPath("broken", lambda subject: PathScores(rewards(direct_forward(subject).rewards)))
        result = only_result(small, path)
        assert (result.outcome, result.max_error) == (Outcome.FAILED, None)
        assert message in result.note

    def test_one_path_does_not_hide_the_others(self, small):
        def fails(subject):
            raise KeyError("score")

        def there_is_none(subject):
            raise CannotRun("no such device")

        paths = [ParityPath("fails", fails), ParityPath("absent", there_is_none), DIRECT]
        report = measure_parity(small, paths=paths)
        assert [result.outcome for result in report.results] == ["failed", "not run", "reference"]
        assert report.faults == ["fails"]
        assert "FAILED: KeyError: 'score'" in report.as_table()
        assert "not run: no such device" in report.as_table()
        with pytest.raises(KeyError, match="score"):
            measure_parity(small, paths=paths, raise_failures=True)


class TestRemoteCodeIsNotTrustedByDefault:
    @pytest.fixture
    def own_copy(self, small, tmp_path):
        return Path(shutil.copytree(small, tmp_path / "copy"))

    def run_nothing(self, monkeypatch):
        def refuse(*command, **options):
            raise AssertionError("the code must not run")

        monkeypatch.setattr("trl_dprm.parity.loading_paths.subprocess.run", refuse)

    def test_changed_code(self, own_copy, monkeypatch):
        self.run_nothing(monkeypatch)
        with (own_copy / "distributions.py").open("a") as file:
            file.write("\n# a comment")
        result = only_result(str(own_copy), REMOTE_CODE, raise_failures=True)
        assert result.outcome is Outcome.NOT_RUN
        assert "is not this version's; `trust_remote_code` runs it" in result.note

    def test_code_from_elsewhere(self, own_copy, monkeypatch):
        self.run_nothing(monkeypatch)
        content = json.loads((own_copy / "config.json").read_text())
        content["auto_map"]["AutoModelForSequenceClassification"] = "someone/else--modeling_dprm.DPRM"
        (own_copy / "config.json").write_text(json.dumps(content))
        assert only_result(str(own_copy), REMOTE_CODE, raise_failures=True).outcome is Outcome.NOT_RUN

    def test_our_own_code_runs(self, small, monkeypatch):
        self.run_nothing(monkeypatch)
        with pytest.raises(AssertionError, match="must not run"):
            measure_parity(small, paths=[REMOTE_CODE], raise_failures=True)


def test_bitsandbytes_is_optional(small, monkeypatch, named):
    monkeypatch.setattr("trl_dprm.parity.precision_paths.find_spec", lambda name: None)
    result = only_result(small, *named("4-bit"))
    assert result.outcome is Outcome.NOT_RUN
    assert "pip install 'trl-dprm[quantization]'" in result.note


def test_nothing_of_the_user_is_changed(small, monkeypatch, named):
    """Neither the checkpoint, nor what libraries say and show afterwards."""
    import logging
    import warnings

    from datasets.utils import are_progress_bars_disabled

    def state():
        files = {file.name: file.read_bytes() for file in Path(small).iterdir()}
        return files, logging.root.manager.disable, list(warnings.filters), are_progress_bars_disabled()

    before = state()
    measure_parity(small, paths=named("reloaded", "stock export", "by instance"))
    assert state() == before
