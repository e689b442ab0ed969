"""What was asked: vectors as they are, images through the network of the index's recipe."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featx._repr import OneLine
from featx._values import is_frame
from featx.errors import ImageDecodeError, ParameterError
from featx.recipe import Recipe
from featx.retrieval._words import rank_by_words
from featx.retrieval.ranking import Reranking
from featx.store import FeatureStore
from featx.store.info import fitting_table

if TYPE_CHECKING:
    from featx.extraction import LoadedEncoder

__all__ = [
    "Queries",
    "as_queries",
    "check_vectors",
    "fit_table",
    "is_single_image",
    "load_network",
]


class QueriedIndex(Protocol):
    """What is asked, and how its features were made."""

    n_features_in_: int
    recipe_: Recipe | None
    made_with_: dict[str, Any]
    weights: str | os.PathLike[str] | None
    device: str


@dataclass(frozen=True, repr=False)
class Queries(OneLine):
    """Queries as vectors.

    Parameters
    ----------
    vectors : ndarray of shape (n_queries, n_features), float32
        Finite.
    names : tuple of str
        What to call each.
    is_single : bool
        Whether one image or one vector was given by itself, so that one answer is expected.
    images : tuple or None
        What they show, as `featx.images.inputs.as_sources` gives it; None for vectors alone.
    ranks : tuple of Reranking
        What ranks before all else: of words, the network's own classifier.
    """

    vectors: NDArray[np.float32]
    names: tuple[str, ...]
    is_single: bool
    images: tuple[Any, ...] | None = None
    ranks: tuple[Reranking, ...] = ()


def as_queries(
    index: QueriedIndex, X: Any, images: Any = None, text: Any = None, rotations: int = 1
) -> Queries:
    """Turn vectors, images or words into queries; `images` are what vectors show.

    Of an image that is turned there are as many vectors in turn as `rotations`, and one name.

    Raises
    ------
    FingerprintMismatchError
        If a store is given that has no table of the index's recipe.
    ParameterError
        If the width differs, a value is not finite, images are given to an index whose
        features were made outside featx, a word is not known, or nothing is asked.
    BackboneError
        If words are given and the network has none.
    ImageDecodeError
        If an image cannot be read.
    """
    if text is None:
        if X is None:
            raise ParameterError("X: got None without text, expected images, vectors or words")
        return _as_shown(index, X, images, rotations)
    if rotations > 1:
        raise ParameterError(
            f"rotations: got {rotations} with text, expected 1: words are not turned"
        )
    from featx.extraction.words import ask_words

    asked = ask_words(text, index.recipe_, index.made_with_, weights=index.weights)
    if X is None:
        asked.require_wish()
        return Queries(asked.vectors(), (asked.name,), True, ranks=rank_by_words(asked))
    shown = _as_shown(index, X, images, 1)
    return replace(
        shown,
        vectors=asked.vectors(shown.vectors),
        names=tuple(f"{name} {asked.name}" for name in shown.names),
        ranks=rank_by_words(asked, shown.vectors),
    )


def _as_shown(index: QueriedIndex, X: Any, images: Any, rotations: int) -> Queries:
    """Turn vectors or images into queries."""
    X, width = fit_table(index, X), index.n_features_in_
    if isinstance(X, FeatureStore):
        if rotations > 1:
            raise ParameterError(
                f"rotations: got {rotations} with a store, expected images, which can be turned"
            )
        names = tuple(X.paths.tolist())
        shown = names if images is None else _check_images(images, len(names))
        return Queries(check_vectors(X[:], width), names, is_single=False, images=shown)
    vectors = _as_vectors(X)
    if vectors is not None:
        is_single = vectors.ndim == 1
        rows = check_vectors(vectors[None] if is_single else np.atleast_2d(vectors), width)
        if len(rows) % rotations:
            raise ParameterError(
                f"X: got {len(rows)} vectors with rotations={rotations}, expected {rotations} in "
                "turn for each query"
            )
        n = len(rows) // rotations
        names = tuple(f"vector {i}" for i in range(n))
        return Queries(rows, names, is_single, _check_images(images, n))
    if images is not None:
        raise ParameterError("images: got some beside X, which are images, expected none")
    return _embed(index, X, rotations)


def fit_table(index: QueriedIndex, X: Any) -> Any:
    """Return X; of a store the table of the index's recipe.

    Raises
    ------
    FingerprintMismatchError
        If the store has none.
    """
    if not isinstance(X, FeatureStore):
        return X
    return fitting_table(X, index.recipe_, maker="index in memory")


def _check_images(images: Any, n: int) -> tuple[Any, ...] | None:
    if images is None:
        return None
    from featx.images.inputs import as_sources

    sources = tuple(as_sources(images, name="images"))
    if len(sources) != n:
        raise ParameterError(f"images: got {len(sources)}, expected {n}, one for each row of X")
    return sources


def check_vectors(X: NDArray[Any], n_features: int | None = None) -> NDArray[np.float32]:
    """Return finite float32 vectors of the expected width."""
    if X.ndim != 2 or (n_features is not None and X.shape[1] != n_features):
        wanted = "n_features" if n_features is None else n_features
        raise ParameterError(f"X: got shape {X.shape}, expected (n, {wanted})")
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(X, np.float32)
        flat = vectors.reshape(-1)
        if np.isfinite(flat @ flat):  # the quick way to see that all are
            return vectors
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise ParameterError(
            f"X: row {int(bad[0])} has a value that is not finite in float32, expected finite "
            "numbers"
        )
    return vectors


def _as_vectors(X: Any) -> NDArray[Any] | None:
    """Return X as an array if it holds vectors, None if it holds images."""
    if type(X) is np.ndarray:  # most often; a subclass may have columns
        return X if X.ndim <= 2 and X.dtype.kind in "fiu" else None
    if hasattr(X, "detach"):  # a tensor: vectors have one or two dimensions, images three or four
        X = X.detach().cpu().numpy()
    if is_frame(X) or hasattr(X, "to_numpy"):
        X = _array_of_frame(X)
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


def _array_of_frame(frame: Any) -> NDArray[Any]:
    """Return a data frame or one of its columns as an array, of numbers where all are."""
    array = np.asarray(frame)
    if array.dtype.kind == "O":
        with contextlib.suppress(TypeError, ValueError):
            array = array.astype(np.float64)
    return array


def load_network(index: QueriedIndex) -> LoadedEncoder:
    """Load the network of an index's recipe, or take the one loaded last: only here comes torch.

    Raises
    ------
    ParameterError
        If the features were made outside featx.
    """
    from featx.extraction.embed import load_by_recipe
    from featx.extraction.options import RunOptions

    if index.recipe_ is None:
        raise ParameterError(
            "query by image: the features of this index were made outside featx, so that no "
            "network is known for the query; expected vectors made as the index's were"
        )
    return load_by_recipe(
        index.recipe_,
        index.made_with_,
        RunOptions(index.device, progress=False),
        weights=index.weights,
        thing="query by image",
    )


def _embed(index: QueriedIndex, images: Any, rotations: int) -> Queries:
    from featx.extraction.embed import embed_turned
    from featx.images.inputs import as_sources

    sources = as_sources(images, name="X")
    found = embed_turned(load_network(index), sources, rotations)
    names = tuple(s if isinstance(s, str) else f"image {i}" for i, s in enumerate(sources))
    if found.failures:
        position, reason = found.failures[0]
        raise ImageDecodeError(f"query {names[position]!r}: {reason}; give another image")
    is_single = is_single_image(images, len(sources))
    return Queries(found.features, names, is_single, tuple(sources))


def is_single_image(images: Any, n: int) -> bool:
    """Say whether one image was given by itself, not in a list or batch."""
    if isinstance(images, str):  # numpy's too, which has dimensions
        return True
    is_batch = isinstance(images, Sequence) and not isinstance(images, str)
    return n == 1 and not is_batch and getattr(images, "ndim", 3) == 3
