"""Ask again with the mean of what was found first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from featx._arrays import scale_to_unit
from featx.errors import require_count, require_number
from featx.retrieval._vectors import Floats, Rows, Vectors
from featx.retrieval.reranking import Ranking, RankingInput

__all__ = ["AlphaQueryExpansion", "AverageQueryExpansion", "average_neighbours", "iter_blocks"]

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
        query's own is 1. With 0 every weight is 1, and much depends on n.

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
            average_neighbours(given.queries[part], given.vectors, rows[part], self.alpha)
            for part in iter_blocks(len(rows), rows.shape[1] * given.vectors.shape[1])
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


def average_neighbours(own: Floats, vectors: Vectors, rows: Rows, alpha: float) -> Floats:
    """Return the weighted mean of each vector and its neighbours.

    Parameters
    ----------
    own : ndarray of shape (m, n_features), float32
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
    unit_own, unit_found = scale_to_unit(own), scale_to_unit(found)
    cosines = np.einsum("md,mnd->mn", unit_own, unit_found)
    weights = np.maximum(cosines, 0) ** alpha if alpha else np.ones_like(cosines)
    if vectors.metric == "cosine":
        own, found = unit_own, unit_found
    total = own + np.einsum("mn,mnd->md", weights, found)
    mean: Floats = total / (1 + weights.sum(axis=1, keepdims=True))
    return mean


def iter_blocks(n: int, n_floats: int) -> Iterator[slice]:
    """Yield slices of n rows that keep within 32 MiB, where each row needs so many float32."""
    step = max(1, BLOCK_BYTES // (4 * max(n_floats, 1)))
    for start in range(0, n, step):
        yield slice(start, start + step)
