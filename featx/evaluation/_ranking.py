"""Metrics of retrieval: from ranked database rows and the rows that should have been found.

Every function takes `indices`, one row of database row numbers per query, best first (what
`RetrievalIndex.query` returns; -1 pads), and `positives`, the rows that are right. `junk` rows are
neither right nor wrong: they are taken out of the ranking before ranks are counted, as the
protocols of Oxford, Paris and their revisited versions have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._values import label_array, require_known
from featx.errors import ParameterError, choose, require_count

__all__ = [
    "Relevance",
    "average_precision_scores",
    "mean_average_precision_score",
    "mean_precision_at_k",
    "recall_at_k",
    "relevance_from_labels",
]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Relevance:
    """Which database rows are right for each query, and which do not count.

    Parameters
    ----------
    positives, junk : tuple of ndarray of int
        One array of database rows per query.
    """

    positives: tuple[Rows, ...]
    junk: tuple[Rows, ...]


def relevance_from_labels(query_labels: Any, database_labels: Any = None) -> Relevance:
    """Take as right the database rows that have the query's label.

    Parameters
    ----------
    query_labels : array-like of shape (n_queries,)
        Each known.
    database_labels : array-like of shape (n_database,) or None, default None
        A row without a label is right for no query.
        None means that the queries are the database, each left out of its own ranking: its own row
        is junk.

    Returns
    -------
    Relevance

    Raises
    ------
    ParameterError
        If a query has no label.

    Examples
    --------
    >>> relevance = relevance_from_labels(["cat", "dog", "cat"])
    >>> [rows.tolist() for rows in relevance.positives], relevance.junk[0].tolist()
    ([[2], [], [0]], [0])
    """
    queries = require_known(query_labels, "query_labels")
    database = queries if database_labels is None else label_array(database_labels)
    rows_of = {label: np.flatnonzero(database == label) for label in np.unique(queries)}
    positives = [rows_of[label] for label in queries]
    if database_labels is not None:
        return Relevance(tuple(positives), (np.empty(0, dtype=np.intp),) * len(queries))
    return Relevance(
        tuple(rows[rows != query] for query, rows in enumerate(positives)),
        tuple(np.array([query]) for query in range(len(queries))),
    )


def average_precision_scores(
    indices: Any, positives: Any, *, junk: Any = None, convention: str = "trapezoid"
) -> Array:
    """Return the average precision of each query.

    Parameters
    ----------
    indices : array-like of shape (n_queries, k), int, or sequence of 1-D arrays
        Database rows, best first; -1 pads. Positives beyond k count as not found, so a short
        ranking gives a lower bound.
    positives : sequence of n_queries 1-D int arrays
        Rows that are right.
    junk : sequence of n_queries 1-D int arrays or None, default None
        Rows taken out before ranks are counted. A row that is both is junk.
    convention : {"trapezoid", "step"}, default "trapezoid"
        "trapezoid" is the area under the precision-recall curve by the trapezoidal rule, as in the
        Oxford and Paris protocols (Philbin et al. 2007; Radenovic et al. 2018); it starts at
        precision 1 where the first row is right and 0 elsewhere. "step" is the mean of the
        precisions at the positives' ranks, as in information retrieval and as
        `sklearn.metrics.average_precision_score` for scores without ties.

    Returns
    -------
    ndarray of shape (n_queries,), float64
        NaN for a query without positives.

    Examples
    --------
    >>> average_precision_scores([[7, 3, 5]], [[3]])
    array([0.25])
    >>> average_precision_scores([[7, 3, 5]], [[3]], convention="step")
    array([0.5])
    """
    choose("convention", convention, ("trapezoid", "step"))
    values = []
    for ranks, n_positives in _rank_positives(indices, positives, junk):
        found = np.arange(1, len(ranks) + 1)
        precision = found / (ranks + 1)
        if convention == "trapezoid":
            # The precision just before a positive; nothing retrieved yet counts as 1.
            before = np.where(ranks == 0, 1.0, (found - 1) / np.maximum(ranks, 1))
            precision = (precision + before) / 2
        values.append(precision.sum() / n_positives if n_positives else np.nan)
    return np.array(values, dtype=np.float64)


def mean_average_precision_score(
    indices: Any, positives: Any, *, junk: Any = None, convention: str = "trapezoid"
) -> float:
    """Return the mean average precision over the queries that have positives.

    Parameters
    ----------
    indices, positives, junk, convention
        As for `average_precision_scores`. Name the convention beside the number.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ParameterError
        For malformed rankings, or where no query has a positive.

    Examples
    --------
    >>> mean_average_precision_score([[0, 1, 2], [2, 0, 1]], [[0, 1], [0]])
    0.625
    """
    return _average(average_precision_scores(indices, positives, junk=junk, convention=convention))


def mean_precision_at_k(indices: Any, positives: Any, *, k: int, junk: Any = None) -> float:
    """Return the mean share of right rows among the first k.

    Parameters
    ----------
    indices, positives, junk
        As for `average_precision_scores`; of at least k rows after junk is out.
    k : int
        As in Radenovic et al. 2018, a query's last positive rank takes its place where smaller.

    Returns
    -------
    float

    Examples
    --------
    >>> mean_precision_at_k([[4, 1, 0, 3]], [[1, 4]], k=3)
    1.0
    """
    require_count("k", k)
    values = []
    for ranks, n_positives in _rank_positives(indices, positives, junk):
        if not n_positives:
            values.append(np.nan)
            continue
        complete = len(ranks) == n_positives
        depth = min(k, int(ranks.max()) + 1) if complete else k
        values.append((ranks < depth).sum() / depth)
    return _average(np.array(values, dtype=np.float64))


def recall_at_k(
    indices: Any, positives: Any, *, k: int, junk: Any = None, convention: str = "any"
) -> float:
    """Return how much of what is right comes among the first k, averaged over queries.

    Parameters
    ----------
    indices, positives, junk
        As for `average_precision_scores`.
    k : int
        At least 1.
    convention : {"any", "share"}, default "any"
        "any" counts the queries with at least one positive among the first k, as in metric
        learning and instance search; "share" the positives found, over all of a query's.

    Returns
    -------
    float
        In [0, 1], over the queries that have positives.

    Examples
    --------
    >>> recall_at_k([[4, 1, 0, 3]], [[1, 3]], k=2)
    1.0
    >>> recall_at_k([[4, 1, 0, 3]], [[1, 3]], k=2, convention="share")
    0.5
    """
    require_count("k", k)
    choose("convention", convention, ("any", "share"))
    values = []
    for ranks, n_positives in _rank_positives(indices, positives, junk):
        found = int((ranks < k).sum())
        if not n_positives:
            values.append(np.nan)
        else:
            values.append(float(found > 0) if convention == "any" else found / n_positives)
    return _average(np.array(values, dtype=np.float64))


def _rank_positives(indices: Any, positives: Any, junk: Any) -> list[tuple[Rows, int]]:
    """Return each query's ranks of positives (from 0, junk taken out) and number of positives."""
    rankings = _read_rankings(indices)
    right = _read_row_sets("positives", positives, len(rankings))
    ignored = _read_row_sets("junk", junk, len(rankings))
    out = []
    for ranking, rows, out_rows in zip(rankings, right, ignored, strict=True):
        counted = ranking[~np.isin(ranking, out_rows)] if len(out_rows) else ranking
        wanted = np.setdiff1d(rows, out_rows) if len(out_rows) else rows
        out.append((np.flatnonzero(np.isin(counted, wanted)), len(wanted)))
    return out


