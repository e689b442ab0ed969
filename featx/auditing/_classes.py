"""Pairs of classes that held-out scores cannot tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

__all__ = ["ConfusedPair", "find_confused_pairs"]

Rows = NDArray[np.intp]

LEAST_ERROR = 0.2  # of a pair that is looked at closer
MOST_AREA = 0.75  # under the ROC curve, with two standard errors: half way from chance to certain
Z = 2.0


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes.

    Parameters
    ----------
    first, second : int
        Their codes.
    score : float
        ``2 (1 - A)``, with A the area under the ROC curve of the difference of their scores: 1
        for chance.
    row : int
        The image of `first` that most looks like `second`.
    """

    first: int
    second: int
    score: float
    row: int


def find_confused_pairs(scores: NDArray[Any], codes: Rows) -> list[ConfusedPair]:
    """Return the pairs that are told apart little better than by chance, worst first.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_classes)
        Held out.
    codes : ndarray of shape (n_samples,), intp

    Notes
    -----
    The area's standard error is that of Hanley and McNeil (1982), so that a pair of small classes
    is not called alike for want of images.
    """
    n_classes = scores.shape[1]
    errors = np.zeros((n_classes, n_classes))
    for code in np.unique(codes):
        mine = scores[codes == code]
        errors[code] = (mine > mine[:, [code]]).mean(axis=0)
    mean = (errors + errors.T) / 2
    found = []
    for a, b in np.argwhere(np.triu(mean >= LEAST_ERROR, k=1)).tolist():
        rows_a, rows_b = np.flatnonzero(codes == a), np.flatnonzero(codes == b)
        if not len(rows_a) or not len(rows_b):
            continue
        margin_a = scores[rows_a, a] - scores[rows_a, b]
        margin_b = scores[rows_b, a] - scores[rows_b, b]
        area = _area(margin_a, margin_b)
        if area + Z * _standard_error(area, len(rows_a), len(rows_b)) < MOST_AREA:
            row = int(rows_a[margin_a.argmin()])
            found.append(ConfusedPair(a, b, float(min(2 * (1 - area), 1.0)), row))
    return sorted(found, key=lambda pair: -pair.score)


def _area(above: NDArray[Any], below: NDArray[Any]) -> float:
    """Return the area under the ROC curve: how often one of `above` exceeds one of `below`."""
    ranks = rankdata(np.concatenate([above, below]))
    n, m = len(above), len(below)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def _standard_error(area: float, n: int, m: int) -> float:
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    rest = (n - 1) * (q1 - area**2) + (m - 1) * (q2 - area**2)
    return float(np.sqrt(max(area * (1 - area) + rest, 0) / (n * m)))
