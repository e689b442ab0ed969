"""`SpatialSearch`: images as sets of patches, compared patch by patch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from featx._arrays import scale_to_unit
from featx._repr import OneLine
from featx.errors import ParameterError, require_count
from featx.recipe import Recipe
from featx.retrieval._columns import Columns
from featx.retrieval._matches import Matches
from featx.retrieval._queries import as_queries
from featx.retrieval._vectors import Floats
from featx.store import FeatureStore

__all__ = ["SpatialSearch"]

BLOCK_BYTES = 64 * 2**20
READ_ROWS = 64


class SpatialSearch(OneLine, BaseEstimator):  # type: ignore[misc]
    """Nearest images by their patches: where a query's patches are found, not only whether.

    Parameters
    ----------
    n_patches : int, optional
        Patches of a database image, whose vectors lie side by side in a row. Default: the views
        that the store's recipe keeps ("patches(4):keep" has 30); needed for other tables.
    n_query_patches : int, optional
        Patches of a query that are used, the first so many; 14 of 30 are those of three levels
        of four. Time grows with it. Default: all that are given.
    transform : transformer, optional
        Fitted; applied to each patch's vector, as `PCAWhitening` or a pipeline with
        `PowerNormalizer`. Fit it on ``X.reshape(-1, n_features)`` of other images.
    weights : str or path, optional
        As for `RetrievalIndex`, for queries by image.
    device : str, default "auto"
        Where to run that network.

    Attributes
    ----------
    ids_, labels_, recipe_, made_with_
        As for `RetrievalIndex`.
    n_patches_ : int
        Patches of a database image.
    n_patch_features_ : int
        Length of a patch's vector, before the transform.

    Notes
    -----
    Razavian et al. 2014, section 3.5: the distance of a query patch is its smallest to any patch
    of the reference, and the distance of the images the mean of that over the query's patches. Of
    a patch it is 1 - cos, half of the squared distance of unit vectors. Holds
    n_samples * n_patches * n_features float32 after the transform; a query costs
    n_query_patches * n_patches times as much as with one vector per image, block by block.

    Examples
    --------
    >>> X = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])  # 2 images of 2 patches
    >>> search = SpatialSearch().fit(X, ids=["both", "one"])
    >>> search.query([[0.0, 2.0], [3.0, 0.0]], k=2).distances.round(2)
    array([0. , 0.5], dtype=float32)
    """

    def __init__(
        self,
        n_patches: int | None = None,
        *,
        n_query_patches: int | None = None,
        transform: Any = None,
        weights: Any = None,
        device: str = "auto",
    ) -> None:
        self.n_patches = n_patches
        self.n_query_patches = n_query_patches
        self.transform = transform
        self.weights = weights
        self.device = device

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        ids: Sequence[Any] | NDArray[Any] | None = None,
        labels: Sequence[Any] | NDArray[Any] | None = None,
    ) -> Self:
        """Take the database.

        Parameters
        ----------
        X : FeatureStore, or array-like of shape (n_samples, n_patches, n_features)
            Or (n_samples, n_patches * n_features), the patches side by side. Finite.
        y : ignored
        ids, labels : sequence, optional
            As for `RetrievalIndex.fit`.

        Raises
        ------
        ParameterError
            If the width is no multiple of `n_patches`, or a value is not finite.
        """
        is_store = isinstance(X, FeatureStore)
        data = X if is_store else np.asarray(X)
        self.recipe_: Recipe | None = X.recipe if is_store else None
        self.made_with_: dict[str, Any] = X.made_with if is_store else {}
        shape = tuple(data.shape)
        self.n_patches_ = self._count_patches(shape)
        self.n_patch_features_ = shape[-1] if len(shape) == 3 else shape[1] // self.n_patches_
        self.n_features_in_ = self.n_patches_ * self.n_patch_features_
        parts = [
            self._prepare(data[i : i + READ_ROWS], first=i) for i in range(0, shape[0], READ_ROWS)
        ]
        if not parts:
            raise ParameterError(f"X: got shape {shape}, expected at least one image")
        self._patches = np.concatenate(parts)
        columns = Columns.of(X, shape[0], ids, labels, {})
        self.ids_, self.labels_ = columns.ids, columns.labels
        return self

    def query(self, X: Any, k: int = 10) -> Matches:
        """Find what shows the same as images, or as patches of images.

        Parameters
        ----------
        X : images as for `RetrievalIndex.query`, FeatureStore, or array-like
            Of shape (n_query_patches, n_features) for one query, else (n_queries, n_query_patches,
            n_features); or rows with the patches side by side.
        k : int, default 10
            Neighbours; all where there are fewer.

        Returns
        -------
        Matches
            Distances from 0 to 2, ascending.
        """
        check_is_fitted(self)
        require_count("k", k)
        patches, names, is_single = self._embed(X)
        if self.n_query_patches is not None:
            require_count("n_query_patches", self.n_query_patches)
            patches = patches[:, : self.n_query_patches]
        distances = self._measure(patches)
        k = min(k, distances.shape[1])
        rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(distances, rows, axis=1)
        labels = None if self.labels_ is None else self.labels_[rows]
        matches = Matches(self.ids_[rows], found, rows, labels, names)
        return matches[0] if is_single else matches

    def _count_patches(self, shape: tuple[int, ...]) -> int:
        from featx.images.augmentation import Augmentation

        n, is_matrix = self.n_patches, len(shape) == 2
        if n is not None:
            require_count("n_patches", n)
        if len(shape) == 3:
            n = shape[1]
        elif n is None and self.recipe_ is not None:
            views = Augmentation.parse(self.recipe_.augment)
            n = views.n_views if views.keeps_views else None
        is_given = self.n_patches in (None, n) and len(shape) in (2, 3)
        if n is None or not is_given or (is_matrix and shape[1] % n):
            raise ParameterError(
                f"X: got shape {shape} with n_patches={self.n_patches}, expected (n_samples, "
                "n_patches, n_features), or rows of n_patches * n_features and n_patches; or a "
                "store of featx extract --augment 'patches(4):keep'"
            )
        return n

    def _prepare(self, X: Any, first: int = 0) -> Floats:
        """Return patches (n, n_patches, d) as unit vectors, after the transform."""
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(X, np.float32).reshape(-1, self.n_patch_features_)
        n = len(X)
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            image = first + int(np.flatnonzero(bad)[0]) // (len(rows) // n)
            raise ParameterError(
                f"X: row {image} has a value that is not finite in float32, expected finite "
                "numbers"
            )
        if self.transform is not None:
            rows = np.asarray(self.transform.transform(rows), np.float32)
        return scale_to_unit(rows).reshape(n, -1, rows.shape[1])

    def _embed(self, X: Any) -> tuple[Floats, tuple[str, ...], bool]:
        """Return the patches of queries, their names, and whether there is one by itself."""
        width = self.n_patch_features_
        shape = np.shape(X) if _is_patches(X) else ()
        if shape and shape[-1] == width and len(shape) in (2, 3):
            is_single = len(shape) == 2
            patches = np.asarray(X)[None] if is_single else np.asarray(X)
            names = tuple(f"patches {i}" for i in range(len(patches)))
            return self._prepare(patches), names, is_single
        if len(shape) == 3:
            raise ParameterError(f"X: got shape {shape}, expected (n_queries, n, {width})")
        queries = as_queries(self, X)
        return self._prepare(queries.vectors), queries.names, queries.is_single

    def _measure(self, queries: Floats) -> Floats:
        """Return (n_queries, n_samples) distances; holds a block of references by one query."""
        m, n_patches, width = queries.shape
        n = len(self._patches)
        distances = np.empty((m, n), np.float32)
        step = max(1, BLOCK_BYTES // (4 * n_patches * self._patches.shape[1]))
        for start in range(0, n, step):
            block = self._patches[start : start + step]
            flat = block.reshape(-1, width).T
            for i, query in enumerate(queries):
                cosines = (query @ flat).reshape(n_patches, len(block), -1)
                distances[i, start : start + step] = 1 - cosines.max(axis=2).mean(axis=0)
        return np.maximum(distances, 0)


def _is_patches(X: Any) -> bool:
    """Say whether X holds numbers that are no pixels."""
    if isinstance(X, list | tuple) and len(X):
        first: Any = X[0]
        while isinstance(first, list | tuple) and len(first):
            first = first[0]
        return isinstance(first, int | float | np.number) or _is_patches(first)
    return isinstance(X, np.ndarray) and X.dtype.kind == "f"
