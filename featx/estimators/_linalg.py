"""The rotation that makes a linear probe's problem small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rotation", "rotate"]


@dataclass(frozen=True)
class Rotation:
    """Coordinates of a matrix's rows along its principal axes.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_axes), float64
        The rows in the new coordinates; n_axes = min(n_samples, n_features).
    basis : ndarray of shape (n_features, n_axes), float64
        Orthonormal columns; ``X = points @ basis.T``.
    """

    points: NDArray[np.float64]
    basis: NDArray[np.float64]


def rotate(X: NDArray[np.float64]) -> Rotation:
    """Rotate rows onto their principal axes, without loss.

    A ridge penalty does not see a rotation, and the optimum lies in the span of the rows, so a
    linear model may be fitted in min(n_samples, n_features) coordinates and turned back. Along
    the principal axes the Hessian is nearly diagonal too, which the solver uses.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float64

    Returns
    -------
    Rotation
        Costs O(n_samples * n_features * n_axes + n_axes**3).

    Examples
    --------
    >>> X = np.arange(12.0).reshape(2, 6)
    >>> turned = rotate(X)
    >>> turned.points.shape, bool(np.allclose(turned.points @ turned.basis.T, X))
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
    basis = axes if outer is None else outer @ axes
    return Rotation(points=inner @ axes, basis=basis)
