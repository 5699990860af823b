"""Run by test_shared_processes.py, by `torchrun` with BACKBONE, REWARD_ADAPTER and OUTPUT.

An accelerate configuration for FSDP becomes DDP on a CPU; accelerate's own function that shards a model runs there.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
from accelerate import FullyShardedDataParallelPlugin, PartialState
from accelerate.utils import is_peft_model
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from datasets import Dataset
from shared_models import left_padded_batch, lora, right_padded_batch, shake
from torch.distributed.tensor import DTensor
from transformers.integrations.fsdp import update_fsdp_plugin_peft

from trl_dprm.ppo.checkpoints import load_critic, save_critic, whole
from trl_dprm.ppo.expected_reward_ppo_config import ExpectedRewardPPOConfig
from trl_dprm.ppo.expected_reward_ppo_trainer import ExpectedRewardPPOTrainer


def make_trainer(backbone, reward_adapter, output, shared):
    args = ExpectedRewardPPOConfig(
        f"{output}/run",
        use_cpu=True,
        bf16=False,
        report_to="none",
        gradient_checkpointing=False,
        per_device_train_batch_size=2,
        max_steps=1,
        save_strategy="no",
        num_sample_generations=0,
        share_backbone=shared,
        beta=0.05 if shared else 0.0,
    )
    prompts = Dataset.from_dict({"prompt": [f"tell me of {k}" for k in range(16)]})
    ppo = ExpectedRewardPPOTrainer(
        backbone, reward_adapter, args=args, train_dataset=prompts, peft_config=lora() if shared else None
    )
    ppo.reads_log_probs = False  # as under FSDP, which this process does not know of
    if shared:
        shake([p for p in ppo.model.parameters() if p.requires_grad])
    return ppo


def shard(model):
    """As accelerate does it when FSDP2 is configured, by `recipes/accelerate_configs/fsdp2.yaml`."""
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["LlamaDecoderLayer"],
        state_dict_type="FULL_STATE_DICT",
        cpu_ram_efficient_loading=False,
    )
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin),
        torch_device_mesh=None,
        device=torch.device("cpu"),
        mixed_precision="no",
        is_main_process=dist.get_rank() == 0,
    )
    if is_peft_model(model):
        update_fsdp_plugin_peft(model, accelerator)  # as `Trainer` does
    return fsdp2_prepare_model(accelerator, model)


def log_probs(ppo, ids, mask):
    return ppo._get_per_token_logps_and_entropies(ppo.model, ids, mask, ids.size(1) - 1, batch_size=len(ids))[0]


def look(ppo, folder, checkpointing):
    """Read everything through the root's forward, take one step, and save and load the critic."""
    model, (ids, mask) = ppo.model, left_padded_batch()
    model.train()
    seen = {"readouts": {}}
    with torch.no_grad():
        if ppo.shared is not None:
            right_ids, right_mask = right_padded_batch()
            readout = {"input_ids": right_ids, "attention_mask": right_mask, "readout": "category_logits"}
            seen["readouts"]["category_logits"] = model(**readout)
            with model.disable_adapter():  # the reference
                seen["readouts"]["reference"] = log_probs(ppo, ids, mask) * mask[:, 1:]
            ppo.shared.activate_policy()
        values = model(input_ids=ids, attention_mask=mask, readout="values")
        seen["readouts"]["values"] = values * mask
    if checkpointing:
        model.activation_checkpointing_enable()
    ours = log_probs(ppo, ids, mask) * mask[:, 1:]
    values = model(input_ids=ids, attention_mask=mask, readout="values") * mask
    (ours.sum() + values.square().sum()).backward()
    seen["gradients"] = {n: whole(p.grad) for n, p in model.named_parameters() if p.grad is not None}
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    torch.optim.SGD(trained.values(), lr=0.1).step()
    seen["weights"] = {name: whole(p).detach().clone() for name, p in trained.items()}
    seen["sharded"] = any(isinstance(p, DTensor) for p in trained.values())

    critic = {name: whole(tensor) for name, tensor in ppo._critic_tensors().items()}
    if dist.get_rank() == 0:
        save_critic(folder, critic)
    dist.barrier()
    with torch.no_grad():
        for tensor in ppo._critic_tensors().values():
            tensor.zero_()
    load_critic(folder, ppo._critic_tensors())
    seen["resumed"] = {name: whole(tensor).detach().clone() for name, tensor in ppo._critic_tensors().items()}
    return seen


def run(backbone, reward_adapter, output):
    rank = dist.get_rank()
    for kind in ("shared", "shared-checkpointed", "separate"):
        folder = Path(output, kind)
        folder.mkdir(exist_ok=True)
        for name in ("whole", str(rank)):
            ppo = make_trainer(backbone, reward_adapter, output, kind != "separate")
            if name != "whole":
                shard(ppo.model)
                ppo.reads_log_probs = False  # as in a trainer that was started under FSDP
            torch.save(look(ppo, folder, "checkpointed" in kind), f"{output}/{kind}-{name}-{rank}.part")
            dist.barrier()
            if name != "whole" or rank == 0:
                Path(f"{output}/{kind}-{name}-{rank}.part").rename(f"{output}/{kind}-{name}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    PartialState(cpu=True)
    run(*sys.argv[1:])
