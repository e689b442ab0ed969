"""Rows of numbers at unit length, and those of an image's views as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["join_views", "scale_to_unit"]


def scale_to_unit(X: NDArray[Any]) -> NDArray[Any]:
    """Divide vectors, along the last axis, by their Euclidean length; zeros stay zeros.

    Parameters
    ----------
    X : ndarray of shape (..., n_features)
        Numbers; integers and float16 are taken as the float32 or float64 that holds them.

    Returns
    -------
    ndarray of shape (..., n_features)
        A new array, of the dtype of `X` where that is float32 or float64.

    Examples
    --------
    >>> scale_to_unit(np.array([[3.0, 4.0], [0.0, 0.0], [3e-300, 4e-300]])).round(3).tolist()
    [[0.6, 0.8], [0.0, 0.0], [0.6, 0.8]]
    """
    X = X.astype(np.result_type(X, np.float32), copy=False)
    # Squares of very large or small numbers leave float's range, so each vector is divided by its
    # largest element first.
    peaks = np.maximum(
        X.max(axis=-1, keepdims=True, initial=0), -X.min(axis=-1, keepdims=True, initial=0)
    )
    with np.errstate(invalid="ignore"):  # a vector with NaN or infinity gives NaN
        unit: NDArray[Any] = X / np.where(peaks == 0, 1, peaks).astype(X.dtype, copy=False)
        norms = np.sqrt(np.einsum("...i,...i->...", unit, unit))[..., None]
        unit /= np.where(norms == 0, 1, norms).astype(X.dtype, copy=False)
    return unit


def join_views(vectors: Sequence[NDArray[np.float32]], keep: bool) -> NDArray[np.float32]:
    """Average the vectors of views, or put them side by side.

    Parameters
    ----------
    vectors : sequence of ndarray of shape (n, n_features), float32
        One array per view.
    keep : bool
        Side by side.

    Returns
    -------
    ndarray of shape (n, n_features), or (n, n_views * n_features), float32
        The very same array where there is one view.

    Examples
    --------
    >>> one, other = np.float32([[1, 2]]), np.float32([[3, 4]])
    >>> join_views([one, other], keep=False), join_views([one, other], keep=True)
    (array([[2., 3.]], dtype=float32), array([[1., 2., 3., 4.]], dtype=float32))
    """
    if len(vectors) == 1:
        return vectors[0]
    if keep:
        return np.concatenate(vectors, axis=1)
    mean: NDArray[np.float32] = np.mean(vectors, axis=0, dtype=np.float32)
    return mean
