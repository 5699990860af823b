"""Options and rows of the tiny runs that the tests of this room share."""

import random

from datasets import Dataset

from trl_dprm.cli import main
from trl_dprm.models.configuration_dprm import LIKERT_CATEGORY_NAMES

WORDS = ["red", "dog", "sun", "a", "of", "stone", "yes", "no"]
RUN = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "max_steps": 3,
    "per_device_train_batch_size": 4,
    "learning_rate": 0.01,
    "save_strategy": "no",
    "disable_tqdm": True,
    "max_length": 96,
}


def flags(options):
    """Options as a command line."""
    argv = []
    for name, value in options.items():
        argv += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return argv


def judged_rows(num_rows, seed):
    """Responses of 1 to 12 words, each judged by three annotators on five categories."""
    draw = random.Random(seed)
    rows = []
    for _ in range(num_rows):
        votes = [0] * 5
        for _ in range(3):
            votes[draw.randrange(5)] += 1
        completion = " ".join(draw.choices(WORDS, k=draw.randint(1, 12)))
        rows.append({"prompt": "Say: ", "completion": completion, "target_counts": votes})
    return rows


def pair_rows(num_rows):
    """Pairs without any category votes."""
    draw = random.Random(0)
    words = [" ".join(draw.choices(WORDS, k=draw.randint(1, 8))) for _ in range(2 * num_rows)]
    return [
        {"prompt": "Say: ", "chosen": f"{a} yes", "rejected": b} for a, b in zip(words[::2], words[1::2], strict=True)
    ]


def prepared_votes(folder, group):
    """Folder that `trl-dprm prepare` writes: 40 items, each judged by 3 of 5 annotators, of `group` or "late"."""
    draw = random.Random(3)
    rows = []
    for item in range(40):
        completion = " ".join(draw.choices(WORDS, k=draw.randint(3, 8)))
        rows += [
            {
                "item_id": f"item {item}",
                "annotator_id": f"annotator {who}",
                "category": draw.choice(LIKERT_CATEGORY_NAMES),
                "group": group if who < 2 else "late",
                "completion": completion,
                "topic": f"topic {item % 7}",
            }
            for who in draw.sample(range(5), 3)
        ]
    Dataset.from_list(rows).to_parquet(folder / "judgments.parquet")
    categories = {"category_names": list(LIKERT_CATEGORY_NAMES), "category_rewards": [-1, -0.5, 0, 0.5, 1]}
    options = {"annotations": folder / "judgments.parquet", "output_dir": folder / "votes", "split_by": "item_id"}
    main(["prepare", *flags({**options, **categories, "split_fractions": [0.2, 0.4, 0.4]})])
    return str(folder / "votes")
