"""Approximate search through faiss: candidates from a graph or from inverted lists of codes.

faiss holds codes of the vectors; what it names is compared again with the vectors themselves,
which stay where they are. Rows that are removed leave their code behind, marked: a graph cannot
lose a vertex. What faiss holds is saved as plain arrays, not in faiss' own format: no parser of
faiss ever sees a file that somebody sent, and the file outlives its version.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._forks import fork_lock
from featx._optional import require
from featx._progress import Progress
from featx.errors import FileFormatError
from featx.retrieval._file_rows import FileRows
from featx.retrieval._kinds import Kind
from featx.retrieval._search import Floats, Rows, Vectors, scaled

__all__ = ["ApproximateFinder", "Streamed", "build_finder", "finder_from_arrays"]

GRAPH_DEGREE = 32  # edges of a vertex of HNSW; twice that on its lowest level
GRAPH_EFFORT = 100  # candidates looked at while a vertex is put in
TRAINING_ROWS_A_LIST = 64
TRAINING_ROWS = 16384  # of the ranges and centroids of the codes: 64 for each of 256
TRAINING_ROUNDS = 10
# Candidates compared again, for each row wanted: codes put near rows in a wrong order.
CANDIDATES = {"float32": 1, "float16": 1, "int8": 2, "pq": 8}
MANY_ROWS = 256  # compared again: fewer do not pay for waking faiss' threads
Booleans = NDArray[np.bool_]


def _faiss() -> Any:
    """Import faiss, with threads that sleep while they wait: spinning halves a shared core."""
    loaded = sys.modules.get("faiss")
    if loaded is None:
        before = os.environ.get("OMP_WAIT_POLICY")
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read once, while the library loads
        try:
            loaded = require("faiss", extra="ann", purpose="approximate search")
        finally:
            if before is None:
                del os.environ["OMP_WAIT_POLICY"]
    _survive_forks()
    return loaded


@functools.cache
def _survive_forks() -> None:
    """Have a forked process search with one thread: the others are not there to be waited for."""
    if hasattr(os, "register_at_fork"):  # Windows forks nothing
        os.register_at_fork(after_in_child=lambda: sys.modules["faiss"].omp_set_num_threads(1))


@dataclass(frozen=True)
class Streamed:
    """A long array of bytes that is given part by part: the codes are most of what faiss holds.

    Parameters
    ----------
    size : int
        Bytes.
    parts : callable
        Gives them, as arrays of uint8 one after the other.
    """

    size: int
    parts: Callable[[], Iterator[NDArray[np.uint8]]]

    def whole(self) -> NDArray[np.uint8]:
        """Return them all."""
        return np.concatenate([np.empty(0, np.uint8), *self.parts()])


@dataclass(frozen=True)
class ApproximateFinder:
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
        Shared between a finder and those made of it by `added` and `without`, which only append.
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

    def find(self, queries: Floats, k: int, among: Booleans | None) -> Rows | None:
        """See `featx.retrieval._search.Finder`."""
        wanted = k * CANDIDATES[self.kind.codes]
        n_allowed = len(self.row_of) if among is None else int(among.sum())
        if wanted > n_allowed // 8:
            return None
        with self.lock:
            parameters = self._parameters(self._allowed(among), wanted)
            _, codes = self.index.search(np.ascontiguousarray(queries), wanted, params=parameters)
        named: Rows = np.where(codes < 0, -1, self.row_of[np.maximum(codes, 0)])
        return named

    def products(self, data: Any, queries: Floats, rows: Rows) -> Floats | None:
        """See `featx.retrieval._search.Finder`: by faiss' threads, which copy no row."""
        if isinstance(data, FileRows) and rows.size >= MANY_ROWS:  # read, and then the same sums
            data, rows = data[rows.reshape(-1)], np.arange(rows.size).reshape(rows.shape)
        is_plain = isinstance(data, np.ndarray) and data.dtype == np.float32
        if (
            rows.size < MANY_ROWS
            or not is_plain
            or not (data.flags.c_contiguous and data.flags.aligned)
        ):
            return None
        faiss = _faiss()
        products = np.empty(rows.shape, np.float32)
        queries, rows = np.ascontiguousarray(queries), np.ascontiguousarray(rows, np.int64)
        arrays = [faiss.swig_ptr(array) for array in (products, queries, data, rows)]
        faiss.fvec_inner_products_by_idx(*arrays, data.shape[1], *rows.shape)
        return products

    def _allowed(self, among: Booleans | None) -> Booleans | None:
        """Return which of faiss' codes may be found, None for all of them."""
        n_codes = self.index.ntotal
        if among is None and n_codes == len(self.row_of) and not self.n_dead:
            return None
        is_live = self.row_of >= 0
        allowed = np.zeros(n_codes, bool)  # a copy of this index may have added more: not ours
        allowed[: len(self.row_of)] = is_live if among is None else is_live & among[self.row_of]
        return allowed

    def _parameters(self, allowed: Booleans | None, wanted: int) -> Any:
        faiss = _faiss()
        # a walk that holds fewer vertices than are wanted cannot give them
        effort = self.effort if self.kind.name == "ivf" else max(self.effort, wanted)
        more = {}
        if allowed is not None:
            # as many allowed rows are looked at as without a filter
            effort = int(effort * len(allowed) / max(int(allowed.sum()), 1))
            more["sel"] = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
            effort = min(effort, max(self.effort, self.most_effort))
        if self.kind.name == "ivf":
            return faiss.SearchParametersIVF(nprobe=effort, **more)
        return faiss.SearchParametersHNSW(efSearch=effort, **more)

    def with_effort(self, effort: int) -> ApproximateFinder:
        """Return this finder with another effort."""
        return replace(self, effort=min(effort, self.most_effort))

    def added(self, vectors: Floats, rows: Rows) -> ApproximateFinder:
        """Return a finder with these vectors as well, of rows that it has none of."""
        with self.lock:
            others = self.index.ntotal - len(self.row_of)
            self.index.add(scaled(np.ascontiguousarray(vectors), self.metric))
        row_of = np.concatenate([self.row_of, np.full(others, -1), rows])
        return replace(self, row_of=row_of.astype(np.intp))

    def replaced(self, vectors: Floats, rows: Rows) -> ApproximateFinder:
        """Return a finder with other vectors for some of its rows."""
        row_of = np.where(np.isin(self.row_of, rows), -1, self.row_of)
        return replace(self, row_of=row_of).added(vectors, rows)

    def without(self, kept: Booleans) -> ApproximateFinder:
        """Return a finder of the rows kept, which are numbered anew."""
        new_row = np.where(kept, np.cumsum(kept) - 1, -1)
        row_of = np.where(self.row_of < 0, -1, new_row[np.maximum(self.row_of, 0)])
        return replace(self, row_of=row_of.astype(np.intp))

    def arrays(self) -> tuple[dict[str, NDArray[Any]], Streamed]:
        """Return what faiss holds, to be saved: arrays, and the codes."""
        with self.lock:
            arrays, codes = (_of_lists if self.kind.name == "ivf" else _of_graph)(self.index)
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


