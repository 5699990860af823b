"""Replications: the mean of each number, and how far it may be off."""

import numpy as np
import pandas as pd
from pandas.core.groupby import DataFrameGroupBy
from scipy.stats import t as student_t

LEVEL = 0.95


def mean_and_half_width(grouped: DataFrameGroupBy) -> pd.DataFrame:
    """Mean of every column over the rows of each group, and half the width of its 95 % interval.

    The interval is Student's for independent replications; with one replication it is NaN.

    Returns:
        `pd.DataFrame` with one row per group: each column's mean, `<column>_half_width`, and `num_replications`.

    Example:

    >>> runs = pd.DataFrame({"method": ["a", "a", "a"], "error": [0.1, 0.2, 0.3]})
    >>> mean_and_half_width(runs.groupby("method")).round(4).loc["a"].to_dict()
    {'error': 0.2, 'error_half_width': 0.2484, 'num_replications': 3.0}
    """
    count = grouped.count()
    half_width = student_t.ppf((1 + LEVEL) / 2, (count - 1).clip(lower=1)) * grouped.std() / np.sqrt(count)
    return grouped.mean().join(half_width, rsuffix="_half_width").join(grouped.size().rename("num_replications"))
