"""Check what comes in, once, at the boundary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ParameterError, nearest

__all__ = ["as_rankings", "as_row_sets", "choose", "labels_and_scores"]

Rows = NDArray[np.intp]


def choose(name: str, value: Any, options: Sequence[Any]) -> Any:
    """Return `value` where it is one of the options."""
    if value in options:
        return value
    texts = [option for option in options if isinstance(option, str)]
    hint = nearest(value, texts) if isinstance(value, str) else ""
    raise ParameterError(
        f"{name}: got {value!r}, expected one of {', '.join(map(repr, options))}.{hint}"
    )


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
    labels = np.asarray(y_true, dtype=np.float64)
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
