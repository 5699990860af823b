"""The script that measures 4-bit PPO on one GPU: dry on the CPU here, and in earnest with `-m gpu`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks.ppo import eight_billion
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

pytest.importorskip("bitsandbytes", reason="4-bit weights: pip install 'trl-dprm[quantization]'")


def test_dry_run(tmp_path):
    result = eight_billion.main(["--tiny", "--checkpoint", str(tmp_path)])
    assert result["tokens"] == [2, 16, 16]
    assert result["peak"]["resident"] > 0
    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")  # raises no error, warns of nothing missing
    assert policy.model.norm.weight.unique().tolist() == [1.0]
    assert float(policy.lm_head.weight.float().std()) == pytest.approx(0.02, rel=0.05)
    weights = sum(parameter.numel() for parameter in policy.parameters())
    assert result["trained_parameters"] < weights, "adapters and a value head alone"


def test_the_model_has_eight_billion_parameters():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**eight_billion.EIGHT_BILLION))
    assert model.num_parameters() == pytest.approx(8.03e9, rel=1e-3)
    assert AutoConfig.for_model("llama", **eight_billion.EIGHT_BILLION).head_dim == 128


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_fits_in_24_gigabytes():
    command = [sys.executable, "-m", "benchmarks.ppo.eight_billion"]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout.splitlines()[-1])
    print(result)
    assert result["peak"]["reserved"] < eight_billion.AIM
