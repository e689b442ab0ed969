"""Rows that come, change and go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from featx.errors import ParameterError
from featx.recipe import Recipe
from featx.retrieval._approximate import ApproximateFinder
from featx.retrieval._columns import Columns
from featx.retrieval._database import in_type, own_memory, with_finder
from featx.retrieval._queries import check_vectors, own_table
from featx.retrieval._search import Floats, Vectors, row_norms
from featx.store import FeatureStore

if TYPE_CHECKING:
    from featx.retrieval._kinds import Kind
    from featx.retrieval._recall import Recall
    from featx.retrieval._rerank import Reranking

__all__ = ["Column", "GrowingRows", "columns_of"]

Column = Sequence[Any] | NDArray[Any]


class GrowingRows:
    """What `RetrievalIndex` does to its rows. Arrays are replaced, never changed: a copy stays."""

    metric: str
    storage: str
    dtype: str
    target_recall: float
    random_state: int
    kind_: Kind
    recall_: Recall | None
    recipe_: Recipe | None
    n_features_in_: int
    _columns: Columns
    _vectors: Vectors
    _rerankings: dict[str, Reranking]

    def _take(self, columns: Columns, vectors: Vectors, recall: Recall | None) -> None:
        self._columns, self._vectors, self.recall_ = columns, vectors, recall
        self._rerankings = {}

    @property
    def ids_(self) -> NDArray[Any]:
        """What the rows are called, (n_samples,)."""
        return self._columns.ids

    @property
    def labels_(self) -> NDArray[Any] | None:
        """Labels of the rows, (n_samples,)."""
        return self._columns.labels

    @property
    def metadata_(self) -> dict[str, NDArray[Any]]:
        """Further columns by name, each (n_samples,)."""
        return self._columns.metadata

    def add(
        self,
        X: Any,
        *,
        ids: Column | None = None,
        labels: Column | None = None,
        metadata: Mapping[str, Column] | None = None,
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

        Raises
        ------
        FingerprintMismatchError
            If X is a store of another recipe.
        ParameterError
            If an id is there already, or the index cannot grow.
        """
        X, mine, new = self._change("add", X)
        n = len(mine)
        added = columns_of(X, len(new), ids, labels, metadata, first=n)
        self._columns.require_like(added.labels, added.metadata)
        columns = self._columns.joined(added)
        finder = self._vectors.finder
        if isinstance(finder, ApproximateFinder):
            finder = finder.added(new, np.arange(n, n + len(new)))
        norms = np.concatenate([self._vectors.norms, row_norms(new)])
        self._replace(columns, np.concatenate([mine, in_type(new, self.dtype)]), norms, finder)
        return self

    def update(self, X: Any, *, ids: Column) -> Self:
        """Give rows other vectors; their ids, labels and metadata stay, and their places.

        Parameters
        ----------
        X : FeatureStore, or array-like of shape (n_changed, n_features)
            Of the index's recipe.
        ids : sequence
            The rows to change, one id a row of X, each once.

        Raises
        ------
        FingerprintMismatchError
            If X is a store of another recipe.
        ParameterError
            If an id is not in the index; nothing is changed then.
        """
        _, mine, new = self._change("update", X)
        rows = self._columns.rows_of(ids)
        if len(rows) != len(new) or len(np.unique(rows)) != len(rows):
            raise ParameterError(
                f"ids: got {len(rows)}, {len(np.unique(rows))} of them different, expected one "
                f"for each of {len(new)} rows of X"
            )
        data, norms = mine.copy(), self._vectors.norms.copy()
        data[rows], norms[rows] = in_type(new, self.dtype), row_norms(new)
        finder = self._vectors.finder
        if isinstance(finder, ApproximateFinder):
            finder = finder.replaced(new, rows)
        self._replace(self._columns, data, norms, finder)
        return self

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
        mine = own_memory(self._vectors.data, "remove")
        kept = np.ones(len(mine), bool)
        kept[self._columns.rows_of(ids)] = False
        finder = self._vectors.finder
        if isinstance(finder, ApproximateFinder):
            finder = finder.without(kept)
        self._replace(self._columns.taken(kept), mine[kept], self._vectors.norms[kept], finder)
        return self

    def _change(self, method: str, X: Any) -> tuple[Any, NDArray[Any], Floats]:
        check_is_fitted(self)
        mine = own_memory(self._vectors.data, method)
        X = own_table(X, self.recipe_, "index in memory")
        return X, mine, check_vectors(np.asarray(X), self.n_features_in_)

    def _replace(self, columns: Columns, data: Any, norms: Floats, finder: Any) -> None:
        """Take changed rows; what finds candidates is made anew where it must be."""
        vectors, recall = Vectors(data, norms, finder), self.recall_
        is_worn = isinstance(finder, ApproximateFinder) and 3 * finder.n_dead > len(finder.row_of)
        if self.storage.startswith("cuda") or (is_worn and len(data)):
            vectors, recall = with_finder(
                replace(vectors, finder=None),
                self.kind_,
                self.metric,
                self.storage,
                target=self.target_recall,
                seed=self.random_state,
            )
        self._take(columns, vectors, recall)


def columns_of(X: Any, n: int, ids: Any, labels: Any, metadata: Any, *, first: int = 0) -> Columns:
    """Check what is given for n rows; what is not is taken from X, where X is a store.

    Parameters
    ----------
    first : int, default 0
        Where row numbers begin that stand for ids.
    """
    if isinstance(X, FeatureStore):
        own = Columns(X.paths, X.labels, X.metadata)
    else:
        own = Columns(np.arange(first, first + n), None, {})
    given = Columns.of(n, ids, labels, metadata)
    return Columns(
        own.ids if ids is None else given.ids,
        own.labels if labels is None else given.labels,
        own.metadata if metadata is None else given.metadata,
    )
