"""Build what finds candidates, with the effort that gives enough of the exact answer."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np

from featx.retrieval._approximate import ApproximateFinder, build_finder
from featx.retrieval._device import DeviceFinder
from featx.retrieval._kinds import Kind
from featx.retrieval._search import scale_for, search
from featx.retrieval._vectors import COMPARE_ALL, Floats, Mask, Rows, Vectors

__all__ = ["Recall", "add_finder", "tune_finder"]

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


def add_finder(
    vectors: Vectors, kind: Kind, storage: str, *, target: float, seed: int
) -> tuple[Vectors, Recall | None]:
    """Build what finds candidates, and measure its recall; an exact kind compares all."""
    vectors = replace(vectors, finder=COMPARE_ALL)
    if storage.startswith("cuda"):
        return replace(vectors, finder=DeviceFinder(vectors, storage)), None
    if kind.name == "exact":
        return vectors, None
    held_out = _hold_out_rows(vectors.shape[0], seed)
    finder = build_finder(vectors, kind, held_out=held_out, seed=seed)
    asked, among = vectors.rows(held_out), np.ones(vectors.shape[0], bool)
    among[held_out] = False
    best, recall = tune_finder(vectors, finder, target, queries=asked, among=among)
    return replace(vectors, finder=best.add(asked, held_out)), recall


def _hold_out_rows(n_samples: int, seed: int) -> Rows:
    """Choose rows to ask with before they are put in: a tenth, at most 1,000.

    A row that is in a graph leads to its neighbours at once, as no new photograph does.
    """
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n_samples, min(2 * N_QUERIES, n_samples // 10), replace=False))


def tune_finder(
    vectors: Vectors,
    finder: ApproximateFinder,
    target: float,
    *,
    queries: Floats,
    among: Mask | None = None,
) -> tuple[ApproximateFinder, Recall]:
    """Find the least effort that reaches a recall, or warn; measure it on other queries.

    Parameters
    ----------
    vectors : Vectors
        The database; its finder is not used.
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
    exact = replace(vectors, finder=COMPARE_ALL)
    right, _ = search(exact, queries, min(AT, n), among=among)
    asked = scale_for(vectors.metric, queries)
    choosing, measuring = slice(0, None, 2), slice(1, None, 2)
    if len(queries) < 2:
        measuring = choosing

    def recall(effort: int, part: slice) -> float:
        return _measure_recall(finder.with_effort(effort), asked[part], right[part])

    low, high = 0, 1  # no effort reaches nothing
    while high < finder.most_effort and recall(high, choosing) < target:
        low, high = high, min(2 * high, finder.most_effort)
    while high - low > max(1, low // 8):  # to an eighth: time is about linear in it
        middle = (low + high) // 2
        low, high = (middle, high) if recall(middle, choosing) < target else (low, middle)
    found = Recall(
        recall(high, measuring), right.shape[1], len(asked[measuring]), vectors.shape[0]
    )
    best = finder.with_effort(high)
    if best.effort == best.most_effort and found.recall < target:
        warnings.warn(
            f"{best.kind.describe()}: recall at {found.k} is {found.recall:.3f}, expected "
            f"{target:g}; larger codes or kind 'exact' give more",
            UserWarning,
            stacklevel=5,
        )
    return best, found


def _measure_recall(finder: ApproximateFinder, queries: Floats, right: Rows) -> float:
    """Return the share of the right rows that are among the candidates: the rest is exact."""
    found = finder.find(queries, right.shape[1], None)
    if found is None or not right.size:  # compared with every row
        return 1.0
    return float((found[:, :, None] == right[:, None, :]).any(axis=1).mean())
