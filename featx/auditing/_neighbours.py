"""What lies near each image: copies of it, or nothing at all."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from featx._progress import Progress, hide_progress
from featx.retrieval import RetrievalIndex

__all__ = ["Neighbours", "copy_groups", "find_neighbours", "join_groups", "outlier_scores"]

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]

N_NEAREST = 10
BLOCK_ROWS = 4096
ROUNDING = 1e-6  # of a float32 dot product
# An outlier lies farther from its neighbours than this many standard deviations of a normal
# distribution with the same median and the same 90th percentile: the upper side alone, since many
# collections have dense parts. docs/audit.md has what that finds, and the false alarms.
DEVIATIONS = 3.0
UPPER, NORMAL_UPPER = 0.9, 1.2816


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest images of each image, nearest first.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, k), intp
    cosines : ndarray of shape (n_samples, k), float32
    recall : float, optional
        Share of the nearest ten that an approximate index finds, measured on 500 images. None
        where all were compared.
    """

    rows: Rows
    cosines: Floats
    recall: float | None = None


def find_neighbours(
    X: Floats, others: Floats | None = None, *, k: int = N_NEAREST, show: bool | None = None
) -> Neighbours:
    """Find the nearest images of each image, among all others or in another collection.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32
    others : ndarray of shape (n_others, n_features), float32, optional
        Default: `X`, without the image itself.
    k : int, default 10
        Fewer where there are fewer.
    show : bool, optional
        Whether there is progress on stderr, as for `Progress`.

    Notes
    -----
    Searches as `RetrievalIndex` does by itself. Up to a GiB of features it compares every image
    with every other, block by block: 100,000 images of 1,280 features take minutes on two cores.
    Above, it is approximate if faiss is installed.
    """
    is_within = others is None
    database = X if others is None else others
    k = min(k, len(database) - is_within)
    with hide_progress() if show is False else contextlib.nullcontext():
        index = RetrievalIndex().fit(database)
    rows = np.empty((len(X), k), np.intp)
    cosines = np.empty((len(X), k), np.float32)
    with Progress(len(X), "audit: compare images", enabled=show) as progress:
        for start in range(0, len(X), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            distances, found = index.kneighbors(X[block], k + is_within)
            if is_within:
                distances, found = _drop_self(distances, found, start)
            rows[block], cosines[block] = found, 1 - distances
            progress.advance(len(found))
    return Neighbours(rows, cosines, index.recall_.recall if index.recall_ else None)


def _drop_self(distances: Floats, rows: Rows, start: int) -> tuple[Floats, Rows]:
    """Drop each image from its own list; of many equal ones the last, if it is not in it."""
    is_self = rows == np.arange(start, start + len(rows))[:, None]
    is_self[~is_self.any(axis=1), -1] = True
    shape = len(rows), rows.shape[1] - 1
    return distances[~is_self].reshape(shape), rows[~is_self].reshape(shape)


def copy_groups(near: Neighbours, digests: NDArray[np.str_], threshold: float) -> Rows:
    """Return one number for all copies of one picture, exact or near, (n_samples,)."""
    i, place = np.nonzero(near.cosines >= threshold - ROUNDING)
    pairs = [(i, near.rows[i, place])]
    is_known = np.flatnonzero(digests != "")
    _, first, inverse = np.unique(digests[is_known], return_index=True, return_inverse=True)
    pairs.append((is_known, is_known[first[inverse.reshape(-1)]]))
    a, b = (np.concatenate(side) for side in zip(*pairs, strict=True))
    n = len(digests)
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(n, n))
    groups: Rows = connected_components(graph, directed=False)[1].astype(np.intp)
    return groups


def join_groups(groups: Rows, codes: Rows, digests: NDArray[np.str_], n_folds: int) -> Rows:
    """Return groups that folds can be dealt of.

    Near copies chain: a group of more than a class' share of a fold would leave no example to
    learn the class from, so only exact copies stay together there.
    """
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    of_class = np.bincount(codes)[codes]
    is_large = (counts[inverse] > 2) & (counts[inverse] * n_folds > of_class)
    _, exact = np.unique(digests, return_inverse=True)
    alone = np.arange(len(groups)) + len(groups)
    apart = np.where(digests == "", alone, exact.reshape(-1) + 2 * len(groups))
    return np.where(is_large, apart, groups).astype(np.intp)


def outlier_scores(near: Neighbours) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return how many times the usual distance each image is from its neighbours.

    Returns
    -------
    scores : ndarray of shape (n_samples,), float64
        Mean distance to the nearest ten, over the median of all images.
    is_outlier : ndarray of shape (n_samples,), bool
        Whether that distance is over three deviations above the median.
    """
    distance = np.maximum(1 - near.cosines.astype(np.float64), 1e-7).mean(axis=1)
    middle, upper = np.quantile(distance, [0.5, UPPER])
    deviation = max((upper - middle) / NORMAL_UPPER, 0.05 * middle)
    return distance / middle, distance > middle + DEVIATIONS * deviation
