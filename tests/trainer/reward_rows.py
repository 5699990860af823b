"""Small datasets with something to learn in them (which of a few words ends a response), and short runs on them."""

import random

from datasets import Dataset, concatenate_datasets

QUALITY = {"awful": [6, 2, 1, 0, 0], "dull": [1, 2, 4, 2, 0], "fine": [0, 1, 3, 4, 1], "great": [0, 0, 1, 3, 5]}
RUN = {
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "gradient_checkpointing": False,
    "max_steps": 3,
    "per_device_train_batch_size": 4,
    "logging_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
}
WORDS = ("once", "upon", "a", "red", "dog", "sat", "there")


def judged_rows(count, seed=0, votes=(1, 9)):
    """Responses with votes on five categories, drawn from their word's opinion; vote counts differ."""
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        word = generator.choice(list(QUALITY))
        counts = [0] * 5
        for category in generator.choices(range(5), QUALITY[word], k=generator.randint(*votes)):
            counts[category] += 1
        rows.append({"prompt": "Tell: ", "completion": _text(generator, word), "target_counts": counts})
    return rows


def pair_rows(count, seed=0):
    """Pairs whose chosen response has the better word."""
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        worse, better = sorted(generator.sample(range(4), 2))
        words = list(QUALITY)
        rows.append(
            {
                "prompt": "Tell: ",
                "chosen": _text(generator, words[better]),
                "rejected": _text(generator, words[worse]),
            }
        )
    return rows


def judged(count, seed=0, **options):
    return Dataset.from_list(judged_rows(count, seed, **options))


def pairs(count, seed=0):
    return Dataset.from_list(pair_rows(count, seed))


def mixture(num_judged, num_pairs, seed=0):
    """Both kinds, shuffled; pairs with margins, vote shares and uneven weights, some with ties and distributions."""
    generator = random.Random(seed)
    ranked = pair_rows(num_pairs, seed)
    for place, row in enumerate(ranked):
        row |= {
            "margin": 0.1 * (place % 3),
            "chosen_vote_share": 1 - 0.1 * (place % 4),
            "vote_weight": 1.0 + place % 3,
        }
        row["tie_vote_share"] = 0.1 * (place % 4) if place % 4 > 1 else None
        row["chosen_target_probs"] = [0.0, 0.1, 0.2, 0.3, 0.4] if place % 2 else None
    rows = concatenate_datasets([Dataset.from_list(judged_rows(num_judged, seed)), Dataset.from_list(ranked)])
    order = list(range(len(rows)))
    generator.shuffle(order)
    return rows.select(order)


def _text(generator, word):
    return " ".join([*generator.choices(WORDS, k=generator.randint(1, 5)), word])
