"""Fit all attributes jointly, then choose each one's C by its own held-out labels.

A fold is not a set of rows here but a set of weights: an attribute's held-out and unknown labels
have weight 0, so every attribute is stratified by itself and all share each product with the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit

from featx.errors import ParameterError
from featx.estimators._calibration import DEFAULT_SLOPE, column_slope
from featx.estimators._linalg import rotate
from featx.estimators._path import column_loss, solve_path
from featx.estimators._solver import solve

__all__ = ["FittedAttributes", "Targets", "fit_attributes"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Targets:
    """Labels and weights, (n_samples, n_attributes) each.

    Parameters
    ----------
    signs : ndarray
        1 for yes, -1 for no or not known.
    codes : ndarray of int
        1, 0, or -1 for not known.
    weights, loss_weights : ndarray
        Without and with the balance between yes and no; 0 for not known.
    constant : ndarray of shape (n_attributes,)
        The only value of an attribute, NaN where it has both.
    """

    signs: Array
    codes: NDArray[np.intp]
    weights: Array
    loss_weights: Array
    constant: Array

    @classmethod
    def build(
        cls, Y: Array, sample_weight: Array, names: Sequence[str], *, balanced: bool
    ) -> Targets:
        """Read 0, 1 and NaN.

        Raises
        ------
        ParameterError
            Naming the attributes that have no label at all.
        """
        known = ~np.isnan(Y)
        empty = [name for i, name in enumerate(names) if not known[:, i].any()]
        if empty:
            raise ParameterError(
                f"y: attributes without a single known label: {', '.join(map(repr, empty[:10]))}"
                f"{' and more' if len(empty) > 10 else ''}; leave these columns out"
            )
        codes = np.where(known, np.nan_to_num(Y), -1).astype(np.intp)
        weights = known * sample_weight[:, None]
        yes, no = ((weights * (codes == code)).sum(axis=0) for code in (1, 0))
        constant = np.where(no == 0, 1.0, np.where(yes == 0, 0.0, np.nan))
        loss_weights = weights
        if balanced:
            both = np.isnan(constant)
            total = yes + no
            factor_yes = np.where(both, total / np.where(both, 2 * yes, 1), 1)
            factor_no = np.where(both, total / np.where(both, 2 * no, 1), 1)
            loss_weights = weights * np.where(codes == 1, factor_yes, factor_no)
        return cls(np.where(codes == 1, 1.0, -1.0), codes, weights, loss_weights, constant)

    def only(self, columns: NDArray[np.bool_]) -> Targets:
        """Return the attributes that a mask selects."""
        return Targets(
            self.signs[:, columns],
            self.codes[:, columns],
            self.weights[:, columns],
            self.loss_weights[:, columns],
            self.constant[columns],
        )


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
        Holds n_Cs * n_samples * n_attributes float32 while it chooses.
    """
    varied = np.isnan(targets.constant)
    n_attributes = len(varied)
    is_svm = method == "svm"
    C = np.full(n_attributes, np.nan)
    slope = np.full(n_attributes, DEFAULT_SLOPE if is_svm else 1.0)
    log_loss = np.full((len(Cs), n_attributes), np.nan)
    coef = np.zeros((n_attributes, rows.shape[1]))
    n = targets.weights.sum(axis=0)
    # A constant attribute's score gives the probability (n + 1) / (n + 2), by Laplace's rule.
    intercept = np.where(targets.constant == 1, 1, -1) * np.log(n + 1) / slope
    n_splits = n_iterations = 0
    if varied.any():
        some = targets.only(varied)
        shift = np.zeros(rows.shape[1]) if is_svm else rows.mean(axis=0)
        turned = rotate(np.column_stack([rows, np.ones(len(rows))]) if is_svm else rows - shift)
        options: dict[str, Any] = {"intercept": not is_svm, "tol": tol, "max_iter": max_iter}
        C[varied] = Cs[np.abs(np.log(Cs / fallback)).argmin()]
        if len(Cs) > 1 or is_svm:
            held_out = folds[:, varied]
            n_splits = int(held_out.max()) + 1
            chosen, losses, slopes = _choose(turned.points, some, Cs, held_out, method, options)
            able = (held_out >= 0).any(axis=0)
            C[varied] = np.where(able, Cs[chosen], C[varied])
            log_loss[:, varied] = losses
            slope[varied] = np.where(able, slopes, slope[varied])
        total = some.loss_weights.sum(axis=0)
        solution = solve(
            turned.points,
            column_loss(method, some.signs, some.loss_weights),
            alpha=1 / (C[varied] * total),
            start=None,
            **options,
        )
        found = (turned.basis @ solution.weights).T
        n_iterations = solution.n_iterations
        coef[varied] = found[:, :-1] if is_svm else found
        intercept[varied] = found[:, -1] if is_svm else solution.intercept - found @ shift
    results = {"C": Cs, "log_loss": log_loss} if n_splits else {}
    return FittedAttributes(
        coef, intercept, C, slope, targets.constant, n_splits, results, n_iterations
    )


def _choose(
    points: Array,
    targets: Targets,
    Cs: Array,
    folds: NDArray[np.intp],
    method: str,
    options: dict[str, Any],
) -> tuple[NDArray[np.intp], Array, Array]:
    """Return each attribute's best place in Cs, log losses (n_Cs, n_attributes) and slopes."""
    held_out = np.zeros((len(Cs), *folds.shape), dtype=np.float32)
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        weights = np.where(out, 0, targets.loss_weights)
        path = solve_path(
            points,
            column_loss(method, targets.signs, weights),
            total=weights.sum(axis=0),
            Cs=Cs,
            **options,
        )
        for scores, solution in zip(held_out, path, strict=True):
            found = points @ solution.weights + solution.intercept
            scores[out] = found[out]
    n_attributes = folds.shape[1]
    losses = np.full((len(Cs), n_attributes), np.nan)
    slopes = np.ones_like(losses)
    for a in range(n_attributes):
        rows = folds[:, a] >= 0
        if not rows.any():
            continue
        signs, weights = targets.signs[rows, a], targets.loss_weights[rows, a]
        for i, scores in enumerate(held_out[:, rows, a].astype(np.float64)):
            if method == "svm":
                slopes[i, a] = column_slope(scores, signs, weights)
            losses[i, a] = -weights @ log_expit(slopes[i, a] * signs * scores) / weights.sum()
    best = np.where(np.isnan(losses).any(axis=0), 0, np.nan_to_num(losses).argmin(axis=0))
    return best, losses, slopes[best, np.arange(n_attributes)]
