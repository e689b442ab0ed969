"""Choose C for a linear probe over its folds, then fit it on everything.

Works on arrays whose rows are prepared and whose classes are numbered; `LinearProbeClassifier` is
the face of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from featx.estimators._axes import Axes
from featx.estimators._calibration import DEFAULT_SLOPE, class_slope
from featx.estimators._path import (
    class_loss,
    signs_of,
    solve_finally,
    solve_path,
    working_dtype,
)
from featx.estimators._solver import Solution

__all__ = ["Choice", "Probe", "Problem", "choose_strength", "fit_probe"]

Array = NDArray[np.float64]
Split = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class Problem:
    """A classification problem in rotated coordinates.

    Parameters
    ----------
    axes : Axes
    points : ndarray of shape (n_samples, n_axes)
        Those of the axes, in the dtype in which to solve.
    codes : ndarray of shape (n_samples,), int
    n_classes : int
    weights, loss_weights : ndarray of shape (n_samples,)
        Sample weights without and with the class weights.
    method : str
    tol : float
    max_iter : int
    """

    axes: Axes
    points: NDArray[Any]
    codes: NDArray[np.intp]
    n_classes: int
    weights: Array
    loss_weights: Array
    method: str
    tol: float
    max_iter: int

    @classmethod
    def build(
        cls,
        rows: Array,
        codes: NDArray[np.intp],
        weights: Array,
        factors: Array,
        *,
        method: str,
        tol: float,
        max_iter: int,
    ) -> Problem:
        """Rotate the rows; `factors` are the weights of the classes."""
        loss_weights = weights * factors[codes]
        axes = Axes.of(rows, method, loss_weights)
        return cls(
            axes=axes,
            points=axes.points,
            codes=codes,
            n_classes=len(factors),
            weights=weights,
            loss_weights=loss_weights,
            method=method,
            tol=tol,
            max_iter=max_iter,
        )

    def path(self, rows: NDArray[np.intp], Cs: Array) -> Iterator[Solution]:
        """Solve on some of the rows for each C, in the dtype of the points."""
        weights = self.loss_weights[rows]
        return solve_path(
            self.points[rows],
            class_loss(self.method, self.codes[rows], self.n_classes, weights),
            total=weights.sum(),
            Cs=Cs,
            free=self.axes.free,
            tol=self.tol,
            max_iter=self.max_iter,
        )


class Folds:
    """Held-out scores along the path of C, and the mean of what the folds found.

    Holds n_Cs * n_axes * n_columns numbers.
    """

    def __init__(self, problem: Problem, Cs: Array, splits: list[Split]) -> None:
        dtype = working_dtype(problem.points, problem.tol, free=problem.axes.free)
        points = problem.points.astype(dtype, copy=False)
        self.problem, self.Cs, self.splits = replace(problem, points=points), Cs, splits
        self.sums: list[Any] = [0] * len(Cs)

    def scores(self, split: Split) -> Iterator[NDArray[Any]]:
        """Yield (n_test, n_columns) for each C."""
        train, test = split
        points = self.problem.points[test]
        for i, solution in enumerate(self.problem.path(train, self.Cs)):
            self.sums[i] = self.sums[i] + solution.weights
            yield points @ solution.weights

    def mean(self, i: int) -> NDArray[Any]:
        """Return the mean weights at the i-th C, (n_axes, n_columns)."""
        return np.asarray(self.sums[i] / len(self.splits))


@dataclass(frozen=True)
class Choice:
    """What the folds said.

    Parameters
    ----------
    C : float
    n_splits : int
    score : float
    results : dict of ndarray of shape (n_Cs,)
    slope : float
        Of the calibration; 1 for "logistic".
    calibration : str
    start : ndarray of shape (n_axes, n_columns) or None
        Weights near those of a fit on everything.
    """

    C: float
    n_splits: int = 0
    score: float = float("nan")
    results: dict[str, Array] = field(default_factory=dict)
    slope: float = 1.0
    calibration: str = "none"
    start: NDArray[Any] | None = None


@dataclass(frozen=True)
class Probe:
    """The fitted model on the prepared rows: scores = rows @ coef.T + intercept."""

    coef: Array
    intercept: Array
    n_iterations: int


def choose_strength(
    problem: Problem, Cs: Array, splits: list[Split], *, fallback: float, scoring: str
) -> Choice:
    """Score each C over the held-out rows of all folds together.

    Parameters
    ----------
    problem : Problem
    Cs : ndarray of shape (n_Cs,)
        Rising.
    splits : list of (train, test)
        Row numbers; empty where nothing can be held out.
    fallback : float
        The C to take then; where Cs are given, the nearest of them.
    scoring : str
    """
    is_svm = problem.method == "svm"
    if not splits or (len(Cs) == 1 and not is_svm):
        C = float(Cs[np.abs(np.log(Cs / fallback)).argmin()])
        slope, calibration = (DEFAULT_SLOPE, "default") if is_svm else (1.0, "none")
        return Choice(C=C, slope=slope, calibration=calibration)
    rows = np.concatenate([test for _, test in splits])
    folds = Folds(problem, Cs, splits)
    scores = _held_out_scores(folds) if is_svm else None
    hits, losses = _judge(problem, rows, scores) if scores is not None else _hits(folds)
    results = _summarise(problem, Cs, rows, hits, losses)
    key = "log_loss" if scoring == "neg_log_loss" else scoring
    values = -results[key] if scoring == "neg_log_loss" else results[key]
    best = _best(values, results.get("log_loss"))
    slope, calibration = 1.0, "none"
    if scores is not None:
        slope = class_slope(
            scores[best].astype(np.float64), problem.codes[rows], problem.loss_weights[rows]
        )
        calibration = "cross-validated"
    return Choice(
        float(Cs[best]),
        len(splits),
        float(values[best]),
        results,
        slope,
        calibration,
        folds.mean(best),
    )


def _best(values: Array, log_loss: Array | None) -> int:
    """Return the best value's place; among equals the least log loss, else the smallest C."""
    ties = np.flatnonzero(values >= values.max() - 1e-12)
    return int(ties[0] if log_loss is None else ties[log_loss[ties].argmin()])


