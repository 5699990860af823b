"""Run by test_push_to_hub.py against a Hub of its own: `push FOLDER` writes to it, `pull FOLDER` reads by Hub ids."""

import json
import os
import sys
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from huggingface_hub import HfApi
from peft import LoraConfig
from tiny_checkpoint import make_model, make_tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaForCausalLM

from trl_dprm import DPRMForSequenceClassification, DPRMTrainer, DPRMTrainingArguments
from trl_dprm.cli import main

RUN = {
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "max_steps": 2,
    "save_strategy": "no",
    "disable_tqdm": True,
    "learning_rate": 1e-2,
}
NAMES = ["bad", "fair", "good"]
IDS = torch.tensor([[2, 4, 5, 6, 3], [2, 7, 8, 9, 3]])


def scores(model):
    with torch.no_grad():
        output = model.eval()(IDS)
    return torch.cat([output.logits, output.category_logits], dim=1)


def annotations():
    """Nine items, four annotators each; the last word decides most votes."""
    rows = []
    for item in range(9):
        place = item % 3
        for annotator in range(4):
            vote = NAMES[place if annotator else 2 - place]
            completion = f" {('Paris', 'London', 'France')[place]}."
            rows.append(
                {
                    "item_id": f"item {item}",
                    "annotator_id": annotator,
                    "category": vote,
                    "prompt": "What is the capital?",
                    "completion": completion,
                }
            )
    return Dataset.from_list(rows)


def upload_dataset(api, name, folder):
    api.create_repo(name, repo_type="dataset")
    api.upload_folder(repo_id=name, repo_type="dataset", folder_path=folder)


def push(folder):
    api = HfApi()
    Path(folder, "annotations").mkdir()
    tokenizer = make_tokenizer()
    LlamaForCausalLM(make_model().config.text_config).push_to_hub("user/base")
    tokenizer.push_to_hub("user/base")
    annotations().to_parquet(f"{folder}/annotations/train.parquet")
    upload_dataset(api, "user/annotations", f"{folder}/annotations")

    categories = ["--category_names", *NAMES, "--category_rewards", "-1", "0", "1"]
    main(["prepare", "--annotations", "user/annotations", "--output_dir", f"{folder}/votes", *categories])
    upload_dataset(api, "user/votes", f"{folder}/votes")

    options = [part for name, value in RUN.items() for part in (f"--{name}", str(value))]
    source = ["--model_name_or_path", "user/base", "--dataset_name", "user/votes"]
    hub = ["--push_to_hub", "--hub_model_id", "user/crowd", "--output_dir", f"{folder}/crowd"]
    main(["train", *source, *hub, *options])

    model = DPRMForSequenceClassification.from_pretrained(f"{folder}/crowd")
    model.push_to_hub("user/pushed")
    model.save_pretrained(f"{folder}/saved", push_to_hub=True, repo_id="user/saved", commit_message="As saved")
    torch.save(scores(model), f"{folder}/crowd.pt")

    trainer = DPRMTrainer(
        "user/base",
        DPRMTrainingArguments(
            f"{folder}/adapter",
            hub_model_id="user/adapter",
            category_names=NAMES,
            category_rewards=[-1.0, 0.0, 1.0],
            **RUN,
        ),
        train_dataset=load_dataset("user/votes", split="train"),
        peft_config=LoraConfig(r=2),
    )
    trainer.train()
    trainer.push_to_hub(dataset_name="user/votes")
    torch.save(
        scores(trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)), f"{folder}/adapter.pt"
    )


def pull(folder):
    crowd, adapter = (torch.load(f"{folder}/{name}.pt") for name in ("crowd", "adapter"))
    equal = {}
    for name in ("user/crowd", "user/pushed", "user/saved"):
        equal[f"auto {name}"] = AutoModelForSequenceClassification.from_pretrained(name, num_labels=1), crowd
        equal[f"own {name}"] = DPRMForSequenceClassification.from_pretrained(name), crowd
    equal["own user/adapter"] = DPRMForSequenceClassification.from_pretrained("user/adapter"), adapter
    facts = {name: torch.equal(scores(model), expected) for name, (model, expected) in equal.items()}
    facts["tokenizer"] = AutoTokenizer.from_pretrained("user/crowd")("What is").input_ids
    # offline, datasets knows two configurations in its cache and no default
    config = "items" if os.environ["HF_HUB_OFFLINE"] == "1" else None
    data = ["--dataset_name", "user/votes", *([] if config is None else ["--dataset_config", config])]
    facts["rows"] = load_dataset("user/votes", config, split="train").num_rows
    facts["judgments"] = load_dataset("user/votes", "judgments", split="train").num_rows
    for model in ("user/crowd", "user/adapter"):
        output = Path(folder) / f"{model.split('/')[1]}.json"
        main(["evaluate", "--model", model, *data, "--use_cpu", "--output", str(output)])
        facts[f"nats {model}"] = json.loads(output.read_text())["eval_nats_per_vote"]
    main(["score", "--model", "user/crowd", *data, "--output", f"{folder}/scored.jsonl"])
    facts["scored"] = len(Path(folder, "scored.jsonl").read_text().splitlines())
    Path(folder, "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"push": push, "pull": pull}[sys.argv[1]](sys.argv[2])
