"""The path of C: one linear problem solved from strong to weak penalty, each from the last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ParameterError
from featx.estimators._losses import Loss
from featx.estimators._solver import Solution, solve

__all__ = [
    "FINAL_SHARE",
    "LEAST_SINGLE_TOL",
    "choose_dtype",
    "choose_grid",
    "solve_finally",
    "solve_path",
]

Array = NDArray[np.float64]

# Ten values, half a decade apart. The squared hinge is about ten times as steep as the logistic
# loss, so its useful range lies that much lower.
GRIDS = {"logistic": np.logspace(-1, 3.5, 10), "svm": np.logspace(-2.5, 2, 10)}
DEFAULT_C = {"logistic": 100.0, "svm": 1.0}

LEAST_SINGLE_TOL = 1e-6  # float32 gets to about 1e-7 of the objective
SINGLE_RANGE = 1e12  # float32 ends at 1e38, and curvatures are squares and their products
FINAL_SHARE = 1e-3  # of tol: the last fit is one of many, and its probabilities are used


def choose_grid(Cs: Any, method: str, rows: NDArray[Any]) -> tuple[Array, float]:
    """Return the values of C in rising order, and the one to take where none can be chosen.

    C times the squared length of a row is what matters, so the defaults, which are for unit rows,
    are divided by the mean squared length.

    Parameters
    ----------
    Cs : float, sequence of float or None
        None is the default grid.
    method : {"logistic", "svm"}
    rows : ndarray of shape (n_samples, n_features)

    Raises
    ------
    ParameterError
        Where one is not a positive finite number, or there is none.
    """
    square = _mean_square(rows)
    fallback = DEFAULT_C[method] / square
    if Cs is None:
        return GRIDS[method] / square, fallback
    try:
        values = np.unique(np.asarray(Cs, dtype=np.float64))
    except (TypeError, ValueError):
        values = np.empty(0)
    if not len(values) or not np.isfinite(values).all() or values[0] <= 0:
        raise ParameterError(
            f"Cs: got {Cs!r}, expected a positive number, or several of them to choose from by "
            "cross-validation, or None for the default grid"
        )
    return values, fallback


def _mean_square(X: NDArray[Any]) -> float:
    mean = float(np.einsum("ij,ij->", X, X, dtype=np.float64)) / max(len(X), 1)
    # Unit rows have exactly the round values of the table, whatever the last bits say.
    return mean if mean > 0 and not np.isclose(mean, 1, rtol=1e-5) else 1.0


def choose_dtype(points: Array, tol: float, *, free: bool) -> type[np.floating[Any]]:
    """Return float32 where its rounding lies well below `tol` and its range holds the squares.

    It is twice as fast. `free` says that the last axis is a column of ones.
    """
    rotated = points[:, :-1] if free else points
    peak = max(rotated.max(initial=0.0), -rotated.min(initial=0.0))  # abs would copy all of it
    fits = peak == 0 or 1 / SINGLE_RANGE < peak < SINGLE_RANGE
    return np.float32 if fits and tol >= LEAST_SINGLE_TOL else np.float64


def make_ridge(
    alpha: Array | float, n_axes: int, n_columns: int, *, free: bool, dtype: Any
) -> Any:
    """Return each weight's penalty, (n_axes, n_columns); 0 on the last axis where `free`."""
    ridge = np.empty((n_axes, n_columns), dtype=dtype)
    ridge[:] = alpha
    if free:
        ridge[-1] = 0
    return ridge


def solve_path(
    points: NDArray[Any],
    loss: Loss,
    *,
    total: float | Array,
    Cs: Array,
    free: bool,
    tol: float,
    max_iter: int,
) -> Iterator[Solution]:
    """Solve for each C in turn, small to large, starting on the line through the last two.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_axes)
        The solver works in its dtype.
    loss : Loss
        Its weights scaled to sum 1.
    total : float or ndarray of shape (n_columns,)
        What the weights summed to before: scikit-learn's C multiplies the sum of losses.
    Cs : ndarray of shape (n_Cs,)
        Rising.
    free : bool
        Whether the last axis is a column of ones whose weight, the intercept, has no penalty.
    tol, max_iter
        As for `solve`.

    Yields
    ------
    Solution
        One for each C.
    """
    shape = points.shape[1], loss.n_columns
    loss = loss.astype(points.dtype)
    starts: list[Solution] = []
    for C in Cs:
        ridge = make_ridge(1 / (C * total), *shape, free=free, dtype=points.dtype)
        solution = solve(points, loss, ridge=ridge, starts=starts, tol=tol, max_iter=max_iter)
        starts = [*starts[-1:], solution]
        yield solution


def solve_finally(
    points: Array,
    quick: NDArray[Any],
    loss: Loss,
    *,
    alpha: Array | float,
    free: bool,
    start: NDArray[Any] | None,
    tol: float,
    max_iter: int,
) -> Solution:
    """Solve for the chosen C closer than the folds had to; in float64, unless `tol` is loose.

    Parameters
    ----------
    points, loss, free, tol, max_iter
        As for `solve_path`.
    quick : ndarray of the shape of `points`
        The same in the dtype of the folds.
    alpha : float or ndarray of shape (n_columns,)
    start : ndarray of shape (n_axes, n_columns) or None
        The mean of the folds' weights lies very near.
    """
    closer = FINAL_SHARE * tol
    shape = points.shape[1], loss.n_columns
    if start is None:
        start = np.zeros(shape)
    is_close = quick.dtype == np.float32 and closer >= LEAST_SINGLE_TOL
    for low in [quick] if is_close or quick.dtype == np.float64 else [quick, points]:
        dtype, start = low.dtype, start.astype(low.dtype)
        solution = solve(
            low,
            loss.astype(dtype),
            ridge=make_ridge(alpha, *shape, free=free, dtype=dtype),
            starts=[Solution(start, low @ start, 0)],
            tol=closer if dtype == np.float64 else max(closer, LEAST_SINGLE_TOL),
            max_iter=max_iter,
        )
        start = solution.weights
    return solution
