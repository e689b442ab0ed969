"""Minimise along a line where the scores are known: no product with the data.

Scores are linear in the weights, so along ``W + t * D`` they are ``S + t * T`` with T computed
once, and every trial of t costs a pass over the scores alone. The function of t is convex; its
slope rises and has one root, which is found by secants within a bracket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.estimators._losses import Loss

__all__ = ["Line", "Step", "search"]

Array = NDArray[Any]
Values = NDArray[np.float64]

FLATTER = 0.2  # share of the first slope that may be left: strong Wolfe, Nocedal and Wright 3.1
MAX_TRIALS = 25


@dataclass(frozen=True)
class Line:
    """A line through the present scores; one or, for separable losses, one for each column.

    Parameters
    ----------
    scores, along : ndarray of shape (n_samples, n_columns)
        At t = 0, and their change for t = 1.
    value, slope : ndarray of shape (n_values,)
        Of loss and penalty together at t = 0; where the slope is not negative, t stays 0.
    ridge : tuple of ndarray of shape (n_values,)
        The penalty is ``ridge[0] + ridge[1] * t + ridge[2] * t**2 / 2``.
    """

    scores: Array
    along: Array
    value: Values
    slope: Values
    ridge: tuple[Values, Values, Values]


@dataclass(frozen=True)
class Step:
    """Where the search ended: t, the value there, the scores and the loss's derivative by them."""

    t: Values
    value: Values
    scores: Array
    by_score: Array


def search(loss: Loss, line: Line) -> Step:
    """Find for each line a t at which the slope is much flatter and the value not higher.

    Where rounding hides any decrease, t is 0.
    """
    noise = 10 * np.finfo(line.scores.dtype).eps * np.abs(line.value)
    down = line.slope < 0
    low, high = np.zeros_like(line.slope), np.full_like(line.slope, np.inf)
    low_slope, high_slope = line.slope.copy(), np.full_like(line.slope, np.inf)
    t = np.where(down, 1.0, 0.0)
    for trial in range(MAX_TRIALS + 1):
        step, slope = _evaluate(loss, line, t)
        risen = step.value > line.value + noise
        good = ~down | (~risen & (np.abs(slope) <= FLATTER * -line.slope))
        if good.all() or trial == MAX_TRIALS:
            break
        left = ~good & (slope < 0) & ~risen
        right = ~good & ~left
        low, low_slope = np.where(left, t, low), np.where(left, slope, low_slope)
        high, high_slope = np.where(right, t, high), np.where(right, slope, high_slope)
        t = np.where(good, t, _choose_next(low, high, low_slope, high_slope, line.slope))
        if trial == MAX_TRIALS - 1:
            t = np.where(good, t, low)  # 0 where nothing better was met
    return step


def _evaluate(loss: Loss, line: Line, t: Values) -> tuple[Step, Values]:
    scores = line.scores + t.astype(line.scores.dtype) * line.along
    value, by_score = loss.value_and_gradient(scores)
    product = np.einsum("ij,ij->j", by_score, line.along)
    slope = product if loss.is_separable else product.sum(keepdims=True)
    constant, linear, square = line.ridge
    value = value + constant + t * (linear + t * square / 2)
    return Step(t, value, scores, by_score), slope + linear + t * square


def _choose_next(
    low: Values, high: Values, low_slope: Values, high_slope: Values, first: Values
) -> Values:
    """Return the secant's root, kept well inside the bracket, or beyond `low` where it is open."""
    bounded = np.isfinite(high)
    width = np.where(bounded, high - low, 0)
    rise = np.where(bounded, np.maximum(high_slope, 0) - low_slope, 1)
    share = np.clip(-low_slope / np.where(rise > 0, rise, 1), 0.1, 0.9)
    gained = np.maximum(low_slope - first, 1e-12 * np.abs(first) + np.finfo(float).tiny)
    beyond = np.clip(1 - low_slope / gained, 1.5, 10)
    return np.where(bounded, low + share * width, low * beyond)
