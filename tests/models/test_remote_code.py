"""A checkpoint carries its code: it loads where the package is not installed, by consent only."""

import dataclasses
import inspect
import json
import os
import shutil
import subprocess
import sys
import textwrap
from importlib import import_module

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from trl_dprm import DPRMForSequenceClassification, DPRMTrainingArguments, ExpectedRewardPPOConfig
from trl_dprm.cli import COMMANDS
from trl_dprm.hub import export_classifier, merge_adapter
from trl_dprm.parity import measure_parity

SCRIPT = """
    import json, sys
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    sys.modules["trl_dprm"] = None  # where the package is installed, hide it
    try:
        import trl_dprm
        raise SystemExit("the package must not be importable here")
    except ModuleNotFoundError:
        pass

    folders, rows = json.loads(sys.argv[1]), torch.tensor(json.loads(sys.argv[2]))

    def score(model):
        with torch.no_grad():
            output = model(rows, attention_mask=(rows != 0).long())
        return [output.logits.tolist(), output.category_logits.tolist()]

    def visit(folder, again):
        try:
            AutoModelForSequenceClassification.from_pretrained(folder)
            refusal = None
        except ValueError as error:
            refusal = str(error)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
        loaded = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, trust_remote_code=True)
        loaded.save_pretrained(again)
        headless = AutoModel.from_pretrained(folder, trust_remote_code=True)
        reloaded = AutoModelForSequenceClassification.from_pretrained(again, trust_remote_code=True)
        return {
            "refusal": refusal,
            "config": [type(config).__name__, config.num_labels, config.category_rewards],
            "class": [type(loaded).__name__, type(loaded).__module__.split(".")[0]],
            "scores": [score(model) for model in (loaded, headless, reloaded)],
        }

    options = {"subfolder": "inner", "trust_remote_code": True}
    inner = score(AutoModelForSequenceClassification.from_pretrained(sys.argv[3], **options))
    print("FOUND" + json.dumps([[visit(*pair) for pair in folders], inner]))
"""


