"""What a method says of the test items, and what that is judged against: all that the tables are computed from."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from crowds.saved import load_arrays, save_arrays


@dataclass
class Predictions:
    """Of one method, arm and seed.

    Args:
        rewards (`np.ndarray` of shape *(num_test_items,)*): Expected reward; of pairs in a unit of their own.
        probs (`np.ndarray` of shape *(num_test_items, num_categories)*): Empty where a method has no distribution.
        prior_strength (`float`): Votes that its prior is worth; NaN where there is none.
        cpu_seconds (`float`): Of training and predicting.
    """

    rewards: np.ndarray
    probs: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    prior_strength: float = float("nan")
    cpu_seconds: float = float("nan")

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        save_arrays(path, **asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read what `save` wrote."""
        return cls(**{name: array if array.ndim else float(array) for name, array in load_arrays(path).items()})


def seed_folder(output_dir: str, crowd: str, seed: int) -> Path:
    """Where the results of one replication lie."""
    return Path(output_dir, "predictions", crowd, f"seed-{seed}")
