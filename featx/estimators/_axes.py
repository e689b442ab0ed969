"""The rows along their principal axes with the intercept as one axis more, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axes", "rotate"]

Array = NDArray[np.float64]


def rotate(X: Array) -> tuple[Array, Array]:
    """Rotate rows onto their principal axes, without loss.

    A ridge penalty does not see a rotation, and the optimum lies in the span of the rows, so a
    linear model may be fitted in min(n_samples, n_features) coordinates and turned back. Along
    the principal axes the Hessian is nearly diagonal too, which the solver uses.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float64

    Returns
    -------
    points : ndarray of shape (n_samples, n_axes), float64
        The rows in the new coordinates; n_axes = min(n_samples, n_features).
    basis : ndarray of shape (n_features, n_axes), float64
        Orthonormal columns; ``X = points @ basis.T``. Costs
        O(n_samples * n_features * n_axes + n_axes**3).

    Examples
    --------
    >>> X = np.arange(12.0).reshape(2, 6)
    >>> points, basis = rotate(X)
    >>> points.shape, bool(np.allclose(points @ basis.T, X))
    ((2, 2), True)
    """
    n_samples, n_features = X.shape
    if n_samples < n_features:
        # QR first: orthonormal to machine precision however close the rows lie to each other,
        # where eigenvectors of the Gram matrix divided by small singular values would not be.
        outer, triangle = np.linalg.qr(X.T)
        inner = triangle.T
    else:
        outer, inner = None, X
    _, axes = np.linalg.eigh(inner.T @ inner)
    return inner @ axes, axes if outer is None else outer @ axes


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
        cls, rows: Array, method: str, weights: Array | None = None, basis: Array | None = None
    ) -> Self:
        """Rotate rows (n_samples, n_features); `weights` (n_samples,) are those of their mean.

        `basis` is that of nearly the same rows. Where it is whole, the rows lose nothing on it,
        and to find their own axes would take longer than a warm start does.
        """
        ones = np.ones(len(rows), rows.dtype)
        if method == "svm":
            points, basis = rotate(np.column_stack([rows, ones]))
            return cls(points, basis, np.zeros(rows.shape[1]), free=False)
        # The intercept is free, so the origin may be anywhere; at the mean, the intercept and
        # the weights hardly depend on each other and the solver needs fewer iterations.
        shift = np.average(rows, axis=0, weights=weights).astype(rows.dtype)
        if basis is not None and basis.shape == (rows.shape[1], rows.shape[1]):
            points = (rows - shift) @ basis
        else:
            points, basis = rotate(rows - shift)
        return cls(np.column_stack([points, ones]), basis, shift, free=True)

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
