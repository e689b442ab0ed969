"""L-BFGS for convex problems whose columns may be problems of their own.

scipy's does one problem at a time, and its BLAS is another one than numpy's: with two thread pools
waiting for each other's cores, one iteration on a small table took ten times as long. Here all
columns share each product with the data, yet every column has its own memory and step where the
loss is separable, so that one hard column does not hold the others up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.estimators._losses import column_dot

__all__ = ["Minimum", "minimize"]

Array = NDArray[np.float64]
Objective = Callable[[Array, NDArray[np.intp]], tuple[Array, Array]]
Pair = tuple[Array, Array, Array]

MEMORY = 10  # pairs kept, as in scipy's default
ARMIJO = 1e-4  # sufficient decrease, Nocedal and Wright 2006, section 3.1
MAX_HALVINGS = 30
ROUNDING = 1e-12  # relative changes of the objective below this are noise
PATIENCE = 30  # iterations of noise after which the gradient will not get smaller either


@dataclass(frozen=True)
class Minimum:
    """Where the search stopped.

    Parameters
    ----------
    x : ndarray of shape (n_parameters, n_columns)
    largest_gradient : float
        Largest element of the gradient's magnitude at `x`.
    n_iterations : int
    ran_out : bool
        Whether `max_iter` was reached first.
    """

    x: Array
    largest_gradient: float
    n_iterations: int
    ran_out: bool


def minimize(
    objective: Objective, x: Array, *, separable: bool, tol: float, max_iter: int
) -> Minimum:
    """Minimise a convex function, or one for each column.

    Parameters
    ----------
    objective : callable
        Takes some columns of x and their numbers; returns the values, one a column where
        separable and (1,) otherwise, and the gradient, shaped like the columns.
    x : ndarray of shape (n_parameters, n_columns), float64
        Start.
    separable : bool
        Whether column k's value depends on column k of x alone.
    tol : float
        Stop when no element of the gradient is larger.
    max_iter : int
        Most iterations.

    Returns
    -------
    Minimum
        Holds 2 * 10 arrays of the size of x on the way.
    """
    dot = column_dot if separable else _whole_dot
    end = x.copy()
    columns = np.arange(x.shape[1])
    pairs: deque[Pair] = deque(maxlen=MEMORY)
    value, gradient = objective(x, columns)
    stuck = np.zeros(value.shape, dtype=bool)
    level = np.zeros(value.shape, dtype=np.intp)
    largest, n_iterations = 0.0, 0
    while columns.size:
        peaks = np.abs(gradient).max(axis=0, initial=0)
        done = stuck | ((peaks if separable else peaks.max(keepdims=True)) <= tol)
        if done.all() or n_iterations >= max_iter:
            end[:, columns] = x
            largest = float(peaks[np.broadcast_to(~done, peaks.shape)].max(initial=0))
            break
        if done.mean() > 0.2:  # go on with the others alone
            end[:, columns[done]] = x[:, done]
            on = ~done
            columns, stuck, level, value = columns[on], stuck[on], level[on], value[on]
            x, gradient = x[:, on], gradient[:, on]
            pairs = deque(((m[:, on], c[:, on], r[on]) for m, c, r in pairs), maxlen=MEMORY)
            done = done[on]
        direction = np.where(done, 0, _direction(gradient, pairs, dot))
        step = np.ones_like(value) if pairs else _first_step(gradient, dot)
        new_x, new_value, new_gradient, stuck = _search(
            objective, columns, x, value, gradient, direction, step, dot
        )
        level = np.where(new_value < value - ROUNDING * np.abs(value), 0, level + 1)
        stuck = (stuck & ~done) | (level >= PATIENCE)
        move, change = new_x - x, new_gradient - gradient
        pairs.append((move, change, _inverse(dot(move, change))))
        x, value, gradient = new_x, new_value, new_gradient
        n_iterations += 1
    return Minimum(end, largest, n_iterations, largest > tol)


def _whole_dot(a: Array, b: Array) -> Array:
    return np.array([np.vdot(a, b)])


def _inverse(curvature: Array) -> Array:
    """Return 1 / curvature; 0 (a pair without effect) where a column did not move."""
    good = curvature > np.finfo(np.float64).tiny * 1e10
    return np.where(good, 1 / np.where(good, curvature, 1), 0)


def _first_step(gradient: Array, dot: Callable[[Array, Array], Array]) -> Array:
    """Move by at most a unit length: the preconditioner is good to a factor of a few."""
    return np.asarray(1 / np.maximum(np.sqrt(dot(gradient, gradient)), 1))


def _direction(
    gradient: Array,
    pairs: deque[Pair],
    dot: Callable[[Array, Array], Array],
) -> Array:
    """Two-loop recursion (Nocedal and Wright 2006, algorithm 7.4)."""
    q = -gradient
    shares = []
    for move, change, rho in reversed(pairs):
        share = rho * dot(move, q)
        q = q - share * change
        shares.append(share)
    if pairs:
        move, change, rho = pairs[-1]
        length = dot(change, change)
        q = q * np.where(rho > 0, 1 / np.where(rho > 0, rho * length, 1), 1)
    for (move, change, rho), share in zip(pairs, reversed(shares), strict=True):
        q = q + (share - rho * dot(change, q)) * move
    return q


def _search(
    objective: Objective,
    columns: NDArray[np.intp],
    x: Array,
    value: Array,
    gradient: Array,
    direction: Array,
    step: Array,
    dot: Callable[[Array, Array], Array],
) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Shorten each step until its value has decreased enough.

    Returns the new point, values and gradient, and which values would not decrease at all because
    rounding hides it; these stay where they are. Columns that are content are not computed again.
    """
    slope = dot(direction, gradient)
    new_x, new_value, new_gradient = x.copy(), value.copy(), gradient.copy()
    open_ = slope < 0
    for _ in range(MAX_HALVINGS):
        if not open_.any():
            break
        some = np.broadcast_to(open_, (x.shape[1],))
        trial = x[:, some] + step[open_] * direction[:, some]
        trial_value, trial_gradient = objective(trial, columns[some])
        before, descent = value[open_], slope[open_]
        decreased = trial_value <= before + ARMIJO * step[open_] * descent
        # Where the values agree up to rounding, the slope says whether the minimum is nearer
        # (Hager and Zhang 2005, approximate Wolfe conditions).
        level = trial_value <= before + ROUNDING * np.abs(before)
        nearer = np.abs(dot(direction[:, some], trial_gradient)) <= 0.9 * np.abs(descent)
        good = decreased | (level & nearer)
        # Minimum of the parabola through value, slope and new value, kept within [0.1, 0.5].
        excess = trial_value - before - step[open_] * descent
        parabola = -descent * step[open_] / (2 * np.where(excess > 0, excess, np.inf))
        shorter = step[open_] * np.clip(parabola, 0.1, 0.5)
        taken = np.broadcast_to(good, (trial.shape[1],))
        places = np.flatnonzero(some)[taken]
        new_x[:, places], new_gradient[:, places] = trial[:, taken], trial_gradient[:, taken]
        numbers = np.flatnonzero(open_)
        new_value[numbers[good]] = trial_value[good]
        step[numbers[~good]] = shorter[~good]
        open_[numbers[good]] = False
    return new_x, new_value, new_gradient, open_ | (slope >= 0)
