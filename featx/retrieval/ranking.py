"""Re-ranking: the one method that every re-ranking has, and what it is given.

A re-ranking is any object with a method `rank`. `RetrievalIndex.query` takes one, the name of one
(in `featx.retrieval.rerankings.RERANKINGS`), or several, each of which begins with the ranking of
the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featx.retrieval._search import search
from featx.retrieval._vectors import Floats, Mask, Rows, Vectors

__all__ = [
    "Ranking",
    "RankingInput",
    "Reranking",
    "merge_turns",
    "reorder",
    "rerank_candidates",
]


class Reranking(Protocol):
    """Another order than that of plain distance."""

    def rank(self, given: RankingInput) -> Ranking:
        """Return `given.k` rows for each query."""


@dataclass(frozen=True)
class RankingInput:
    """What a re-ranking is given.

    Parameters
    ----------
    vectors : Vectors
        The database; has the metric.
    queries : ndarray of shape (n_queries, n_features), float32
        Finite.
    k : int
        Rows wanted for each query, at most those that there are.
    ids : ndarray of shape (n_samples,)
        What the rows are called.
    images : tuple or None
        The queries' images, as `featx.images.inputs.as_sources` gives them; None for vectors.
    among : ndarray of shape (n_samples,), bool, optional
        Rows that may be given. Default: all.
    before : tuple of Reranking, default ()
        What ranks first.
    learned : dict
        What re-rankings have learned of this database, kept until its rows change.
    """

    vectors: Vectors
    queries: Floats
    k: int
    ids: NDArray[Any]
    images: tuple[Any, ...] | None = None
    among: Mask | None = None
    before: tuple[Reranking, ...] = ()
    learned: dict[Any, Any] = field(default_factory=dict)

    def nearest(self, k: int) -> Ranking:
        """Return the ranking so far, of at most the rows that may be given."""
        n = self.vectors.shape[0] if self.among is None else int(self.among.sum())
        k = min(k, n)
        if not self.before:
            return self.search(self.queries, k)
        *before, last = self.before
        return last.rank(replace(self, k=k, before=tuple(before)))

    def search(self, queries: Floats, k: int) -> Ranking:
        """Return the plain ranking of other queries."""
        return Ranking(*search(self.vectors, queries, k, among=self.among))


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


def rerank_candidates(
    given: RankingInput, n_candidates: int, measure: Callable[[Floats, Floats], Floats]
) -> Ranking:
    """Put each query's first candidates in the order of a distance made of their vectors.

    Parameters
    ----------
    given : RankingInput
    n_candidates : int
        First rows of the ranking so far that are re-ranked.
    measure : callable
        Given a query (n_features,) and its candidates (n, n_features), returns their distances
        from 0 to 1.
    """
    found = given.nearest(max(given.k, n_candidates))
    candidates = found.rows[:, :n_candidates]
    distances = np.empty(candidates.shape, np.float32)
    for i, (query, rows) in enumerate(zip(given.queries, candidates, strict=True)):
        distances[i] = measure(query, given.vectors.rows(rows))
    return reorder(found, distances).first(given.k)


def reorder(found: Ranking, distances: Floats, inliers: Rows | None = None) -> Ranking:
    """Put the first candidates in the order of new distances, and leave the rest below.

    Parameters
    ----------
    found : Ranking
        The ranking so far, of k rows.
    distances : ndarray of shape (n_queries, n_candidates), float32
        From 0 to 1, for the first n_candidates rows of `found`; equal ones keep their order.
    inliers : ndarray of shape (n_queries, n_candidates), intp, optional
        To be put in the same order. Default: those of `found`, if it has some.

    Returns
    -------
    Ranking
        The rest's distances are 1 and what the earlier one is above that of the first of the rest.

    Examples
    --------
    >>> found = Ranking(np.array([[4, 2, 9, 7]]), np.array([[0.1, 0.2, 0.25, 0.5]], np.float32))
    >>> after = reorder(found, np.array([[0.75, 0.5]], np.float32))
    >>> after.rows.tolist(), after.distances.tolist()
    ([[2, 4, 9, 7]], [[0.5, 0.75, 1.0, 1.25]])
    """
    n = distances.shape[1]
    order = np.argsort(distances, axis=1, kind="stable")

    below, counts = found.distances, found.inliers
    if n < below.shape[1]:
        below = 1 + (below - below[:, n : n + 1])
    if inliers is not None:
        counts = np.full(found.rows.shape, -1, np.intp) if counts is None else counts.copy()
        counts[:, :n] = inliers

    def move(first: NDArray[Any], whole: NDArray[Any]) -> NDArray[Any]:
        return np.hstack([np.take_along_axis(first, order, axis=1), whole[:, n:]])

    return Ranking(
        move(found.rows[:, :n], found.rows),
        move(distances, below),
        None if counts is None else move(counts[:, :n], counts),
    )


def merge_turns(found: Ranking, rotations: int, k: int) -> Ranking:
    """Join the rankings of an image's turns: a row's distance is its smallest.

    Parameters
    ----------
    found : Ranking
        Of (n_queries * rotations, at least k) rows.
    rotations : int
        Rankings in turn that belong to one query.
    k : int
        Rows that are kept, at most those of each ranking.

    Examples
    --------
    >>> two = Ranking(np.array([[4, 2], [2, 9]]), np.array([[0.1, 0.5], [0.2, 0.3]], np.float32))
    >>> joined = merge_turns(two, 2, 2)
    >>> joined.rows.tolist(), [round(float(d), 1) for d in joined.distances[0]]
    ([[4, 2]], [0.1, 0.2])
    """

    def join(column: NDArray[Any]) -> NDArray[Any]:
        return column.reshape(len(column) // rotations, -1)

    rows, distances = join(found.rows), join(found.distances)
    order = np.lexsort((rows, distances), axis=1)
    kept = np.empty((len(rows), k), np.intp)
    for query, places in enumerate(order):
        _, first = np.unique(rows[query, places], return_index=True)
        kept[query] = places[np.sort(first)[:k]]

    def take(column: NDArray[Any]) -> NDArray[Any]:
        return np.take_along_axis(join(column), kept, axis=1)

    inliers = None if found.inliers is None else take(found.inliers)
    return Ranking(take(found.rows), take(found.distances), inliers)
