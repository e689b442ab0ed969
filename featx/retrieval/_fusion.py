"""One ranking from several of the same queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.errors import ParameterError, require_count, require_number
from featx.retrieval._matches import Matches

__all__ = ["fuse_matches"]

# Cormack et al. chose 60 in a pilot and found that little depends on it.
RANK_OFFSET = 60


def fuse_matches(
    matches: Sequence[Matches], weights: Sequence[float] | None = None, *, k: int | None = None
) -> Matches:
    """Fuse the answers of several indices to the same queries, by rank.

    Ranks can be compared where distances of different networks or metrics cannot.

    Parameters
    ----------
    matches : sequence of Matches
        Of the same queries in the same order, of indices whose ids mean the same. The deeper each
        is, the better: an id that one of them lacks counts there as not found.
    weights : sequence of float, optional
        One for each, at least 0. Default 1.
    k : int, optional
        Ids kept a query. Default: as many as the shortest has.

    Returns
    -------
    Matches
        `indices` and `labels` are those of the first of the rankings that has the id. Distances
        are 1 less the score over the largest possible: 0 for an id that is first everywhere.

    Raises
    ------
    ParameterError
        If nothing is given, or the queries or weights do not fit.

    Notes
    -----
    Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual
    rank learning methods", SIGIR 2009: an id's score is the sum of weight / (60 + rank), ranks
    from 1.

    Examples
    --------
    >>> from featx import RetrievalIndex
    >>> a = RetrievalIndex().fit([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], ids=["x", "y", "z"])
    >>> b = RetrievalIndex().fit([[0.0, 1.0], [0.9, 0.1], [0.5, 0.5]], ids=["x", "y", "z"])
    >>> fuse_matches([i.query([1.0, 0.0], k=3) for i in (a, b)]).ids.tolist()
    ['y', 'x', 'z']
    """
    _check(matches, weights)
    shares = np.ones(len(matches)) if weights is None else np.asarray(weights, float)
    shortest = min(one.ids.shape[-1] for one in matches)
    if k is not None:
        require_count("k", k)
    kept = min(shortest if k is None else k, max(one.ids.shape[-1] for one in matches))
    fused = [
        _fused(one_query, shares, kept)
        for one_query in zip(*(one.each() for one in matches), strict=True)
    ]
    if matches[0].ids.ndim == 1:
        return fused[0]
    has_labels = all(one.labels is not None for one in fused)
    return Matches(
        np.stack([one.ids for one in fused]),
        np.stack([one.distances for one in fused]),
        np.stack([one.indices for one in fused]),
        np.stack([np.asarray(one.labels) for one in fused]) if has_labels else None,
        matches[0].queries,
    )


def _fused(matches: Sequence[Matches], weights: np.ndarray, k: int) -> Matches:
    """Fuse the rankings of one query; ids of equal score keep the order they were met in."""
    scores: dict[object, float] = {}
    places: dict[object, tuple[int, int]] = {}
    for i, (one, weight) in enumerate(zip(matches, weights.tolist(), strict=True)):
        for rank, name in enumerate(one.ids.tolist()):
            scores[name] = scores.get(name, 0.0) + weight / (RANK_OFFSET + rank + 1)
            places.setdefault(name, (i, rank))
    best = sorted(scores, key=lambda name: -scores[name])[:k]
    largest = weights.sum() / (RANK_OFFSET + 1)
    labels = [
        one.labels[rank]
        for one, rank in ((matches[i], rank) for i, rank in (places[name] for name in best))
        if one.labels is not None
    ]
    return Matches(
        np.array(best),
        np.array([max(0.0, 1 - scores[name] / largest) for name in best], np.float32),
        np.array([matches[i].indices[rank] for i, rank in (places[name] for name in best)]),
        np.array(labels) if len(labels) == len(best) else None,
        matches[0].queries,
    )


def _check(matches: Sequence[Matches], weights: Sequence[float] | None) -> None:
    if not matches:
        raise ParameterError("matches: got none, expected the answers of one index at least")
    for i, one in enumerate(matches):
        if one.queries != matches[0].queries or one.ids.ndim != matches[0].ids.ndim:
            raise ParameterError(
                f"matches[{i}]: got {one.n_queries} queries ({one.queries[0]!r} first), expected "
                f"the {matches[0].n_queries} of matches[0] ({matches[0].queries[0]!r} first)"
            )
    if weights is None:
        return
    if len(weights) != len(matches):
        raise ParameterError(
            f"weights: got {len(weights)}, expected {len(matches)}, one for each of the matches"
        )
    for i, weight in enumerate(weights):
        require_number(f"weights[{i}]", weight, 0, np.inf)
    if not sum(weights) > 0:
        raise ParameterError(f"weights: got {list(weights)}, expected one above 0 at least")
