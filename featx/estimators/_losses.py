"""The losses of linear models, as functions of the scores, ready for a joint solver.

Each is a weighted mean over samples. `Softmax` couples the columns (classes) and has one value;
the other two treat each column as a problem of its own, a class against the rest or an attribute,
and have one value for each. Arrays are of the dtype of the weights; values are summed in float64.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Logistic",
    "Loss",
    "Softmax",
    "SquaredHinge",
    "column_dot",
    "encode_signs",
    "make_class_loss",
    "make_column_loss",
    "whole_dot",
]

Array = NDArray[Any]

# exp(-60) is nothing beside 1, and still no denormal float32, on which processors are slow.
LEAST_EXPONENT = -60.0


def column_dot(a: Array, b: Array) -> NDArray[np.float64]:
    """Return the inner product of each column of `a` with that of `b`, as float64."""
    return np.asarray(np.einsum("ij,ij->j", a, b), dtype=np.float64)


def whole_dot(a: Array, b: Array) -> NDArray[np.float64]:
    """Return the inner product of two matrices, shape (1,), float64."""
    return np.array([np.vdot(a, b)], dtype=np.float64)


class Loss(Protocol):
    """What the solver needs of a loss."""

    n_columns: int
    is_separable: bool

    def value_and_gradient(self, scores: Array) -> tuple[NDArray[np.float64], Array]:
        """Return the losses, (n_columns,) or (1,), and their derivative by each score."""

    def inner(self, a: Array, b: Array) -> NDArray[np.float64]:
        """Return the inner product of each column, (n_columns,), or that of the whole, (1,)."""

    def take(self, columns: NDArray[Any]) -> Loss:
        """Return the loss of some columns alone; only for separable losses."""

    def curvature(self, scores: Array) -> NDArray[np.float64]:
        """Return the weighted mean second derivative by a score, shape (n_columns,)."""

    def astype(self, dtype: Any) -> Self:
        """Return the same loss that computes in another dtype."""


class Softmax:
    """Cross entropy of the softmax of the scores.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,), int
        Class of each sample, in [0, n_columns).
    n_columns : int
        Number of classes.
    weights : ndarray of shape (n_samples,)
        Sum 1.
    """

    is_separable = False

    def __init__(self, codes: NDArray[Any], n_columns: int, weights: Array) -> None:
        self.codes, self.n_columns, self.weights = codes, n_columns, weights
        self._rows = np.arange(len(codes))

    def value_and_gradient(self, scores: Array) -> tuple[NDArray[np.float64], Array]:
        """Return the loss and its derivative by each score."""
        scores = scores - scores.max(axis=1, keepdims=True)
        picked = scores[self._rows, self.codes]
        np.maximum(scores, LEAST_EXPONENT, out=scores)
        gradient = np.exp(scores, out=scores)
        total = gradient.sum(axis=1)
        value = self.weights.astype(np.float64) @ (np.log(total) - picked)
        gradient *= (self.weights / total)[:, None]
        gradient[self._rows, self.codes] -= self.weights
        return np.array([value]), gradient

    def inner(self, a: Array, b: Array) -> NDArray[np.float64]:
        """Return the inner product of the whole, (1,)."""
        return whole_dot(a, b)

    def take(self, columns: NDArray[Any]) -> Loss:
        """Refuse: the classes of a softmax cannot be had one by one."""
        raise NotImplementedError("softmax couples its columns")

    def curvature(self, scores: Array) -> NDArray[np.float64]:
        """Return the weighted mean of p (1 - p) for each class."""
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return np.asarray(self.weights @ (p * (1 - p)), dtype=np.float64)

    def astype(self, dtype: Any) -> Self:
        """Return the same loss in another dtype."""
        return type(self)(self.codes, self.n_columns, self.weights.astype(dtype))


class _Columns:
    """Signs and weights of problems side by side, (n_samples, n_columns) each."""

    is_separable = True

    def __init__(self, signs: Array, weights: Array) -> None:
        self.signs, self.weights, self.n_columns = signs, weights, signs.shape[1]

    def inner(self, a: Array, b: Array) -> NDArray[np.float64]:
        """Return the inner product of each column, (n_columns,)."""
        return column_dot(a, b)

    def take(self, columns: NDArray[Any]) -> Self:
        """Return the loss of some columns alone."""
        return type(self)(self.signs[:, columns], self.weights[:, columns])

    def astype(self, dtype: Any) -> Self:
        """Return the same loss in another dtype."""
        return type(self)(self.signs.astype(dtype), self.weights.astype(dtype))


class Logistic(_Columns):
    """Cross entropy of the sigmoid of each score.

    Parameters
    ----------
    signs : ndarray of shape (n_samples, n_columns)
        1 for yes, -1 for no.
    weights : ndarray of shape (n_samples, n_columns)
        Each column has sum 1; 0 leaves a sample out of a column.
    """

    def value_and_gradient(self, scores: Array) -> tuple[NDArray[np.float64], Array]:
        """Return the loss and its derivative by each score."""
        # logaddexp and expit are loops over single numbers; exp and log work on whole vectors.
        margins = self.signs * scores
        small = np.exp(np.maximum(-np.abs(margins), LEAST_EXPONENT))
        losses = np.log(1 + small)
        losses -= np.minimum(margins, 0)
        value = np.einsum("ij,ij->j", self.weights, losses, dtype=np.float64)
        wrong = np.where(margins > 0, small, 1)
        wrong /= 1 + small
        wrong *= self.weights
        wrong *= self.signs
        return value, np.negative(wrong, out=wrong)

    def curvature(self, scores: Array) -> NDArray[np.float64]:
        """Return the weighted mean of p (1 - p) for each column."""
        small = np.exp(-np.abs(scores))
        return column_dot(self.weights, small / (1 + small) ** 2)


class SquaredHinge(_Columns):
    """max(0, 1 - margin)**2 of each score: the loss of scikit-learn's `LinearSVC`.

    Parameters
    ----------
    signs, weights : ndarray of shape (n_samples, n_columns)
        As for `Logistic`.
    """

    def value_and_gradient(self, scores: Array) -> tuple[NDArray[np.float64], Array]:
        """Return the loss and its derivative by each score."""
        short = np.maximum(1 - self.signs * scores, 0)
        weighted = self.weights * short
        value = np.einsum("ij,ij->j", weighted, short, dtype=np.float64)
        weighted *= -2 * self.signs
        return value, weighted

    def curvature(self, scores: Array) -> NDArray[np.float64]:
        """Return twice the weighted share of samples inside the margin, for each column."""
        return column_dot(2 * self.weights, self.signs * scores < 1)


def encode_signs(codes: NDArray[Any], n_classes: int) -> NDArray[np.float64]:
    """Return 1 for a sample's own class and -1 for the rest; one column where there are two."""
    if n_classes == 2:
        return np.where(codes == 1, 1.0, -1.0)[:, None]
    return np.where(codes[:, None] == np.arange(n_classes), 1.0, -1.0)


def make_class_loss(method: str, codes: NDArray[Any], n_classes: int, weights: Array) -> Loss:
    """Return the loss for exclusive classes, the weights (n_samples,) scaled to sum 1."""
    shares = weights / weights.sum()
    if method == "logistic" and n_classes > 2:
        return Softmax(codes, n_classes, shares)
    signs = encode_signs(codes, n_classes)
    return make_column_loss(method, signs, np.repeat(shares[:, None], signs.shape[1], axis=1))


def make_column_loss(method: str, signs: Array, weights: Array) -> Loss:
    """Return the loss for independent columns, each column's weights scaled to sum 1."""
    shares = weights / weights.sum(axis=0)
    return Logistic(signs, shares) if method == "logistic" else SquaredHinge(signs, shares)
