"""Which engines are refused at the start, and that the configurations for accelerate are none of them.

DeepSpeed and GPUs are not at hand where this runs: the engines' states are stubs, made from accelerate's own plugins.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate import FullyShardedDataParallelPlugin
from torch import nn
from transformers.integrations import deepspeed

from trl_dprm.ppo.critic import in_float32
from trl_dprm.ppo.engine_checks import check_engine, loaded_whole

CONFIGS = Path(__file__).resolve().parents[2] / "recipes" / "accelerate_configs"
PLAIN = SimpleNamespace(is_loaded_in_4bit=False)
FOUR_BIT = SimpleNamespace(is_loaded_in_4bit=True)


def arguments(**options):
    return SimpleNamespace(**{"share_backbone": False, "kl_limit": None, **options})


def configured(name, **changes):
    """What `accelerate launch` with one of our configurations makes of a process, as far as the check reads it."""
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    state = SimpleNamespace()
    if config["distributed_type"] == "DEEPSPEED":
        stage = config["deepspeed_config"] | changes
        state.deepspeed_plugin = SimpleNamespace(zero_stage=stage["zero_stage"])
    if config["distributed_type"] == "FSDP":
        options = {key.removeprefix("fsdp_"): value for key, value in config["fsdp_config"].items()}
        options["fsdp_version"] = options.pop("version")
        options["cpu_offload"] = options.pop("offload_params")
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**options | changes)
    return SimpleNamespace(distributed_type=config["distributed_type"], state=state)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
@pytest.mark.parametrize("share_backbone", [False, True])
def test_our_configurations_are_accepted(name, share_backbone):
    if name == "deepspeed_zero3" and share_backbone:
        with pytest.raises(ValueError, match="`share_backbone=True` does not go with ZeRO-3"):
            check_engine(configured(name), arguments(share_backbone=True), PLAIN)
    else:
        check_engine(configured(name), arguments(share_backbone=share_backbone), PLAIN)


@pytest.mark.parametrize("name", ["fsdp2", "deepspeed_zero3"])
def test_quantised_weights_do_not_shard(name):
    with pytest.raises(ValueError, match="A quantised policy does not go with"):
        check_engine(configured(name), arguments(), FOUR_BIT)
    for other in ("multi_gpu", "deepspeed_zero2"):
        check_engine(configured(other), arguments(), FOUR_BIT)


@pytest.mark.parametrize("name", ["deepspeed_zero2", "deepspeed_zero3"])
def test_deepspeed_steps_by_itself(name):
    with pytest.raises(ValueError, match="`kl_limit` cannot skip a DeepSpeed engine's steps"):
        check_engine(configured(name), arguments(kl_limit=0.1), PLAIN)
    check_engine(configured("fsdp2"), arguments(kl_limit=0.1), PLAIN)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"cpu_ram_efficient_loading": True}, "leaves the models of all processes but the first empty"),
        ({"state_dict_type": "SHARDED_STATE_DICT"}, "`Trainer.save_model` writes no policy"),
        ({"fsdp_version": 1, "reshard_after_forward": "FULL_SHARD"}, "FSDP1 flattens"),
    ],
)
def test_options_of_fsdp(changes, message):
    with pytest.raises(ValueError, match=message):
        check_engine(configured("fsdp2", **changes), arguments(), PLAIN)


def test_fsdps_own_checkpointing_does_not_know_the_adapter():
    accelerator = configured("fsdp2", activation_checkpointing=True)
    check_engine(accelerator, arguments(), PLAIN)
    with pytest.raises(ValueError, match="runs layers again under whatever adapter is active"):
        check_engine(accelerator, arguments(share_backbone=True), PLAIN)


def test_fsdp_that_became_ddp(make_ppo, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match=r"told to use FSDP, but runs as (MULTI_GPU|NO)"):
        check_engine(configured("cpu_2_processes"), arguments(), PLAIN)


def test_the_check_stands_in_the_trainer(make_ppo, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "trl_dprm.ppo.expected_reward_ppo_trainer.check_engine", lambda *given: seen.append([type(g) for g in given])
    )
    ppo = make_ppo()
    assert seen == [[type(ppo.accelerator), type(ppo.args), type(ppo.model)]]


def test_models_are_loaded_whole_under_zero_3():
    class Configuration:  # transformers keeps a weak reference to it
        def is_zero3(self):
            return True

    configuration = Configuration()
    deepspeed.set_hf_deepspeed_config(configuration)
    try:
        assert deepspeed.is_deepspeed_zero3_enabled()
        with pytest.raises(RuntimeError), loaded_whole(SimpleNamespace(hf_deepspeed_config=configuration)):
            assert not deepspeed.is_deepspeed_zero3_enabled()
            raise RuntimeError
        assert deepspeed.is_deepspeed_zero3_enabled()
    finally:
        deepspeed.unset_hf_deepspeed_config()
    with loaded_whole(SimpleNamespace(hf_deepspeed_config=None)):
        assert not deepspeed.is_deepspeed_zero3_enabled()


def test_values_are_float32_where_an_engine_casts_the_weights():
    head = in_float32(nn.Linear(64, 1))
    states = torch.randn(8, 64)
    exact = head(states)
    head.bfloat16()  # as DeepSpeed does, and FSDP2's mixed precision
    assert head(states).dtype == torch.float32
    assert head(states).unique().numel() == 8
    torch.testing.assert_close(head(states), exact, rtol=0, atol=2e-2)
