"""What faiss holds: made anew, taken apart into plain arrays, and put together again.

Plain arrays rather than faiss' own format: no parser of faiss ever sees a file that somebody sent,
and the file outlives its version.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx.errors import FileFormatError
from featx.retrieval._kinds import Kind
from featx.retrieval._vectors import Floats

__all__ = [
    "TRAINING_ROWS_PER_LIST",
    "Streamed",
    "from_arrays",
    "load_faiss",
    "make_parameters",
    "new_index",
    "search_parameters",
    "to_arrays",
]

GRAPH_DEGREE = 32  # edges of a vertex of HNSW; twice that on its lowest level
GRAPH_EFFORT = 100  # candidates looked at while a vertex is put in
TRAINING_ROWS_PER_LIST = 64
TRAINING_ROUNDS = 10


def load_faiss() -> Any:
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


def make_parameters(kind: str, effort: int, **more: Any) -> Any:
    """Return what faiss takes beside queries: how far to look, and among what."""
    faiss = load_faiss()
    if kind == "ivf":
        return faiss.SearchParametersIVF(nprobe=effort, **more)
    return faiss.SearchParametersHNSW(efSearch=effort, **more)


@functools.lru_cache(maxsize=64)
def search_parameters(kind: str, effort: int) -> Any:
    """Return the same without a selection, made once: it is a tenth of a single query's time."""
    return make_parameters(kind, effort)


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


def new_index(kind: Kind, n_features: int, metric: str, n_lists: int = 0) -> Any:
    """Return an empty, untrained index of faiss."""
    faiss = load_faiss()
    measure = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    quantizers = {
        "float16": faiss.ScalarQuantizer.QT_fp16,
        "int8": faiss.ScalarQuantizer.QT_8bit,
        "uint8": faiss.ScalarQuantizer.QT_8bit_direct,  # values that are whole numbers already
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
        is_residual = kind.codes != "uint8"
        index = faiss.IndexIVFScalarQuantizer(
            *arguments, quantizers[kind.codes], measure, is_residual
        )
    index.cp.niter = TRAINING_ROUNDS
    index.cp.spherical = metric == "cosine"
    index.cp.max_points_per_centroid = TRAINING_ROWS_PER_LIST
    index.cp.min_points_per_centroid = 1
    return index


def to_arrays(index: Any) -> tuple[dict[str, NDArray[Any]], Streamed]:
    """Return what an index of faiss holds: arrays, and the codes."""
    return (_take_lists if hasattr(index, "invlists") else _take_graph)(index)


def _take_lists(index: Any) -> tuple[dict[str, NDArray[Any]], Streamed]:
    faiss = load_faiss()
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
        "trained": _take_trained(index),
    }
    return arrays, Streamed(int(sizes.sum()) * width, codes)


def _take_graph(index: Any) -> tuple[dict[str, NDArray[Any]], Streamed]:
    faiss = load_faiss()
    graph, storage = index.hnsw, faiss.downcast_index(index.storage)
    codes = faiss.vector_to_array(storage.codes)
    arrays = {
        "levels": faiss.vector_to_array(graph.levels),
        "offsets": faiss.vector_to_array(graph.offsets).astype(np.int64),
        "neighbors": faiss.vector_to_array(graph.neighbors),
        "entry": np.array([graph.entry_point, graph.max_level], np.int64),
        "trained": _take_trained(storage),
    }
    return arrays, Streamed(len(codes), lambda: iter([codes]))


def _take_trained(index: Any) -> Floats:
    """Return the ranges of a scalar quantizer, or the centroids of a product quantizer."""
    faiss = load_faiss()
    if hasattr(index, "sq"):
        return np.asarray(faiss.vector_to_array(index.sq.trained), np.float32)
    if hasattr(index, "pq"):
        return np.asarray(faiss.vector_to_array(index.pq.centroids), np.float32)
    return np.empty(0, np.float32)


def from_arrays(
    arrays: dict[str, NDArray[Any]], codes: Any, kind: Kind, metric: str, n_features: int
) -> Any:
    """Return the index of faiss that `to_arrays` took apart; `codes` are asked for in order.

    Raises
    ------
    FileFormatError
        If the arrays do not fit each other: faiss would read beyond its memory.
    """
    if kind.name == "ivf":
        n_lists = len(arrays["sizes"])
        fits = arrays["centroids"].shape == (n_lists, n_features)
        _require(fits, "its centroids do not fit its lists")
        index = new_index(kind, n_features, metric, n_lists)
        return _put_lists(index, arrays, codes)
    return _put_graph(new_index(kind, n_features, metric), arrays, codes)


def _require(fits: bool, what: str) -> None:
    if not fits:
        raise FileFormatError(
            f"approximate index: {what}; the file is damaged: build it again with featx index"
        )


def _restore_trained(index: Any, trained: NDArray[Any]) -> None:
    faiss = load_faiss()
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


def _put_lists(index: Any, arrays: dict[str, NDArray[Any]], codes: Any) -> Any:
    faiss = load_faiss()
    centroids, sizes, ids = (arrays[k] for k in ("centroids", "sizes", "ids"))
    width, n_codes = index.code_size, len(arrays["row_of"])
    _require(bool((sizes >= 0).all()) and sizes.sum() == n_codes, "the lists do not fit the rows")
    is_each_once = len(ids) == n_codes and (np.bincount(ids, minlength=n_codes) == 1).all()
    _require(bool(is_each_once), "a row is not in exactly one list")
    _require(codes.shape == (n_codes * width,), "its codes do not fit the rows")
    index.quantizer.add(np.ascontiguousarray(centroids, np.float32))
    _restore_trained(index, arrays["trained"])
    if hasattr(index, "pq"):
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


def _put_graph(index: Any, arrays: dict[str, NDArray[Any]], codes: Any) -> Any:
    faiss = load_faiss()
    levels, offsets, neighbors = (arrays[k] for k in ("levels", "offsets", "neighbors"))
    entry, top = arrays["entry"].tolist()
    storage, n_codes = faiss.downcast_index(index.storage), len(arrays["row_of"])
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
