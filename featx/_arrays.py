"""Rows of numbers at unit length."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["scale_to_unit"]


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
