"""What both trainers are given: checkpoints, prompts and sizes, written once and read by every measured process."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from trl_dprm import DPRMForSequenceClassification
from trl_dprm.trainer.checkpoints import adapter_written_whole

LLAMA = {  # 52 million parameters
    "vocab_size": 32_000,
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
OPENINGS = ["Once upon a time there was", "One day a little girl", "The big dog ran and", "Tom had a red ball. He"]


@dataclass
class Workload:
    """One comparison; the sizes are those of the removed trainer's options of the same names."""

    policy: str
    reward_model: str
    reward_adapter: str
    prompts: list[list[int]]
    episodes: int = 32
    per_device_train_batch_size: int = 8
    response_length: int = 48
    num_ppo_epochs: int = 4
    num_mini_batches: int = 1
    rollouts: int = 4
    threads: int = 1

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)))
        return path


def story_workload(story_model: str, folder: Path, **sizes) -> Workload:
    """The story model as policy, and a reward model on its backbone with a random head."""
    tokenizer = AutoTokenizer.from_pretrained(story_model)
    prompts = [tokenizer(opening)["input_ids"] for opening in OPENINGS]
    return Workload(story_model, *write_reward_models(story_model, folder), prompts, **sizes)


def llama_workload(folder: Path, prompt_lengths: tuple[int, int], **sizes) -> Workload:
    """A random llama with 32,000 tokens; prompts of random tokens, in number from the first length to the second."""
    torch.manual_seed(0)
    policy = str(folder / "policy")
    LlamaForCausalLM(LlamaConfig(**LLAMA)).save_pretrained(policy)
    word_tokenizer(LLAMA["vocab_size"]).save_pretrained(policy)
    lengths = torch.randint(prompt_lengths[0], prompt_lengths[1] + 1, (64,)).tolist()
    prompts = [torch.randint(3, LLAMA["vocab_size"], (length,)).tolist() for length in lengths]
    return Workload(policy, *write_reward_models(policy, folder), prompts, **sizes)


def word_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """One word per id."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    words = special + [f"w{number}" for number in range(len(special), size)]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def write_reward_models(policy: str, folder: Path) -> tuple[str, str]:
    """Folders of a scalar reward model on the policy's backbone, and of a DPRM that is an adapter on it."""
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    model = AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder / "reward")
    tokenizer.save_pretrained(folder / "reward")
    write_reward_adapter(policy, folder / "reward-adapter")
    return str(folder / "reward"), str(folder / "reward-adapter")


def write_reward_adapter(policy: str, folder: Path, **loading) -> None:
    """An untrained DPRM adapter as `DPRMTrainer` saves one: adapter and head, configuration and tokenizer."""
    model = DPRMForSequenceClassification.from_pretrained(policy, **loading)
    model.config.anchored = True
    adapter = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules="all-linear", r=8))
    with adapter_written_whole(folder, model.config):
        adapter.save_pretrained(folder)
    AutoTokenizer.from_pretrained(policy).save_pretrained(folder)