def _average(values: Array) -> float:
    if np.isnan(values).all():
        raise ParameterError(
            f"positives: got none for any of {len(values)} queries, expected some for at least one"
        )
    return float(np.nanmean(values))


def _read_rankings(indices: Any) -> list[Rows]:
    """Return one array of database rows per query, best first, without the -1 that pad short ones.

    Raises
    ------
    ParameterError
        Where a query has a row twice, or the rows are not integers.
    """
    rankings = [_read_rows("indices", query, ranking) for query, ranking in enumerate(indices)]
    rankings = [ranking[ranking >= 0] for ranking in rankings]
    for query, ranking in enumerate(rankings):
        if len(np.unique(ranking)) != len(ranking):
            values, counts = np.unique(ranking, return_counts=True)
            raise ParameterError(
                f"indices: query {query} has row {int(values[counts > 1][0])} more than once, "
                "expected each database row at most once"
            )
    return rankings


def _read_row_sets(name: str, sets: Any, n_queries: int) -> list[Rows]:
    """Return one array of database rows per query; None gives empty ones.

    Raises
    ------
    ParameterError
        Where there are not as many as queries.
    """
    if sets is None:
        return [np.empty(0, dtype=np.intp)] * n_queries
    rows = [np.unique(_read_rows(name, query, row_set)) for query, row_set in enumerate(sets)]
    if len(rows) != n_queries:
        raise ParameterError(
            f"{name}: got {len(rows)} sets of rows for {n_queries} queries, expected one per query"
        )
    return rows


def _read_rows(name: str, query: int, values: Any) -> Rows:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ParameterError(
            f"{name}: got an array of shape {array.shape} and dtype {array.dtype} for query "
            f"{query}, expected a 1-D array of database row numbers"
        )
    return array.astype(np.intp)
