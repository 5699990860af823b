"""The example script of TRL's removed PPO in our words: the same calls in the same order, only the imports are new."""

import shutil

import datasets
import pandas as pd
import pytest
import torch
from accelerate import PartialState
from datasets import Dataset, load_dataset
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    HfArgumentParser,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)
from trl import ModelConfig, ScriptArguments, get_peft_config, get_quantization_config

from trl_dprm import ExpectedRewardPPOConfig as PPOConfig
from trl_dprm import ExpectedRewardPPOTrainer as PPOTrainer

HELD_OUT, EOS = 4, 2


@pytest.fixture
def largest_ids(monkeypatch):
    """Largest id that any embedding layer was given, by number of its rows."""
    seen = {}
    embed = torch.nn.Embedding.forward

    def forward(layer, ids):
        rows = layer.num_embeddings
        seen[rows] = max(seen.get(rows, 0), int(ids.max()))
        return embed(layer, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", forward)
    return seen


@pytest.fixture
def arguments(checkpoint, tokenizer, tmp_path, monkeypatch):
    """The script's command line, over a policy, a reward model and a data set with a split `descriptiveness`."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    policy, reward = checkpoint("llama"), checkpoint("llama", "classifier", num_labels=1)
    names, scored = tmp_path / "names", tmp_path / "reward"
    tokenizer.save_pretrained(names)
    shutil.copytree(reward, scored)
    tokenizer.save_pretrained(scored)
    (tmp_path / "prompts" / "data").mkdir(parents=True)
    prompts = Dataset.from_dict({"prompt": [f"say {'very ' * (k % 3)}much {k}" for k in range(20)], "row": range(20)})
    prompts.to_parquet(tmp_path / "prompts" / "data" / "descriptiveness-00000-of-00001.parquet")
    return {
        "dataset_name": str(tmp_path / "prompts"),
        "dataset_train_split": "descriptiveness",
        "learning_rate": "1e-2",
        "output_dir": str(tmp_path / "out"),
        "per_device_train_batch_size": "4",
        "gradient_accumulation_steps": "2",
        "total_episodes": "16",
        "response_length": "7",
        "model_name_or_path": str(names),
        "sft_model_path": policy,
        "reward_model_path": str(scored),
        "missing_eos_penalty": "1.0",
        "num_ppo_epochs": "2",
        "report_to": "none",
        "bf16": "False",  # the CPU has none
    }


def old_example(arguments):
    """Everything that the script does between its imports and its end; returns what the checks look at."""
    command_line = [word for name, value in arguments.items() for word in (f"--{name}", value)]
    parser = HfArgumentParser((ScriptArguments, PPOConfig, ModelConfig))
    script_args, training_args, model_args = parser.parse_args_into_dataclasses(command_line)

    dtype = model_args.dtype if model_args.dtype in ["auto", None] else getattr(torch, model_args.dtype)
    model_kwargs = {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": dtype,
    }
    quantization_config = get_quantization_config(model_args)
    if quantization_config is not None:
        model_kwargs["quantization_config"] = quantization_config
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path, padding_side="left")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})  # and the embeddings stay as they are
    value_model, reward_model = (
        AutoModelForSequenceClassification.from_pretrained(
            training_args.reward_model_path, num_labels=1, **model_kwargs
        )
        for _ in range(2)
    )
    policy = AutoModelForCausalLM.from_pretrained(training_args.sft_model_path, **model_kwargs)
    peft_config = get_peft_config(model_args)
    ref_policy = None
    if peft_config is None:
        ref_policy = AutoModelForCausalLM.from_pretrained(training_args.sft_model_path, **model_kwargs)

    dataset = load_dataset(
        script_args.dataset_name, name=script_args.dataset_config, split=script_args.dataset_train_split
    )
    train_dataset = dataset.select(range(len(dataset) - HELD_OUT))
    eval_dataset = dataset.select(range(len(dataset) - HELD_OUT, len(dataset)))

    def tokenize(rows):
        return {"input_ids": tokenizer(rows["prompt"], padding=False)["input_ids"]}

    with PartialState().local_main_process_first():
        train_dataset, eval_dataset = (
            part.map(tokenize, batched=True, remove_columns=part.column_names, num_proc=training_args.dataset_num_proc)
            for part in (train_dataset, eval_dataset)
        )

    trainer = PPOTrainer(
        args=training_args,
        processing_class=tokenizer,
        model=policy,
        ref_model=ref_policy,
        reward_model=reward_model,
        value_model=value_model,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        peft_config=peft_config,
    )
    trainer.train()
    trainer.save_model(training_args.output_dir)
    trainer.generate_completions()
    return trainer, tokenizer, ref_policy


def test_full_training(arguments, largest_ids, capsys):
    trainer, tokenizer, reference = old_example(arguments)
    before = load_file(f"{arguments['sft_model_path']}/model.safetensors")
    after = load_file(f"{arguments['output_dir']}/model.safetensors")
    assert set(after) == set(before), "a plain policy: no critic beside it"
    assert any((after[name] != before[name]).any() for name in before), "the policy was trained"
    frozen = reference.state_dict()
    assert all((frozen[name] == before[name]).all() for name in before if name in frozen), "the reference was not"
    assert trainer.state.global_step == 4, "two rollouts of two epochs"
    assert set(trainer.state.log_history[-1]) >= {"train_loss"}

    rows = len(reference.get_input_embeddings().weight)
    assert tokenizer.pad_token_id == rows, "[PAD] lies beyond the vocabulary, or this test shows nothing"
    assert set(largest_ids) == {rows} and largest_ids[rows] < rows

    saved = AutoModelForCausalLM.from_pretrained(arguments["output_dir"])
    assert saved.get_input_embeddings().num_embeddings == rows
    reread = AutoTokenizer.from_pretrained(arguments["output_dir"])
    assert reread("say much")["input_ids"] == tokenizer("say much")["input_ids"]
    assert "say" in capsys.readouterr().out, "generate_completions prints the held-out prompts"


def test_policy_and_reward_model_read_the_ids_that_the_script_made(arguments, monkeypatch):
    """Nothing is decoded and tokenised again; `[PAD]` in the policy's tokenizer alone makes no difference."""
    continued, sampled, scored = [], [], []
    generate, score = LlamaForCausalLM.generate, LlamaForSequenceClassification.forward

    def rows_of(ids, mask):
        return [tuple(row[seen.bool()].tolist()) for row, seen in zip(ids, mask, strict=True)]

    def generate_recorded(model, input_ids=None, attention_mask=None, **kwargs):
        sequences = generate(model, input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        prompts = rows_of(input_ids, attention_mask)
        continued.extend(prompts)
        for prompt, completion in zip(prompts, sequences[:, input_ids.size(1) :].tolist(), strict=True):
            end = completion.index(EOS) + 1 if EOS in completion else None
            sampled.append((*prompt, *completion[:end]))
        return sequences

    def score_recorded(model, input_ids=None, attention_mask=None, **kwargs):
        scored.extend(rows_of(input_ids, attention_mask))
        return score(model, input_ids=input_ids, attention_mask=attention_mask, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "generate", generate_recorded)
    monkeypatch.setattr(LlamaForSequenceClassification, "forward", score_recorded)
    _, tokenizer, _ = old_example({**arguments, "num_sample_generations": "0"})
    prompts = pd.read_parquet(f"{arguments['dataset_name']}/data/descriptiveness-00000-of-00001.parquet")["prompt"]
    ids = [tuple(tokenizer(prompt)["input_ids"]) for prompt in prompts]
    assert sorted(continued[:16]) == sorted(ids[:-HELD_OUT]), "two rollouts of eight: every prompt once"
    assert sorted(continued[16:]) == sorted(ids[-HELD_OUT:]), "then generate_completions, on the held-out ones"
    assert sorted(scored) == sorted(sampled)


def test_with_an_adapter(arguments, largest_ids):
    """`--use_peft`: no reference is loaded, and an adapter is saved."""
    lora = {"use_peft": "True", "lora_r": "4", "lora_target_modules": "all-linear"}
    trainer, *_ = old_example({**arguments, **lora})
    after = load_file(f"{arguments['output_dir']}/adapter_model.safetensors")
    assert all("lora_" in name for name in after), "the policy's adapter alone"
    assert any(tensor.any() for name, tensor in after.items() if "lora_B" in name), "and it was trained"
    assert trainer.ref_model is None
    policy = AutoModelForCausalLM.from_pretrained(arguments["output_dir"])
    assert max(largest_ids.values()) < policy.get_input_embeddings().num_embeddings