def build_finder(
    vectors: Vectors, kind: Kind, metric: str, *, held_out: Rows, seed: int
) -> ApproximateFinder:
    """Train on a sample, and put in every row that is not held out, block by block."""
    n_features = vectors.shape[1]
    taken = np.ones(vectors.shape[0], bool)
    taken[held_out] = False
    index = _empty(kind, n_features, metric, kind.n_lists)
    if kind.name == "ivf":
        index.cp.seed = seed
    if not index.is_trained:
        n_rows = max(TRAINING_ROWS_A_LIST * kind.n_lists, TRAINING_ROWS)
        index.train(scaled(_sample(vectors, n_rows, seed), metric))
    with Progress(len(taken), "index", unit="vectors") as progress:
        for start, block in vectors.blocks():
            index.add(scaled(block[taken[start : start + len(block)]], metric))
            progress.advance(len(block))
    return ApproximateFinder(kind, metric, 16, np.flatnonzero(taken), index, fork_lock())


def _sample(vectors: Vectors, n: int, seed: int) -> Floats:
    n_samples = vectors.shape[0]
    if n >= n_samples:
        return vectors.rows(slice(None))
    chosen = np.random.default_rng(seed).choice(n_samples, n, replace=False)
    chosen.sort()
    return vectors.rows(chosen)


