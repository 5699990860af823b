"""What a trained method says of the validation and test items: the only thing that the table is computed from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np


@dataclass(kw_only=True)
class Saved:
    """Arrays and numbers in one file, with what it took to compute them.

    Args:
        seconds, cpu_seconds (`float`): What training and predicting took.
    """

    seconds: float = float("nan")
    cpu_seconds: float = float("nan")

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez_compressed(unfinished, **asdict(self))
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(**{name: arrays[name] if arrays[name].ndim else float(arrays[name]) for name in arrays.files})


@dataclass
class Predictions(Saved):
    """Distributions and expected rewards of one method and seed, in the order of the items.

    Args:
        validation_probs, test_probs (`np.ndarray` of shape *(num_items, num_categories)*): Over the five levels.
        validation_rewards, test_rewards (`np.ndarray` of shape *(num_items,)*): Expected reward; of a regression, its
            own output.
        fitted (`float`): The one number fitted on validation (scale, exponent, penalty); NaN where there is none.
    """

    validation_probs: np.ndarray
    test_probs: np.ndarray
    validation_rewards: np.ndarray
    test_rewards: np.ndarray
    fitted: float = float("nan")

    @classmethod
    def of_distributions(
        cls, validation: np.ndarray, test: np.ndarray, category_rewards: Sequence[float], fitted: float = float("nan")
    ) -> "Predictions":
        """Predictions of a method whose expected reward is that of its distribution."""
        return cls(validation, test, validation @ category_rewards, test @ category_rewards, fitted)


@dataclass
class PairOutputs(Saved):
    """Outputs of a method that learns from pairs, in the order of the items; `readout.py` makes distributions of them.

    Args:
        validation_outputs, test_outputs (`np.ndarray` of shape *(num_items, num_outputs)*): As `pair_models.py` has
            them; of Davidson's model the score and the logarithm of the tie propensity, the same in every row.
    """

    validation_outputs: np.ndarray
    test_outputs: np.ndarray


def predictions_path(output_dir: str, seed: int, method: str) -> Path:
    """Where the predictions of one method and seed lie."""
    return Path(output_dir, "predictions", f"seed-{seed}", f"{method}.npz")
