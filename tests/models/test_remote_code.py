"""A checkpoint carries its code: it loads where the package is not installed, by consent only."""

import json
import os
import subprocess
import sys
import textwrap

import torch
from transformers import AutoModelForSequenceClassification

from trl_dprm import DPRMForSequenceClassification

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

    print("FOUND" + json.dumps([visit(*pair) for pair in folders]))
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
    found = run_elsewhere(tmp_path, json.dumps(paths), json.dumps(batch["input_ids"].tolist()))

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
