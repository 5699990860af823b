"""Run by test_push_to_hub.py against a Hub of its own: `push FOLDER` writes to it, `pull FOLDER` reads by Hub ids."""

import json
import os
import shutil
import sys
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from huggingface_hub import HfApi
from peft import LoraConfig
from safetensors.torch import load_file
from tiny_checkpoint import make_model, make_tokenizer
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, LlamaForCausalLM

from trl_dprm import DPRMForSequenceClassification, DPRMTrainer, DPRMTrainingArguments
from trl_dprm.cli import main
from trl_dprm.hub import export_classifier, merge_adapter

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
BENCHMARK = [
    {"prompt": "What is the capital of France?", "chosen": " Paris.", "rejected": " London.", "subset": "hep-go"},
    {"prompt": "What is the capital?", "chosen": " London.", "rejected": " Paris.", "subset": "hep-go"},
    {"prompt": "What is the capital of France?", "chosen": " Paris.", "rejected": " Paris.", "subset": "mine"},
]
STALE = ("adapter_config.json", "adapter_model.safetensors", "model-00001-of-00002.safetensors", "training_args.bin")
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


def push_base(name, seed):
    """A language model with its tokenizer; returns the commit."""
    torch.manual_seed(seed)
    make_tokenizer().push_to_hub(name)
    return LlamaForCausalLM(make_model().config.text_config).push_to_hub(name).oid


def other_model():
    model = make_model()
    with torch.no_grad():
        model.score.weight.neg_()
    return model


def push_places(api, folder):
    """DPRMs at revisions, in subfolders, in shards, and as pickles; returns scores and commits."""
    first, second = make_model(), other_model()
    commit = first.push_to_hub("user/two").oid
    second.push_to_hub("user/two")
    first.save_pretrained(f"{folder}/nested/runs/last")
    make_tokenizer().save_pretrained(f"{folder}/nested/runs/last")
    for code in Path(folder, "nested", "runs", "last").glob("*.py"):
        shutil.copy(code, f"{folder}/nested")  # transformers looks for code at the root alone
    api.create_repo("user/nested")
    api.upload_folder(repo_id="user/nested", folder_path=f"{folder}/nested")
    second.save_pretrained(f"{folder}/sharded", max_shard_size="2KB", push_to_hub=True, repo_id="user/sharded")
    weights = Path(folder, "nested", "runs", "last", "model.safetensors")
    tensors = load_file(weights)
    weights.unlink()
    torch.save(tensors, weights.with_name("pytorch_model.bin"))
    api.create_repo("user/pickled")
    api.upload_folder(repo_id="user/pickled", folder_path=weights.parent)
    return {"first": scores(first), "second": scores(second), "commit": commit}


def push_adapter(folder, name, base, **options):
    """Train and push an adapter; returns its scores."""
    trainer = DPRMTrainer(
        base,
        DPRMTrainingArguments(
            f"{folder}/{name}",
            hub_model_id=f"user/{name}",
            category_names=NAMES,
            category_rewards=[-1.0, 0.0, 1.0],
            **RUN,
            **options,
        ),
        train_dataset=load_dataset("user/votes", split="train"),
        peft_config=LoraConfig(r=2),
    )
    trainer.train()
    trainer.save_state()
    for file in ("notes.txt", "optimizer.pt", "pytorch_model.bin"):
        Path(folder, name, file).write_text("stays here")
    trainer.push_to_hub(dataset_name="user/votes")
    return scores(trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False))


