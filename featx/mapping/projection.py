"""From features to places in a plane, and a place for what is new among those that have one.

Nothing of a projection is kept but its places: a new image goes where its nearest images are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._arrays import scale_to_unit
from featx._optional import require
from featx._progress import Progress
from featx.errors import ParameterError

__all__ = ["lay_out", "place", "project", "reduce_features", "require_library"]

Floats = NDArray[np.float32]

N_COMPONENTS = 50  # what van der Maaten and Hinton 2008 leave of larger vectors
MAX_FITTED = 20_000  # rows that find the components; more change them little
LEAST = 10  # images; fewer are laid out by their first two components
MAX_PLAIN = 3000  # images that scikit-learn's t-SNE lays out in seconds
PERPLEXITY = 30.0
STEPS, EVERY = (250, 500), 10  # of openTSNE, its defaults; and how often progress is shown
N_NEAREST = 5  # of a new image


def project(X: Any, *, random_state: int = 0) -> Floats:
    """Lay rows out in a plane so that those that are alike are near each other.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Finite. Lengths do not matter: rows are compared by their cosine.
    random_state : int, default 0
        Equal numbers give equal places on one machine.

    Returns
    -------
    ndarray of shape (n_samples, 2), float32
        Distances between far groups mean little, as in every t-SNE.

    Raises
    ------
    MissingDependencyError
        For more than 3,000 rows, if openTSNE is not installed.

    Notes
    -----
    t-SNE of the first 50 principal components (van der Maaten and Hinton 2008) with a perplexity
    of 30, begun at the first two (Kobak and Berens 2019): scikit-learn's up to 3,000 rows, above
    openTSNE's, whose time grows with n_samples (Linderman et al. 2019). Equal rows have one place.

    Examples
    --------
    >>> project(np.eye(3)).shape
    (3, 2)
    """
    data = np.asarray(X, dtype=np.float32)
    if data.ndim != 2:
        raise ParameterError(f"X: got shape {data.shape}, expected (n_samples, n_features)")
    return lay_out(reduce_features(lambda: [data], len(data)), random_state=random_state)


def reduce_features(blocks: Callable[[], Iterable[NDArray[Any]]], n_samples: int) -> Floats:
    """Return the principal components of unit rows, (n_samples, at most 50).

    Parameters
    ----------
    blocks : callable
        Returns the rows in blocks, in order; called twice.
    n_samples : int
        Rows in all. Up to 20,000, evenly over all, find the components: holds those, and the
        result.

    Raises
    ------
    ParameterError
        If a value is not finite.
    """
    from sklearn.decomposition import PCA

    wanted = np.unique(np.linspace(0, n_samples - 1, min(n_samples, MAX_FITTED)).astype(np.intp))
    fitted, start = [], 0
    for block in blocks():
        if not np.isfinite(block).all():
            row = start + int(np.argmin(np.isfinite(block).all(axis=1)))
            raise ParameterError(
                f"features: row {row} has a value that is not finite, expected finite numbers"
            )
        first, stop = np.searchsorted(wanted, (start, start + len(block)))
        fitted.append(scale_to_unit(block[wanted[first:stop] - start]))
        start += len(block)
    rows = np.concatenate(fitted)
    if (rows == rows[:1]).all():
        return np.zeros((n_samples, 2), np.float32)
    n_components = min(N_COMPONENTS, *rows.shape)
    pca = PCA(n_components, svd_solver="full" if len(rows) < rows.shape[1] else "covariance_eigh")
    pca.fit(rows)
    return np.concatenate([
        pca.transform(scale_to_unit(block)).astype(np.float32) for block in blocks()
    ])  # fmt: skip


def require_library(n_samples: int) -> None:
    """Refuse what could not be laid out, before the work.

    Raises
    ------
    MissingDependencyError
        For more than 3,000 rows, if openTSNE is not installed.
    """
    if n_samples > MAX_PLAIN:
        _import_library()


def _import_library() -> Any:
    return require("openTSNE", extra="map", purpose=f"a map of more than {MAX_PLAIN:,} images")


def lay_out(components: Floats, *, random_state: int = 0, progress: bool | None = None) -> Floats:
    """Lay reduced rows out in a plane; equal ones at one place."""
    rows, inverse = np.unique(components, axis=0, return_inverse=True)
    if len(rows) < LEAST:
        flat = np.zeros((len(rows), 2), np.float32)
        flat[:, : rows.shape[1]] = rows[:, :2]
    elif len(rows) <= MAX_PLAIN:
        flat = _lay_out_few(rows, random_state)
    else:
        flat = _lay_out_many(rows, random_state, progress)
    return flat[inverse.reshape(-1)]


def _lay_out_few(rows: Floats, random_state: int) -> Floats:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=random_state)
    found: Floats = tsne.fit_transform(rows)
    return found


def _lay_out_many(rows: Floats, random_state: int, progress: bool | None) -> Floats:
    tsne = _import_library()
    with Progress(sum(STEPS), "map: lay out", unit="step", enabled=progress) as bar:

        def count(*_: Any) -> None:
            bar.advance(EVERY)

        found = tsne.TSNE(
            perplexity=PERPLEXITY,
            initialization="pca",
            early_exaggeration_iter=STEPS[0],
            n_iter=STEPS[1],
            callbacks=count,
            callbacks_every_iters=EVERY,
            random_state=random_state,
            n_jobs=-1,
        ).fit(rows)
    return np.asarray(found, dtype=np.float32)


def place(new: Floats, kept: Floats, places: NDArray[Any]) -> NDArray[Any]:
    """Return where new rows go among those that have a place: the median of their 5 nearest.

    Parameters
    ----------
    new, kept : ndarray of shape (n_new, d) and (n_kept, d), float32
        Of one reduction.
    places : ndarray of shape (n_kept, 2)

    Returns
    -------
    ndarray of shape (n_new, 2), of the dtype of `places`

    Notes
    -----
    openTSNE begins to place new rows like this; what it then optimises kept no larger share of
    their neighbours (docs/benchmarks/map.md). A mean may fall between two groups, where no image
    is.
    """
    from sklearn.neighbors import NearestNeighbors

    finder = NearestNeighbors(n_neighbors=min(N_NEAREST, len(kept)), algorithm="brute").fit(kept)
    nearest = finder.kneighbors(new, return_distance=False)
    found: NDArray[Any] = np.median(places[nearest], axis=1).astype(places.dtype)
    return found
