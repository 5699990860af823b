"""A checkpoint in virtual environments of transformers 5 and 4.57 without this package: the same scores and ids.

Makes the environments itself, so it needs a package index; minutes for each.
"""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import TINY_BACKBONES, tiny_config
from tokenizers import pre_tokenizers
from transformers import BertTokenizer, GPT2Tokenizer, LlamaTokenizer

from trl_dprm import DPRMConfig, DPRMForSequenceClassification
from trl_dprm.hub.tokenizer_files import spell_tokenizer_for_transformers_4

pytestmark = pytest.mark.slow

REWARDS = [-1.0, 0.25, 2.0]
TOLERANCE = 1e-6 * 3  # of the range of the rewards
TEXTS = ["the cats say the<tool> cat", "the </s>thé", ""]
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
ROPE = {  # name -> backbone and rotary position embeddings with another base than the backbone's default
    "llama-rope": ("llama", {"rope_type": "default", "rope_theta": 500000.0}),
    "llama-scaled": ("llama", LLAMA_3),
    "qwen3-rope": ("qwen3", {"rope_type": "default", "rope_theta": 1000000.0}),
    "mixtral-rope": ("mixtral", {"rope_type": "default", "rope_theta": 777.0}),
    "gpt_neox-rope": ("gpt_neox", {"rope_type": "default", "rope_theta": 777.0, "partial_rotary_factor": 0.5}),
    "modernbert-rope": (
        "modernbert",
        {
            "full_attention": {"rope_type": "default", "rope_theta": 5e3},
            "sliding_attention": {"rope_type": "default", "rope_theta": 777.0},
        },
    ),
}
REFUSED_BY_4 = {
    "modernbert": {
        "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e3},
        "sliding_attention": {"rope_type": "default", "rope_theta": 777.0},
    },
    "mixtral": {"rope_type": "linear", "factor": 2.0, "rope_theta": 777.0},
}


def make_model(backbone, **changes):
    """A DPRM whose scores tell positions apart."""
    torch.manual_seed(0)
    model = DPRMForSequenceClassification(DPRMConfig(tiny_config(backbone, **changes), category_rewards=REWARDS))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
    return model.eval()


def make_tokenizers(byte_tokenizer):
    """The generic class, and classes that treat special tokens in their own ways in transformers 4."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "say"]
    pieces = ["<unk>", "<s>", "</s>", "▁", "▁the", "t", "h", "e", "c", "a", "s", "▁c", "th", "▁t"]
    numbered = {
        "gpt2": ["<|endoftext|>", *alphabet, "he", "the"],
        "bert": words,
        "llama": pieces,
    }
    vocabularies = {name: {token: place for place, token in enumerate(tokens)} for name, tokens in numbered.items()}
    made = {
        "generic": byte_tokenizer,
        "gpt2": GPT2Tokenizer(vocab=vocabularies["gpt2"], merges=[("h", "e"), ("t", "he")]),
        "bert": BertTokenizer(vocab=vocabularies["bert"]),
        "llama": LlamaTokenizer(vocab=vocabularies["llama"], merges=[("t", "h"), ("▁", "t"), ("▁", "c")]),
    }
    for name in ("gpt2", "bert", "llama"):
        made[name].add_special_tokens({"extra_special_tokens": ["<tool>"]})
    return made


@pytest.fixture(scope="module", params=["5.23.*", "4.57.*"])
def bare_python(request, tmp_path_factory):
    """Python of an environment with that transformers, the torch of this one, and what they need."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    torch_version = version("torch").split("+")[0]
    install = [folder / "bin" / "pip", "install", "-q", f"transformers=={request.param}", f"torch=={torch_version}"]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    yield folder / "bin" / "python"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def models():
    plain = {name: make_model(name) for name in TINY_BACKBONES}
    return plain | {name: make_model(backbone, rope_parameters=rope) for name, (backbone, rope) in ROPE.items()}


@pytest.fixture(scope="module")
def rows():
    ids = torch.randint(4, 260, (3, 60), generator=torch.Generator().manual_seed(0))
    ids[1, 20:] = 0
    return ids


@pytest.fixture(scope="module")
def tokenizers(tokenizer):
    return make_tokenizers(tokenizer)