def push(folder):
    api = HfApi()
    Path(folder, "annotations").mkdir()
    push_base("user/base", seed=0)
    annotations().to_parquet(f"{folder}/annotations/train.parquet")
    upload_dataset(api, "user/annotations", f"{folder}/annotations")

    categories = ["--category_names", *NAMES, "--category_rewards", "-1", "0", "1"]
    main(["prepare", "--annotations", "user/annotations", "--output_dir", f"{folder}/votes", *categories])
    upload_dataset(api, "user/votes", f"{folder}/votes")
    Path(folder, "benchmark").mkdir()
    Dataset.from_list(BENCHMARK).to_parquet(f"{folder}/benchmark/filtered.parquet")
    upload_dataset(api, "user/benchmark", f"{folder}/benchmark")

    options = [part for name, value in RUN.items() for part in (f"--{name}", str(value))]
    source = ["--model_name_or_path", "user/base", "--dataset_name", "user/votes"]
    hub = ["--push_to_hub", "--hub_model_id", "user/crowd", "--output_dir", f"{folder}/crowd", "--hub_always_push"]
    every_step = ["--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "1"]
    api.create_repo("user/crowd")
    for file in (*STALE, "notes.md"):
        api.upload_file(path_or_fileobj=b"{}", path_in_repo=file, repo_id="user/crowd")
    main(["train", *source, *hub, *options, *every_step, "--dataset_test_split", "train"])

    model = DPRMForSequenceClassification.from_pretrained(f"{folder}/crowd")
    model.push_to_hub("user/pushed")
    model.save_pretrained(f"{folder}/saved", push_to_hub=True, repo_id="user/saved", commit_message="As saved")
    torch.save(scores(model), f"{folder}/crowd.pt")

    torch.save(push_adapter(folder, "adapter", "user/base"), f"{folder}/adapter.pt")
    commit = push_base("user/moving-base", seed=1)
    old = push_adapter(folder, "old-adapter", "user/moving-base", model_init_kwargs={"revision": commit})
    push_base("user/moving-base", seed=2)
    torch.save({**push_places(api, folder), "old adapter": old}, f"{folder}/places.pt")


def error_of(function, *arguments, **options):
    """Type and message of what it raises, `None` if nothing."""
    try:
        function(*arguments, **options)
    except Exception as error:
        return [type(error).__name__, str(error)]
    return None


def pull(folder):
    crowd, adapter, places = (torch.load(f"{folder}/{name}.pt") for name in ("crowd", "adapter", "places"))
    equal = {}
    for loader, name in ((AutoModelForSequenceClassification, "auto"), (DPRMForSequenceClassification, "own")):
        for what, where, expected in (
            ("newest", {"pretrained_model_name_or_path": "user/two"}, "second"),
            ("revision", {"pretrained_model_name_or_path": "user/two", "revision": places["commit"]}, "first"),
            ("subfolder", {"pretrained_model_name_or_path": "user/nested", "subfolder": "runs/last"}, "first"),
            ("shards", {"pretrained_model_name_or_path": "user/sharded", "device_map": "auto"}, "second"),
        ):
            equal[f"{name} {what}"] = loader.from_pretrained(**where), places[expected]
    equal["own old base"] = DPRMForSequenceClassification.from_pretrained("user/old-adapter"), places["old adapter"]
    for name in ("user/crowd", "user/pushed", "user/saved"):
        equal[f"auto {name}"] = AutoModelForSequenceClassification.from_pretrained(name, num_labels=1), crowd
        equal[f"own {name}"] = DPRMForSequenceClassification.from_pretrained(name), crowd
    equal["own user/adapter"] = DPRMForSequenceClassification.from_pretrained("user/adapter"), adapter
    facts = {name: torch.equal(scores(model), expected) for name, (model, expected) in equal.items()}
    config = AutoConfig.from_pretrained("user/nested", subfolder="runs/last")
    facts["config"] = [type(config).__name__, config.num_labels]
    facts["pickled"] = [
        error_of(loader.from_pretrained, "user/pickled")
        for loader in (AutoModelForSequenceClassification, DPRMForSequenceClassification)
    ]
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
    written = Path(folder, f"written-{config or 'online'}")
    bench = ["--dataset_name", "user/benchmark", "--read_as", "text", "--output_dir", f"{written}/bench"]
    main(["rewardbench", "--model", "user/crowd", *bench])
    facts["benchmark"] = [
        json.loads((written / "bench" / part / "user" / "crowd.json").read_text())
        for part in ("eval-set", "eval-set-scores")
    ]
    with torch.no_grad():
        stock = AutoModelForSequenceClassification.from_pretrained(export_classifier("user/crowd", written / "stock"))
        facts["exported"] = torch.allclose(stock(IDS).logits, crowd[:, 1:], rtol=0, atol=1e-6)
    merged = DPRMForSequenceClassification.from_pretrained(merge_adapter("user/adapter", written / "merged"))
    facts["merged"] = torch.allclose(scores(merged), adapter, rtol=0, atol=1e-5)
    Path(folder, "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"push": push, "pull": pull}[sys.argv[1]](sys.argv[2])
