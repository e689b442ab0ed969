"""The one fit of linear models: hold out, choose C for each problem, fit on everything.

What is told apart, classes that exclude each other or columns of yes and no, is a matter of
`_targets`. A fold is a set of weights rather than of rows: each attribute is stratified by itself,
and where a label is held out or not known its weight is 0, so that all attributes share every
product with the data. Rows without weight in any column are left out of the products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featx._progress import end_step
from featx.estimators._axes import Axes
from featx.estimators._calibration import DEFAULT_SLOPE
from featx.estimators._losses import Loss
from featx.estimators._path import choose_dtype, solve_finally, solve_path
from featx.estimators._solver import Solution

__all__ = ["Choice", "Design", "Fitted", "Folds", "Split", "Targets", "fit_linear"]

Array = NDArray[np.float64]
# What each label counts in training, (n_samples, 1) or (n_samples, n_columns); and which are held
# out: row numbers for classes, a mask of that shape for columns.
Split = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Design:
    """Rotated rows, which all problems share, and how to solve on them.

    Parameters
    ----------
    axes : Axes
    Cs : ndarray of shape (n_Cs,)
        Rising.
    fallback : float
        C where nothing can be held out; the nearest of `Cs` is taken.
    method : {"logistic", "svm"}
    tol : float
    max_iter : int
    """

    axes: Axes
    Cs: Array
    fallback: float
    method: str
    tol: float
    max_iter: int

    @cached_property
    def quick(self) -> NDArray[Any]:
        """The points in the dtype in which the folds are solved."""
        dtype = choose_dtype(self.axes.points, self.tol, free=self.axes.free)
        return self.axes.points.astype(dtype, copy=False)

    @property
    def options(self) -> dict[str, Any]:
        """What the solver is told."""
        return {"free": self.axes.free, "tol": self.tol, "max_iter": self.max_iter}

    @property
    def has_choice(self) -> bool:
        """Whether held-out labels decide anything: C, or the slope of the probabilities."""
        return len(self.Cs) > 1 or self.method == "svm"


@dataclass(frozen=True)
class Choice:
    """What the folds said.

    Parameters
    ----------
    place : ndarray of shape (n_columns,), int
        Of each column's C among the design's.
    slope : ndarray of shape (n_columns,)
        Of the calibration; 1 for "logistic".
    results : dict of ndarray
        For each C; empty where nothing was held out.
    score : float
        Of the chosen C, for classes; NaN where nothing was held out.
    """

    place: NDArray[np.intp]
    slope: Array
    results: dict[str, Array] = field(default_factory=dict)
    score: float = float("nan")


class Targets(Protocol):
    """What the fit needs of the labels."""

    @property
    def n_columns(self) -> int:
        """Columns of scores."""

    @property
    def loss_weights(self) -> Array:
        """What each label counts, (n_samples, 1) or (n_samples, n_columns)."""

    def loss(self, method: str, rows: Any, weights: Array) -> Loss:
        """Return the loss on some rows, whose weights are given."""

    def choose(self, folds: Folds, default: Choice) -> Choice:
        """Choose C by the held-out scores; `default` where nothing is held out."""


class Folds:
    """Held-out scores along the path of C, and the mean of what the folds found.

    Holds n_Cs * n_axes * n_columns numbers.
    """

    def __init__(self, design: Design, targets: Targets, splits: Sequence[Split]) -> None:
        self.design, self.targets, self.splits = design, targets, splits
        self._sums: list[Any] = [0] * len(design.Cs)

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
        """Yield for each split and C: the place of C, what is held out, and scores.

        Of rows that are held out whole, their scores alone; of a mask, (n_samples, n_columns).
        """
        design, points = self.design, self.design.quick
        for train, test in self.splits:
            weights = train * self.targets.loss_weights
            is_used = np.asarray(weights.any(axis=1))
            rows: Any = slice(None) if is_used.all() else np.flatnonzero(is_used)
            weights = weights[rows]
            loss = self.targets.loss(design.method, rows, weights)
            path = solve_path(
                points[rows], loss, total=weights.sum(axis=0), Cs=design.Cs, **design.options
            )
            for i, solution in enumerate(path):
                self._sums[i] = self._sums[i] + solution.weights
                end_step()
                if test.ndim == 1:
                    yield i, test, points[test] @ solution.weights
                else:
                    yield i, test, _score_all(points, is_used, solution)

    def mean(self, place: NDArray[np.intp]) -> NDArray[Any]:
        """Return the mean weights, each column's at its C: (n_axes, n_columns)."""
        mean: NDArray[Any] = np.empty_like(self._sums[0])
        for i, weights in enumerate(self._sums):
            mean[:, place == i] = weights[:, place == i] / len(self.splits)
        return mean


def _score_all(
    points: NDArray[Any], is_used: NDArray[np.bool_], solution: Solution
) -> NDArray[Any]:
    """Return the scores of all rows, of which the solver has those that it used."""
    scores = np.empty((len(points), solution.weights.shape[1]), points.dtype)
    scores[is_used] = solution.scores
    scores[~is_used] = points[~is_used] @ solution.weights
    return scores


@dataclass(frozen=True)
class Fitted:
    """The fitted models on the prepared rows: scores = rows @ coef.T + intercept."""

    coef: Array
    intercept: Array
    C: Array
    choice: Choice
    n_iterations: int


def fit_linear(
    design: Design, targets: Targets, splits: Sequence[Split], start: Array | None = None
) -> Fitted:
    """Choose each column's C where something is held out, and fit on everything.

    `start` (n_axes, n_columns) is where the last fit begins; what the folds found lies nearer.
    """
    nearest = np.abs(np.log(design.Cs / design.fallback)).argmin()
    slope = DEFAULT_SLOPE if design.method == "svm" else 1.0
    choice = Choice(np.full(targets.n_columns, nearest), np.full(targets.n_columns, slope))
    if splits and design.has_choice:
        folds = Folds(design, targets, splits)
        choice = targets.choose(folds, choice)
        start = folds.mean(choice.place)
    C, weights = design.Cs[choice.place], targets.loss_weights
    solution = solve_finally(
        design.axes.points,
        design.quick,
        targets.loss(design.method, slice(None), weights),
        alpha=1 / (C * weights.sum(axis=0)),
        start=start,
        **design.options,
    )
    end_step()
    coef, intercept = design.axes.turn_back(solution.weights)
    return Fitted(coef, intercept, C, choice, solution.n_iterations)