def _empty(kind: Kind, n_features: int, metric: str, n_lists: int) -> Any:
    faiss = _faiss()
    measure = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    quantizers = {
        "float16": faiss.ScalarQuantizer.QT_fp16,
        "int8": faiss.ScalarQuantizer.QT_8bit,
    }
    if kind.name == "hnsw":
        if kind.codes == "float32":
            index = faiss.IndexHNSWFlat(n_features, GRAPH_DEGREE, measure)
        else:
            index = faiss.IndexHNSWSQ(n_features, quantizers[kind.codes], GRAPH_DEGREE, measure)
        index.hnsw.efConstruction = GRAPH_EFFORT
        return index
    coarse = faiss.IndexFlat(n_features, measure)
    arguments = (coarse, n_features, n_lists)
    if kind.codes == "float32":
        index = faiss.IndexIVFFlat(*arguments, measure)
    elif kind.codes == "pq":
        index = faiss.IndexIVFPQ(*arguments, kind.n_parts(n_features), 8, measure)
        index.pq.cp.niter, index.pq.cp.min_points_per_centroid = TRAINING_ROUNDS, 1
    else:
        index = faiss.IndexIVFScalarQuantizer(*arguments, quantizers[kind.codes], measure)
    index.cp.niter = TRAINING_ROUNDS
    index.cp.spherical = metric == "cosine"
    index.cp.max_points_per_centroid = TRAINING_ROWS_A_LIST
    index.cp.min_points_per_centroid = 1
    return index


# -- as plain arrays --------------------------------------------------------------------------


def _of_lists(index: Any) -> tuple[dict[str, NDArray[Any]], Streamed]:
    faiss = _faiss()
    lists = index.invlists
    sizes = np.array([lists.list_size(i) for i in range(index.nlist)], np.int64)
    filled = np.flatnonzero(sizes).tolist()
    ids = [faiss.rev_swig_ptr(lists.get_ids(i), int(sizes[i])) for i in filled]
    width = index.code_size

    def codes() -> Iterator[NDArray[np.uint8]]:
        for i in filled:
            yield faiss.rev_swig_ptr(lists.get_codes(i), int(sizes[i]) * width)

    arrays = {
        "centroids": index.quantizer.reconstruct_n(0, index.nlist),
        "sizes": sizes,
        "ids": np.concatenate([np.empty(0, np.int64), *ids]),
        "trained": _trained(index),
    }
    return arrays, Streamed(int(sizes.sum()) * width, codes)


def _of_graph(index: Any) -> tuple[dict[str, NDArray[Any]], Streamed]:
    faiss = _faiss()
    graph, storage = index.hnsw, faiss.downcast_index(index.storage)
    codes = faiss.vector_to_array(storage.codes)
    arrays = {
        "levels": faiss.vector_to_array(graph.levels),
        "offsets": faiss.vector_to_array(graph.offsets).astype(np.int64),
        "neighbors": faiss.vector_to_array(graph.neighbors),
        "entry": np.array([graph.entry_point, graph.max_level], np.int64),
        "trained": _trained(storage),
    }
    return arrays, Streamed(len(codes), lambda: iter([codes]))


def _trained(index: Any) -> Floats:
    """Return the ranges of a scalar quantizer, or the centroids of a product quantizer."""
    faiss = _faiss()
    if hasattr(index, "sq"):
        return np.asarray(faiss.vector_to_array(index.sq.trained), np.float32)
    if hasattr(index, "pq"):
        return np.asarray(faiss.vector_to_array(index.pq.centroids), np.float32)
    return np.empty(0, np.float32)


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
    put = _lists_from if kind.name == "ivf" else _graph_from
    index = put(arrays, codes, kind, n_features, metric, len(row_of))
    return ApproximateFinder(kind, metric, effort, row_of, index, fork_lock())


def _require(fits: bool, what: str) -> None:
    if not fits:
        raise FileFormatError(
            f"approximate index: {what}; the file is damaged: make it anew with featx index"
        )


def _restore_trained(index: Any, trained: NDArray[Any]) -> None:
    faiss = _faiss()
    values = np.ascontiguousarray(trained, np.float32)
    if hasattr(index, "sq"):
        # an 8-bit quantizer has a lowest value and a width for each feature, float16 has nothing
        n = 2 * index.d if index.sq.qtype == faiss.ScalarQuantizer.QT_8bit else 0
        _require(len(values) == n, "the quantizer's ranges do not fit the features")
        faiss.copy_array_to_vector(values, index.sq.trained)
    elif hasattr(index, "pq"):
        _require(len(values) == index.pq.centroids.size(), "the quantizer's centroids do not fit")
        faiss.copy_array_to_vector(values, index.pq.centroids)
    index.is_trained = True


