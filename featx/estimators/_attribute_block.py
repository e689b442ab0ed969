"""Fit a block of attributes jointly, then choose each one's C by its own held-out labels.

A fold is not a set of rows here but a set of weights: an attribute's held-out and unknown labels
have weight 0, so every attribute is stratified by itself and all share each product with the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit

from featx.estimators._attribute_targets import Targets
from featx.estimators._axes import Axes
from featx.estimators._calibration import DEFAULT_SLOPE, column_slope
from featx.estimators._path import column_loss, solve_finally, solve_path, working_dtype

__all__ = ["Design", "FittedBlock"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FittedBlock:
    """Weights (n_axes, n_columns), C and slope (n_columns,), log losses (n_Cs, n_columns)."""

    weights: Array
    C: Array
    slope: Array
    log_loss: Array
    n_iterations: int


@dataclass(frozen=True)
class _Held:
    """What the folds gave: scores and mean weights for each C."""

    scores: NDArray[np.float32]
    weights: list[NDArray[Any]]


@dataclass(frozen=True)
class Design:
    """Rotated rows, which all blocks share, and how to solve on them.

    Parameters
    ----------
    axes : Axes
    quick : ndarray of shape (n_samples, n_axes)
        Its points in the dtype in which the folds are solved.
    Cs : ndarray of shape (n_Cs,)
    fallback : float
    method : str
    options : dict
        Of the solver.
    """

    axes: Axes
    quick: NDArray[Any]
    Cs: Array
    fallback: float
    method: str
    options: dict[str, Any]

    @classmethod
    def build(
        cls, rows: Array, Cs: Array, fallback: float, *, method: str, tol: float, max_iter: int
    ) -> Self:
        """Rotate the rows."""
        axes = Axes.of(rows, method)
        dtype = working_dtype(axes.points, tol, free=axes.free)
        quick = axes.points.astype(dtype, copy=False)
        options = {"free": axes.free, "tol": tol, "max_iter": max_iter}
        return cls(axes, quick, Cs, fallback, method, options)

    def fit(self, targets: Targets, folds: NDArray[np.intp], n_splits: int) -> FittedBlock:
        """Choose each column's C where there are folds, and fit."""
        Cs, n_columns = self.Cs, folds.shape[1]
        place = np.full(n_columns, np.abs(np.log(Cs / self.fallback)).argmin())
        slope = np.full(n_columns, DEFAULT_SLOPE if self.method == "svm" else 1.0)
        losses = np.full((len(Cs), n_columns), np.nan)
        start = None
        if n_splits:
            held = self._hold_out(targets, folds, n_splits)
            losses, slopes = _judge(held.scores, targets, folds, self.method)
            able = ~np.isnan(losses).any(axis=0)
            place[able] = losses[:, able].argmin(axis=0)
            slope[able] = slopes[place, np.arange(n_columns)][able]
            start = np.empty_like(held.weights[0])
            for i, weights in enumerate(held.weights):
                start[:, place == i] = weights[:, place == i]
        total = targets.loss_weights.sum(axis=0)
        solution = solve_finally(
            self.axes.points,
            column_loss(self.method, targets.signs, targets.loss_weights),
            alpha=1 / (Cs[place] * total),
            start=start,
            **self.options,
        )
        return FittedBlock(solution.weights, Cs[place], slope, losses, solution.n_iterations)

    def _hold_out(self, targets: Targets, folds: NDArray[np.intp], n_splits: int) -> _Held:
        scores = np.zeros((len(self.Cs), *folds.shape), dtype=np.float32)
        sums: list[Any] = [0] * len(self.Cs)
        for fold in range(n_splits):
            out = folds == fold
            weights = np.where(out, 0, targets.loss_weights)
            path = solve_path(
                self.quick,
                column_loss(self.method, targets.signs, weights),
                total=weights.sum(axis=0),
                Cs=self.Cs,
                **self.options,
            )
            for i, solution in enumerate(path):
                np.copyto(scores[i], solution.scores, where=out, casting="same_kind")
                sums[i] = sums[i] + solution.weights
        return _Held(scores, [total / n_splits for total in sums])


def _judge(
    held_out: NDArray[np.float32], targets: Targets, folds: NDArray[np.intp], method: str
) -> tuple[Array, Array]:
    """Return log losses and slopes, (n_Cs, n_columns) each; NaN where nothing was held out."""
    losses = np.full((len(held_out), folds.shape[1]), np.nan)
    slopes = np.ones_like(losses)
    for a in range(folds.shape[1]):
        rows = folds[:, a] >= 0
        if not rows.any():
            continue
        signs, weights = targets.signs[rows, a], targets.loss_weights[rows, a]
        for i, scores in enumerate(held_out[:, rows, a].astype(np.float64)):
            if method == "svm":
                slopes[i, a] = column_slope(scores, signs, weights)
            losses[i, a] = -weights @ log_expit(slopes[i, a] * signs * scores) / weights.sum()
    return losses, slopes
