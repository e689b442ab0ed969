"""Replace each vector of the database by the mean of itself and its neighbours."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
from sklearn.utils.validation import check_is_fitted

from featx.errors import ParameterError, require_count, require_number
from featx.retrieval._expansion import average_neighbours, iter_blocks
from featx.retrieval._index import RetrievalIndex
from featx.retrieval._queries import check_vectors
from featx.retrieval._search import search
from featx.retrieval._vectors import Floats, Vectors, row_norms

__all__ = ["augment_database"]


@overload
def augment_database(
    database: RetrievalIndex, k: int = ..., alpha: float = ...
) -> RetrievalIndex: ...


@overload
def augment_database(database: Any, k: int = ..., alpha: float = ...) -> Floats: ...


def augment_database(database: Any, k: int = 10, alpha: float = 3.0) -> Any:
    """Smooth a database over its own nearest neighbours, once, before it is searched.

    Parameters
    ----------
    database : RetrievalIndex, or array-like of shape (n_samples, n_features)
        Vectors by themselves are compared by their cosines.
    k : int, default 10
        Neighbours that are averaged with each row. More helps where rows of a kind are many, and
        blurs kinds that have fewer rows.
    alpha : float, default 3.0
        A neighbour's weight is its cosine with the row to this power, 0 for negative ones; the
        row's own is 1.

    Returns
    -------
    RetrievalIndex or ndarray of shape (n_samples, n_features), float32
        An index in memory with the same ids, labels and recipe where one was given; queries by
        image then work as before. Scaled to length 1 before averaging, unless the index's metric
        is "euclidean" or "dot".

    Raises
    ------
    ParameterError
        If `k` is not from 1 to n_samples - 1, or `alpha` negative.

    Notes
    -----
    Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval",
    CVPR 2012, section 5, on global vectors, with the weights of alpha query expansion.
    O(n_samples**2 * n_features) time, block by block: holds the result, and no n x n matrix.

    Examples
    --------
    >>> augment_database([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], k=1, alpha=0).round(2)
    array([[0.9, 0.3],
           [0.9, 0.3],
           [0.4, 0.8]], dtype=float32)
    """
    require_count("k", k)
    require_number("alpha", alpha, 0, np.inf)
    if not isinstance(database, RetrievalIndex):
        data = check_vectors(np.asarray(database))
        return _average_rows(Vectors(data, row_norms(data), "cosine"), k, alpha)
    check_is_fitted(database)
    mean = _average_rows(database._vectors, k, alpha)
    index = RetrievalIndex(database.metric, weights=database.weights, device=database.device)
    index.fit(mean, ids=database.ids_, labels=database.labels_)
    index.recipe_ = database.recipe_
    index.made_with_ = {**database.made_with_, "augmented": f"k={k}, alpha={alpha:g}"}
    return index


def _average_rows(vectors: Vectors, k: int, alpha: float) -> Floats:
    n, width = vectors.shape
    if k >= n:
        raise ParameterError(
            f"k: got {k} for {n} rows, expected at most {n - 1}, the other rows of the database"
        )
    out = np.empty((n, width), np.float32)
    for part in iter_blocks(n, k * width):
        own = vectors.rows(part)
        itself = np.arange(part.start, part.start + len(own))
        rows, _ = search(vectors, own, k, exclude=itself)
        out[part] = average_neighbours(own, vectors, rows, alpha)
    return out
