"""Re-ranking by shared neighbours: what is near each other from both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from featx._arrays import scale_to_unit
from featx.errors import ParameterError, require_count, require_number
from featx.retrieval._vectors import Floats, Rows
from featx.retrieval.ranking import Ranking, RankingInput, rerank_candidates

__all__ = ["KReciprocalReranking"]

# Of a neighbour's reciprocal neighbours, the share that must be there already for all of them
# to be taken in: equation 4 of the paper.
SHARED = 2 / 3


@dataclass(frozen=True)
class KReciprocalReranking:
    """Order the first candidates by how many reciprocal neighbours they share with the query.

    Parameters
    ----------
    k1 : int, default 20
        Neighbours of each image that may be reciprocal; about the number of right answers.
    k2 : int, default 6
        Nearest neighbours over which each image's set is averaged, itself among them; 1 for none.
    lam : float, default 0.3
        Share of the plain distance in the result, the rest being the Jaccard distance of the
        sets: 1 leaves the order as it was.
    n_candidates : int, default 500
        First rows of the plain ranking that are re-ranked; the rest follow in their order. The
        paper takes all. Should be several times the number of right answers. Time and memory
        grow with its square: 8 * n_candidates**2 bytes.

    Raises
    ------
    ParameterError
        If a number is out of range.

    Notes
    -----
    Zhong, Zheng, Cao and Li, "Re-ranking person re-identification with k-reciprocal encoding",
    CVPR 2017, as in the authors' code: distances are squared Euclidean ones over the largest of
    their row. Each query is ranked by itself among its candidates. With "cosine" and "dot" vectors
    are scaled to length 1. Distances returned are lam times the plain one plus 1 - lam times
    Jaccard's, from 0 to 1; above 1 for the rest.

    Examples
    --------
    >>> from featx import RetrievalIndex
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(m, 0.3, (10, 4)) for m in (-1.0, 1.0)])
    >>> index = RetrievalIndex("euclidean").fit(X, labels=[0] * 10 + [1] * 10)
    >>> index.query(X[0], k=10, rerank=KReciprocalReranking(k1=5, k2=2)).labels.tolist()
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    """

    k1: int = 20
    k2: int = 6
    lam: float = 0.3
    n_candidates: int = 500

    def __post_init__(self) -> None:
        for name in ("k1", "k2", "n_candidates"):
            require_count(name, getattr(self, name))
        require_number("lam", self.lam, 0, 1)
        if self.k2 > self.k1:
            raise ParameterError(
                f"k2: got {self.k2}, expected at most k1={self.k1}; the paper has 6 and 20"
            )

    def rank(self, given: RankingInput) -> Ranking:
        """Return the ranking with the first candidates in their new order."""
        scale = np.asarray if given.vectors.metric == "euclidean" else scale_to_unit

        def measure(query: Floats, candidates: Floats) -> Floats:
            return self._measure(scale(np.concatenate([query[None], candidates])))

        return rerank_candidates(given, self.n_candidates, measure)

    def _measure(self, nodes: Floats) -> Floats:
        """Return the distances of node 0 to the others."""
        n = len(nodes)
        plain = _relative_squares(nodes)
        keys = plain.copy()
        np.fill_diagonal(keys, -1)  # itself first, even where it has copies
        order = np.argsort(keys, axis=1, kind="stable")
        near = _find_mutual(order[:, : self.k1 + 1])
        nearer = _find_mutual(order[:, : round(self.k1 / 2) + 1])
        weights = _extend(near, nearer).tocoo()
        weights.data = np.exp(-plain[weights.row, weights.col])  # equation 7
        V = sparse.diags_array(1 / weights.sum(axis=1)) @ weights.tocsr()
        if self.k2 > 1:
            nearest = order[:, : self.k2]
            V = _indicate(nearest) @ V / nearest.shape[1]  # equation 11
        # Equation 10; both rows sum to 1, so the union's sum is 2 less the intersection's.
        query, entries = V[[0]].toarray()[0], V.tocoo()
        smaller = np.minimum(entries.data, query[entries.col])
        shared = np.bincount(entries.row, smaller, minlength=n)
        jaccard = 1 - shared / (2 - shared)
        mixed = (self.lam * plain[0] + (1 - self.lam) * jaccard)[1:]
        distances: Floats = np.clip(mixed, 0, 1).astype(np.float32)
        return distances


def _relative_squares(X: Floats) -> Floats:
    """Return squared Euclidean distances over the largest of their row, (n, n)."""
    lengths = np.square(X).sum(axis=1)
    squares: Floats = np.asarray(lengths[:, None] + lengths - 2 * (X @ X.T), np.float32)
    np.maximum(squares, 0, out=squares)
    np.fill_diagonal(squares, 0)
    largest = squares.max(axis=1, keepdims=True)
    relative: Floats = np.divide(squares, largest, out=np.zeros_like(squares), where=largest > 0)
    return relative


def _indicate(rows: Rows) -> Any:
    """Return the sparse matrix that is 1 at the given columns of each row."""
    n, k = rows.shape
    starts = np.arange(0, n * k + 1, k)
    return sparse.csr_array((np.ones(n * k), rows.reshape(-1), starts), shape=(n, n))


def _find_mutual(order: Rows) -> Any:
    """Return where i is among j's neighbours and j among i's: equation 3."""
    near = _indicate(order)
    return near.multiply(near.T).tocsr()


def _extend(near: Any, nearer: Any) -> Any:
    """Take in the reciprocal neighbours of those neighbours that share most of theirs: eq. 4."""
    sizes = nearer.sum(axis=1)
    shared = near.multiply(near @ nearer.T).tocoo()
    kept = shared.data > SHARED * sizes[shared.col]
    chosen = sparse.csr_array(
        (np.ones(kept.sum()), (shared.row[kept], shared.col[kept])), shape=near.shape
    )
    extended = near + chosen @ nearer
    extended.eliminate_zeros()
    extended.data[:] = 1
    return extended
