"""A synthetic population whose opinion of every response is known exactly.

Responses are short English texts with five facts: how much they help (0, 1, 2), whether they are right, polite, joking
and long. Two groups of annotators judge them on a five-point scale, each by an ordered logit around its own taste:
*practical* people dislike jokes and length, *playful* people enjoy jokes. The crowd's true distribution is the mixture
of the two, so a joke splits the population in a way that no mean can show.
"""

from itertools import product

import numpy as np
import pyarrow as pa

CATEGORY_NAMES = ("terrible", "poor", "fair", "good", "excellent")
CATEGORY_REWARDS = (-1.0, -0.5, 0.0, 0.5, 1.0)
THRESHOLDS = np.array([-2.4, -0.8, 0.8, 2.4])
GROUP_SHARES = {"practical": 0.65, "playful": 0.35}
#           intercept  help  right  polite  joke  long
TASTES = {
    "practical": (-1.6, 1.2, 1.5, 0.4, -2.2, -0.7),
    "playful": (-1.9, 0.6, 0.7, 0.2, 3.2, 0.5),
}

TOPICS = {
    "boil an egg": ("water", "minutes", "shell"),
    "fix a flat tyre": ("patch", "pump", "wheel"),
    "learn the guitar": ("chords", "practice", "strings"),
    "plant tomatoes": ("soil", "sun", "seeds"),
    "write a letter": ("paper", "greeting", "stamp"),
    "clean a window": ("cloth", "vinegar", "glass"),
    "bake bread": ("flour", "yeast", "oven"),
    "train a puppy": ("treats", "patience", "leash"),
}
OPENINGS = {False: ("Look here.", "Well.", "Right."), True: ("Of course!", "Happy to help.", "Thank you for asking.")}
HELP = (
    ("It depends on many things.", "There are several ways.", "People do it differently."),
    ("Start with the {0}.", "You will need some {0}.", "The {0} matters most."),
    (
        "Take the {0}, then the {1}, and end with the {2}.",
        "First {0}, second {1}, third {2}.",
        "Use {0} and {1}; mind the {2}.",
    ),
)
RIGHTNESS = {
    False: ("Never check your work.", "Do it with your eyes closed.", "The {1} is optional, ignore it."),
    True: ("Check the {1} twice.", "Give the {1} some time.", "Keep an eye on the {1}."),
}
JOKES = ("Why did the {2} cross the road?", "My {2} tells better jokes than I do.", "Even a {2} would laugh at that.")
PADDING = (
    "As so often in life, the journey is as important as the goal, and many have written about it at length.",
    "It is worth remembering that opinions differ, that times change, and that there is always more to say.",
)


def make_judgments(num_items: int, seed: int, votes_per_item: tuple[int, int] = (3, 7)) -> tuple[pa.Table, np.ndarray]:
    """Invent responses, and let annotators drawn from the population judge them.

    Args:
        num_items (`int`): Number of distinct responses.
        seed (`int`): Of everything drawn.
        votes_per_item (`tuple[int, int]`): Fewest and most annotators of an item.

    Returns:
        A table with one row per judgment (`item_id`, `annotator_id`, `group`, `category`, `prompt`, `completion`), and
        the true crowd distributions, an array of shape *(num_items, 5)* in the order of the item ids.
    """
    rng = np.random.default_rng(seed)
    facts, texts = draw_responses(rng, num_items)
    per_group = {group: ordered_logit(taste_utility(facts, taste)) for group, taste in TASTES.items()}
    truth = sum(GROUP_SHARES[group] * probs for group, probs in per_group.items())

    groups, shares = list(GROUP_SHARES), list(GROUP_SHARES.values())
    annotators = [(f"annotator-{k}", str(group)) for k, group in enumerate(rng.choice(groups, size=400, p=shares))]
    rows = []
    for item, (prompt, completion) in enumerate(texts):
        panel = rng.choice(len(annotators), size=rng.integers(*votes_per_item, endpoint=True), replace=False)
        for annotator, group in (annotators[k] for k in panel):
            category = rng.choice(CATEGORY_NAMES, p=per_group[group][item])
            rows.append((f"item-{item:05d}", annotator, group, str(category), prompt, completion))
    names = ("item_id", "annotator_id", "group", "category", "prompt", "completion")
    return pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), truth


def draw_responses(rng: np.random.Generator, num_items: int) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """Facts (help 0, 1, 2; right, polite, joke, long 0 or 1) of shape (num_items, 5) and as many distinct texts."""
    drawn = {}
    while len(drawn) < num_items:
        facts = (rng.integers(3), *(rng.random(4) < (0.6, 0.5, 0.4, 0.3)))
        drawn.setdefault(_write(rng, *facts), facts)
    return np.array(list(drawn.values()), dtype=int), list(drawn)


def _write(rng, helpfulness, right, polite, joke, long):
    """A prompt and a completion with the given facts, worded at random (`tuple[str, str]`)."""
    topic = list(TOPICS)[rng.integers(len(TOPICS))]
    sentences = [OPENINGS[bool(polite)], HELP[helpfulness], RIGHTNESS[bool(right)]]
    sentences += [JOKES] if joke else []
    sentences += [PADDING] if long else []
    chosen = [options[rng.integers(len(options))].format(*TOPICS[topic]) for options in sentences]
    return f"How do I {topic}? ", " ".join(chosen)


def taste_utility(facts: np.ndarray, taste: tuple[float, ...]) -> np.ndarray:
    """What people of a taste make of each response, shape (num_items,)."""
    return taste[0] + facts @ np.array(taste[1:])


def ordered_logit(utility: np.ndarray) -> np.ndarray:
    """Probability of each category: differences of sigmoids around the utility, shape (num_items, 5)."""
    below = 1 / (1 + np.exp(utility[:, None] - THRESHOLDS))
    cdf = np.concatenate([np.zeros_like(below[:, :1]), below, np.ones_like(below[:, :1])], axis=1)
    return np.diff(cdf, axis=1)


def vocabulary() -> list[str]:
    """Every sentence that a response may hold, to make a tokenizer from."""
    frames = [*HELP, *RIGHTNESS.values(), JOKES, *OPENINGS.values(), PADDING]
    return [
        sentence.format(*words) + f" How do I {topic}?"
        for (topic, words), options in product(TOPICS.items(), frames)
        for sentence in options
    ]