@pytest.fixture(scope="module")
def found(bare_python, models, rows, tokenizers, tmp_path_factory):
    """What `bare_loading.py` saw there."""
    folder = tmp_path_factory.mktemp("saved")
    task = {"rows": rows.tolist(), "texts": TEXTS, "elsewhere": str(folder / "again"), "models": {}, "tokenizers": {}}
    for name, model in models.items():
        task["models"][name] = str(folder / name)
        model.save_pretrained(folder / name)
    for name, tokenizer in tokenizers.items():
        task["tokenizers"][name] = str(folder / f"tokenizer-{name}")
        tokenizer.save_pretrained(folder / f"tokenizer-{name}")
        spell_tokenizer_for_transformers_4(folder / f"tokenizer-{name}", tokenizer)
    task["refused"] = {name: str(folder / f"refused-{name}") for name in ("head", "shape", "pickle", *REFUSED_BY_4)}
    for name in ("head", "shape", "pickle"):
        shutil.copytree(folder / "llama", task["refused"][name])
        weights = Path(task["refused"][name], "model.safetensors")
        tensors = load_file(weights)
        weights.unlink()
        if name == "pickle":
            torch.save(tensors, weights.with_name("pytorch_model.bin"))
        else:
            weight = tensors.pop("score.weight")
            if name == "shape":
                tensors["score.weight"] = weight[:2].clone()
            save_file(tensors, weights, metadata={"format": "pt"})
    for backbone, rope in REFUSED_BY_4.items():
        make_model(backbone, rope_parameters=rope).save_pretrained(task["refused"][backbone])
    return run(bare_python, task, folder)


def run(python, task, folder):
    (folder / "task.json").write_text(json.dumps(task))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [python, Path(__file__).with_name("bare_loading.py"), folder / "task.json"]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "found.json").read_text())


def test_nothing_but_torch_and_transformers_is_there(found):
    assert found["packages"] == []
    assert found["transformers"].rsplit(".", 1)[0] in ("5.23", "4.57")


def test_the_same_scores(found, models, rows):
    assert found["models"].keys() == models.keys()
    for name, model in models.items():
        seen = found["models"][name]
        assert seen["config"] == ["DPRMConfig", 1, REWARDS]
        assert seen["class"] == ["DPRMForSequenceClassification", "transformers_modules"]
        with torch.no_grad():
            output = model(rows, attention_mask=(rows != 0).long())
        for rewards, category_logits in seen["scores"]:
            assert rewards == pytest.approx(output.logits.flatten().tolist(), rel=0, abs=TOLERANCE), name
            expected = output.category_logits.flatten().tolist()
            assert category_logits == pytest.approx(expected, rel=1e-5, abs=1e-5), name


@pytest.mark.parametrize("name", ROPE)
def test_rotary_embeddings_count(name, models, rows):
    """Otherwise the test above could not see whether their base was read."""
    backbone = ROPE[name][0]
    with torch.no_grad():
        gap = models[name](rows).logits - make_model(backbone)(rows).logits
    assert gap.abs().max() > 1e-3


def test_the_same_token_ids(found, tokenizers):
    assert found["ids"].keys() == tokenizers.keys()
    for name, tokenizer in tokenizers.items():
        expected = [tokenizer(TEXTS).input_ids, tokenizer.padding_side, tokenizer.model_input_names]
        assert found["ids"][name] == expected, name


def test_nothing_is_loaded_without_consent_or_in_part(found):
    kind, message = found["untrusted"]
    assert kind == "ValueError" and "trust_remote_code=True" in message
    kind, message = found["refused"]["head"]
    assert kind == "ValueError" and "score.weight (missing). They would be random" in message
    kind, message = found["refused"]["shape"]
    shapes = "shape (2, 32), expected" if found["transformers"].startswith("5") else "another shape, expected"
    assert kind == "ValueError" and f"score.weight ({shapes} (3, 32)). They would be random" in message
    kind, message = found["refused"]["pickle"]
    assert kind == "OSError" and "no file named model.safetensors" in message


@pytest.mark.parametrize("backbone", REFUSED_BY_4)
def test_rotary_embeddings_that_transformers_4_has_no_words_for_are_refused_there(backbone, found):
    if found["transformers"].startswith("5"):
        assert found["refused"][backbone] is None
    else:
        kind, message = found["refused"][backbone]
        assert kind == "ValueError" and f"cannot read the rotary position embeddings of this {backbone} " in message
