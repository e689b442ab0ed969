"""How far a number could be from what it is, had other images been drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from featx.errors import ParameterError, require_count, require_number

__all__ = ["bootstrap_interval"]


def bootstrap_interval(
    metric: Callable[..., float],
    *arrays: Any,
    n_resamples: int = 1000,
    level: float = 0.95,
    random_state: Any = 0,
) -> tuple[float, float]:
    """Return a percentile bootstrap interval.

    Parameters
    ----------
    metric : callable
        Takes the arrays' resampled rows and returns a number.
    *arrays : array-like of shape (n_samples, ...)
        Resampled together, with replacement.
    n_resamples : int, default 1000
        Cost grows linearly; the ends jitter by about 1 / sqrt(n_resamples) of the width.
    level : float, default 0.95
        In (0, 1).
    random_state : int, RandomState or None, default 0

    Returns
    -------
    (low, high) : tuple of float
        Efron and Tibshirani 1993, section 13.3. A resample without value, where the metric gives
        NaN or raises ValueError because, say, the one positive was not drawn, is left out.

    Raises
    ------
    ParameterError
        For arrays of different lengths, or where fewer than half of the resamples have a value.

    Examples
    --------
    >>> low, high = bootstrap_interval(lambda x: float(np.mean(x)), np.arange(100.0))
    >>> bool(40 < low < 49.5 < high < 59)
    True
    """
    require_count("n_resamples", n_resamples)
    require_number("level", level, 0, 1, above=True, below=True)
    columns = [np.asarray(array) for array in arrays]
    lengths = sorted({len(column) for column in columns})
    if len(lengths) != 1 or lengths[0] == 0:
        raise ParameterError(f"arrays: got lengths {lengths}, expected one length above 0")
    metric(*columns)  # what is wrong with all rows is no matter of resampling, and raises here
    rng = check_random_state(random_state)
    values = np.full(n_resamples, np.nan)
    for i in range(n_resamples):
        rows = rng.randint(lengths[0], size=lengths[0])
        try:
            values[i] = metric(*(column[rows] for column in columns))
        except ValueError:
            continue
    known = values[~np.isnan(values)]
    if len(known) < n_resamples / 2:
        raise ParameterError(
            f"bootstrap_interval: got a value from {len(known)} of {n_resamples} resamples, "
            "expected at least half; there are too few samples of some class for an interval"
        )
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