def _lists_from(
    arrays: dict[str, NDArray[Any]],
    codes: Any,
    kind: Kind,
    n_features: int,
    metric: str,
    n_codes: int,
) -> Any:
    faiss = _faiss()
    centroids, sizes, ids = (arrays[k] for k in ("centroids", "sizes", "ids"))
    _require(centroids.shape == (len(sizes), n_features), "its centroids do not fit its lists")
    index = _empty(kind, n_features, metric, len(sizes))
    width = index.code_size
    _require(bool((sizes >= 0).all()) and sizes.sum() == n_codes, "the lists do not fit the rows")
    is_each_once = len(ids) == n_codes and (np.bincount(ids, minlength=n_codes) == 1).all()
    _require(bool(is_each_once), "a row is not in exactly one list")
    _require(codes.shape == (n_codes * width,), "its codes do not fit the rows")
    index.quantizer.add(np.ascontiguousarray(centroids, np.float32))
    _restore_trained(index, arrays["trained"])
    if kind.codes == "pq":
        index.precompute_table()
    ids = np.ascontiguousarray(ids, np.int64)
    ends = np.cumsum(sizes)
    for i in np.flatnonzero(sizes).tolist():
        start, end = int(ends[i] - sizes[i]), int(ends[i])
        mine = np.ascontiguousarray(codes[start * width : end * width], np.uint8)
        index.invlists.add_entries(
            i, end - start, faiss.swig_ptr(ids[start:end]), faiss.swig_ptr(mine)
        )
    index.ntotal = n_codes
    return index


def _graph_from(
    arrays: dict[str, NDArray[Any]],
    codes: Any,
    kind: Kind,
    n_features: int,
    metric: str,
    n_codes: int,
) -> Any:
    faiss = _faiss()
    levels, offsets, neighbors = (arrays[k] for k in ("levels", "offsets", "neighbors"))
    entry, top = arrays["entry"].tolist()
    index = _empty(kind, n_features, metric, 0)
    storage = faiss.downcast_index(index.storage)
    graph = index.hnsw
    per_level = faiss.vector_to_array(graph.cum_nneighbor_per_level)
    _require(len(levels) == n_codes and len(offsets) == n_codes + 1, "the graph lacks vertices")
    _require(bool((levels >= 1).all() and (levels < len(per_level)).all()), "wrong levels")
    expected = np.concatenate([[0], np.cumsum(per_level[levels])])
    _require(bool((offsets == expected).all()), "the edges do not fit the levels")
    _require(len(neighbors) == offsets[-1], "the graph lacks edges")
    _require(bool(((neighbors >= -1) & (neighbors < n_codes)).all()), "an edge leads nowhere")
    is_entry = 0 <= entry < n_codes and top == levels.max() - 1 and levels[entry] - 1 == top
    _require(is_entry, "its entry point is no vertex of the highest level")
    _require(_edges_fit(levels, offsets, neighbors, per_level), "an edge leads below its level")
    _require(codes.shape == (n_codes * storage.code_size,), "its codes do not fit the rows")
    _restore_trained(storage, arrays["trained"])
    for values, kept, kind_of in (
        (levels, graph.levels, np.int32),
        (offsets, graph.offsets, np.uint64),
        (neighbors, graph.neighbors, np.int32),
        (codes[:], storage.codes, np.uint8),
    ):
        faiss.copy_array_to_vector(np.ascontiguousarray(values, kind_of), kept)
    graph.entry_point, graph.max_level = entry, top
    index.ntotal = storage.ntotal = n_codes
    index.is_trained = True
    return index


def _edges_fit(levels: Any, offsets: Any, neighbors: Any, per_level: Any) -> bool:
    """Say whether every edge of a level leads to a vertex that has edges on that level."""
    for level in range(1, int(levels.max())):
        for vertex in np.flatnonzero(levels > level).tolist():
            start = int(offsets[vertex])
            ends = neighbors[start + per_level[level] : start + per_level[level + 1]]
            if (levels[ends[ends >= 0]] <= level).any():
                return False
    return True
