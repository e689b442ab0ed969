"""The path of C: one linear problem solved from strong to weak penalty, each from the last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.estimators._losses import Logistic, Loss, Softmax, SquaredHinge
from featx.estimators._solver import Solution, solve

__all__ = [
    "class_loss",
    "column_loss",
    "default_grid",
    "default_strength",
    "signs_of",
    "solve_path",
]

Array = NDArray[np.float64]

# Ten values, half a decade apart. The squared hinge is about ten times as steep as the logistic
# loss, so its useful range lies that much lower.
GRIDS = {"logistic": np.logspace(-1, 3.5, 10), "svm": np.logspace(-2.5, 2, 10)}
DEFAULT_C = {"logistic": 100.0, "svm": 1.0}


def default_grid(method: str, X: NDArray[Any]) -> Array:
    """Return ten values of C for rows of any length.

    C times the squared length of a row is what matters, so the grid for unit rows is divided by
    the mean squared length.
    """
    return np.asarray(GRIDS[method] / _mean_square(X))


def default_strength(method: str, X: NDArray[Any]) -> float:
    """Return the C that is taken where nothing can be held out to choose one."""
    return float(DEFAULT_C[method] / _mean_square(X))


def _mean_square(X: NDArray[Any]) -> float:
    mean = float(np.einsum("ij,ij->", X, X, dtype=np.float64)) / max(len(X), 1)
    # Unit rows have exactly the round values of the table, whatever the last bits say.
    return mean if mean > 0 and not np.isclose(mean, 1, rtol=1e-5) else 1.0


def signs_of(codes: NDArray[Any], n_classes: int) -> Array:
    """Return 1 for a sample's own class and -1 for the rest; one column where there are two."""
    if n_classes == 2:
        return np.where(codes == 1, 1.0, -1.0)[:, None]
    return np.where(codes[:, None] == np.arange(n_classes), 1.0, -1.0)


def class_loss(method: str, codes: NDArray[Any], n_classes: int, weights: Array) -> Loss:
    """Return the loss for exclusive classes, the weights scaled to sum 1."""
    shares = weights / weights.sum()
    if method == "logistic" and n_classes > 2:
        return Softmax(codes, n_classes, shares)
    signs = signs_of(codes, n_classes)
    return column_loss(method, signs, np.repeat(shares[:, None], signs.shape[1], axis=1))


def column_loss(method: str, signs: Array, weights: Array) -> Loss:
    """Return the loss for independent columns, each column's weights scaled to sum 1."""
    shares = weights / weights.sum(axis=0)
    return Logistic(signs, shares) if method == "logistic" else SquaredHinge(signs, shares)


def solve_path(
    points: Array,
    loss: Loss,
    *,
    total: float | Array,
    Cs: Array,
    intercept: bool,
    tol: float,
    max_iter: int,
) -> Iterator[Solution]:
    """Solve for each C in turn, small to large, starting from the last solution.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_axes)
    loss : Loss
        Its weights scaled to sum 1.
    total : float or ndarray of shape (n_columns,)
        What the weights summed to before: scikit-learn's C multiplies the sum of losses.
    Cs : ndarray of shape (n_Cs,)
        Rising.
    intercept, tol, max_iter
        As for `solve`.

    Yields
    ------
    Solution
        One for each C.
    """
    start = None
    for C in Cs:
        solution = solve(
            points,
            loss,
            alpha=1 / (C * total),
            intercept=intercept,
            start=start,
            tol=tol,
            max_iter=max_iter,
        )
        start = (solution.weights, solution.intercept)
        yield solution
