"""The vectors of an index: where they stay, in what type, and what finds candidates among them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ParameterError, nearest
from featx.retrieval._approximate import ApproximateFinder, build_finder
from featx.retrieval._device import DeviceFinder
from featx.retrieval._kinds import Kind, chosen_kind
from featx.retrieval._queries import check_vectors
from featx.retrieval._recall import Recall, rows_to_hold_out, tuned
from featx.retrieval._search import METRICS, Floats, Vectors, row_norms
from featx.store import FeatureStore

__all__ = [
    "as_stored",
    "check_parameters",
    "checked_norms",
    "in_type",
    "own_memory",
    "settled_kind",
    "tuned_to",
    "with_finder",
]

STORAGES = ("memory", "store", "cuda")
DTYPES = ("float32", "float16")


def check_parameters(metric: str, storage: str, dtype: str) -> None:
    """Refuse what is none of the known values."""
    for name, value, known in (
        ("metric", metric, METRICS),
        ("storage", storage.partition(":")[0], STORAGES),
        ("dtype", dtype, DTYPES),
    ):
        if value not in known:
            raise ParameterError(
                f"{name}: got {value!r}, expected one of {', '.join(known)}."
                f"{nearest(str(value), known)}"
            )


def as_stored(X: Any, storage: str, dtype: str) -> Any:
    """Return what `Vectors` reads from, (n_samples, n_features), float32 or float16.

    Raises
    ------
    ParameterError
        If there is no store to leave the vectors in, or values do not fit the type.
    """
    if isinstance(X, FeatureStore):
        return X if storage == "store" else in_type(check_vectors(X[:], None), dtype)
    if storage == "store":
        raise ParameterError(
            f"storage: got 'store' with X of type {type(X).__name__}, expected a FeatureStore"
        )
    if isinstance(X, np.memmap) and X.dtype in (np.float32, np.float16) and X.ndim == 2:
        return X
    return in_type(X, dtype)


def in_type(X: Floats, dtype: str) -> NDArray[Any]:
    """Return vectors in the type that they are held in."""
    if dtype == "float32":
        return X
    with np.errstate(over="ignore"):
        half = X.astype(np.float16)
    if not np.isfinite(half).all():
        raise ParameterError(
            f"dtype: got 'float16' for values up to {np.abs(X).max():.3g}, expected at most "
            "65504; scale the features or hold them in float32"
        )
    return half


def own_memory(data: Any, method: str) -> NDArray[Any]:
    """Return vectors that may be replaced.

    Raises
    ------
    ParameterError
        If they are in a file.
    """
    if not isinstance(data, np.ndarray) or isinstance(data, np.memmap):
        raise ParameterError(
            f"{method}: got an index whose vectors are in a {type(data).__name__}, expected "
            "one in memory; fit it with storage='memory', or load it with mmap=False"
        )
    mine: NDArray[Any] = data
    return mine


def checked_norms(data: Any) -> Floats:
    """Return the lengths of the rows.

    Raises
    ------
    ParameterError
        If one is not finite.
    """
    norms = row_norms(data)
    bad = np.flatnonzero(~np.isfinite(norms))
    if len(bad):
        raise ParameterError(
            f"X: row {int(bad[0])} has a value that is not finite, or is too long for float32; "
            "expected finite numbers"
        )
    return norms


def settled_kind(kind: str, codes: str, storage: str, shape: tuple[int, int]) -> Kind:
    """Return the kind of an index of a shape."""
    if storage.startswith("cuda"):
        if kind not in ("auto", "exact"):
            raise ParameterError(
                f"kind: got {kind!r} with storage {storage!r}, expected 'exact': a GPU compares "
                "with every row"
            )
        return Kind("exact", "float32", f"compared with every row on {storage}")
    return chosen_kind(kind, codes, *shape)


def with_finder(
    vectors: Vectors, kind: Kind, metric: str, storage: str, *, target: float, seed: int
) -> tuple[Vectors, Recall | None]:
    """Add what finds candidates, and the recall it has; an exact one needs nothing on the CPU."""
    if storage.startswith("cuda"):
        return replace(vectors, finder=DeviceFinder(vectors, metric, storage)), None
    if kind.name == "exact":
        return vectors, None
    held_out = rows_to_hold_out(vectors.shape[0], seed)
    finder = build_finder(vectors, kind, metric, held_out=held_out, seed=seed)
    asked, taken = vectors.rows(held_out), np.ones(vectors.shape[0], bool)
    taken[held_out] = False
    best, recall = tuned_to(vectors, finder, target, queries=asked, among=taken)
    return replace(vectors, finder=best.added(asked, held_out)), recall


def tuned_to(
    vectors: Vectors,
    finder: ApproximateFinder,
    target: float,
    *,
    queries: Floats,
    among: NDArray[np.bool_] | None = None,
) -> tuple[ApproximateFinder, Recall]:
    """Choose a finder's effort; warn where the target is out of reach."""
    best, recall = tuned(vectors, finder, target, queries=queries, among=among)
    if best.effort == best.most_effort and recall.recall < target:
        warnings.warn(
            f"{best.kind.describe()}: recall at {recall.k} is {recall.recall:.3f}, expected "
            f"{target:g}; larger codes or kind 'exact' give more",
            UserWarning,
            stacklevel=4,
        )
    return best, recall
