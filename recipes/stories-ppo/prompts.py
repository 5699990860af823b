"""Openings of stories, in three parts that share no opening: `train`, `eval`, `test`."""

from itertools import product

import numpy as np

from trl_dprm.preferences import split_by_hash

FRAMES = (
    "{name} was a {trait} {hero}.",
    "One day, {name} met a {trait} {hero}.",
    "{name} and the {hero} went to the {place}.",
)
WORDS = {
    "trait": ["little", "big", "happy", "sad", "kind", "shy", "good", "funny", "new", "young"],
    "hero": ["girl", "boy", "cat", "dog", "bird", "bunny", "bear", "fish", "man", "frog"],
    "name": ["Lily", "Tom", "Tim", "Sue", "Ben", "Mia", "Max", "Anna", "Sam", "Jack", "Lucy", "Bob"],
    "place": ["park", "tree", "lake", "house", "beach", "store", "farm", "hill"],
}
SIZES = {"train": 2048, "eval": 256, "test": 256}


def make_prompts() -> dict[str, list[str]]:
    """The openings of each part: a rule, the same on every machine; each frame is equally frequent.

    Returns:
        `dict[str, list[str]]`: `SIZES[part]` distinct openings per part, in random order.
    """
    openings = {frame: sorted(_fill(frame)) for frame in FRAMES}
    parts = {frame: np.array(split_by_hash(texts)) for frame, texts in openings.items()}
    names = {"train": "train", "eval": "validation", "test": "test"}
    prompts = {}
    for number, (part, split) in enumerate(names.items()):
        rng = np.random.default_rng(number)
        pools = [rng.permutation(np.array(openings[frame])[parts[frame] == split]) for frame in FRAMES]
        prompts[part] = _alternate(pools, SIZES[part], rng)
    return prompts


def _fill(frame):
    """All texts of a frame."""
    slots = [slot for slot in WORDS if f"{{{slot}}}" in frame]
    return {frame.format(**dict(zip(slots, words, strict=True))) for words in product(*(WORDS[s] for s in slots))}


def _alternate(pools, size, rng):
    """Distinct texts, taken from the pools in turn while they last, shuffled."""
    longest = max(map(len, pools))
    turns = [str(pool[turn]) for turn in range(longest) for pool in pools if turn < len(pool)]
    return rng.permutation(turns[:size]).tolist()
