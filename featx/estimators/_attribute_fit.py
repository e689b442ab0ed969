"""Fit all attributes, each with the C that its own held-out labels ask for, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.estimators._attribute_block import Design
from featx.estimators._attribute_targets import Targets
from featx.estimators._calibration import DEFAULT_SLOPE

__all__ = ["FittedAttributes", "fit_attributes"]

Array = NDArray[np.float64]

BLOCK = 128  # attributes; wide enough for products at full speed


@dataclass(frozen=True)
class FittedAttributes:
    """The fitted models, one an attribute, on the prepared rows."""

    coef: Array
    intercept: Array
    C: Array
    slope: Array
    constant: Array
    n_splits: int
    results: dict[str, Array]
    n_iterations: int


def fit_attributes(
    rows: Array,
    targets: Targets,
    Cs: Array,
    *,
    method: str,
    fallback: float,
    folds: NDArray[np.intp],
    tol: float,
    max_iter: int,
) -> FittedAttributes:
    """Choose each attribute's C and fit.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features), float64
    targets : Targets
    Cs : ndarray of shape (n_Cs,)
        Rising.
    folds : ndarray of shape (n_samples, n_attributes), int
        Where each label is held out, -1 for nowhere.
    method, tol, max_iter
        As for `AttributeClassifier`.
    fallback : float
        C where nothing can be held out.

    Returns
    -------
    FittedAttributes
        Solves 128 attributes at a time: what it holds beyond its arguments and its result does not
        grow with their number.
    """
    n_attributes = len(targets.constant)
    is_svm = method == "svm"
    C = np.full(n_attributes, np.nan)
    slope = np.full(n_attributes, DEFAULT_SLOPE if is_svm else 1.0)
    log_loss = np.full((len(Cs), n_attributes), np.nan)
    coef = np.zeros((n_attributes, rows.shape[1]))
    n = targets.weights.sum(axis=0)
    # A constant attribute's score gives the probability (n + 1) / (n + 2), by Laplace's rule.
    intercept = np.where(targets.constant == 1, 1, -1) * np.log(n + 1) / slope
    varied = np.flatnonzero(np.isnan(targets.constant))
    n_splits = n_iterations = 0
    if varied.size:
        design = Design.build(rows, Cs, fallback, method=method, tol=tol, max_iter=max_iter)
        if len(Cs) > 1 or is_svm:
            n_splits = int(folds[:, varied].max()) + 1
        for first in range(0, varied.size, BLOCK):
            some = varied[first : first + BLOCK]
            part = design.fit(targets.only(some), folds[:, some], n_splits)
            C[some], slope[some], log_loss[:, some] = part.C, part.slope, part.log_loss
            coef[some], intercept[some] = design.axes.turn_back(part.weights)
            n_iterations = max(n_iterations, part.n_iterations)
    results = {"C": Cs, "log_loss": log_loss} if n_splits else {}
    return FittedAttributes(
        coef, intercept, C, slope, targets.constant, n_splits, results, n_iterations
    )
