"""The rows along their principal axes with the intercept as one axis more, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from featx.estimators._linalg import rotate

__all__ = ["Axes"]

Array = NDArray[np.float64]


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
    def of(cls, rows: Array, method: str, weights: Array | None = None) -> Self:
        """Rotate rows (n_samples, n_features); `weights` (n_samples,) are those of their mean."""
        ones = np.ones(len(rows))
        if method == "svm":
            turned = rotate(np.column_stack([rows, ones]))
            return cls(turned.points, turned.basis, np.zeros(rows.shape[1]), free=False)
        # The intercept is free, so the origin may be anywhere; at the mean, the intercept and
        # the weights hardly depend on each other and the solver needs fewer iterations.
        shift = np.average(rows, axis=0, weights=weights)
        turned = rotate(rows - shift)
        return cls(np.column_stack([turned.points, ones]), turned.basis, shift, free=True)

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