def _hits(folds: Folds) -> tuple[NDArray[np.bool_], Array]:
    """Judge fold by fold, so that scores of one fold and one C are held at a time."""
    parts = []
    for split in folds.splits:
        judged = [_judge(folds.problem, split[1], s[None]) for s in folds.scores(split)]
        parts.append([np.concatenate(column) for column in zip(*judged, strict=True)])
    return (
        np.concatenate([hits for hits, _ in parts], axis=1),
        np.concatenate([losses for _, losses in parts], axis=1),
    )


def _held_out_scores(folds: Folds) -> NDArray[np.float32]:
    """Return (n_Cs, n_held_out, n_columns)."""
    parts = [
        np.stack([s.astype(np.float32, copy=False) for s in folds.scores(split)])
        for split in folds.splits
    ]
    return np.concatenate(parts, axis=1)


def _judge(
    problem: Problem, rows: NDArray[np.intp], scores: NDArray[Any]
) -> tuple[NDArray[np.bool_], Array]:
    """Say for (n_Cs, n_rows, n_columns) scores which are right, and each one's loss."""
    codes = problem.codes[rows]
    if problem.method == "svm":
        signs = signs_of(codes, problem.n_classes)
        losses = (np.maximum(1 - signs * scores, 0) ** 2).sum(axis=-1)
    if scores.shape[-1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=-1)
    hits = scores.argmax(axis=-1) == codes
    if problem.method == "logistic":
        losses = -log_softmax(scores, axis=-1)[:, np.arange(len(codes)), codes]
    return hits, losses


def _summarise(
    problem: Problem,
    Cs: Array,
    rows: NDArray[np.intp],
    hits: NDArray[np.bool_],
    losses: Array,
) -> dict[str, Array]:
    weights, codes = problem.weights[rows], problem.codes[rows]
    of_class = np.bincount(codes, weights=weights, minlength=problem.n_classes)
    right = np.stack(
        [np.bincount(codes, weights=weights * h, minlength=problem.n_classes) for h in hits]
    )
    seen = of_class > 0
    loss = losses @ problem.loss_weights[rows] / problem.loss_weights[rows].sum()
    return {
        "C": Cs,
        "accuracy": right.sum(axis=1) / weights.sum(),
        "balanced_accuracy": (right[:, seen] / of_class[seen]).mean(axis=1),
        "log_loss" if problem.method == "logistic" else "squared_hinge": loss,
    }


def fit_probe(problem: Problem, choice: Choice) -> Probe:
    """Fit on all rows and turn the result back to the features."""
    weights = problem.loss_weights
    solution = solve_finally(
        problem.points,
        class_loss(problem.method, problem.codes, problem.n_classes, weights),
        alpha=1 / (choice.C * weights.sum()),
        free=problem.axes.free,
        start=choice.start,
        tol=problem.tol,
        max_iter=problem.max_iter,
    )
    coef, intercept = problem.axes.turn_back(solution.weights)
    if problem.method == "logistic" and problem.n_classes > 2:
        # A constant added to all scores changes nothing; as in scikit-learn they have mean 0.
        intercept -= intercept.mean()
        coef -= coef.mean(axis=0)
    return Probe(coef, intercept, solution.n_iterations)
