"""The losses of linear models, as functions of the scores, ready for a joint solver.

Each is a weighted mean over samples. `Softmax` couples the columns (classes) and has one value;
the other two treat each column as a problem of its own, a class against the rest or an attribute,
and have one value for each.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

__all__ = ["Logistic", "Loss", "Softmax", "SquaredHinge", "column_dot"]

Array = NDArray[np.float64]


def column_dot(a: Array, b: Array) -> Array:
    """Return the inner product of each column of `a` with that of `b`."""
    return np.asarray(np.einsum("ij,ij->j", a, b))


class Loss(Protocol):
    """What the solver needs of a loss."""

    n_columns: int
    is_separable: bool

    def value_and_gradient(self, scores: Array) -> tuple[Array, Array]:
        """Return the losses, (n_columns,) or (1,), and their derivative by each score."""

    def take(self, columns: NDArray[np.intp]) -> Loss:
        """Return the loss of some columns alone; only for separable losses."""

    def curvature(self, scores: Array) -> Array:
        """Return the weighted mean second derivative by a score, shape (n_columns,)."""


class Softmax:
    """Cross entropy of the softmax of the scores.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,), int
        Class of each sample, in [0, n_columns).
    n_columns : int
        Number of classes.
    weights : ndarray of shape (n_samples,), float64
        Sum 1.
    """

    is_separable = False

    def __init__(self, codes: NDArray[Any], n_columns: int, weights: Array) -> None:
        self.codes, self.n_columns, self.weights = codes, n_columns, weights
        self._rows = np.arange(len(codes))

    def value_and_gradient(self, scores: Array) -> tuple[Array, Array]:
        """Return the loss and its derivative by each score."""
        scores = scores - scores.max(axis=1, keepdims=True)
        picked = scores[self._rows, self.codes]
        gradient = np.exp(scores, out=scores)
        total = gradient.sum(axis=1)
        value = np.array([self.weights @ (np.log(total) - picked)])
        gradient *= (self.weights / total)[:, None]
        gradient[self._rows, self.codes] -= self.weights
        return value, gradient

    def take(self, columns: NDArray[np.intp]) -> Loss:
        """Refuse: the classes of a softmax cannot be had one by one."""
        raise NotImplementedError("softmax couples its columns")

    def curvature(self, scores: Array) -> Array:
        """Return the weighted mean of p (1 - p) for each class."""
        p = np.exp(log_softmax(scores, axis=1))
        return np.asarray(self.weights @ (p * (1 - p)))


class Logistic:
    """Cross entropy of the sigmoid of each score.

    Parameters
    ----------
    signs : ndarray of shape (n_samples, n_columns), float64
        1 for yes, -1 for no.
    weights : ndarray of shape (n_samples, n_columns), float64
        Each column has sum 1; 0 leaves a sample out of a column.
    """

    is_separable = True

    def __init__(self, signs: Array, weights: Array) -> None:
        self.signs, self.weights, self.n_columns = signs, weights, signs.shape[1]

    def value_and_gradient(self, scores: Array) -> tuple[Array, Array]:
        """Return the loss and its derivative by each score."""
        margins = self.signs * scores
        value = column_dot(self.weights, np.logaddexp(0, -margins))
        return value, -self.weights * self.signs * expit(-margins)

    def take(self, columns: NDArray[np.intp]) -> Logistic:
        """Return the loss of some columns alone."""
        return Logistic(self.signs[:, columns], self.weights[:, columns])

    def curvature(self, scores: Array) -> Array:
        """Return the weighted mean of p (1 - p) for each column."""
        p = expit(scores)
        return np.asarray((self.weights * p * (1 - p)).sum(axis=0))


class SquaredHinge:
    """max(0, 1 - margin)**2 of each score: the loss of scikit-learn's `LinearSVC`.

    Parameters
    ----------
    signs, weights : ndarray of shape (n_samples, n_columns), float64
        As for `Logistic`.
    """

    is_separable = True

    def __init__(self, signs: Array, weights: Array) -> None:
        self.signs, self.weights, self.n_columns = signs, weights, signs.shape[1]

    def value_and_gradient(self, scores: Array) -> tuple[Array, Array]:
        """Return the loss and its derivative by each score."""
        short = np.maximum(1 - self.signs * scores, 0)
        weighted = self.weights * short
        return column_dot(weighted, short), -2 * self.signs * weighted

    def take(self, columns: NDArray[np.intp]) -> SquaredHinge:
        """Return the loss of some columns alone."""
        return SquaredHinge(self.signs[:, columns], self.weights[:, columns])

    def curvature(self, scores: Array) -> Array:
        """Return twice the weighted share of samples inside the margin, for each column."""
        return np.asarray(2 * (self.weights * (self.signs * scores < 1)).sum(axis=0))
