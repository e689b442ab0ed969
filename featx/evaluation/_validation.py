"""Check what comes in, once, at the boundary."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._values import float_array, is_missing, label_array
from featx.errors import ParameterError

__all__ = [
    "as_group_numbers",
    "as_labels",
    "as_rankings",
    "as_row_sets",
    "as_rows",
    "labels_and_scores",
]

Rows = NDArray[np.intp]


def as_rankings(indices: Any) -> list[Rows]:
    """Return one array of database rows a query, best first, without the -1 that pad short ones.

    Raises
    ------
    ParameterError
        Where a query has a row twice, or the rows are not integers.
    """
    rankings = [_integers("indices", query, ranking) for query, ranking in enumerate(indices)]
    rankings = [ranking[ranking >= 0] for ranking in rankings]
    for query, ranking in enumerate(rankings):
        if len(np.unique(ranking)) != len(ranking):
            values, counts = np.unique(ranking, return_counts=True)
            raise ParameterError(
                f"indices: query {query} has row {int(values[counts > 1][0])} more than once, "
                "expected each database row at most once"
            )
    return rankings


def as_row_sets(name: str, sets: Any, n_queries: int) -> list[Rows]:
    """Return one array of database rows a query; None gives empty ones.

    Raises
    ------
    ParameterError
        Where there are not as many as queries.
    """
    if sets is None:
        return [np.empty(0, dtype=np.intp)] * n_queries
    rows = [np.unique(_integers(name, query, row_set)) for query, row_set in enumerate(sets)]
    if len(rows) != n_queries:
        raise ParameterError(
            f"{name}: got {len(rows)} sets of rows for {n_queries} queries, expected one a query"
        )
    return rows


def _integers(name: str, query: int, values: Any) -> Rows:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ParameterError(
            f"{name}: got an array of shape {array.shape} and dtype {array.dtype} for query "
            f"{query}, expected a 1-D array of database row numbers"
        )
    return array.astype(np.intp)


def labels_and_scores(
    y_true: Any, score: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Return labels (0, 1, NaN) and scores as (n_samples, n_classes), and whether they were 1-D.

    Raises
    ------
    ParameterError
        For shapes that differ, other labels, or scores that are not finite.
    """
    labels = float_array(y_true)
    scores = np.asarray(score, dtype=np.float64)
    if labels.shape != scores.shape or labels.ndim not in (1, 2) or not labels.size:
        raise ParameterError(
            f"y_true and score: got shapes {labels.shape} and {scores.shape}, expected the same "
            "shape, (n_samples,) or (n_samples, n_classes)"
        )
    wrong = ~((labels == 0) | (labels == 1) | np.isnan(labels))
    if wrong.any():
        raise ParameterError(
            f"y_true: got {float(labels[wrong][0])!r}, expected 1, 0, or NaN for not known"
        )
    if not np.isfinite(scores).all():
        raise ParameterError("score: got NaN or infinity, expected finite numbers")
    if labels.ndim == 1:
        return labels[:, None], scores[:, None], True
    return labels, scores, False


def as_labels(y: Any) -> NDArray[Any]:
    """Return labels of shape (n_samples,), or float attributes (n_samples, n_attributes).

    Raises
    ------
    ParameterError
        For another shape, or attributes that are not 1, 0 or NaN.
    """
    labels = label_array(y)
    if labels.ndim not in (1, 2) or not labels.size:
        raise ParameterError(
            f"y: got shape {labels.shape}, expected (n_samples,) or (n_samples, n_attributes)"
        )
    if labels.ndim == 1:
        return labels
    try:
        attributes = float_array(labels)
    except (TypeError, ValueError) as err:
        raise ParameterError(f"y: got {labels.dtype} attributes, expected 1, 0 or NaN") from err
    wrong = ~((attributes == 0) | (attributes == 1) | np.isnan(attributes))
    if wrong.any():
        raise ParameterError(
            f"y: got {float(attributes[wrong][0])!r}, expected 1, 0, or NaN for not known"
        )
    return attributes


def as_rows(name: str, rows: Any, n_samples: int) -> Rows:
    """Return row numbers from numbers or a mask; None gives all.

    Raises
    ------
    ParameterError
        For rows that are not there, or twice, or a mask of another length.
    """
    if rows is None:
        return np.arange(n_samples)
    array = np.asarray(rows)
    if array.dtype == bool:
        if array.shape != (n_samples,):
            raise ParameterError(
                f"{name}: got a mask of shape {array.shape}, expected ({n_samples},)"
            )
        array = np.flatnonzero(array)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
        raise ParameterError(
            f"{name}: got shape {array.shape} and dtype {array.dtype}, expected row numbers or a "
            "mask, with at least one row"
        )
    outside = (array < 0) | (array >= n_samples)
    if outside.any():
        raise ParameterError(
            f"{name}: got row {int(array[outside][0])}, expected 0 to {n_samples - 1}"
        )
    values, counts = np.unique(array, return_counts=True)
    if len(values) != len(array):
        raise ParameterError(
            f"{name}: got row {int(values[counts > 1][0])} more than once, expected each once"
        )
    return array.astype(np.intp)


def as_group_numbers(groups: Any, n_samples: int) -> Rows:
    """Return a number a row, equal where groups are; a row without one has its own.

    Raises
    ------
    ParameterError
        For another length.
    """
    if groups is None:
        return np.arange(n_samples)
    array = label_array(groups)
    if array.shape != (n_samples,):
        raise ParameterError(
            f"groups: got shape {array.shape}, expected ({n_samples},), a value for each row of y"
        )
    is_known = np.array([not is_missing(value, words=False) for value in array.tolist()], bool)
    numbers = np.arange(n_samples) + n_samples  # beyond those of the groups
    numbers[is_known] = np.unique(array[is_known], return_inverse=True)[1].reshape(-1)
    return numbers.astype(np.intp)
