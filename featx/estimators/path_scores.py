"""Held-out scores along the path of C, by folds that share one rotation of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.estimators._fit import Folds, Split
from featx.estimators._folds import deal, deal_attributes, number_copies, split
from featx.estimators._linear_probe import weigh_classes
from featx.estimators._path import GRIDS, LEAST_SINGLE_TOL
from featx.estimators._targets import Attributes, Classes

__all__ = ["count_fits", "count_folds", "score_path"]


def score_path(
    model: Any,
    X: NDArray[Any],
    y: NDArray[Any],
    groups: NDArray[np.intp] | None = None,
    *,
    runs: bool = False,
    n_apart: int = 1,
) -> NDArray[np.float32]:
    """Score every sample, for each C, by models fitted without it and without its copies.

    Parameters
    ----------
    model : LinearProbeClassifier or AttributeClassifier
        Its parameters are what counts: it need not be fitted, and is not changed.
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,), or (n_samples, n_attributes) of 1, 0, and NaN for not known
    groups : ndarray of shape (n_samples,), int, optional
        Equal numbers are copies. Default: equal rows are.
    runs : bool, default False
        Whether to return the mean of two scores: by the model's own folds, and by folds that hold
        out runs of successive images of a class. Where images were taken together, a wrong label
        then speaks less for its neighbours. Costs as much again.
    n_apart : int, default 1
        Folds that a model has not seen, as for `predict_held_out`.

    Returns
    -------
    ndarray of shape (n_Cs, n_samples, n_classes or n_attributes), float32
        Of two classes one column; NaN where a label is never held out, having no other example to
        learn from (of an attribute: of yes and of no). Scores are solved for as
        closely as C is chosen by. All fits share one rotation of the rows.
    """
    rows = model._prepare(X)
    content = number_copies(rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    codes, able, splits = _deal(model, y, content.reshape(-1), runs, n_apart)
    targets = _read_targets(model, y[:, able] if y.ndim == 2 else codes[:, 0], np.unique(y))
    quick = np.float32 if model.tol >= LEAST_SINGLE_TOL else np.float64
    weights = targets.loss_weights[:, 0] if y.ndim == 1 and model.class_weight else None
    design = model._design(rows, weights, dtype=quick)
    scores = np.zeros((len(design.Cs), len(y), targets.n_columns), np.float32)
    counts = np.zeros((len(y), len(able)), np.float32)
    for _, test in splits:
        counts += test
    for i, test, found in Folds(design, targets, splits):
        np.add(scores[i], found, out=scores[i], where=test, casting="same_kind")
    counts[counts == 0] = np.nan
    scores /= counts
    if y.ndim == 2:
        whole = np.full((len(scores), *y.shape), np.nan, np.float32)
        whole[:, :, able] = scores
        return whole
    if model.method == "logistic" and targets.n_columns > 1:
        scores -= scores.mean(axis=2, keepdims=True)  # as those of the probe
    return scores


def _deal(
    model: Any, y: NDArray[Any], content: NDArray[np.intp], runs: bool, n_apart: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], list[Split]]:
    """Return labels as codes, the columns of which any is held out, and masks of all folds."""
    n_folds, splits = count_folds(model), []
    if y.ndim == 1:
        codes = np.unique(y, return_inverse=True)[1].reshape(-1, 1)
    else:
        codes = np.where(np.isnan(y), -1, np.nan_to_num(y)).astype(np.intp)
    dealings = []
    for by_runs in (False, True) if runs else (False,):
        rest = content, n_folds, model.random_state
        dealings.append(
            deal(codes[:, 0], *rest, runs=by_runs)[:, None]
            if y.ndim == 1 else deal_attributes(y, *rest, runs=by_runs)
        )  # fmt: skip
    able = np.flatnonzero((dealings[0] >= 0).any(axis=0))
    if y.ndim == 1:
        able = np.zeros(1, np.intp)
    for folds in dealings:
        for train, test in split(folds[:, able], codes[:, able], content, n_apart):
            if y.ndim == 2:  # copies of yes may have been the only examples of no
                has_both = np.all([(train & (codes[:, able] == c)).any(axis=0) for c in (0, 1)], 0)
                train, test = train | ~has_both, test & has_both
            splits.append((train, test))
    return codes, able, splits


def _read_targets(model: Any, y: NDArray[Any], classes: NDArray[Any]) -> Classes | Attributes:
    ones = np.ones(len(y))
    if y.ndim == 2:
        names = [str(column) for column in range(y.shape[1])]
        return Attributes.build(y, ones, names, balanced=model.class_weight is not None)
    weights = weigh_classes(model.class_weight, classes, y, ones)[:, None]
    return Classes(y, len(classes), np.ones_like(weights), weights, model.scoring)


def count_folds(model: Any) -> int:
    """Return the most folds that parameters of a model ask for; 5 where they name a splitter."""
    asked = _find_parameters(model, "cv")
    return next((int(value) for value in asked if isinstance(value, int | np.integer)), 5)


def count_fits(model: Any) -> int:
    """Return the fits that choose C, use it, and hold out twice to learn how certain a model is.

    There are more where attributes have several C, or are more than 128.
    """
    n_choices = 1
    for Cs in _find_parameters(model, "Cs"):
        n_choices = len(GRIDS["logistic"]) if Cs is None else np.size(Cs)
    return count_folds(model) * (n_choices * (n_choices > 1) + 2) + 1


def _find_parameters(model: Any, last: str) -> list[Any]:
    """Return the values of the parameters of a model, and of all within it, of that last name."""
    return [value for name, value in model.get_params().items() if name.split("__")[-1] == last]
