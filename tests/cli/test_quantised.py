"""Models in 4 and 8 bits on the command line: trained with LoRA, scored, measured."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import load_from_disk
from safetensors.torch import load_file
from tiny_runs import RUN, flags
from transformers import AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging as hf_logging

from trl_dprm import DPRMForSequenceClassification
from trl_dprm.cli import main

pytest.importorskip("bitsandbytes", reason="needs the extra `quantization`")

WIDE = {"hidden_size": 64, "intermediate_size": 128}  # nf4 works on blocks of 64 weights
BITS = {
    4: {"load_in_4bit": True, "use_bnb_nested_quant": True},
    8: {"load_in_8bit": True},
}
CONFIGURATIONS = {
    4: {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "float32",
    },
    8: {"load_in_8bit": True},
}


@pytest.fixture(scope="module", params=[4, 8], ids=["4 bits", "8 bits"])
def bits(request):
    return request.param


@pytest.fixture(scope="module")
def adapter(bits, backbone_folder, judged, tmp_path_factory):
    """Folder of an adapter that `trl-dprm train` made with nothing said of LoRA but `--use_peft`."""
    folder = str(tmp_path_factory.mktemp("adapter"))
    run = {"model_name_or_path": backbone_folder("llama", **WIDE), "dataset_name": judged, "output_dir": folder}
    main(["train", *flags({**run, **RUN, **BITS[bits]}), "--use_peft"])
    return folder


def load(folder, bits):
    quantization_config = BitsAndBytesConfig(**CONFIGURATIONS[bits])
    return DPRMForSequenceClassification.from_pretrained(
        folder, quantization_config=quantization_config, dtype="float32"
    )


def rewards_one_by_one(model, folder, rows):
    """As `trl.RewardTrainer` tokenises, each text alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rewards = []
    for row in rows:
        ids = tokenizer(row["prompt"] + row["completion"] + tokenizer.eos_token, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            rewards.append(model(ids).logits.item())
    return np.array(rewards)


def test_the_defaults_of_peft_are_right_untold(adapter):
    content = json.loads((Path(adapter) / "adapter_config.json").read_text())
    assert content["task_type"] == "SEQ_CLS" and sorted(content["modules_to_save"]) == ["classifier", "score"]
    projections = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {name.rsplit(".")[-1] for name in content["target_modules"]} == projections
    tensors = load_file(Path(adapter) / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    head = tensors["base_model.model.score.weight"]
    assert not torch.equal(head, head.bfloat16().float())
    assert not (Path(adapter) / "model.safetensors").exists()


def test_score_reads_it_on_a_base_of_the_same_bits(adapter, bits, judged, tmp_path, caplog):
    rows = load_from_disk(judged)["test"]
    output = tmp_path / "scored.jsonl"
    argv = ["score", "--model", adapter, "--dataset_name", judged, "--split", "test", "--output", str(output)]
    hf_logging.enable_propagation()
    main([*argv, *flags(BITS[bits]), "--batch_size", "1"])
    scored = pd.read_json(output, lines=True)["reward"].to_numpy()
    np.testing.assert_allclose(scored, rewards_one_by_one(load(adapter, bits), adapter, rows), rtol=0, atol=1e-6)
    assert "the adapter was trained on a base" not in caplog.text
    main([*argv, "--batch_size", "1"])
    hf_logging.disable_propagation()
    warning = caplog.text
    assert f"was trained on a base in {bits} bits (" in warning
    assert "is loaded in full precision (float32)" in warning and f"`--load_in_{bits}bit" in warning
    full = pd.read_json(output, lines=True)["reward"].to_numpy()
    assert 0 < np.abs(scored - full).max() < 0.1


def test_evaluate_gives_the_numbers_of_training(adapter, bits, judged, tmp_path):
    in_training = json.loads((Path(adapter) / "eval_results.json").read_text())
    output = tmp_path / "metrics.json"
    argv = ["evaluate", "--model", adapter, "--dataset_name", judged, "--split", "test", "--output", str(output)]
    main([*argv, *flags(BITS[bits]), "--bf16", "False"])
    got = json.loads(output.read_text())
    for name in ("eval_loss", "eval_nats_per_vote", "eval_wasserstein_distance", "eval_mean_reward"):
        assert got[name] == pytest.approx(in_training[name], rel=1e-5), name


def test_evaluate_reads_a_full_model_in_these_bits_too(trained, bits, judged, tmp_path):
    rows = load_from_disk(judged)["test"]
    output = tmp_path / "metrics.json"
    argv = ["evaluate", "--model", trained, "--dataset_name", judged, "--split", "test", "--output", str(output)]
    main([*argv, *flags(BITS[bits]), "--bf16", "False", "--per_device_eval_batch_size", "1"])
    expected = rewards_one_by_one(load(trained, bits), trained, rows)
    got = json.loads(output.read_text())
    assert got["eval_mean_reward"] == pytest.approx(expected.mean(), abs=1e-6)
    assert got["eval_max_reward"] == pytest.approx(expected.max(), abs=1e-6)


def test_training_without_adapters_is_refused(bits, backbone_folder, judged, tmp_path, failure):
    run = {"model_name_or_path": backbone_folder("llama", **WIDE), "dataset_name": judged, "output_dir": str(tmp_path)}
    code, error = failure(["train", *flags({**run, **RUN, **BITS[bits]})])
    assert code == 1
    assert (
        "A model in 4 or 8 bits is trained by adapters: pass `peft_config`, on the command line `--use_peft`" in error
    )
