"""What a ranking by other means than plain distance is: its input, its result, its name.

A re-ranking is any object with a method `rank`; `RetrievalIndex.query` takes one, or the name of
one. Knows vectors and rows; images come in only as what a query's images are called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featx.retrieval._search import Vectors, search

__all__ = [
    "Floats",
    "Ranking",
    "RankingInput",
    "Reranking",
    "Rows",
    "reordered",
]

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class RankingInput:
    """What is known when a ranking is asked for.

    Parameters
    ----------
    vectors : Vectors
        The database.
    metric : {"cosine", "euclidean", "dot"}
        The index's.
    queries : ndarray of shape (n_queries, n_features), float32
        Finite.
    k : int
        Rows wanted for each query, at most those that there are.
    ids : ndarray of shape (n_samples,)
        What the rows are called.
    images : tuple or None
        The queries' images, as `featx.images.as_sources` gives them; None for vectors.
    backbone : callable, optional
        Loads the network that the features were made with.
    among : ndarray of shape (n_samples,), bool, optional
        Rows that may be given. Default: all.
    """

    vectors: Vectors
    metric: str
    queries: Floats
    k: int
    ids: NDArray[Any]
    images: tuple[Any, ...] | None = None
    backbone: Callable[[], Any] | None = None
    among: NDArray[np.bool_] | None = None

    def nearest(self, k: int) -> Ranking:
        """Return the plain ranking, of at most the rows that may be given."""
        n = self.vectors.shape[0] if self.among is None else int(self.among.sum())
        return self.search(self.queries, min(k, n))

    def search(self, queries: Floats, k: int) -> Ranking:
        """Return the plain ranking of other queries."""
        found = search(self.vectors, queries, k, metric=self.metric, among=self.among)
        return Ranking(*found)


@dataclass(frozen=True)
class Ranking:
    """Rows of the database for each query, best first.

    Parameters
    ----------
    rows : ndarray of shape (n_queries, k), intp
    distances : ndarray of shape (n_queries, k), float32
        Ascending.
    inliers : ndarray of shape (n_queries, k), intp, or None
        Pairs of local features that agree, where they were compared; -1 where not.
    """

    rows: Rows
    distances: Floats
    inliers: Rows | None = None

    def first(self, k: int) -> Ranking:
        """Return the first k of each query."""
        inliers = None if self.inliers is None else self.inliers[:, :k]
        return Ranking(self.rows[:, :k], self.distances[:, :k], inliers)


class Reranking(Protocol):
    """Another order than that of plain distance."""

    def rank(self, given: RankingInput) -> Ranking:
        """Return `given.k` rows for each query."""


def reordered(found: Ranking, distances: Floats, inliers: Rows | None = None) -> Ranking:
    """Put the first candidates in the order of new distances, and leave the rest below.

    Parameters
    ----------
    found : Ranking
        The plain ranking, of k rows.
    distances : ndarray of shape (n_queries, n_candidates), float32
        From 0 to 1, for the first n_candidates rows of `found`; equal ones keep their order.
    inliers : ndarray of shape (n_queries, n_candidates), intp, optional
        To be put in the same order.

    Returns
    -------
    Ranking
        The rest's distances are 1 and what the plain one is above that of the first of the rest.

    Examples
    --------
    >>> found = Ranking(np.array([[4, 2, 9, 7]]), np.array([[0.1, 0.2, 0.25, 0.5]], np.float32))
    >>> after = reordered(found, np.array([[0.75, 0.5]], np.float32))
    >>> after.rows.tolist(), after.distances.tolist()
    ([[2, 4, 9, 7]], [[0.5, 0.75, 1.0, 1.25]])
    """
    n = distances.shape[1]
    order = np.argsort(distances, axis=1, kind="stable")
    rows, below = found.rows.copy(), found.distances.copy()
    rows[:, :n] = np.take_along_axis(found.rows[:, :n], order, axis=1)
    if n < rows.shape[1]:
        below[:, n:] = 1 + (found.distances[:, n:] - found.distances[:, n : n + 1])
    below[:, :n] = np.take_along_axis(distances, order, axis=1)
    if inliers is None:
        return Ranking(rows, below)
    counts = np.full(rows.shape, -1, np.intp)
    counts[:, :n] = np.take_along_axis(inliers, order, axis=1)
    return Ranking(rows, below, counts)
