"""How much of the exact answer an approximate index gives, and the effort that gives enough."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from featx.retrieval._approximate import ApproximateFinder
from featx.retrieval._search import Floats, Rows, Vectors, search

__all__ = ["Recall", "measured_recall", "sample_rows", "tuned"]

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


@dataclass(frozen=True)
class _Exam:
    """Queries with their exact answers."""

    queries: Floats
    own_rows: Rows | None
    right: Rows

    @classmethod
    def of(cls, vectors: Vectors, queries: Floats, own_rows: Rows | None, metric: str) -> _Exam:
        k = min(AT, vectors.shape[0] - (own_rows is not None))
        exact = replace(vectors, finder=None)
        right, _ = search(exact, queries, k, metric=metric, exclude=own_rows)
        return cls(queries, own_rows, right)

    def recall(self, vectors: Vectors, metric: str) -> float:
        k = self.right.shape[1]
        found, _ = search(vectors, self.queries, k, metric=metric, exclude=self.own_rows)
        is_found = (found[:, :, None] == self.right[:, None, :]).any(axis=2)
        return float(is_found.mean()) if is_found.size else 1.0


def sample_rows(n_samples: int, n: int, seed: int) -> Rows:
    """Choose rows to ask with, in order."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n_samples, min(n, n_samples), replace=False))


def measured_recall(
    vectors: Vectors, metric: str, *, queries: Floats | None = None, seed: int = 0
) -> Recall:
    """Ask with queries, or with rows of the index, themselves left out."""
    rows = sample_rows(vectors.shape[0], N_QUERIES, seed) if queries is None else None
    asked = vectors.rows(rows) if queries is None else queries
    exam = _Exam.of(vectors, asked, rows, metric)
    return Recall(exam.recall(vectors, metric), exam.right.shape[1], len(asked), vectors.shape[0])


def tuned(
    vectors: Vectors,
    finder: ApproximateFinder,
    metric: str,
    target: float,
    *,
    queries: Floats | None = None,
    seed: int = 0,
) -> tuple[ApproximateFinder, Recall]:
    """Find the least effort that reaches a recall, and measure the recall on other queries.

    Parameters
    ----------
    vectors : Vectors
        The database; its own finder is not used.
    finder : ApproximateFinder
        Whose effort is sought.
    metric : str
        The index's.
    target : float
        Recall at 10.
    queries : ndarray of shape (n_queries, n_features), optional
        Default: 1,000 rows of the database, each left out of its own answer.
    seed : int, default 0
        Of the choice of rows.

    Returns
    -------
    ApproximateFinder
        With the greatest effort where none reaches the target.
    Recall
        On the half of the queries that the effort was not chosen on.
    """
    rows = sample_rows(vectors.shape[0], 2 * N_QUERIES, seed) if queries is None else None
    asked = vectors.rows(rows) if queries is None else queries
    exam = _Exam.of(vectors, asked, rows, metric)
    halves = [
        _Exam(exam.queries[i::2], None if rows is None else rows[i::2], exam.right[i::2])
        for i in (0, 1)
    ]
    held_out = halves[1] if len(asked) > 1 else halves[0]

    def reaches(effort: int) -> bool:
        with_it = replace(vectors, finder=finder.with_effort(effort))
        return halves[0].recall(with_it, metric) >= target

    low, high = 0, 1  # no effort reaches nothing
    while high < finder.most_effort and not reaches(high):
        low, high = high, min(2 * high, finder.most_effort)
    while high - low > max(1, low // 8):  # to an eighth: time is about linear in it
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    best = finder.with_effort(high)
    with_best = replace(vectors, finder=best)
    recall = held_out.recall(with_best, metric)
    return best, Recall(recall, exam.right.shape[1], len(held_out.queries), vectors.shape[0])
