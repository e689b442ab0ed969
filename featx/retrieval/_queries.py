"""What was asked: vectors as they are, images through the network of the index's recipe."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ImageDecodeError, ParameterError
from featx.recipe import Recipe
from featx.store import FeatureStore

__all__ = ["Queries", "as_queries", "check_vectors"]


@dataclass(frozen=True)
class Queries:
    """Queries as vectors.

    Parameters
    ----------
    vectors : ndarray of shape (n_queries, n_features), float32
        Finite.
    names : tuple of str
        What to call each.
    is_single : bool
        Whether one image or one vector was given by itself, so that one answer is expected.
    """

    vectors: NDArray[np.float32]
    names: tuple[str, ...]
    is_single: bool


def as_queries(
    X: Any,
    n_features: int,
    *,
    recipe: Recipe | None,
    weights: str | os.PathLike[str] | None,
    device: str,
) -> Queries:
    """Turn vectors or images into queries.

    Raises
    ------
    ParameterError
        If the width differs, a value is not finite, or images are given to an index whose
        features were made outside featx.
    ImageDecodeError
        If an image cannot be read.
    """
    if isinstance(X, FeatureStore):
        return Queries(check_vectors(X[:], n_features), tuple(X.paths.tolist()), is_single=False)
    vectors = _as_vectors(X)
    if vectors is not None:
        is_single = vectors.ndim == 1
        rows = check_vectors(np.atleast_2d(vectors), n_features)
        return Queries(rows, tuple(f"vector {i}" for i in range(len(rows))), is_single)
    return _embedded(X, recipe, weights, device)


def check_vectors(X: NDArray[Any], n_features: int | None) -> NDArray[np.float32]:
    """Return finite float32 vectors of the expected width."""
    if X.ndim != 2 or (n_features is not None and X.shape[1] != n_features):
        wanted = "n_features" if n_features is None else n_features
        raise ParameterError(f"X: got shape {X.shape}, expected (n, {wanted})")
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(X, np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise ParameterError(
            f"X: row {int(np.flatnonzero(~finite)[0])} has a value that is not finite in float32, "
            "expected finite numbers"
        )
    return vectors


def _as_vectors(X: Any) -> NDArray[Any] | None:
    """Return X as an array if it holds vectors, None if it holds images."""
    if hasattr(X, "detach"):  # a tensor: vectors have one or two dimensions, images three or four
        X = X.detach().cpu().numpy()
    if isinstance(X, list | tuple):
        first = X[0] if len(X) else None
        while isinstance(first, list | tuple) and len(first):
            first = first[0]
        is_row = isinstance(first, np.ndarray) and first.ndim == 1 and first.dtype.kind in "fiu"
        if not (is_row or isinstance(first, int | float | np.number)):
            return None
        try:
            X = np.asarray(X)
        except ValueError as err:
            raise ParameterError(f"X: got rows of different lengths ({err})") from err
    if isinstance(X, np.ndarray) and X.ndim <= 2 and X.dtype.kind in "fiu":
        return X
    return None


def _embedded(
    images: Any,
    recipe: Recipe | None,
    weights: str | os.PathLike[str] | None,
    device: str,
) -> Queries:
    from featx.images import as_sources

    sources = as_sources(images, name="X")
    if recipe is None:
        raise ParameterError(
            "query by image: the features of this index were made outside featx, so that no "
            "network is known for the query; expected vectors made as the index's were"
        )
    # Only here does retrieval need a network, and with it torch.
    from featx.extraction import embed_images, job_for_recipe

    job = job_for_recipe(recipe, weights=weights, device=device)
    found = embed_images(job, sources, progress=False)
    names = tuple(s if isinstance(s, str) else f"image {i}" for i, s in enumerate(sources))
    if found.failures:
        position, reason = found.failures[0]
        raise ImageDecodeError(f"query {names[position]!r}: {reason}; give another image")
    return Queries(found.features, names, _is_single(images, len(sources)))


def _is_single(images: Any, n: int) -> bool:
    is_batch = isinstance(images, Sequence) and not isinstance(images, str)
    return n == 1 and not is_batch and getattr(images, "ndim", 3) == 3
