"""The names, labels and metadata of the rows of an index, whatever it compares them by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from featx._repr import OneLine
from featx.errors import ParameterError
from featx.retrieval._columns import Columns

__all__ = ["NamedRows"]


class NamedRows(OneLine, BaseEstimator):  # type: ignore[misc]
    """What the indices of vectors and of local features know of their rows."""

    _columns: Columns

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_columns")

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

    @property
    def digests_(self) -> NDArray[np.str_] | None:
        """SHA-256 of the rows' image files, (n_samples,), "" where unknown; None if all are."""
        return self._columns.digests

    @property
    def n_samples_fit_(self) -> int:
        """Number of rows."""
        return len(self._columns.ids)

    def select_rows(self, filter: Any, columns: Sequence[str] | None = None) -> NDArray[np.bool_]:
        """Say which rows a filter lets through, (n_samples,), if need be none.

        Parameters
        ----------
        filter : as for `RetrievalIndex.query`
        columns : sequence of str, optional
            Those that a condition in text may name. Default: all.

        Raises
        ------
        ParameterError
            If the filter does not fit the index.

        Examples
        --------
        >>> from featx import RetrievalIndex
        >>> index = RetrievalIndex().fit([[1.0], [2.0]], metadata={"price": [5, 20]})
        >>> index.select_rows("price<=10").tolist(), index.select_rows("price>20").tolist()
        ([True, False], [False, False])
        """
        check_is_fitted(self)
        allowed = self._columns.fitting(filter, columns)
        return np.ones(self.n_samples_fit_, bool) if allowed is None else allowed

    def relabel(self, ids: Any, labels: Any) -> Self:
        """Give rows other labels.

        Parameters
        ----------
        ids : sequence, or one id
            The rows to change.
        labels : sequence, or one label for all of them
            None and "" are none.

        Raises
        ------
        ParameterError
            If the index has no labels, or an id is not in it; nothing is changed then.

        Examples
        --------
        >>> from featx import RetrievalIndex
        >>> index = RetrievalIndex().fit([[1.0], [2.0]], ids=["a", "b"], labels=["x", "x"])
        >>> index.relabel("b", "y").labels_.tolist()
        ['x', 'y']
        """
        check_is_fitted(self)
        if self.labels_ is None:
            raise ParameterError("relabel: the index has no labels, expected one that has")
        rows = self._columns.rows_of(ids)
        given = [labels] * len(rows) if isinstance(labels, str) else list(labels)
        if len(given) != len(rows):
            raise ParameterError(f"labels: got {len(given)}, expected one for each of {len(rows)}")
        changed = self.labels_.tolist()
        for row, label in zip(rows.tolist(), given, strict=True):
            changed[row] = label
        self._columns = self._columns.with_labels(changed)
        return self
