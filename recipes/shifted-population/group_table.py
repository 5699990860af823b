"""Groups of the simulated crowd: what another mix of them would say, and how well the worst-off group is foretold."""

from pathlib import Path

import numpy as np
import pandas as pd
from arguments import RecipeArguments
from crowds.intervals import mean_and_half_width
from crowds.saved import load_arrays
from crowds.simulated import GROUPS, SHARES
from scipy.special import softmax

from trl_dprm.adaptation import fit_group_maps, post_stratified_probs, worst_group_reward

GRID = tuple(np.linspace(0, 1, 11).round(1).tolist())  # shares of the second group


def group_predictions(old: dict, groups: dict) -> dict[str, np.ndarray]:
    """What each method says of each group on the test items, shape *(num_groups, num_items, num_categories)*.

    `one_for_all` is the old model, the same for every group. The maps are fitted to the old validation votes by group.
    """
    votes = groups["validation_group_counts"]
    of_all = softmax(old["test_logits"], axis=1)
    predicted = {"one_for_all": np.stack([of_all] * len(GROUPS))}
    for kind in ("bias", "matrix"):
        maps = fit_group_maps(old["validation_logits"], votes, list(GROUPS), kind=kind)
        predicted[f"{kind}_map_per_group"] = maps.group_probs(old["test_logits"])
    return predicted | {"group_model": softmax(groups["group_logits"], axis=-1)}


def group_rows(arguments: RecipeArguments, folders: list[Path]) -> pd.DataFrame:
    """W1 in levels to the truth of every mix, mean and interval over the replications.

    Args:
        arguments (`RecipeArguments`): For the share of the shifted population, which joins the grid.
        folders (`list[Path]`): Of the replications.
    """
    shares = sorted({*GRID, SHARES[1], arguments.new_share})
    rows = []
    for folder in folders:
        old, groups = load_arrays(folder / "old.npz"), load_arrays(folder / "groups.npz")
        for method, probs in group_predictions(old, groups).items():
            for share in shares:
                truth, predicted = (
                    post_stratified_probs(of_groups, (1 - share, share))
                    for of_groups in (groups["group_probs"], probs)
                )
                distance = np.abs((predicted - truth).cumsum(axis=1)).sum(axis=1).mean()
                rows.append({"method": method, "share": share, "wasserstein_distance": distance})
    return mean_and_half_width(pd.DataFrame(rows).groupby(["method", "share"], sort=False)).reset_index()


def worst_group_rows(folders: list[Path]) -> pd.DataFrame:
    """How well the reward of the group that likes an item least is foretold.

    Args:
        folders (`list[Path]`): Of the replications.

    Returns:
        `pd.DataFrame` with one row per method: `correlation` with the true worst-group reward, `error` (root mean
        square), `right_group` (share of items whose worst-off group is named), and their intervals.
    """
    rows = []
    for folder in folders:
        old, groups = load_arrays(folder / "old.npz"), load_arrays(folder / "groups.npz")
        rewards, group = worst_group_reward(groups["group_probs"], old["category_rewards"])
        for method, probs in group_predictions(old, groups).items():
            predicted, named = worst_group_reward(probs, old["category_rewards"])
            rows.append(
                {
                    "method": method,
                    "correlation": np.corrcoef(predicted, rewards)[0, 1],
                    "error": np.sqrt(np.mean((predicted - rewards) ** 2)),
                    "right_group": np.nan if method == "one_for_all" else np.mean(named == group),
                }
            )
    return mean_and_half_width(pd.DataFrame(rows).groupby("method", sort=False)).reset_index()
