"""What a trained method says of the validation and test responses: all that the table is computed from."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


@dataclass
class Predictions:
    """Scores of one method and seed, for the responses of each part in the order of `judged_responses`.

    Args:
        validation_rewards, test_rewards (`np.ndarray` of shape *(num_responses,)*): Scalar or expected reward.
        validation_probs, test_probs (`np.ndarray` of shape *(num_responses, num_categories)*):
            Distributions; of a scalar method no columns.
        scale (`float`): κ as trained; 1 where there is none.
        tie_propensity (`float`): ν as trained; NaN where there is none.
        num_pairs (`int`): Pairs that training used.
        seconds, cpu_seconds (`float`): What training and scoring took.
    """

    validation_rewards: np.ndarray
    test_rewards: np.ndarray
    validation_probs: np.ndarray
    test_probs: np.ndarray
    scale: float = 1.0
    tie_propensity: float = float("nan")
    num_pairs: int = 0
    seconds: float = float("nan")
    cpu_seconds: float = float("nan")

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez_compressed(unfinished, **asdict(self))
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(**{name: arrays[name] if arrays[name].ndim else arrays[name].item() for name in arrays.files})


def predictions_path(output_dir: str, seed: int, method: str) -> Path:
    """Where the predictions of one method and seed lie."""
    return Path(output_dir, "predictions", f"seed-{seed}", f"{method}.npz")
