"""The precision-recall curve of one attribute, few enough points to draw."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from featx.errors import ParameterError, require_count
from featx.evaluation._validation import labels_and_scores

__all__ = ["precision_recall_points"]

Array = NDArray[np.float64]


def precision_recall_points(
    y_true: Any, score: Any, *, max_points: int = 200
) -> tuple[Array, Array]:
    """Return points of the precision-recall curve, by rising recall.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        1 for yes, 0 for no, NaN for not known: left out.
    score : array-like of shape (n_samples,)
        Higher is more likely.
    max_points : int, default 200
        At least 4. Beyond, recalls are thinned evenly, each with its highest and its lowest
        precision, so that the saw's teeth stay.

    Returns
    -------
    (recall, precision) : tuple of ndarray of shape (n_points,), float64
        From recall 0 at precision 1 to recall 1; the points of
        `sklearn.metrics.precision_recall_curve` with `drop_intermediate=True`.

    Raises
    ------
    ParameterError
        Where no label is 1.

    Examples
    --------
    >>> recall, precision = precision_recall_points([1, 0, np.nan, 1], [0.9, 0.8, 0.7, 0.6])
    >>> recall.tolist(), precision.round(2).tolist()
    ([0.0, 0.5, 0.5, 1.0], [1.0, 1.0, 0.5, 0.67])
    """
    require_count("max_points", max_points, 4)
    labels, scores, is_single = labels_and_scores(y_true, score)
    if not is_single:
        raise ParameterError(
            f"y_true: got shape {labels.shape}, expected (n_samples,): one attribute at a time"
        )
    known = ~np.isnan(labels[:, 0])
    truth = labels[known, 0]
    if not truth.any():
        raise ParameterError("y_true: got no positive label, expected at least one")
    precision, recall, _ = precision_recall_curve(truth, scores[known, 0], drop_intermediate=True)
    recall, precision = recall[::-1], precision[::-1]
    if len(recall) <= max_points:
        return recall, precision
    starts = np.flatnonzero(np.diff(recall, prepend=-1))
    ends = np.append(starts[1:], len(recall)) - 1
    wanted = np.linspace(0, 1, max_points // 2)
    levels = np.unique(np.abs(recall[starts][None, :] - wanted[:, None]).argmin(axis=1))
    kept = np.unique(np.concatenate([starts[levels], ends[levels]]))
    return recall[kept], precision[kept]
