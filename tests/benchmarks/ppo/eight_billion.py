"""Peak memory of PPO with 4-bit weights and a shared backbone, on a random llama of 8 billion parameters.

From the folder `tests`, with a CUDA GPU and 17 GB of free disk:

    python -m benchmarks.ppo.eight_billion

Rollouts of 2 prompts of 512 tokens with completions of up to 512; policy, critic and reward are adapters on one frozen
backbone, the reference is the backbone with adapters off. The last line is JSON. `--tiny` runs the same lines on the
CPU with a llama of a few thousand parameters, which says nothing about memory and everything about the script.
`--checkpoint FOLDER` keeps the random weights there, and uses them again.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

import torch
from benchmarks.ppo.workload import word_tokenizer, write_reward_adapter
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import save_file
from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

SPECIAL_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
EIGHT_BILLION = {
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
}
TINY = {
    "vocab_size": 260,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
AIM = 24e9  # bytes


def write_random_checkpoint(config: LlamaConfig, folder: Path, device: str) -> None:
    """Random bfloat16 weights, a shard per layer, without ever holding the model in memory."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in LlamaForCausalLM(config).state_dict().items()}
    shards = {}
    for name in shapes:
        part = name.split(".")
        shards.setdefault(f"layer-{part[2]}" if "layers" in part else part[-2], []).append(name)
    files = {}
    for shard, names in shards.items():
        tensors = {name: random_weight(shapes[name], config.initializer_range, device) for name in names}
        save_file(tensors, folder / f"{shard}.safetensors", metadata={"format": "pt"})
        files |= dict.fromkeys(names, f"{shard}.safetensors")
    config.architectures, config.dtype = ["LlamaForCausalLM"], torch.bfloat16
    config.save_pretrained(folder)
    word_tokenizer(config.vocab_size).save_pretrained(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


def random_weight(shape: torch.Size, scale: float, device: str) -> torch.Tensor:
    """Normal weights of a matrix; ones for a norm."""
    weight = torch.ones(shape, dtype=torch.bfloat16, device=device)
    return (weight.normal_(std=scale) if len(shape) > 1 else weight).cpu()


def four_bit() -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def peak_bytes(device: str) -> dict:
    """What torch allocated and reserved on the GPU at most; on the CPU, what was resident."""
    if device == "cpu":
        return {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}


def train(policy: Path, reward_adapter: Path, device: str, tokens: int, output_dir: str) -> dict:
    """Two rollouts of two epochs; what they took."""
    from trl_dprm import ExpectedRewardPPOConfig, ExpectedRewardPPOTrainer

    on_gpu = device != "cpu"
    vocabulary = LlamaConfig.from_pretrained(policy).vocab_size
    prompts = torch.randint(3, vocabulary, (8, tokens), generator=torch.Generator().manual_seed(0)).tolist()
    args = ExpectedRewardPPOConfig(
        output_dir,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=1,
        num_ppo_epochs=2,
        total_episodes=4,
        response_length=tokens,
        share_backbone=True,
        gradient_checkpointing=True,
        model_init_kwargs={"dtype": "bfloat16"},
        bf16=on_gpu,
        use_cpu=not on_gpu,
        num_sample_generations=0,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = ExpectedRewardPPOTrainer(
        model=str(policy),
        reward_model=str(reward_adapter),
        args=args,
        train_dataset=Dataset.from_dict({"input_ids": prompts}),
        quantization_config=four_bit(),
        peft_config=LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=16),
    )
    start = time.perf_counter()
    trainer.train()
    trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    return {"seconds_per_rollout": (time.perf_counter() - start) / 2, "trained_parameters": trained}


def measure(tiny: bool, checkpoint: Path) -> dict:
    """Write what is missing in the folder, train, and report the peak."""
    device = "cpu" if tiny else "cuda"
    config = LlamaConfig(**(TINY if tiny else EIGHT_BILLION), **SPECIAL_IDS)
    policy, reward_adapter = checkpoint / "policy", checkpoint / "reward-adapter"
    if not (policy / "model.safetensors.index.json").is_file():
        policy.mkdir(parents=True, exist_ok=True)
        write_random_checkpoint(config, policy, device)
    if not (reward_adapter / "config.json").is_file():
        placed = {"quantization_config": four_bit(), "device_map": {"": device}, "dtype": torch.bfloat16}
        write_reward_adapter(str(policy), reward_adapter, **placed)
    if not tiny:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    tokens = TINY["max_position_embeddings"] // 4 if tiny else 512
    with tempfile.TemporaryDirectory() as output_dir:
        result = train(policy, reward_adapter, device, tokens, output_dir)
    return {
        "device": device if tiny else torch.cuda.get_device_name(),
        "tokens": [2, tokens, tokens],
        **result,
        "peak": peak_bytes(device),
    }


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description="Peak memory of 4-bit PPO on a random 8 B llama")
    parser.add_argument("--tiny", action="store_true", help="a dry run on the CPU with a tiny llama")
    parser.add_argument("--checkpoint", type=Path, help="folder for the random weights; default: temporary")
    options = parser.parse_args(arguments)
    if not options.tiny and not torch.cuda.is_available():
        parser.error("no CUDA device; --tiny runs the same lines on the CPU")
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        result = measure(options.tiny, options.checkpoint or Path(temporary))
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
