"""The rows along their principal axes with the intercept as one axis more, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

__all__ = ["Axes"]

Array = NDArray[np.float64]
BLOCK_ROWS = 8192


def find_axes(X: NDArray[Any], shift: Array, dtype: Any = np.float64) -> Array:
    """Find the principal axes of rows, on which they lose nothing.

    A ridge penalty does not see a rotation, and the optimum lies in the span of the rows, so a
    linear model may be fitted in min(n_samples, n_features) coordinates and turned back. Along
    the principal axes the Hessian is nearly diagonal too, which the solver uses.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
    shift : ndarray of shape (n_features,)
        Subtracted from each row.
    dtype : dtype, default float64
        In which it is computed.

    Returns
    -------
    ndarray of shape (n_features, n_axes)
        Orthonormal columns, n_axes = min(n_samples, n_features). Costs
        O(n_samples * n_features * n_axes + n_axes**3), and holds a block of rows in `dtype`.

    Examples
    --------
    >>> X = np.arange(12.0).reshape(2, 6)
    >>> basis = find_axes(X, np.zeros(6))
    >>> basis.shape, bool(np.allclose(X @ basis @ basis.T, X))
    ((6, 2), True)
    """
    n_samples, n_features = X.shape
    if n_samples < n_features:
        # QR first: orthonormal to machine precision however close the rows lie to each other,
        # where eigenvectors of the Gram matrix divided by small singular values would not be.
        outer, triangle = np.linalg.qr((X.astype(dtype, copy=False) - shift).T)
        return np.asarray(outer @ np.linalg.eigh(triangle @ triangle.T)[1])
    gram = np.zeros((n_features, n_features), dtype)
    for part in gen_batches(n_samples, BLOCK_ROWS):
        block = X[part].astype(dtype, copy=False) - shift
        gram += block.T @ block
    return np.asarray(np.linalg.eigh(gram)[1])


def place_rows(X: NDArray[Any], shift: Array, basis: Array, *, free: bool) -> Array:
    """Return the rows along the axes, in their dtype; with `free`, a last column of ones."""
    points = np.ones((len(X), basis.shape[1] + free), basis.dtype)
    for part in gen_batches(len(X), BLOCK_ROWS):
        block = X[part].astype(basis.dtype, copy=False) - shift
        np.matmul(block, basis, out=points[part, : basis.shape[1]])
    return points


def find_mean(X: NDArray[Any], weights: Array | None, dtype: Any = np.float64) -> Array:
    """Return the mean row, weighted, summed up in float64."""
    parts = gen_batches(len(X), BLOCK_ROWS)
    if weights is None:
        total = sum(X[part].sum(axis=0, dtype=np.float64) for part in parts)
        return np.asarray(total / len(X), dtype)
    total = sum(weights[part] @ X[part] for part in parts)
    return np.asarray(total / weights.sum(), dtype)


@dataclass(frozen=True)
class Axes:
    """Rows in the coordinates in which the solver works.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_axes), float64
        Where the intercept is free, the last axis is a column of ones.
    basis : ndarray of shape (n_inputs, n_rotated)
        From the rotated axes back to the rows, which have a column of ones more where the
        intercept is penalised.
    shift : ndarray of shape (n_features,)
        What was taken off the rows.
    free : bool
        Whether the intercept has no penalty: "logistic", not "svm".
    """

    points: Array
    basis: Array
    shift: Array
    free: bool

    @classmethod
    def of(
        cls,
        rows: NDArray[Any],
        method: str,
        weights: Array | None = None,
        basis: Array | None = None,
        dtype: Any = np.float64,
    ) -> Self:
        """Rotate rows (n_samples, n_features); `weights` (n_samples,) are those of their mean.

        `basis` is that of nearly the same rows. Where it is whole, the rows lose nothing on it,
        and to find their own axes would take longer than a warm start does. Holds the points in
        `dtype` beside the rows; for "svm" a copy of the rows, too.
        """
        n_features = rows.shape[1]
        if method == "svm":
            rows = np.column_stack([rows, np.ones(len(rows), rows.dtype)])
            shift = np.zeros(n_features + 1, dtype)
            basis = find_axes(rows, shift, dtype)
            points = place_rows(rows, shift, basis, free=False)
            return cls(points, basis, shift[:-1], free=False)
        # The intercept is free, so the origin may be anywhere; at the mean, the intercept and
        # the weights hardly depend on each other and the solver needs fewer iterations.
        shift = find_mean(rows, weights, dtype)
        if basis is None or basis.shape != (n_features, n_features):
            basis = find_axes(rows, shift, dtype)
        return cls(place_rows(rows, shift, basis, free=True), basis, shift, free=True)

    def turn(self, coef: Array, intercept: Array) -> Array:
        """Return the weights (n_axes, n_columns) of coefficients for the rows.

        What of them lies outside the span of the rows, where the penalty has it be 0, is lost.
        """
        if self.free:
            return np.vstack([self.basis.T @ coef.T, intercept + coef @ self.shift])
        return np.asarray(self.basis.T @ np.column_stack([coef, intercept]).T)

    def turn_back(self, weights: Array) -> tuple[Array, Array]:
        """Return coefficients (n_columns, n_features) and intercepts (n_columns,) for the rows.

        Parameters
        ----------
        weights : ndarray of shape (n_axes, n_columns)
        """
        if self.free:
            coef = (self.basis @ weights[:-1]).T
            return coef, weights[-1] - coef @ self.shift
        found = (self.basis @ weights).T
        return found[:, :-1].copy(), found[:, -1].copy()
