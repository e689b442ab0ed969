"""How much of the exact answer an approximate index gives, and the effort that gives enough."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featx.retrieval._approximate import ApproximateFinder
from featx.retrieval._search import Floats, Rows, Vectors, scaled, search

__all__ = ["Recall", "rows_to_hold_out", "tuned"]

N_QUERIES = 500
AT = 10


@dataclass(frozen=True)
class Recall:
    """Share of the exact nearest k that was found, over some queries.

    Parameters
    ----------
    recall : float
        From 0 to 1, the mean over the queries.
    k : int
        Neighbours compared.
    n_queries : int
        Queries asked.
    n_samples : int
        Rows of the index then.
    """

    recall: float
    k: int
    n_queries: int
    n_samples: int


def rows_to_hold_out(n_samples: int, seed: int) -> Rows:
    """Choose rows to ask with before they are put in: a tenth, at most 1,000.

    A row that is in a graph leads to its neighbours at once, as no photograph from elsewhere does.
    """
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n_samples, min(2 * N_QUERIES, n_samples // 10), replace=False))


def tuned(
    vectors: Vectors,
    finder: ApproximateFinder,
    target: float,
    *,
    queries: Floats,
    among: NDArray[np.bool_] | None = None,
) -> tuple[ApproximateFinder, Recall]:
    """Find the least effort that reaches a recall, and measure the recall on other queries.

    Parameters
    ----------
    vectors : Vectors
        The database; its own finder is not used.
    finder : ApproximateFinder
        Whose effort is sought.
    target : float
        Recall at 10.
    queries : ndarray of shape (n_queries, n_features), float32
        Half of them choose, the other half measures.
    among : ndarray of shape (n_samples,), bool, optional
        The rows that the finder has. Default: all.

    Returns
    -------
    ApproximateFinder
        With the greatest effort where none reaches the target.
    Recall
        On the half of the queries that the effort was not chosen on.
    """
    n = vectors.shape[0] if among is None else int(among.sum())
    exact = replace(vectors, finder=None)
    metric = finder.metric
    right, _ = search(exact, queries, min(AT, n), metric=metric, among=among)
    asked = scaled(queries, metric)
    choosing, measuring = slice(0, None, 2), slice(1, None, 2)
    if len(queries) < 2:
        measuring = choosing

    def recall(effort: int, part: slice) -> float:
        return _recall(finder.with_effort(effort), asked[part], right[part])

    low, high = 0, 1  # no effort reaches nothing
    while high < finder.most_effort and recall(high, choosing) < target:
        low, high = high, min(2 * high, finder.most_effort)
    while high - low > max(1, low // 8):  # to an eighth: time is about linear in it
        middle = (low + high) // 2
        low, high = (middle, high) if recall(middle, choosing) < target else (low, middle)
    found = Recall(
        recall(high, measuring), right.shape[1], len(asked[measuring]), vectors.shape[0]
    )
    return finder.with_effort(high), found


def _recall(finder: ApproximateFinder, queries: Floats, right: Rows) -> float:
    """Return the share of the right rows that are among the candidates: the rest is exact."""
    found = finder.find(queries, right.shape[1], None)
    if found is None or not right.size:  # compared with every row
        return 1.0
    return float((found[:, :, None] == right[:, None, :]).any(axis=1).mean())
