"""Run by test_uneven_streams.py by `torchrun` with BACKBONE, OUTPUT and the rows of each shard."""

import json
import sys

import torch
from datasets import IterableDataset
from reward_rows import RUN, mixture

from trl_dprm import DPRMTrainer, DPRMTrainingArguments


def shards(spans):
    rows = mixture(17, 15, seed=3).to_list()
    for start, end in spans:
        yield from rows[start:end]


def run(backbone, output, sizes):
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    spans = [(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    stream = IterableDataset.from_generator(shards, gen_kwargs={"spans": spans})
    assert stream.num_shards == len(sizes)
    # Micro-batches in pairs: a process at the end of its rows within a step used to leave the other one waiting.
    args = DPRMTrainingArguments(output, **{**RUN, "max_steps": 6, "gradient_accumulation_steps": 2})
    trainer = DPRMTrainer(backbone, args, train_dataset=stream)
    trainer.train()
    seen = {
        "steps": trainer.state.global_step,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "weights": [p.detach().double().sum().item() for p in trainer.model.parameters()],
    }
    with open(f"{output}/seen-{args.process_index}.json", "w", encoding="utf-8") as file:
        json.dump(seen, file)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(sys.argv[1], sys.argv[2], [int(size) for size in sys.argv[3:]])
