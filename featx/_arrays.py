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
    with np.errstate(all="ignore"):  # a vector with NaN or infinity gives NaN
        squares = np.einsum("...i,...i->...", X, X)[..., None]
        limits = np.finfo(X.dtype)
        # A sum of squares near the ends of float's range has lost digits, or is 0 or infinite.
        is_exact = (squares > limits.tiny / limits.eps) & (squares < limits.max)
        if not is_exact.all():
            peaks = np.abs(X).max(axis=-1, keepdims=True, initial=0)
            X = X / np.where(is_exact | (peaks == 0), 1, peaks).astype(X.dtype)
            squares = np.einsum("...i,...i->...", X, X)[..., None]
        unit: NDArray[Any] = X / np.sqrt(np.where(squares == 0, 1, squares)).astype(X.dtype)
    return unit
