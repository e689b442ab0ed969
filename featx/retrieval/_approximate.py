"""Approximate search through faiss: candidates from a graph or from inverted lists of codes.

faiss holds codes of the vectors; what it names is compared again with the vectors themselves,
which stay where they are. Rows that are removed leave their code behind, marked: a graph cannot
lose a vertex.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._forks import fork_lock
from featx._progress import Progress
from featx.retrieval._faiss import (
    TRAINING_ROWS_PER_LIST,
    Streamed,
    from_arrays,
    load_faiss,
    make_parameters,
    new_index,
    search_parameters,
    to_arrays,
)
from featx.retrieval._file_rows import FileRows
from featx.retrieval._kinds import Kind
from featx.retrieval._search import scale_for
from featx.retrieval._vectors import Finder, Floats, Mask, Rows, Vectors

__all__ = ["ApproximateFinder", "build_finder", "finder_from_arrays"]

TRAINING_ROWS = 16384  # of the ranges and centroids of the codes: 64 for each of 256
# Candidates compared again, for each row wanted: codes put near rows in a wrong order.
CANDIDATES = {"float32": 1, "float16": 1, "int8": 2, "pq": 8}
MANY_ROWS = 256  # compared again: fewer do not pay for waking faiss' threads


@dataclass(frozen=True)
class ApproximateFinder(Finder):
    """Candidates from faiss.

    Parameters
    ----------
    kind : Kind
        "hnsw" or "ivf", and its codes.
    metric : {"cosine", "euclidean", "dot"}
        The index's.
    effort : int
        Lists looked into ("ivf"), or vertices held while walking ("hnsw"): time grows with it.
    row_of : ndarray of shape (n_codes,), intp
        The row of each of faiss' codes; -1 of a removed one.
    index : faiss.Index
        Shared between a finder and those made of it by `add` and `update`, which only append.
    """

    kind: Kind
    metric: str
    effort: int
    row_of: Rows
    index: Any
    lock: Any

    @property
    def most_effort(self) -> int:
        """Effort beyond which nothing more is found."""
        return int(self.index.nlist) if self.kind.name == "ivf" else 4096

    @cached_property
    def n_dead(self) -> int:
        """Codes of removed rows."""
        return int((self.row_of < 0).sum())

    @property
    def is_worn(self) -> bool:
        """Whether more than a third of the codes, and not all, are of removed rows."""
        return self.n_dead < len(self.row_of) < 3 * self.n_dead

    def find(self, queries: Floats, k: int, among: Mask | None) -> Rows | None:
        """See `Finder`."""
        wanted = k * CANDIDATES[self.kind.codes]
        n_allowed = len(self.row_of) if among is None else int(among.sum())
        if wanted > n_allowed // 8:
            return None
        with self.lock:
            parameters = self._search_parameters(self._select_codes(among), wanted)
            _, codes = self.index.search(np.ascontiguousarray(queries), wanted, params=parameters)
        named: Rows = self.row_of[codes]
        if codes.min() < 0:
            named[codes < 0] = -1
        return named

    def products(self, vectors: Vectors, queries: Floats, rows: Rows) -> Floats:
        """See `Finder`: of many rows by faiss' threads, which copy none."""
        asked, data = rows, vectors.data
        if isinstance(data, FileRows) and rows.size >= MANY_ROWS:  # read, and then the same sums
            data, rows = data[rows.reshape(-1)], np.arange(rows.size).reshape(rows.shape)
        is_plain = isinstance(data, np.ndarray) and data.dtype == np.float32
        if (
            rows.size < MANY_ROWS
            or not is_plain
            or not (data.flags.c_contiguous and data.flags.aligned)
        ):
            return super().products(vectors, queries, asked)
        faiss = load_faiss()
        products = np.empty(rows.shape, np.float32)
        queries, rows = np.ascontiguousarray(queries), np.ascontiguousarray(rows, np.int64)
        arrays = [faiss.swig_ptr(array) for array in (products, queries, data, rows)]
        faiss.fvec_inner_products_by_idx(*arrays, data.shape[1], *rows.shape)
        return products

    def _select_codes(self, among: Mask | None) -> Mask | None:
        """Return which of faiss' codes may be found, None for all of them."""
        n_codes = self.index.ntotal
        if among is None and n_codes == len(self.row_of) and not self.n_dead:
            return None
        is_live = self.row_of >= 0
        allowed = np.zeros(n_codes, bool)  # a copy of this index may have added more: not ours
        allowed[: len(self.row_of)] = is_live if among is None else is_live & among[self.row_of]
        return allowed

    def _search_parameters(self, allowed: Mask | None, wanted: int) -> Any:
        # a walk that holds fewer vertices than are wanted cannot give them
        effort = self.effort if self.kind.name == "ivf" else max(self.effort, wanted)
        if allowed is None:
            return search_parameters(self.kind.name, effort)
        # as many allowed rows are looked at as without a filter
        effort = int(effort * len(allowed) / max(int(allowed.sum()), 1))
        selector = load_faiss().IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        effort = min(effort, max(self.effort, self.most_effort))
        return make_parameters(self.kind.name, effort, sel=selector)

    def with_effort(self, effort: int) -> ApproximateFinder:
        """Return this finder with another effort."""
        return replace(self, effort=min(effort, self.most_effort))

    def add(self, vectors: Floats, rows: Rows) -> ApproximateFinder:
        """See `Finder`: what is shared is only appended to."""
        with self.lock:
            others = self.index.ntotal - len(self.row_of)
            self.index.add(scale_for(self.metric, np.ascontiguousarray(vectors)))
        row_of = np.concatenate([self.row_of, np.full(others, -1), rows])
        return replace(self, row_of=row_of.astype(np.intp))

    def update(self, vectors: Floats, rows: Rows) -> ApproximateFinder:
        """See `Finder`."""
        row_of = np.where(np.isin(self.row_of, rows), -1, self.row_of)
        return replace(self, row_of=row_of).add(vectors, rows)

    def keep(self, kept: Mask) -> ApproximateFinder:
        """See `Finder`."""
        new_row = np.where(kept, np.cumsum(kept) - 1, -1)
        row_of = np.where(self.row_of < 0, -1, new_row[np.maximum(self.row_of, 0)])
        return replace(self, row_of=row_of.astype(np.intp))

    def arrays(self) -> tuple[dict[str, NDArray[Any]], Streamed]:
        """Return what faiss holds, to be saved: arrays, and the codes."""
        with self.lock:
            arrays, codes = to_arrays(self.index)
        return {"row_of": self.row_of.astype(np.int64), **arrays}, codes

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in self.__dict__.items() if k not in ("index", "lock")}
        arrays, codes = self.arrays()
        return {**state, "n_features": self.index.d, "arrays": arrays, "codes": codes.whole()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        again = finder_from_arrays(
            state["arrays"],
            state["codes"],
            state["kind"],
            metric=state["metric"],
            effort=state["effort"],
            n_features=state["n_features"],
        )
        self.__dict__.update(again.__dict__)


def build_finder(vectors: Vectors, kind: Kind, *, held_out: Rows, seed: int) -> ApproximateFinder:
    """Train on a sample, and put in every row that is not held out, block by block."""
    metric, n_features = vectors.metric, vectors.shape[1]
    taken = np.ones(vectors.shape[0], bool)
    taken[held_out] = False
    index = new_index(kind, n_features, metric, kind.n_lists)
    if kind.name == "ivf":
        index.cp.seed = seed
    if not index.is_trained:
        n_rows = max(TRAINING_ROWS_PER_LIST * kind.n_lists, TRAINING_ROWS)
        index.train(scale_for(metric, _sample(vectors, n_rows, seed)))
    with Progress(len(taken), "index", unit="vectors") as progress:
        for start, block in vectors.blocks():
            index.add(scale_for(metric, block[taken[start : start + len(block)]]))
            progress.advance(len(block))
    return ApproximateFinder(kind, metric, 16, np.flatnonzero(taken), index, fork_lock())


def _sample(vectors: Vectors, n: int, seed: int) -> Floats:
    n_samples = vectors.shape[0]
    if n >= n_samples:
        return vectors.rows(slice(None))
    chosen = np.random.default_rng(seed).choice(n_samples, n, replace=False)
    chosen.sort()
    return vectors.rows(chosen)


def finder_from_arrays(
    arrays: dict[str, NDArray[Any]],
    codes: Any,
    kind: Kind,
    *,
    metric: str,
    effort: int,
    n_features: int,
) -> ApproximateFinder:
    """Give faiss what `ApproximateFinder.arrays` took from it.

    Parameters
    ----------
    arrays : dict of str to ndarray
    codes : ndarray of uint8, or what gives one for slices
        Asked for slices one after the other.
    kind, metric, effort
        See `ApproximateFinder`.
    n_features : int
        Length of a vector.

    Raises
    ------
    FileFormatError
        If the arrays do not fit each other: faiss would read beyond its memory.
    """
    row_of = np.asarray(arrays["row_of"], np.intp)
    index = from_arrays(arrays, codes, kind, metric, n_features)
    return ApproximateFinder(kind, metric, effort, row_of, index, fork_lock())
