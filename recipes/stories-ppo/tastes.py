"""What simulated people see in a story: traits that saturate, so that none can be had twice by repeating a word."""

import re

import numpy as np

THEMES = {
    "joy": "happy fun love loved friend friends smile smiled laugh laughed hug hugged together excited nice best",
    "animals": "cat dog bird birds bunny bear fish frog mouse duck bug animal animals bee cow horse",
    "family": "mom mommy dad daddy sister brother family grandma grandpa mother father baby",
    "outdoors": "outside park garden forest farm hill beach river sea sky sun tree trees flower flowers grass rain",
}
THEME_WORDS = {theme: frozenset(words.split()) for theme, words in THEMES.items()}
TARGET_WORDS = 20  # of a completion of 40 tokens
QUALITY = {"fluency": 0.5, "variety": 0.25, "length": 0.25}


def story_traits(
    completions: list[str], log_probs: np.ndarray, fluency_bounds: tuple[float, float]
) -> dict[str, np.ndarray]:
    """Traits of stories, each between 0 and 1.

    A theme counts *different* words of its list: 0, 0.63, 0.86, 0.95 for none, one, two, three. `dialogue` counts
    quotation marks, up to a spoken sentence with both. `variety` is the share of different words, 0 at 0.6 and full
    from 0.85. `length` is full at `TARGET_WORDS` and falls to 0 at half and one and a half of it. `fluency` rises
    with the mean log-probability under the original model between the bounds, and no further.

    Args:
        completions (`list[str]`): Without their prompts.
        log_probs (`np.ndarray` of shape *(num_completions,)*): Mean per token, under the original model.
        fluency_bounds (`tuple[float, float]`): Mean log-probability that fluency is 0 and 1 at.

    Returns:
        `dict[str, np.ndarray]` of shape *(num_completions,)* each.
    """
    words = [re.findall(r"[a-z']+", text.lower()) for text in completions]
    traits = {
        theme: 1 - np.exp([-float(len(known & set(story))) for story in words]) for theme, known in THEME_WORDS.items()
    }
    low, high = fluency_bounds
    share = np.array([len(set(story)) / max(1, len(story)) for story in words])
    number = np.array([len(story) for story in words])
    return traits | {
        "dialogue": np.clip([text.count('"') / 2 for text in completions], 0, 1),
        "variety": np.clip((share - 0.6) / 0.25, 0, 1),
        "length": np.clip(1 - np.abs(number - TARGET_WORDS) / (TARGET_WORDS / 2), 0, 1),
        "fluency": np.clip((log_probs - low) / (high - low), 0, 1),
    }


def story_quality(traits: dict[str, np.ndarray]) -> np.ndarray:
    """What everybody wants of a text, between 0 and 1: fluent, varied, of some length."""
    return sum(weight * traits[trait] for trait, weight in QUALITY.items())


def fluency_bounds(log_probs: np.ndarray) -> tuple[float, float]:
    """Bounds from the original model's own completions: the lower quartile is fully fluent.

    Fluency is 0 four times as far below the quartile as the quartile lies below the median.
    """
    quartile, median = np.quantile(log_probs, [0.25, 0.5])
    return float(quartile - 4 * (median - quartile)), float(quartile)
