"""Figures that lie beside a model card: is the predicted distribution right, and on which items is it wrong?"""

import io
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..metrics.held_out_votes import curve_items, held_out_votes_curve, votes_only_curve
from ..metrics.model_plots import VOTES_ONLY, contested_items, plot_contested, plot_expectations, plot_votes_curves
from ..metrics.plots import plot_reliability
from ..metrics.share_votes import votes_of_shares
from ..models import DPRMConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

FIGURE_FILES = "calibration*.png"
_MODEL = "model"


class CalibrationFigures:
    """The figures of the last evaluation, those of each evaluation set, drawn when they are first written.

    They show the model alone, and no texts: items are called by their place in the evaluation set.

    Args:
        config ([`DPRMConfig`]): For categories and the prior strength, which is read when a figure is drawn.

    Example:

    ```python
    >>> import tempfile
    >>> from pathlib import Path
    >>> from trl_dprm import DPRMConfig
    >>> from trl_dprm.hub.calibration_figures import CalibrationFigures
    >>> figures = CalibrationFigures(DPRMConfig(category_names=["no", "yes"], category_rewards=[0.0, 1.0]))
    >>> figures.keep(None, [[0.7, 0.3], [0.4, 0.6]], [[1.0, 0.0], [0.0, 1.0]], [3.0, 2.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     figures.write(Path(folder))[None]["reliability"], len(list(Path(folder).iterdir()))
    ('calibration.png', 3)

    ```
    """

    def __init__(self, config: DPRMConfig):
        self.config = config
        self._judged = {}
        self._drawn = {}

    def forget(self) -> None:
        """Drop what was kept: another evaluation begins."""
        self._judged.clear()
        self._drawn.clear()

    def keep(
        self, set_name: str | None, category_probs: np.ndarray, target_probs: np.ndarray, vote_weight: np.ndarray
    ) -> None:
        """Remember the predictions and votes of an evaluation set, in place of its earlier ones.

        Args:
            set_name (`str`, *optional*): `None` for an only set.
            category_probs, target_probs (`np.ndarray` of shape *(num_responses, num_categories)*): Rows sum to 1.
            vote_weight (`np.ndarray` of shape *(num_responses,)*): Votes of each response.
        """
        self._judged[set_name] = category_probs, target_probs, vote_weight
        self._drawn.pop(set_name, None)

    def write(self, folder: Path) -> dict[str | None, dict[str, str]]:
        """Write the figures in place of older ones.

        Args:
            folder (`Path`): Of the card.

        Returns:
            `dict[str | None, dict[str, str]]`: For each evaluation set file names by what they show: `reliability`,
            `expectations`, and where there are the votes for it `contested` and (with a prior strength) `votes`. None,
            with a warning, where matplotlib is missing.
        """
        for older in folder.glob(FIGURE_FILES):
            older.unlink()
        try:
            drawn = {set_name: self._pictures(set_name) for set_name in self._judged}
        except ModuleNotFoundError as error:
            logger.warning(f"The model card gets no calibration figure: {error}")
            return {}
        names = {set_name: {kind: _file_name(set_name, kind) for kind in kinds} for set_name, kinds in drawn.items()}
        for set_name, kinds in drawn.items():
            for kind, picture in kinds.items():
                (folder / names[set_name][kind]).write_bytes(picture)
        return names

    def _pictures(self, set_name):
        """PNG files of an evaluation set by kind, drawn anew only if the prior strength is another."""
        strength, pictures = self._drawn.get(set_name, (None, None))
        if pictures is None or strength != self.config.prior_strength:
            pictures = {kind: figure_png(figure) for kind, figure in self._draw(*self._judged[set_name])}
            self._drawn[set_name] = self.config.prior_strength, pictures
        return pictures

    def _draw(self, category_probs, target_probs, vote_weight):
        """The figures, one after the other."""
        names, cost = self.config.category_names, self.config.cost_matrix
        category_probs = np.asarray(category_probs, dtype=np.float64)
        target_counts = votes_of_shares(target_probs, vote_weight)
        yield "reliability", plot_reliability(category_probs, target_probs, vote_weight, names)
        rows = contested_items(target_counts, cost)
        if len(rows):
            titles = [f"item {row + 1} ({target_counts[row].sum():g} votes)" for row in rows]
            yield "contested", plot_contested({_MODEL: category_probs[rows]}, target_counts[rows], names, titles)
        models = {_MODEL: category_probs}
        yield "expectations", plot_expectations(models, target_counts, self.config.category_rewards, cost)
        items, steps = curve_items(target_counts)
        if steps and self.config.prior_strength is not None:
            counts = target_counts[items]
            curve = held_out_votes_curve(category_probs[items], counts, self.config.prior_strength, cost, steps)
            votes_only = votes_only_curve(target_counts, counts, cost, steps)
            yield "votes", plot_votes_curves({_MODEL: curve, VOTES_ONLY: votes_only})


def figure_png(figure: "Figure") -> bytes:
    """A figure of a card as a PNG file.

    Args:
        figure (`matplotlib.figure.Figure`): What to draw.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return picture.getvalue()


def _file_name(set_name, kind):
    """`calibration.png`, `calibration.votes.png`, `calibration-SET.votes.png`: no name of a set has a dot."""
    of_set = "" if set_name is None else f"-{re.sub(r'[^A-Za-z0-9_-]', '_', set_name)}"
    return f"calibration{of_set}{'' if kind == 'reliability' else f'.{kind}'}.png"
