"""The nearest so far of each query, while blocks of the database go by."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from featx.retrieval._vectors import Floats, Mask, Rows

__all__ = ["Nearest", "Room"]

LOW_BITS = np.uint64(2**32 - 1)
NOTHING = np.uint64(2**64 - 1)
SIGN = np.int32(-(2**31))


class Room:
    """Memory for the keys of a block, used again for the next: new memory takes a tenth longer."""

    def __init__(self, n_queries: int) -> None:
        self._n_queries = n_queries
        self._keys, self._is_hit = np.empty(0, np.float32), np.empty(0, np.bool_)

    def of(self, n_rows: int) -> tuple[Floats, Mask]:
        """Return (n_rows, n_queries) numbers and marks, neither of them filled."""
        size = n_rows * self._n_queries
        if self._keys.size < size:
            self._keys, self._is_hit = np.empty(size, np.float32), np.empty(size, np.bool_)
        shape = n_rows, self._n_queries
        return self._keys[:size].reshape(shape), self._is_hit[:size].reshape(shape)


class Nearest:
    """The k least keys of each query, and hits that wait until there are as many again.

    A query has about k hits while the number of rows seen doubles. So there are few rounds of
    sorting, and few hits that an earlier round would have spared. A key and its row are one number
    each, so that of equal keys the first rows are kept whatever order the hits come in.
    """

    def __init__(self, n_queries: int, k: int) -> None:
        self.limits = np.full(n_queries, np.inf, np.float32)  # a hit's key is at most this
        self._kept = np.full((n_queries, k), NOTHING, np.uint64)
        self._waiting: list[tuple[Rows, NDArray[np.uint64]]] = []
        self._adding = threading.Lock()

    def add(self, queries: Rows, rows: Rows, keys: Floats) -> None:
        """Take hits: the query, the row and the key of each; from any thread."""
        with self._adding:
            self._waiting.append((queries, _join_bits(keys, rows)))
            if sum(len(hits) for _, hits in self._waiting) >= self._kept.size:
                self._settle()

    def rows(self) -> Rows:
        """Return the rows of the k least keys of each query, in no order; -1 where fewer came."""
        self._settle()
        return np.where(self._kept == NOTHING, -1, (self._kept & LOW_BITS).astype(np.intp))

    def _settle(self) -> None:
        if not self._waiting:
            return
        queries, hits = self._waiting[0]
        if len(self._waiting) > 1:
            queries, hits = (np.concatenate(one) for one in zip(*self._waiting, strict=True))
        self._waiting = []
        m, k = self._kept.shape
        new = hits[None] if m == 1 else _in_rows(queries, hits, m)
        self._kept = np.partition(np.concatenate([self._kept, new], axis=1), k - 1, axis=1)[:, :k]
        worst = self._kept[:, -1]  # np.partition puts the k-th there
        self.limits = np.where(worst == NOTHING, np.float32(np.inf), _key_of(worst))


def _in_rows(queries: Rows, hits: NDArray[np.uint64], n_queries: int) -> NDArray[np.uint64]:
    """Return the hits of each query in a row of its own, filled up."""
    order = np.argsort(queries.astype(np.uint16), kind="stable")  # small numbers sort fastest
    counts = np.bincount(queries, minlength=n_queries)
    column = np.arange(len(hits)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.full((n_queries, counts.max()), NOTHING, np.uint64)
    rows[queries[order], column] = hits[order]
    return rows


def _join_bits(keys: Floats, rows: Rows) -> NDArray[np.uint64]:
    """Return numbers in the order of keys that are numbers, and of rows below 2**32 among equals.

    The bits of floating-point numbers are in their order if those of negative ones are inverted,
    and the sign of the others.
    """
    bits = (keys + np.float32(0)).view(np.int32)  # -0 becomes 0
    ordered = (bits ^ (bits >> 31 | SIGN)).view(np.uint32)
    return (ordered.astype(np.uint64) << np.uint64(32)) | rows.astype(np.uint64)


def _key_of(joined: NDArray[np.uint64]) -> Floats:
    ordered = (joined >> np.uint64(32)).astype(np.uint32).view(np.int32)
    return (ordered ^ (~ordered >> 31 | SIGN)).view(np.float32)
