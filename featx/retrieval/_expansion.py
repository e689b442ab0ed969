"""Means of neighbours: of a query, which is asked again, or of every row of the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from sklearn.utils.validation import check_is_fitted

from featx._arrays import scale_to_unit
from featx.errors import ParameterError, require_count, require_number
from featx.retrieval._queries import check_vectors
from featx.retrieval._search import search
from featx.retrieval._vectors import Floats, Rows, Vectors, row_norms
from featx.retrieval.ranking import Ranking, RankingInput

if TYPE_CHECKING:
    from featx.retrieval._index import RetrievalIndex

__all__ = ["AlphaQueryExpansion", "AverageQueryExpansion", "augment_database"]

BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class AlphaQueryExpansion:
    """Search twice: the second time with a mean in which near neighbours weigh more.

    Parameters
    ----------
    n : int, default 10
        Neighbours that are averaged with the query. More helps where a query has many right
        answers, and harms where it has fewer than n, since wrong ones are averaged too.
    alpha : float, default 3.0
        A neighbour's weight is its cosine with the query to this power, 0 for negative ones; the
        query's own is 1. With 0 every weight is 1, and the result depends more on n.

    Raises
    ------
    ParameterError
        If `n` is below 1, or `alpha` negative.

    Notes
    -----
    Radenovic, Tolias and Chum, "Fine-tuning CNN image retrieval with no human annotation", TPAMI
    2018, section 3.5. Vectors are averaged as the metric sees them: scaled to length 1 for
    "cosine", as they are for the others. Distances are the metric's, to the mean. Costs a second
    search, and n_features * n float32 per query. After another re-ranking, such as
    `SpatialVerification`, the neighbours are those which that found.

    Examples
    --------
    >>> from featx import RetrievalIndex
    >>> index = RetrievalIndex().fit([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> index.query([1.0, 0.2], rerank=AlphaQueryExpansion(2)).distances.round(2)
    array([0.03, 0.14, 0.75], dtype=float32)
    """

    n: int = 10
    alpha: float = 3.0

    def __post_init__(self) -> None:
        require_count("n", self.n)
        require_number("alpha", self.alpha, 0, np.inf)

    def rank(self, given: RankingInput) -> Ranking:
        """Return the ranking of the expanded queries."""
        rows = given.nearest(self.n).rows
        parts = [
            _average_neighbours(given.queries[part], given.vectors, rows[part], self.alpha)
            for part in _iter_blocks(len(rows), rows.shape[1] * given.vectors.shape[1])
        ]
        return given.search(np.concatenate([given.queries[:0], *parts]), given.k)


@dataclass(frozen=True)
class AverageQueryExpansion(AlphaQueryExpansion):
    """`AlphaQueryExpansion` with an `alpha` of 0: a plain mean of the query and its n nearest.

    Notes
    -----
    Chum et al., "Total recall: automatic query expansion with a generative feature model for
    object retrieval", ICCV 2007, average query expansion, on global vectors. The spatial
    verification that chooses what is averaged there is ``rerank=["spatial", "aqe"]``.

    Examples
    --------
    >>> from featx import RetrievalIndex
    >>> index = RetrievalIndex().fit([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> index.query([1.0, 0.2], rerank=AverageQueryExpansion(2)).distances.round(2)
    array([0.05, 0.1 , 0.68], dtype=float32)
    """

    alpha: float = 0.0


def _average_neighbours(X: Floats, vectors: Vectors, rows: Rows, alpha: float) -> Floats:
    """Return the weighted mean of each vector and its neighbours.

    Parameters
    ----------
    X : ndarray of shape (m, n_features), float32
        Weight 1.
    vectors : Vectors
        The database; where its metric is "cosine" all are scaled to length 1 first.
    rows : ndarray of shape (m, n), intp
        Neighbours of each; weight max(cosine, 0) ** alpha.
    alpha : float
        At least 0; with 0 every weight is 1.

    Returns
    -------
    ndarray of shape (m, n_features), float32
    """
    found = vectors.rows(rows.reshape(-1)).reshape(*rows.shape, -1)
    unit, unit_found = scale_to_unit(X), scale_to_unit(found)
    cosines = np.einsum("md,mnd->mn", unit, unit_found)
    weights = np.maximum(cosines, 0) ** alpha if alpha else np.ones_like(cosines)
    if vectors.metric == "cosine":
        X, found = unit, unit_found
    total = X + np.einsum("mn,mnd->md", weights, found)
    mean: Floats = total / (1 + weights.sum(axis=1, keepdims=True))
    return mean


@overload
def augment_database(
    database: RetrievalIndex, k: int = ..., alpha: float = ...
) -> RetrievalIndex: ...


@overload
def augment_database(database: Any, k: int = ..., alpha: float = ...) -> Floats: ...


def augment_database(database: Any, k: int = 10, alpha: float = 3.0) -> Any:
    """Smooth a database over its nearest neighbours, once, before it is searched.

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
    if not hasattr(database, "query"):
        data = check_vectors(np.asarray(database))
        return _average_rows(Vectors(data, row_norms(data), "cosine"), k, alpha)
    check_is_fitted(database)
    mean = _average_rows(database._vectors, k, alpha)
    index = type(database)(database.metric, weights=database.weights, device=database.device)
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
    for part in _iter_blocks(n, k * width):
        X = vectors.rows(part)
        rows, _ = search(vectors, X, k, exclude=np.arange(part.start, part.start + len(X)))
        out[part] = _average_neighbours(X, vectors, rows, alpha)
    return out


def _iter_blocks(n: int, n_floats: int) -> Iterator[slice]:
    """Yield slices of n rows that keep within 32 MiB, where each row needs so many float32."""
    step = max(1, BLOCK_BYTES // (4 * max(n_floats, 1)))
    for start in range(0, n, step):
        yield slice(start, start + step)