def run_elsewhere(tmp_path, *arguments):
    """Run the script in another folder, with the same libraries and without this package."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "HF_MODULES_CACHE": str(tmp_path / "hf" / "modules")}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "script.py").write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, "script.py", *arguments],
        cwd=tmp_path / "elsewhere",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("FOUND")[1])


def test_without_the_package(tiny_dprm, batch, tmp_path):
    """One process for a decoder, an encoder with a pooler and one with a larger head: it takes seconds to start."""
    models = [tiny_dprm(backbone, category_rewards=[-1.0, 0.25, 2.0]) for backbone in ("llama", "bert", "modernbert")]
    folders = [(tmp_path / f"saved-{k}", tmp_path / f"again-{k}") for k in range(len(models))]
    for model, (saved, _) in zip(models, folders, strict=True):
        model.save_pretrained(saved)
    paths = [[str(path) for path in pair] for pair in folders]
    models[0].save_pretrained(tmp_path / "outer" / "inner")
    for file in (tmp_path / "outer" / "inner").glob("*.py"):  # transformers looks for code at the root alone
        shutil.copy(file, tmp_path / "outer")
    rows = json.dumps(batch["input_ids"].tolist())
    found, inner = run_elsewhere(tmp_path, json.dumps(paths), rows, str(tmp_path / "outer"))
    assert inner == found[0]["scores"][0]

    for model, (saved, again), seen in zip(models, folders, found, strict=True):
        assert "trust_remote_code=True" in seen["refusal"] and "custom code" in seen["refusal"]
        assert seen["config"] == ["DPRMConfig", 1, [-1.0, 0.25, 2.0]]
        assert seen["class"] == ["DPRMForSequenceClassification", "transformers_modules"]
        with torch.no_grad():
            output = model(**batch)
        expected = [output.logits.tolist(), output.category_logits.tolist()]
        assert seen["scores"] == [expected] * 3

        assert torch.equal(DPRMForSequenceClassification.from_pretrained(again)(**batch).logits, output.logits)
        for file in saved.glob("*.py"):
            assert (again / file.name).read_bytes() == file.read_bytes()


def test_with_the_package_its_own_class_is_used(tiny_dprm, tmp_path):
    tiny_dprm().save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, trust_remote_code=True)
    assert type(model) is DPRMForSequenceClassification


class TestCodeOfOthers:
    """Code that lies beside a checkpoint is not even imported without consent."""

    @pytest.fixture
    def with_code(self, checkpoint, tmp_path):
        """Function (edit of config.json) -> (folder of a tiny llama with code beside it, file that the code makes)."""

        def make(edit):
            folder, trace = shutil.copytree(checkpoint("llama"), tmp_path / "with-code"), tmp_path / "trace"
            (folder / "their_code.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Theirs:\n    pass\n")
            content = json.loads((folder / "config.json").read_text())
            edit(content)
            (folder / "config.json").write_text(json.dumps(content))
            return folder, trace

        return make

    @staticmethod
    def point_at_code(content):
        names = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification")
        content["auto_map"] = dict.fromkeys(names, "their_code.Theirs")

    def test_a_backbone_of_a_known_type_is_read_without_it(self, with_code):
        folder, trace = with_code(self.point_at_code)
        model = DPRMForSequenceClassification.from_pretrained(folder)
        model.save_pretrained(folder / "dprm")
        again = AutoModelForSequenceClassification.from_pretrained(folder / "dprm")
        assert type(again) is DPRMForSequenceClassification and not trace.exists()

    @pytest.mark.parametrize("loader", [DPRMForSequenceClassification, AutoModel, AutoModelForSequenceClassification])
    def test_a_backbone_of_an_unknown_type_is_refused(self, with_code, loader, monkeypatch):
        folder, trace = with_code(lambda content: (self.point_at_code(content), content.update(model_type="theirs")))
        monkeypatch.setattr("sys.stdin", None)  # the Auto classes would ask
        with pytest.raises((ValueError, OSError), match="(?s)trust_remote_code|stdin"):
            loader.from_pretrained(folder)
        assert not trace.exists()

    def test_the_trap_works(self, with_code):
        folder, trace = with_code(lambda content: (self.point_at_code(content), content.update(model_type="theirs")))
        with pytest.raises(AttributeError):
            AutoConfig.from_pretrained(folder, trust_remote_code=True)
        assert trace.exists()

    def test_code_named_inside_a_dprm_is_not_looked_for(self, tiny_dprm, tmp_path, with_code):
        folder, trace = with_code(lambda content: None)
        tiny_dprm().save_pretrained(tmp_path / "dprm")
        shutil.copy(folder / "their_code.py", tmp_path / "dprm")
        content = json.loads((tmp_path / "dprm" / "config.json").read_text())
        self.point_at_code(content["text_config"])
        (tmp_path / "dprm" / "config.json").write_text(json.dumps(content))
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "dprm")
        assert not trace.exists()

    def test_an_adapter_s_base_is_read_without_its_code(self, with_code, tmp_path):
        folder, trace = with_code(self.point_at_code)
        base = DPRMForSequenceClassification.from_pretrained(folder)
        lora = LoraConfig(r=2, task_type="SEQ_CLS", target_modules="all-linear", modules_to_save=base.head_names)
        get_peft_model(base, lora).save_pretrained(tmp_path / "adapter")
        base.config.save_pretrained(tmp_path / "adapter")
        for loader in (DPRMForSequenceClassification, AutoModelForSequenceClassification):
            assert loader.from_pretrained(tmp_path / "adapter").get_adapter_state_dict()
        assert not trace.exists()

    def test_runs_and_commands_do_not_trust_by_default(self):
        classes = {DPRMTrainingArguments, ExpectedRewardPPOConfig}
        for command in COMMANDS:
            options = vars(import_module(f"trl_dprm.cli.{command}")).values()
            classes |= {option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)}
        defaults = {
            option.__name__: field.default
            for option in classes
            for field in dataclasses.fields(option)
            if field.name == "trust_remote_code"
        }
        assert {"CheckpointArguments", "MergeArguments", "ExportArguments", "ParityArguments"} <= defaults.keys()
        assert {"DPRMTrainingArguments", "ExpectedRewardPPOConfig"} <= defaults.keys()
        assert set(defaults.values()) == {False}

    @pytest.mark.parametrize("function", [export_classifier, merge_adapter, measure_parity])
    def test_functions_do_not_either(self, function):
        assert inspect.signature(function).parameters["trust_remote_code"].default is False
