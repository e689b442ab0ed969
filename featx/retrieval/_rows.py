"""The rows of an index: taken, added, changed and removed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.errors import ParameterError, choose, require_number
from featx.retrieval._columns import Columns
from featx.retrieval._kinds import Kind, choose_kind
from featx.retrieval._named_rows import NamedRows
from featx.retrieval._queries import check_vectors, fit_table
from featx.retrieval._recall import Recall, add_finder
from featx.retrieval._vectors import (
    METRICS,
    Floats,
    Vectors,
    convert_to,
    require_memory,
    row_norms,
)
from featx.store import FeatureStore

__all__ = ["IndexedRows"]

Column = Sequence[Any] | NDArray[Any]


class IndexedRows(NamedRows):
    """The rows of `RetrievalIndex`. Arrays are replaced, never changed: a copy stays as it is."""

    def __init__(
        self,
        metric: str = "cosine",
        *,
        kind: str = "auto",
        storage: str = "memory",
        dtype: str = "float32",
        codes: str = "auto",
        target_recall: float = 0.95,
        weights: str | os.PathLike[str] | None = None,
        device: str = "auto",
        random_state: int = 0,
    ) -> None:
        self.metric = metric
        self.kind = kind
        self.storage = storage
        self.dtype = dtype
        self.codes = codes
        self.target_recall = target_recall
        self.weights = weights
        self.device = device
        self.random_state = random_state

    def _take(self, columns: Columns, vectors: Vectors, recall: Recall | None) -> None:
        self._columns, self._vectors, self.recall_ = columns, vectors, recall
        self._learned: dict[Any, Any] = {}  # by re-rankings, of these rows

    def vectors(self, rows: Any = slice(None)) -> Floats:
        """Return stored vectors by row number, mask or slice, in float32; default all."""
        check_is_fitted(self)
        return self._vectors.rows(rows)

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        ids: Column | None = None,
        labels: Column | None = None,
        metadata: Mapping[str, Column] | None = None,
    ) -> Self:
        """Take the database.

        Parameters
        ----------
        X : FeatureStore, or array-like of shape (n_samples, n_features)
            Finite.
        y : None
            Ignored, as in scikit-learn's neighbours.
        ids : sequence of str or int, optional
            A name for each row, each once. Default: a store's paths, else row numbers.
        labels : sequence, optional
            None, NaN and "" are none. Default: the store's.
        metadata : data frame, or dict of str to sequence, optional
            Further columns to filter by: numbers where all are, else text, "" for what is
            missing. Default: the store's.

        Returns
        -------
        RetrievalIndex

        Raises
        ------
        ParameterError
            If a parameter is unknown, ids come twice or lengths differ.
        MissingDependencyError
            If an approximate kind is asked for and faiss is not installed.
        """
        choose("metric", self.metric, METRICS)
        choose("dtype", self.dtype, ("float32", "float16"))
        choose("storage", self.storage.partition(":")[0], ("memory", "store", "cuda"))
        require_number("target_recall", self.target_recall, 0, 1)
        data = self._store(X)
        columns = Columns.of(X, len(data), ids, labels, metadata)
        kind = choose_kind(self.kind, self.codes, *data.shape, storage=self.storage)
        vectors, recall = self._with_finder(Vectors(data, row_norms(data), self.metric), kind)
        self.n_features_in_ = data.shape[1]
        self.recipe_ = X.recipe if isinstance(X, FeatureStore) else None
        self.made_with_ = X.made_with if isinstance(X, FeatureStore) else {}
        self._take(columns, vectors, recall)
        self.kind_ = kind
        return self

    def _store(self, X: Any) -> Any:
        """Return what `Vectors` reads from, (n_samples, n_features), float32 or float16."""
        if isinstance(X, FeatureStore):
            return X if self.storage == "store" else convert_to(self.dtype, check_vectors(X[:]))
        if self.storage == "store":
            raise ParameterError(
                f"storage: got 'store' with X of type {type(X).__name__}, expected a FeatureStore"
            )
        if isinstance(X, np.memmap) and X.dtype in (np.float32, np.float16) and X.ndim == 2:
            return X
        return convert_to(self.dtype, validate_data(self, X, dtype=np.float32))

    def _with_finder(self, vectors: Vectors, kind: Kind) -> tuple[Vectors, Recall | None]:
        return add_finder(
            vectors, kind, self.storage, target=self.target_recall, seed=self.random_state
        )

    def add(
        self,
        X: Any,
        *,
        ids: Column | None = None,
        labels: Column | None = None,
        metadata: Mapping[str, Column] | None = None,
        digests: Column | None = None,
    ) -> Self:
        """Add rows at the end.

        Parameters
        ----------
        X : FeatureStore, or array-like of shape (n_new, n_features)
            Of the index's recipe.
        ids : sequence, optional
            None of which may be in the index. Default: a store's paths, else the next row numbers.
        labels : sequence, optional
            Needed where the index has labels and X is no store with labels.
        metadata : data frame, or dict of str to sequence, optional
            The columns that the index has; a store's by default.
        digests : sequence of str, optional
            SHA-256 of the images' files, in hexadecimal; a store's by default.

        Raises
        ------
        FingerprintMismatchError
            If X is a store of another recipe.
        ParameterError
            If an id is there already, or the index cannot grow.
        """
        X, data, new = self._check_change("add", X)
        n = len(data)
        added = Columns.of(X, len(new), ids, labels, metadata, digests, first=n)
        columns = self._columns.join(added)
        data = np.concatenate([data, convert_to(self.dtype, new)])
        norms = np.concatenate([self._vectors.norms, row_norms(new)])
        finder = self._vectors.finder.add(new, np.arange(n, len(data)))
        return self._replace(columns, Vectors(data, norms, self.metric, finder))

    def update(self, X: Any, *, ids: Column) -> Self:
        """Give rows other vectors; their ids, labels and metadata stay, and their places.

        Parameters
        ----------
        X : FeatureStore, or array-like of shape (n_changed, n_features)
            Of the index's recipe.
        ids : sequence
            The rows to change, one id per row of X, each once.

        Raises
        ------
        FingerprintMismatchError
            If X is a store of another recipe.
        ParameterError
            If an id is not in the index; nothing is changed then.
        """
        _, data, new = self._check_change("update", X)
        rows = self._columns.rows_of(ids)
        if len(rows) != len(new) or len(np.unique(rows)) != len(rows):
            raise ParameterError(
                f"ids: got {len(rows)}, {len(np.unique(rows))} of them different, expected one "
                f"for each of {len(new)} rows of X"
            )
        data, norms = data.copy(), self._vectors.norms.copy()
        data[rows], norms[rows] = convert_to(self.dtype, new), row_norms(new)
        finder = self._vectors.finder.update(new, rows)
        return self._replace(self._columns, Vectors(data, norms, self.metric, finder))

    def remove(self, ids: Any) -> Self:
        """Remove rows by id; the others keep their order.

        An approximate index keeps what it held of them, marked, until more than a third of it is
        such; then it is built again.

        Raises
        ------
        ParameterError
            If an id is not in the index, with the nearest one; nothing is removed then.
        """
        check_is_fitted(self)
        data = require_memory(self._vectors.data, "remove")
        kept = np.ones(len(data), bool)
        kept[self._columns.rows_of(ids)] = False
        finder, norms = self._vectors.finder.keep(kept), self._vectors.norms[kept]
        columns = self._columns.select(kept)
        return self._replace(columns, Vectors(data[kept], norms, self.metric, finder))

    def _check_change(self, method: str, X: Any) -> tuple[Any, NDArray[Any], Floats]:
        check_is_fitted(self)
        data = require_memory(self._vectors.data, method)
        X = fit_table(self, X)
        return X, data, check_vectors(np.asarray(X), self.n_features_in_)

    def _replace(self, columns: Columns, vectors: Vectors) -> Self:
        """Take changed rows; what finds candidates is built anew where it must be."""
        recall = self.recall_
        if vectors.finder.is_worn:
            vectors, recall = self._with_finder(vectors, self.kind_)
        self._take(columns, vectors, recall)
        return self
