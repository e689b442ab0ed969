"""Ridge-penalised linear models by L-BFGS, preconditioned along the principal axes.

Minimises, over W (n_axes, n_columns) and b (n_columns,)::

    loss(points @ W + b) + sum_k alpha_k / 2 * |W_k|^2

with the intercept b free. Where it is to be penalised, a column of ones belongs in the points and
`intercept` is False. The Hessian of column k along axis j is close to
``alpha_k + h_k * mean(points_j^2)``, h_k being the loss's mean curvature; dividing by its root
makes the many directions of a feature table alike, which saves most of the iterations.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from featx.estimators._lbfgs import Minimum, minimize
from featx.estimators._losses import Loss, column_dot

__all__ = ["Solution", "solve"]

Array = NDArray[np.float64]

# The mean curvature of a nearly perfect fit goes to zero, and with it the preconditioner.
LEAST_CURVATURE = 1e-4


@dataclass(frozen=True)
class Solution:
    """Where the solver stopped.

    Parameters
    ----------
    weights : ndarray of shape (n_axes, n_columns), float64
    intercept : ndarray of shape (n_columns,), float64
    n_iterations : int
    """

    weights: Array
    intercept: Array
    n_iterations: int


def solve(
    points: Array,
    loss: Loss,
    *,
    alpha: Array | float,
    intercept: bool,
    start: tuple[Array, Array] | None,
    tol: float,
    max_iter: int,
) -> Solution:
    """Minimise a penalised loss.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_axes), float64
        Rows along their principal axes; correct for any points, fast for these.
    loss : Loss
        Of the scores (n_samples, n_columns).
    alpha : float or ndarray of shape (n_columns,)
        Strength of the penalty for each column.
    intercept : bool
        Whether to fit an unpenalised constant for each column.
    start : (weights, intercept) or None
        A near solution, for example of the neighbouring alpha; None starts at zero.
    tol : float
        Stop when no element of the preconditioned gradient is larger.
    max_iter : int
        Most iterations; a ConvergenceWarning says when they did not suffice.

    Returns
    -------
    Solution
        Each iteration costs two products of points with a (n_axes, n_columns) matrix.
    """
    n_axes, n_columns = points.shape[1], loss.n_columns
    W, b = start if start is not None else (np.zeros((n_axes, n_columns)), np.zeros(n_columns))
    penalty = np.broadcast_to(np.asarray(alpha, dtype=np.float64), (n_columns,))
    h = np.maximum(loss.curvature(points @ W + b), LEAST_CURVATURE)
    spread = np.einsum("ij,ij->j", points, points) / len(points)
    scale_w = 1 / np.sqrt(penalty + np.outer(spread, h))
    scale_b = 1 / np.sqrt(h)

    scale = np.vstack([scale_w, scale_b]) if intercept else scale_w

    def objective(v: Array, columns: NDArray[np.intp]) -> tuple[Array, Array]:
        part = loss if len(columns) == n_columns else loss.take(columns)
        scaled = scale[:, columns] * v
        weights = scaled[:n_axes]
        scores = points @ weights
        if intercept:
            scores += scaled[n_axes]
        value, by_score = part.value_and_gradient(scores)
        penalised = penalty[columns] * weights
        ridge = 0.5 * column_dot(penalised, weights)
        gradient = np.empty_like(v)
        gradient[:n_axes] = points.T @ by_score + penalised
        if intercept:
            gradient[n_axes] = by_score.sum(axis=0)
        gradient *= scale[:, columns]
        return value + (ridge if loss.is_separable else ridge.sum()), gradient

    first = np.vstack([W, b]) if intercept else W
    found = minimize(
        objective, first / scale, separable=loss.is_separable, tol=tol, max_iter=max_iter
    )
    _warn_if_short(found, tol, max_iter)
    end = scale * found.x
    constant = end[n_axes] if intercept else np.zeros(n_columns)
    return Solution(end[:n_axes], constant, found.n_iterations)


def _warn_if_short(found: Minimum, tol: float, max_iter: int) -> None:
    if found.ran_out:
        warnings.warn(
            f"the solver stopped after max_iter={max_iter} iterations with a gradient of "
            f"{found.largest_gradient:.1e}, expected at most tol={tol:.1e}; raise max_iter or tol",
            ConvergenceWarning,
            stacklevel=4,
        )
