"""Exact nearest neighbours, block by block, so that no n x n matrix ever exists.

Candidates come from one matrix product a block and a running top k. The distances of the k that
remain are then computed from the difference of the vectors: the product loses half of the digits
where two vectors are nearly equal, and a copy of an image should be at distance 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["METRICS", "Vectors", "row_norms", "search"]

METRICS = ("cosine", "euclidean", "dot")
Floats = NDArray[np.float32]
Rows = NDArray[np.intp]

BLOCK_BYTES = 32 * 2**20
QUERIES_AT_A_TIME = 512


@dataclass(frozen=True)
class Vectors:
    """A database that is read block by block.

    Parameters
    ----------
    data : ndarray, memmap or FeatureStore of shape (n_samples, n_features)
        Anything that gives rows for slices and for arrays of row numbers.
    norms : ndarray of shape (n_samples,), float32
        Euclidean lengths of the rows.
    """

    data: Any
    norms: Floats

    @property
    def shape(self) -> tuple[int, int]:
        """(n_samples, n_features)."""
        return int(self.data.shape[0]), int(self.data.shape[1])

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """Yield the first row and the vectors of each block."""
        n, width = self.shape
        step = max(1, BLOCK_BYTES // (4 * max(width, 1)))
        for start in range(0, n, step):
            yield start, np.asarray(self.data[start : start + step], np.float32)


def row_norms(data: Any) -> Floats:
    """Return the Euclidean length of each row, (n_samples,); holds one block."""
    vectors = Vectors(data, np.empty(0, np.float32))
    parts = [np.sqrt(np.einsum("ij,ij->i", b, b, dtype=np.float64)) for _, b in vectors.blocks()]
    return np.concatenate([np.empty(0), *parts]).astype(np.float32)


def search(
    vectors: Vectors,
    queries: Floats,
    k: int,
    *,
    metric: str,
    exclude: Rows | None = None,
) -> tuple[Rows, Floats]:
    """Find the k nearest rows of each query.

    Parameters
    ----------
    vectors : Vectors
        The database.
    queries : ndarray of shape (n_queries, n_features), float32
        Finite.
    k : int
        At most n_samples, less one where rows are excluded.
    metric : {"cosine", "euclidean", "dot"}
        See `RetrievalIndex`.
    exclude : ndarray of shape (n_queries,), optional
        A row for each query that is left out: itself.

    Returns
    -------
    rows : ndarray of shape (n_queries, k), intp
    distances : ndarray of shape (n_queries, k), float32
        Ascending; equal ones in order of rows.

    Notes
    -----
    O(n_queries * n_samples * n_features) time; holds a block of the database and 512 queries'
    distances to it.
    """
    n_queries = len(queries)
    rows = np.empty((n_queries, k), np.intp)
    distances = np.empty((n_queries, k), np.float32)
    for start in range(0, n_queries, QUERIES_AT_A_TIME):
        part = slice(start, start + QUERIES_AT_A_TIME)
        left_out = None if exclude is None else exclude[part]
        scaled = _unit(queries[part]) if metric == "cosine" else queries[part]
        candidates = _candidates(vectors, scaled, k, metric, left_out)
        rows[part], distances[part] = _refined(vectors, scaled, candidates, metric)
    return rows, distances


def _unit(X: Floats) -> Floats:
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    unit: Floats = np.divide(X, norms, out=np.zeros_like(X), where=norms > 0)
    return unit


def _candidates(
    vectors: Vectors, queries: Floats, k: int, metric: str, exclude: Rows | None
) -> Rows:
    """Return the k nearest rows of each query, in no order."""
    m = len(queries)
    best = np.full((m, k), np.inf, np.float32)
    rows = np.full((m, k), -1, np.intp)
    for start, block in vectors.blocks():
        keys = _keys(block, vectors.norms[start : start + len(block)], queries, metric)
        if exclude is not None:
            mine = np.flatnonzero((exclude >= start) & (exclude < start + len(block)))
            keys[mine, exclude[mine] - start] = np.inf
        if keys.shape[1] > k:
            near = np.argpartition(keys, k - 1, axis=1)[:, :k]
            keys = np.take_along_axis(keys, near, axis=1)
        else:
            near = np.broadcast_to(np.arange(keys.shape[1]), keys.shape)
        both = np.concatenate([best, keys], axis=1)
        both_rows = np.concatenate([rows, near + start], axis=1)
        kept = np.argpartition(both, k - 1, axis=1)[:, :k]
        best = np.take_along_axis(both, kept, axis=1)
        rows = np.take_along_axis(both_rows, kept, axis=1)
    return rows


def _keys(block: Floats, norms: Floats, queries: Floats, metric: str) -> Floats:
    """Return (n_queries, n_block) numbers in the order of the distances."""
    products: Floats = queries @ block.T
    if metric == "euclidean":
        products *= -2
        products += norms**2
        return products
    if metric == "cosine":
        # a row of zeros is at right angles to everything
        products *= np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
    return -products


def _refined(
    vectors: Vectors, queries: Floats, candidates: Rows, metric: str
) -> tuple[Rows, Floats]:
    distances = np.empty(candidates.shape, np.float32)
    step = max(1, BLOCK_BYTES // (4 * max(queries.shape[1] * candidates.shape[1], 1)))
    for start in range(0, len(queries), step):
        rows = candidates[start : start + step]
        found = np.asarray(vectors.data[rows.reshape(-1)], np.float32)
        found = found.reshape(*rows.shape, -1)
        mine = queries[start : start + step, None]
        distances[start : start + step] = _distances(mine, found, metric)
    order = np.lexsort((candidates, distances), axis=1)
    return (
        np.take_along_axis(candidates, order, axis=1),
        np.take_along_axis(distances, order, axis=1),
    )


def _distances(queries: Floats, found: Floats, metric: str) -> Floats:
    """Return the distances of (m, 1, d) queries to (m, k, d) vectors, (m, k)."""
    if metric == "dot":
        products: Floats = np.einsum("mid,mkd->mk", queries, found)
        return -products
    if metric == "cosine":
        found = _unit(found.reshape(-1, found.shape[-1])).reshape(found.shape)
    squares: Floats = np.square(queries - found).sum(axis=2)
    if metric == "euclidean":
        roots: Floats = np.sqrt(squares)
        return roots
    # Of unit vectors, 1 - cos = |a - b|^2 / 2; a vector of zeros has no direction: 1.
    is_zero = ~found.any(axis=2) | ~queries.any(axis=2)
    halves: Floats = np.where(is_zero, np.float32(1), squares / 2)
    return halves
