"""Ridge-penalised linear models by L-BFGS, preconditioned along the principal axes.

Minimises, over W (n_axes, n_columns)::

    loss(points @ W) + sum_jk ridge_jk / 2 * W_jk^2

The Hessian of column k along principal axis j is close to ``ridge_jk + h_k * mean(points_j^2)``,
h_k being the loss's mean curvature. With that diagonal as the first matrix of L-BFGS the many
directions of a feature table are alike, which saves most of the iterations. An iteration costs two
products of the points with a matrix: the scores of the new direction, and the gradient.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from featx.estimators._lbfgs import Memory
from featx.estimators._line_search import Line, search
from featx.estimators._losses import Loss

__all__ = ["Solution", "solve"]

Array = NDArray[Any]
Values = NDArray[np.float64]

# The mean curvature of a nearly perfect fit goes to zero, and with it the preconditioner.
LEAST_CURVATURE = 1e-6
TRUST = 1.0  # share of the last gain that is taken to be left, where the estimate says less
PATIENCE = 8  # iterations without a decrease of the value after which there will be none
DONE_SHARE = 0.2  # of the columns; then it pays to go on with the others alone


@dataclass(frozen=True)
class Solution:
    """Where the solver stopped.

    Parameters
    ----------
    weights : ndarray of shape (n_axes, n_columns)
    scores : ndarray of shape (n_samples, n_columns)
        points @ weights.
    n_iterations : int
    pull : ndarray of shape (n_axes, n_columns) or None
        Gradient of the loss alone, which the next problem on a path starts with.
    """

    weights: Array
    scores: Array
    n_iterations: int
    pull: Array | None = None


@dataclass
class _State:
    """Columns that are still being solved."""

    columns: NDArray[np.intp]
    loss: Loss
    ridge: Array
    spread: Array
    weights: Array
    scores: Array
    by_score: Array
    value: Values
    decrease: Values  # of the last iteration
    level: NDArray[np.intp]
    memory: Memory
    gradient: Array
    pending: Array | None = None  # the last step, until its change of the gradient is known

    def take(self, on: NDArray[np.bool_]) -> None:
        for name in ("ridge", "weights", "scores", "by_score", "gradient"):
            setattr(self, name, getattr(self, name)[:, on])
        for name in ("columns", "value", "decrease", "level"):
            setattr(self, name, getattr(self, name)[on])
        self.loss = self.loss.take(on)
        self.memory.take(on)


def solve(
    points: Array,
    loss: Loss,
    *,
    ridge: Array,
    starts: list[Solution],
    tol: float,
    max_iter: int,
) -> Solution:
    """Minimise a penalised loss.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_axes), float32 or float64
        Rows along their principal axes; correct for any points, fast for these. The solver works
        in their dtype.
    loss : Loss
        Of the scores (n_samples, n_columns), in the same dtype.
    ridge : ndarray of shape (n_axes, n_columns)
        Strength of the penalty.
    starts : list of Solution
        Of nearby problems on the same points, the nearest last, for example those of the last
        values on a path; empty starts at zero.
    tol : float
        Stop when the value is within this share of the least, as half the product of gradient and
        quasi-Newton step says (the Newton decrement, Boyd and Vandenberghe 2004, section 9.5) and
        the last iteration gained no more. An estimate: several times as much may be left, and
        more where the points are ill-conditioned.
    max_iter : int
        Most iterations; a ConvergenceWarning says when they did not suffice.

    Returns
    -------
    Solution
        Holds 20 arrays of the size of the weights on the way.
    """
    state = _begin(points, loss, ridge, starts)
    weights, scores = state.weights.copy(), state.scores.copy()
    pull = np.empty_like(weights)
    n_iterations = 0
    while True:
        _differentiate(points, state)
        direction = state.memory.direction(state.gradient, _estimate_diagonal(state))
        slope = loss.inner(direction, state.gradient)
        left = np.maximum(-slope / 2, TRUST * state.decrease)
        short = left > tol * np.abs(state.value)
        on = short & (state.level < PATIENCE)
        is_done = not on.any() or n_iterations >= max_iter
        if is_done or (loss.is_separable and 1 - on.mean() > DONE_SHARE):
            weights[:, state.columns], scores[:, state.columns] = state.weights, state.scores
            pull[:, state.columns] = state.gradient - state.ridge * state.weights
            if is_done:
                break
            state.take(on)
            direction, slope, left, on = direction[:, on], slope[on], left[on], on[on]
        _move(state, direction, points @ direction, np.where(on, slope, 0))
        n_iterations += 1
    if on.any():
        _warn(float((left / np.abs(state.value))[on].max()), tol, max_iter)
    return Solution(weights, scores, n_iterations, pull)


def _begin(points: Array, loss: Loss, ridge: Array, starts: list[Solution]) -> _State:
    """Start at the last solution, moved on along the line from the one before it."""
    if starts:
        weights, scores = starts[-1].weights, starts[-1].scores
    else:
        weights = np.zeros((points.shape[1], loss.n_columns), points.dtype)
        scores = np.zeros((len(points), loss.n_columns), points.dtype)
    value, by_score = loss.value_and_gradient(scores)
    value = value + loss.inner(ridge * weights, weights) / 2
    state = _State(
        columns=np.arange(loss.n_columns),
        loss=loss,
        ridge=ridge,
        spread=np.einsum("ij,ij->j", points, points) / len(points),
        weights=weights,
        scores=scores,
        by_score=by_score,
        value=value,
        decrease=np.full(value.shape, np.inf),
        level=np.zeros(value.shape, dtype=np.intp),
        memory=Memory(loss.inner),
        gradient=np.zeros_like(weights),
    )
    if len(starts) > 1:
        state.gradient = starts[-1].pull + ridge * weights
        move, along = weights - starts[-2].weights, scores - starts[-2].scores
        slope = loss.inner(by_score, along) + loss.inner(ridge * weights, move)
        _move(state, move, along, slope)
        # What this step gained says nothing of what is left at the new C.
        state.decrease, state.level = np.full(value.shape, np.inf), np.zeros_like(state.level)
    return state


def _differentiate(points: Array, state: _State) -> None:
    """Compute the gradient, and remember how the last step changed it."""
    gradient = points.T @ state.by_score
    gradient += state.ridge * state.weights
    if state.pending is not None:
        state.memory.add(state.pending, gradient - state.gradient)
        state.pending = None
    state.gradient = gradient


def _estimate_diagonal(state: _State) -> Array:
    """Return the Hessian's expected diagonal, at the present curvature."""
    h = np.maximum(state.loss.curvature(state.scores), LEAST_CURVATURE)
    return np.asarray(np.outer(state.spread, h).astype(state.ridge.dtype) + state.ridge)


def _move(state: _State, direction: Array, along: Array, slope: Values) -> None:
    """Go along a direction, by which the scores change `along`, as far as the search says."""
    s, inner = state, state.loss.inner
    penalised = s.ridge * direction
    ridge = (
        inner(s.ridge * s.weights, s.weights) / 2,
        inner(penalised, s.weights),
        inner(penalised, direction),
    )
    step = search(s.loss, Line(s.scores, along, s.value, slope, ridge))
    s.pending = step.t.astype(direction.dtype) * direction
    s.weights = s.weights + s.pending
    eps = np.finfo(direction.dtype).eps
    s.level = np.where(step.value < s.value - eps * np.abs(s.value), 0, s.level + 1)
    s.decrease = s.value - step.value
    s.scores, s.by_score, s.value = step.scores, step.by_score, step.value


def _warn(left: float, tol: float, max_iter: int) -> None:
    warnings.warn(
        f"the solver stopped after max_iter={max_iter} iterations with an objective that is about "
        f"{left:.1e} of itself above its least, expected at most {tol:.1e}; raise max_iter or tol",
        ConvergenceWarning,
        stacklevel=5,
    )
